//! What is fed to every decoder of the container room that sees bytes of others: none may make one panic, and what one writes, it reads back.
//!
//! `make fuzz` lets libFuzzer look for such bytes; what is in `corpus/` is fed in `make test` too. One folder a target, one file an input.

mod containers;

/// A decoder, and what is held against what it has read. It panics when something is wrong.
pub type Target = fn(&[u8]);

/// The targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("oci-config", containers::config),
    ("image-manifest", containers::manifest),
    ("layer", containers::layer),
    ("archive", containers::archive),
    ("declaration", containers::declaration),
    ("api", containers::api),
];
