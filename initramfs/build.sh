#!/usr/bin/env bash
# Builds kernel, programs, image and releases in that order, each only when something it is made of changed.
# Usage: build.sh kernel|programs [NAME...]|image|release   (with OUT, KERNEL, VERSION, CMDLINE, EXTRA_ROOT from the Makefile)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-out} flavour=${KERNEL:-virt}
keys=${HULL_KEYS:-${HULL_CACHE:-$HOME/.cache/hull}/keys}
target=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu
# Of the image, and those that are for other hosts.
programs=(hull-init hull-kv hull-launcher hullctl hull-hello)
others=(hull-oci hull-shim)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
[ -t 2 ] || say() { printf '==> %s\n' "$*" >&2; }

build_kernel() {
    say "kernel ($flavour)"
    local folder
    folder=$(kernel/build.sh "$flavour" | tail -n 1)
    mkdir -p "$out/kernel/$flavour"
    cmp -s "$folder/bzImage" "$out/kernel/$flavour/bzImage" || cp "$folder/bzImage" "$folder/config" "$out/kernel/$flavour/"
}

build_programs() {
    say "programs"
    local packages=() program
    for program in "$@"; do packages+=(-p "$program"); done
    # No unwind tables, since a panic aborts; relocations packed; functions that are the same once, unless somebody compares their
    # addresses, and so is what several functions do alike, if that saves enough (bytes) to be worth a call; and no path of whoever
    # builds, so that the bytes are the same anywhere: the linker's script is found from the workspace, where cargo starts the compiler.
    local flags="-C target-feature=+crt-static -C force-unwind-tables=no -C link-arg=-Wl,-z,pack-relative-relocs"
    flags+=" -C link-arg=-Wl,-T,initramfs/no-unwind.ld -C llvm-args=-addrsig -C link-arg=-Wl,--icf=safe"
    flags+=" -C llvm-args=-enable-machine-outliner=always -C llvm-args=-outliner-benefit-threshold=96"
    local home=${CARGO_HOME:-$HOME/.cargo} registry
    flags+=" --remap-path-prefix=$home=/cargo --remap-path-prefix=$PWD=/hull"
    # Nor where crates came from, which a mirror would change: they must be there for their folder to be known. What is missing without
    # a network the build itself may not need.
    cargo fetch --locked --target x86_64-unknown-linux-gnu || true
    for registry in "$home"/registry/src/*/; do flags+=" --remap-path-prefix=$registry=/cargo/"; done
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags cargo build --locked --release "${packages[@]}"
    cargo build --locked -p hull-image
    mkdir -p "$out/bin"
    for program in "$@"; do
        # Named as containerd looks for it.
        [ "$program" != hull-shim ] || program=containerd-shim-hull-v2
        cmp -s "$target/release/$program" "$out/bin/$program" || cp "$target/release/$program" "$out/bin/"
    done
}

# hull-image VERB with the inputs that image and release share.
hull_image() {
    "$target/debug/hull-image" "$1" \
        --programs "$out/bin" --kernel "$out/kernel/$flavour/bzImage" --keys "$keys" --version "${VERSION:?}" \
        --command-line "${CMDLINE:-}" ${EXTRA_ROOT:+--extra-root "$EXTRA_ROOT"} --out "$out"
}

case ${1:-} in
kernel) build_kernel ;;
programs)
    shift
    [ $# -gt 0 ] || set -- "${programs[@]}" "${others[@]}"
    build_programs "$@"
    ;;
image | release)
    build_kernel
    build_programs "${programs[@]}"
    say "$1 $VERSION"
    hull_image "$1"
    ;;
*)
    sed -n '2,3p' "$0" >&2
    exit 2
    ;;
esac
