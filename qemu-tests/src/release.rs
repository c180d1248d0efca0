//! Releases that only tests make: newer ones, forged ones, and ones that break in each way a release can.

use crate::artifacts::Artifacts;
use std::path::PathBuf;

/// What is special about a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseKind {
    /// A good one with a higher version.
    Newer,
    /// A good one with a version below the floor.
    TooOld,
    /// Its metadata is signed by a key the node does not know.
    WrongSignature,
    /// One byte of its root image differs from what was signed.
    ChangedRoot,
    /// Its kernel panics.
    KernelPanics,
    /// Its PID 1 exits at once.
    InitExits,
    /// Its root verifies, and has nothing in it.
    EmptyRoot,
    /// Its kv starts and never gets ready.
    KvNeverReady,
}

impl ReleaseKind {
    /// The release's directory below `out/test/releases`.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Newer => "newer",
            Self::TooOld => "too-old",
            Self::WrongSignature => "wrong-signature",
            Self::ChangedRoot => "changed-root",
            Self::KernelPanics => "kernel-panics",
            Self::InitExits => "init-exits",
            Self::EmptyRoot => "empty-root",
            Self::KvNeverReady => "kv-never-ready",
        }
    }
}

/// The directory of a release of this kind on the host.
pub fn make_release(kind: ReleaseKind) -> PathBuf {
    Artifacts::find().with_shell().must(&format!("releases/{}", kind.directory()))
}
