#!/usr/bin/env bash
# test.sh: proves that build.sh refuses what it must refuse, by name. Seconds; compiles nothing. See tests/boot.sh for what needs a virtual machine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
passed=0
failed=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Copies the room to $scratch/room, so that a test can spoil a fragment.
fresh_room() {
    rm -rf "$scratch/room"
    cp -r "$here" "$scratch/room"
}

result() {
    if [[ $2 == yes ]]; then passed=$((passed + 1)); printf 'ok   %s\n' "$1"; else
        failed=$((failed + 1)); printf 'FAIL %s\n' "$1"; sed 's/^/     /' "$scratch/output"; fi
}

# Passes when the command fails and its output has the text.
refuses() {
    local sentence=$1 text=$2
    shift 2
    if "$@" > "$scratch/output" 2>&1; then result "$sentence" no
    elif grep -qF -- "$text" "$scratch/output"; then result "$sentence" yes
    else result "$sentence" no; fi
}

accepts() {
    local sentence=$1
    shift
    if "$@" > "$scratch/output" 2>&1; then result "$sentence" yes; else result "$sentence" no; fi
}

fresh_room
accepts 'every option of the virt flavour survives' "$scratch/room/build.sh" --config-only virt
accepts 'every option of the metal flavour survives' "$scratch/room/build.sh" --config-only metal

fresh_room
echo 'CONFIG_FILE_LOCKING_OF_TOMORROW=y' >> "$scratch/room/config/base.config"
refuses 'an option that the kernel does not know is named' \
    'CONFIG_FILE_LOCKING_OF_TOMORROW: asked for y, is n' "$scratch/room/build.sh" --config-only virt

fresh_room
sed -i '/^CONFIG_MISC_FILESYSTEMS=y$/d' "$scratch/room/config/base.config"
refuses 'an option whose dependency is missing is named' \
    'CONFIG_EROFS_FS: asked for y, is n' "$scratch/room/build.sh" --config-only virt

fresh_room
echo '# CONFIG_NETFILTER is not set' >> "$scratch/room/config/virt.config"
refuses 'what another option then loses is named too' \
    'CONFIG_NF_TABLES: asked for y, is n' "$scratch/room/build.sh" --config-only virt

fresh_room
echo '# CONFIG_CRYPTO_HASH is not set' >> "$scratch/room/config/virt.config"
refuses 'an option that must be off and is forced on is named' \
    'CONFIG_CRYPTO_HASH: asked for n, is y' "$scratch/room/build.sh" --config-only virt

fresh_room
echo 'CONFIG_NR_CPUS=100000' >> "$scratch/room/config/virt.config"
refuses 'a value out of range is named' 'CONFIG_NR_CPUS: asked for 100000' "$scratch/room/build.sh" --config-only virt

echo 'not a kernel' > "$scratch/tarball"
refuses 'a tarball without a SHA-256 is refused' 'KERNEL_SHA256 is not set' \
    env KERNEL_TARBALL="$scratch/tarball" KERNEL_SHA256= "$here/build.sh" virt
refuses 'a tarball with another SHA-256 is refused' 'its SHA-256 is' \
    env KERNEL_TARBALL="$scratch/tarball" KERNEL_SHA256=00 "$here/build.sh" virt
refuses 'a tarball that is not there is refused' 'no such file' \
    env KERNEL_TARBALL="$scratch/nothing" KERNEL_SHA256=00 "$here/build.sh" virt
refuses 'keys that are not there are refused' 'kernel.key or kernel.crt is missing' \
    env HULL_KEYS="$scratch/nothing" "$here/build.sh" virt

printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
