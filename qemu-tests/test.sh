#!/usr/bin/env bash
# Every test: the crates' own, then the virtual machines'.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "==> crates" && cargo test --locked --quiet --workspace --exclude hull-qemu-tests
echo "==> kernel build" && kernel/test.sh
echo "==> virtual machines" && HULL_OUT=$(realpath "${OUT:-out}") cargo test --locked -p hull-qemu-tests -- --test-threads=2
