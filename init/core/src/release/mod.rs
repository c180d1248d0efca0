//! A signed release: one kernel-and-initramfs file and one root image, covered by The Update Framework's targets metadata.
//!
//! Format: TUF specification 1.0 (<https://theupdateframework.github.io/specification/v1.0.33/>), ed25519 keys, canonical JSON.
//! `verify.rs` reads and checks, `sign.rs` writes, `refused.rs` says what is wrong. Everything here is bytes in, values out.

mod refused;
mod sign;
mod time;
mod verify;

use semver::Version;

pub use refused::{Document, Refused};
pub use sign::{ReleaseKey, SignError, sign_root, sign_targets};
pub use time::Timestamp;
pub use verify::Trust;

use crate::manifest::Manifest;
use crate::verity::{Digest, Verity};

/// Name of the target that holds kernel, initramfs and command line (a unified kernel image).
pub const UKI: &str = "hull.efi";

/// Name of the target that holds the root image and its hash tree.
pub const ROOT: &str = "root.img";

/// Name of the signed metadata in a release directory.
pub const METADATA: &str = "targets.json";

/// Metadata larger than this is refused unread: ours has about one kilobyte.
pub const METADATA_MAX_BYTES: usize = 64 * 1024;

/// One file of a release as the metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Bytes of the file.
    pub length: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

impl Target {
    /// Describes a file that is in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, sha256: Digest::of(bytes) }
    }

    /// Compares what was read from `name` with what was signed.
    ///
    /// # Errors
    /// Length or digest differ.
    pub fn check(&self, name: &'static str, found: &Target) -> Result<(), Refused> {
        if self.length != found.length {
            return Err(Refused::Length { target: name, signed: self.length, found: found.length });
        }
        if self.sha256 != found.sha256 {
            return Err(Refused::Hash { target: name, signed: self.sha256, found: found.sha256 });
        }
        Ok(())
    }
}

/// What a targets document says, once its signature is known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Version of the release.
    pub version: Version,
    /// Version number of the metadata itself; a later document of the same role has a higher one.
    pub metadata_version: u64,
    /// From then on the metadata is not accepted for staging.
    pub expires: Timestamp,
    /// Oldest version that a node running this release agrees to stage.
    pub floor: Version,
    /// `hull.efi`.
    pub uki: Target,
    /// `root.img`.
    pub root: Target,
    /// How dm-verity opens `root.img`.
    pub verity: Verity,
}

impl Release {
    /// Decides whether a running image may stage this release. `now` is the wall clock.
    ///
    /// # Errors
    /// The metadata has expired, or the release is older than what the running image allows.
    pub fn may_be_staged(&self, running: &Manifest, now: Timestamp) -> Result<(), Refused> {
        if self.expires <= now {
            return Err(Refused::Expired { document: Document::Targets, expires: self.expires, now });
        }
        if self.version < running.floor {
            return Err(Refused::OlderThanFloor { version: self.version.clone(), floor: running.floor.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
