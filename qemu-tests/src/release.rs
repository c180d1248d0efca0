//! Releases that only tests make: newer ones, forged ones, and ones that break in each way a release can.

use crate::artifacts::Artifacts;
use crate::images::{Variant, build, empty_root, file, programs_with, test_directory};
use std::fs;
use std::path::PathBuf;

/// Version of the releases that are newer than the test image.
pub const NEWER: &str = "0.2.0";

/// Version of the release that is older than the test image's floor.
pub const OLDER: &str = "0.0.1";

/// A seed (RFC 8032) for a signing key that no image knows.
const STRANGER: &str = "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";

/// A store that starts and never says that it is ready.
const SLEEPER: &str = "#!/bin/sh\nexec sleep 1000000\n";

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
    /// Its kernel panics before any PID 1 runs: its /init is no program.
    KernelPanics,
    /// Its PID 1 exits at once.
    InitExits,
    /// Its PID 1 does nothing, for ever.
    InitHangs,
    /// Its root verifies, and has nothing in it that a node needs.
    EmptyRoot,
    /// Its kv starts and never gets ready.
    KvNeverReady,
}

impl ReleaseKind {
    /// The release's directory below the shared one.
    fn directory(self) -> &'static str {
        match self {
            Self::Newer => "newer",
            Self::TooOld => "too-old",
            Self::WrongSignature => "wrong-signature",
            Self::ChangedRoot => "changed-root",
            Self::KernelPanics => "kernel-panics",
            Self::InitExits => "init-exits",
            Self::InitHangs => "init-hangs",
            Self::EmptyRoot => "empty-root",
            Self::KvNeverReady => "kv-never-ready",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::TooOld => OLDER,
            _ => NEWER,
        }
    }

    /// Where a node finds it that mounts [`shared_releases`].
    pub fn on_node(self) -> String {
        format!("/run/host/{}/release-{}", self.directory(), self.version())
    }

    /// What `hull-image` is told differently.
    fn inputs(self) -> Vec<(&'static str, PathBuf)> {
        match self {
            Self::Newer | Self::ChangedRoot => Vec::new(),
            Self::TooOld => vec![("--floor", "0.0.0".into())],
            Self::WrongSignature => vec![("--sign-with", file("stranger.key", STRANGER))],
            Self::KernelPanics => vec![("--init", file("no-program", "this is no program\n"))],
            // Any static program that ends when it is given no sense.
            Self::InitExits => vec![("--init", Artifacts::find().must("bin/hullctl"))],
            // As `init` it waits for a terminal's Enter.
            Self::InitHangs => vec![("--init", "/bin/busybox".into())],
            Self::EmptyRoot => vec![("--root-from", empty_root())],
            Self::KvNeverReady => vec![("--programs", programs_with("hull-kv", SLEEPER))],
        }
    }
}

/// The directory that a test shares with its node to stage releases from.
pub fn shared_releases() -> PathBuf {
    let directory = test_directory().join("releases");
    fs::create_dir_all(&directory).expect("make the directory of releases");
    directory
}

/// Builds a release of this kind, if that is not done already; gives its path on the node.
pub fn make_release(kind: ReleaseKind) -> String {
    let directory = format!("releases/{}", kind.directory());
    let variant = Variant { directory: &directory, verb: "release", version: kind.version(), replace: kind.inputs() };
    let path = build(&variant).join(format!("release-{}", kind.version()));
    if kind == ReleaseKind::ChangedRoot {
        change_root(&path.join("root.img"), &make_release_root());
    }
    kind.on_node()
}

/// The unchanged bytes that a changed root is made from.
fn make_release_root() -> Vec<u8> {
    make_release(ReleaseKind::Newer);
    let path = shared_releases().join(format!("newer/release-{NEWER}/root.img"));
    fs::read(path).expect("read the root image of a release")
}

fn change_root(path: &PathBuf, original: &[u8]) {
    let mut bytes = original.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] = !bytes[middle];
    fs::write(path, bytes).expect("write a changed root image");
}
