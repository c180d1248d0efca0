#!/usr/bin/env bash
# Lets libFuzzer look for bytes that make a decoder panic: run.sh SECONDS, so long for each target of containers and of the store.
# Coverage comes from the compiler's sancov pass, which a stable compiler has, too; inputs that reach new code stay in the corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:?seconds for each target}
built=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
# The static C library lacks what the C++ part looks up.
flags="-C target-feature=-crt-static -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4"
flags+=" -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table"
flags+=" -C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1 -C opt-level=2"
# Instead of the flags of .cargo/config.toml, not beside them.
export CARGO_TARGET_DIR=$built RUSTFLAGS=$flags
program=$built/x86_64-unknown-linux-gnu/debug

# Folder with corpus, program, target.
fuzz() {
    printf '==> %s\n' "$3" >&2
    mkdir -p "$1/corpus/$3" "$1/found"
    # A gigabyte for a decoder is an attack that works; so is one that takes ten seconds.
    HULL_FUZZ_TARGET=$3 "$program/$2" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$1/found/" "$1/corpus/$3" >"$built/$3.log" 2>&1 || true
    grep -E 'number_of_executed|panicked|SUMMARY' "$built/$3.log" >&2 || tail -n 5 "$built/$3.log" >&2
    [ -z "$(ls -A "$1/found")" ] || { echo "fuzz: $3: the input is in $1/found/" >&2; exit 1; }
}

cargo build --locked -p hull-oci-fuzz --features libfuzzer
for target in containerd-shim/fuzz/corpus/*/; do fuzz containerd-shim/fuzz fuzz "$(basename "$target")"; done
(cd kv/fuzz && cargo build --bins)
for target in kv/fuzz/corpus/*/; do fuzz kv/fuzz "$(basename "$target")" "$(basename "$target")"; done
