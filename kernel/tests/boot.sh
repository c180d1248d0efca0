#!/usr/bin/env bash
# boot.sh: boots a kernel in QEMU with tests/probe.c as its PID 1 and proves what hull-init relies on. Minutes, no disk.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
passed=0
failed=0

usage() {
    cat <<'TEXT'
usage: kernel/tests/boot.sh [FOLDER]      FOLDER has bzImage; default: what kernel/build.sh virt prints
       kernel/tests/boot.sh --time [FOLDER]   only count the instructions from power-on to PID 1
TEXT
}

# UEFI firmware of Debian's package ovmf; without it that test is left out.
ovmf=/usr/share/OVMF/OVMF_CODE_4M.fd

# Runs a machine until it powers off, at most 120 s. Console in $scratch/console; sets ended. Arguments: extra QEMU ones.
machine() {
    ended=by-itself
    timeout --foreground 120 qemu-system-x86_64 -machine q35 -accel tcg -cpu max -m 256 -nodefaults -nographic -serial "file:$scratch/console" \
        -kernel "$kernel" -initrd "$scratch/initrd" "$@" < /dev/null > "$scratch/qemu" 2>&1 || ended=by-timeout
}

# Passes when the console has the text (a fixed string); shows its end otherwise.
console_has() {
    if grep -qF -- "$2" "$scratch/console"; then passed=$((passed + 1)); printf 'ok   %s\n' "$1"; else
        failed=$((failed + 1)); printf 'FAIL %s (no "%s")\n' "$1" "$2"; tail -n 15 "$scratch/console" "$scratch/qemu" | cut -c1-200 | sed 's/^/     /'; fi
}

# Flips one byte in the middle of the compressed kernel.
alter() {
    cp "$1" "$2"
    printf '\xa5' | dd of="$2" bs=1 seek=1000000 conv=notrunc status=none
}

# Packs the probe, and kernels for it to jump to.
make_initrd() {
    local root=$scratch/root
    mkdir -p "$root"
    gcc -O2 -static -o "$root/init" "$here/probe.c"
    strip "$root/init"
    (cd "$root" && echo init | cpio -o -H newc --quiet) > "$scratch/initrd.small"
    cp "$scratch/initrd.small" "$root/next.cpio"
    cp "$kernel" "$root/kernel.good"
    alter "$kernel" "$root/kernel.altered"
    osslsigncode remove-signature -in "$kernel" -out "$root/kernel.unsigned" > "$scratch/log" 2>&1
    (cd "$root" && find . -type f | cpio -o -H newc --quiet) > "$scratch/initrd.big"
    use small
}

use() { ln -sf "initrd.$1" "$scratch/initrd"; }

# Guest instructions: with -icount shift=0 one instruction is one nanosecond of the machine's clock and of the TSC.
count_instructions() {
    machine -icount shift=0,sleep=off -append "probe=time"
    grep -o 'probe: start: .*' "$scratch/console"
}

main() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    local only_time=no long
    case ${1:-} in -h | --help) usage; return ;; --time) only_time=yes; shift ;; esac
    kernel=${1:-$("$here/../build.sh" virt | tail -n 1)}/bzImage
    [[ -r $kernel ]] || { printf 'boot.sh: read %s: no such file; run kernel/build.sh\n' "$kernel" >&2; exit 1; }
    make_initrd
    count_instructions
    [[ $only_time == no ]] || return 0

    machine
    console_has 'an empty command line still gives a serial console' 'probe: start'

    long=$(printf 'word%04d=%s ' $(seq 1 200) | tr -d ' ' | head -c 1996)
    machine -append "$long end"
    console_has 'a command line of 2,000 bytes arrives whole' "$long end"

    machine -append 'probe=show'
    console_has 'lockdown is on' 'none [integrity] confidentiality'
    console_has 'dm-verity has the SHA-256 that uses the processor' 'sha256-ni'

    use big
    machine -append 'probe=kexec-good'
    console_has 'a signed kernel is loaded under lockdown' 'kexec_file_load /kernel.good: ok'
    console_has 'and jumped to' 'jumped=1'
    machine -append 'probe=kexec-unsigned'
    console_has 'an unsigned kernel is refused' 'kexec_file_load /kernel.unsigned: errno ENODATA'
    machine -append 'probe=kexec-altered'
    console_has 'an altered kernel is refused' 'kexec_file_load /kernel.altered: errno EKEYREJECTED'

    # Jumps into a kernel whose PID 1 does nothing: only the watchdog, armed before the jump, can end that. The reset starts
    # the machine anew, which jumps again; -no-reboot makes the reset end QEMU, well before the 120 s of machine().
    machine -device i6300esb -no-reboot -append 'probe=watchdog probe=kexec-hang'
    console_has 'the watchdog is armed before the jump' 'i6300ESB timer armed'
    console_has 'the next kernel hangs' 'jumped=1 hang'
    [[ $ended == by-itself ]] && echo 'the machine was reset' >> "$scratch/console"
    console_has 'the watchdog resets it across the jump' 'the machine was reset'

    use small
    local processors
    for processors in 1 4; do
        machine -smp "$processors" -append 'probe=panic-once'
        console_has "a panic on $processors processors resets the machine; its text is there in the next boot" 'probe: pstore record dmesg-ramoops-0'
        console_has 'it says why' 'Attempted to kill init'
    done

    if [[ -r $ovmf ]]; then
        machine -drive "if=pflash,unit=0,format=raw,readonly=on,file=$ovmf" -append 'probe=show'
        console_has 'UEFI starts the kernel through its stub, with the initramfs' 'probe: start'
    fi

    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0))
}

main "$@"
