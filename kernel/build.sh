#!/usr/bin/env bash
# build.sh: builds Hull's kernel, or takes it from the cache, and prints the folder that holds bzImage and config.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=kernel/lib.sh
source "$here/lib.sh"

# Seconds between two lines of progress where the output is not a terminal.
progress_seconds=30

usage() {
    cat <<'TEXT'
usage: kernel/build.sh [virt|metal]
       kernel/build.sh --config-only [virt|metal]

Builds the kernel of a flavour (default: virt) and prints, as the last line, the folder with bzImage (signed) and config.
--config-only merges the fragments, checks that every option survived, and prints the folder with config; seconds.

  virt    config/base.config + virt.config           for KVM and QEMU
  metal   config/base.config + virt.config + metal.config

  HULL_CACHE=DIR       where results and keys are kept (default ~/.cache/hull)
  HULL_KEYS=DIR        sign with kernel.key and kernel.crt of DIR (default: a pair of the cache, see kernel/keys.sh)
  KERNEL_TARBALL=FILE  build this source instead of Debian's linux-source-6.12
  KERNEL_SHA256=HEX    its SHA-256; required with KERNEL_TARBALL, checked for either
  KERNEL_JOBS=N        compile N files at a time (default: one per processor)
TEXT
}

# Compiles in folder $1, showing progress on stderr.
compile() {
    local folder=$1 log=$1/build.log started=$SECONDS shown=$SECONDS make_pid state=0
    make -C "$folder" -j"${KERNEL_JOBS:-$(nproc)}" "${make_variables[@]}" bzImage > "$log" 2>&1 &
    make_pid=$!
    # Not only at the end of the script: an interrupted build must not leave a compiler running.
    trap 'kill "$make_pid" 2> /dev/null || true' INT TERM
    while kill -0 "$make_pid" 2> /dev/null; do
        sleep 2
        if [[ -t 2 ]]; then
            printf '\rkernel %s: %d steps, %d s ' "$flavour" "$(wc -l < "$log")" $((SECONDS - started)) >&2
        elif ((SECONDS - shown >= progress_seconds)); then
            shown=$SECONDS
            say "$flavour: $(wc -l < "$log") steps, $((SECONDS - started)) s"
        fi
    done
    wait "$make_pid" || state=$?
    trap - INT TERM
    [[ ! -t 2 ]] || printf '\n' >&2
    if ((state != 0)); then
        grep -nE 'error|Error|undefined reference' "$log" | head -n 20 >&2 || tail -n 20 "$log" >&2
        cp "$log" "$cache/failed-$flavour.log"
        die "compile the $flavour kernel: make failed (the lines above; all of them in $cache/failed-$flavour.log)"
    fi
    say "$flavour: compiled in $((SECONDS - started)) s"
}

# Signs bzImage $1 into $2, as the kernel's own keyring will check it. The time of signing is the first second of the
# certificate, so that the same input gives the same bytes.
sign() {
    local start
    start=$(date -u -d "$(openssl x509 -in "$keys/kernel.crt" -noout -startdate | cut -d= -f2)" +%s)
    osslsigncode sign -certs "$keys/kernel.crt" -key "$keys/kernel.key" -h sha256 -time "$start" \
        -in "$1" -out "$2" > "$2.log" 2>&1 || die "sign $1: osslsigncode failed: $(tail -n 1 "$2.log"); is kernel.key the key of kernel.crt in $keys?"
    rm "$2.log"
}

# Builds into the cache folder $1; it appears there at once and whole.
build_into() {
    local result=$1
    # Folders of builds that were killed; the lock says that no other build of this flavour runs.
    rm -rf "$cache/.build-$flavour".*
    work=$(mktemp -d "$cache/.build-$flavour.XXXXXX") # not local: the trap outlives this function
    trap 'rm -rf "$work"' EXIT
    configure "$work"
    check_config "$work/.config"
    compile "$work"
    mkdir "$work/result"
    sign "$work/arch/x86/boot/bzImage" "$work/result/bzImage"
    cp "$work/.config" "$work/result/config"
    check_size "$work/result/bzImage"
    mv -T "$work/result" "$result"
}

main() {
    local config_only=no result
    flavour=virt
    while (($# > 0)); do
        case $1 in
            -h | --help) usage; return ;;
            --config-only) config_only=yes ;;
            virt | metal) flavour=$1 ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    need_packages
    cache=${HULL_CACHE:-$HOME/.cache/hull}/kernel
    mkdir -p "$cache"
    keys=$("$here/keys.sh")
    find_tarball
    if [[ $config_only == yes ]]; then
        result=$cache/config-$flavour
        exec 9> "$cache/.lock-config-$flavour"
        flock 9
        unpack_source
        rm -rf "$result"
        configure "$result"
        check_config "$result/.config"
        mv "$result/.config" "$result/config"
        printf '%s\n' "$result"
        return
    fi
    result=$cache/$flavour-$(result_hash)
    exec 9> "$cache/.lock-$flavour"
    flock -n 9 || { say "$flavour: waiting for another build of it"; flock 9; }
    if [[ ! -e $result/bzImage ]]; then
        unpack_source
        build_into "$result"
    fi
    printf '%s\n' "$result"
}

main "$@"
