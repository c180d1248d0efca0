//! libFuzzer's entry: the target that `HULL_FUZZ_TARGET` names.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<hull_oci_fuzz::Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("HULL_FUZZ_TARGET").unwrap_or_default();
        let found = hull_oci_fuzz::TARGETS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("HULL_FUZZ_TARGET={name}: no such target; see src/lib.rs")).1
    });
    target(data);
});
