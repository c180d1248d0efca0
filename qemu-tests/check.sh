#!/usr/bin/env bash
# What must hold before anything is tested: formatting, lints, tidiness, and kernel fragments whose every option survives.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "==> format" && cargo fmt --all --check
echo "==> lints" && cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
echo "==> tidy" && cargo test --locked --quiet -p hull-qemu-tests --test tidy
echo "==> kernel options" && kernel/build.sh --config-only virt >/dev/null && kernel/build.sh --config-only metal >/dev/null
echo "check: everything holds"
