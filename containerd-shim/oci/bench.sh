#!/usr/bin/env bash
# What hull-oci costs beside Debian's crun and runc. As root; needs crun and runc.
set -euo pipefail
cd "$(dirname "$0")/../.."
for runtime in crun runc; do
    command -v "$runtime" >/dev/null || { echo "bench-oci: $runtime is missing: apt-get install $runtime"; exit 1; }
done
initramfs/build.sh programs hull-oci
cargo build --locked --quiet --release -p hull-oci --examples
built=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/x86_64-unknown-linux-gnu/release
# crun and runc look at a mixed host differently from a clean one: the unified hierarchy of such a host is out of sight here. And
# /run, where runtimes keep their state, is in memory, as systemd has it: on ext4 each new file looks through all inodes that
# were freed within five seconds, which in a benchmark are many.
table=$(unshare --mount sh -c '
    umount /sys/fs/cgroup/unified 2>/dev/null
    [ "$(stat -f -c %T /run)" = tmpfs ] || mount -t tmpfs -o mode=755 run /run
    exec "$@"' bench \
    "$built/examples/bench" "$(realpath "${OUT:-out}/bin/hull-oci")" "$(command -v crun)" "$(command -v runc)")
version() { "$1" --version | sed -n '1s/.* //p'; }
cat >docs/benchmarks-oci.md <<END
# The runtime beside crun and runc

Written by \`make bench-oci\` on $(nproc) processors, Linux $(uname -r | cut -d- -f1), $(date -u +%F): crun $(version crun), runc $(version runc),
interleaved in one run. A container with its own namespaces, a limit on devices and the default masks runs a static program that does nothing.
/run is in memory. Times are what a caller waits; memory is the most that one process of the runtime had resident. Ratios count, the machine is shared.

$table

## What made the difference

- A process that enters version 1 groups by writing \`0\` to \`tasks\` moves itself, so the kernel need not stop every fork of the host; moved by
  its parent through \`cgroup.procs\` it waits for a grace period of RCU: 10 ms of the 15 that a run took before.
- One static program without a dynamic linker: \`--version\` takes 0.8 ms where crun takes 4.8.
- The field of a wrong \`config.json\` is found from the error's place in the text: a reader that carries the path compiled every type twice, 180 KB
  that each runtime had resident.

Tried without gain: optimising for size harder (\`opt-level = "z"\`) made the program 10 % larger.
END
cat docs/benchmarks-oci.md
