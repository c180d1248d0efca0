//! What this shim says of itself: `-v` for people, `-info` for containerd 2, which learns from it what its runtime can do.

use std::io::{Read, Write};

use hull_oci_core::oci::features;
use hull_runtime::Failure;
use hull_runtime::failure::failed;
use prost::Message;

use crate::messages::Any;
use crate::messages::task::{RuntimeInfo, RuntimeVersion};

/// Prints the version.
///
/// # Errors
/// Nobody reads it.
pub(crate) fn version() -> Result<(), Failure> {
    let text = concat!("containerd-shim-hull-v2:\n  Version:  ", env!("CARGO_PKG_VERSION"), "\n");
    std::io::stdout().write_all(text.as_bytes()).map_err(failed("write the version"))
}

/// Prints a `RuntimeInfo`.
///
/// # Errors
/// Nobody reads it.
pub(crate) fn info() -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut bytes);
    let version = env!("CARGO_PKG_VERSION");
    let info = RuntimeInfo {
        name: "io.containerd.hull.v2".to_owned(),
        version: Some(RuntimeVersion { version: version.to_owned(), revision: String::new() }),
        options: Any::decode(&*bytes).ok().filter(|any| !any.type_url.is_empty()),
        features: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/features/Features".to_owned(),
            value: features::features(version).to_string().into_bytes(),
        }),
    };
    std::io::stdout().write_all(&info.encode_to_vec()).map_err(failed("write the answer"))
}
