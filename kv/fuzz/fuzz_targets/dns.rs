//! See `dns` in `src/lib.rs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hull_kv_fuzz::dns(bytes));
