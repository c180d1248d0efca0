#!/usr/bin/env bash
# Lets libFuzzer look for bytes that make a decoder panic. Usage: run.sh SECONDS [TARGET...]: that long for each target.
# Coverage comes from the compiler's sancov pass, which a stable compiler has; new inputs that reach new code are kept in corpus/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?seconds for each target}
shift
[ $# -gt 0 ] || mapfile -t targets < <(sed -n 's/^    ("\([a-z-]*\)", .*/\1/p' fuzz/src/lib.rs)
[ $# -eq 0 ] || targets=("$@")
# The static C library lacks what the C++ part looks up.
flags="-C target-feature=-crt-static -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1 -C debug-assertions -C opt-level=2"
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags cargo build --locked -p hull-fuzz --features libfuzzer
program=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/debug/fuzz
for target in "${targets[@]}"; do
    printf '==> %s\n' "$target" >&2
    mkdir -p "fuzz/corpus/$target" "fuzz/found"
    # A gigabyte for a decoder is an attack that works; so is one that takes ten seconds.
    HULL_FUZZ_TARGET=$target "$program" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix=fuzz/found/ "fuzz/corpus/$target" 2>&1 | grep -E '^(==|SUMMARY|thread|panic|#[0-9]+.*DONE|stat::(number_of_executed|peak))|panicked|Test unit' || true
    [ -z "$(ls -A fuzz/found)" ] || { echo "fuzz: $target: see fuzz/found/" >&2; exit 1; }
done
