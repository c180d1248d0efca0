#!/usr/bin/env bash
# Measures starts and swaps of the images in out/ beside systemd and busybox init, and writes docs/benchmarks.md.
# The compared systems are built once with debootstrap, as root, and kept in the cache; without them their columns are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${OUT:-out}") version=${VERSION:?} cache=${HULL_CACHE:-$HOME/.cache/hull}/bench
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/x86_64-unknown-linux-gnu
measured=$out/bench extra=$out/bench/extra next=${version%.*}.$((${version##*.} + 1))
mkdir -p "$cache" "$extra/etc/hull/services" "$extra/usr/lib/hull"

# debootstrap and cpio make the compared systems; nothing else needs them.
for tool in debootstrap cpio; do
    command -v "$tool" >/dev/null && continue
    if [ "$(id -u)" = 0 ]; then apt-get install -y --no-install-recommends "$tool" >/dev/null; else
        echo "bench: $tool: not found; install the package $tool to compare with Debian" >&2
    fi
done

echo "==> bench: the measuring probe"
cargo build --locked --quiet --release -p hull-bench-probe
cargo build --locked --quiet -p hull-qemu-tests --bin hull-bench
cp "$target/release/hull-bench-probe" "$extra/usr/lib/hull/"
cp qemu-tests/src/bench/hull/probe.toml "$extra/etc/hull/services/"

echo "==> bench: images with the probe as one more service"
OUT=$measured EXTRA_ROOT=$extra initramfs/build.sh image
OUT=$measured EXTRA_ROOT=$extra VERSION=$next initramfs/build.sh release

"$target/debug/hull-bench" "$out" "$measured" "$measured/release-$next" "$extra/usr/lib/hull/hull-bench-probe" "$cache" docs/benchmarks.md
echo "==> bench: docs/benchmarks.md"
