#!/usr/bin/env bash
# What hull-oci costs beside Debian's crun and runc. As root; needs crun and runc.
set -euo pipefail
cd "$(dirname "$0")/../.."
for runtime in crun runc; do
    command -v "$runtime" >/dev/null || { echo "bench-oci: $runtime is missing: apt-get install $runtime"; exit 1; }
done
cargo build --locked --quiet --release -p hull-oci --examples --bins
built=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/x86_64-unknown-linux-gnu/release
# crun and runc look at a mixed host differently from a clean one: the unified hierarchy of such a host is out of sight here.
unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' bench \
    "$built/examples/bench" "$built/hull-oci" "$(command -v crun)" "$(command -v runc)"
