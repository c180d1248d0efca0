#!/usr/bin/env bash
# Boots the image of out/ in a virtual machine with its console on this terminal. Ctrl-A X ends it.
# UEFI=1 starts from the disk image by firmware; DISK=none runs without a disk; MEMORY=, CMDLINE=, PORT_KV=, PORT_WEB= as named.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-out} memory=${MEMORY:-256} port_kv=${PORT_KV:-2379} port_web=${PORT_WEB:-8080}
kernel=$out/kernel/${KERNEL:-virt}/bzImage disk=${DISK:-$out/run.img}

# /dev/kvm can exist on a machine whose processor has no virtualization: a guest dies there, so look at the flags too.
accelerator=tcg
if [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then accelerator=kvm; fi

arguments=(
    -machine q35 -accel "$accelerator" -cpu max -smp 2 -m "$memory" -no-user-config
    # Not -nographic: with it the firmware clears the terminal.
    -display none -vga none -serial mon:stdio
    -netdev "user,id=net0,hostfwd=tcp:127.0.0.1:$port_kv-:2379,hostfwd=tcp:127.0.0.1:$port_web-:8080"
    -device virtio-net-pci,netdev=net0
    -device virtio-rng-pci
    -device i6300esb -action watchdog=reset
    -virtfs "local,path=$out,mount_tag=host,security_model=none,readonly=on"
)

# The node writes to its disk, so it gets a copy that stays from run to run until a new image is built.
if [ "$disk" = none ]; then
    initramfs=$out/initramfs-diskless.cpio.zst
else
    initramfs=$out/initramfs.cpio.zst
    if [ ! -e "$disk" ] || [ "$out/disk.img" -nt "$disk" ]; then
        if [ -e "$disk" ]; then
            mv "$disk" "$disk.old"
            echo "run: the image is a new one: its disk starts empty, the one before is kept as $disk.old"
        fi
        cp --sparse=always "$out/disk.img" "$disk"
        truncate -s "${DISK_SIZE:-2G}" "$disk"
    fi
    arguments+=(-drive "file=$disk,format=raw,if=virtio,cache=writeback")
fi

if [ "${UEFI:-0}" != 0 ]; then
    [ "$disk" != none ] || { echo "run: UEFI=1 starts from the disk, and DISK=none takes it away; leave one of them out" >&2; exit 2; }
    code=$(ls /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_CODE.fd 2>/dev/null | head -n 1)
    [ -n "$code" ] || { echo "run: no UEFI firmware in /usr/share/OVMF; install the package ovmf" >&2; exit 1; }
    variables=$out/run-vars.fd
    [ -e "$variables" ] || cp "${code/CODE/VARS}" "$variables"
    arguments+=(-drive "if=pflash,format=raw,readonly=on,file=$code" -drive "if=pflash,format=raw,file=$variables")
else
    arguments+=(-kernel "$kernel" -initrd "$initramfs" -append "${CMDLINE:-}")
fi

echo "run: store on 127.0.0.1:$port_kv, example on 127.0.0.1:$port_web, $accelerator; Ctrl-A X ends the machine"
exec qemu-system-x86_64 "${arguments[@]}"
