//! The documents of an image as they are written (OCI image specification 1.1: image-index, manifest, config), as far as they are read.
//!
//! The types are ours: the crate of the specification checks digests with a regular expression engine, which is 430 kB of the launcher.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `index.json`.
#[derive(Deserialize)]
pub(super) struct Index {
    pub(super) manifests: Vec<Descriptor>,
}

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest, unchecked.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    /// Of a manifest: the machine that it is for.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Free text, its image's name among it.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`
    pub architecture: String,
}

#[derive(Deserialize)]
pub(super) struct ManifestDocument {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    pub(super) config: Option<Execution>,
    pub(super) rootfs: RootFs,
}

/// What a container runs; each may be missing or null.
#[derive(Default, Deserialize)]
pub(super) struct Execution {
    #[serde(rename = "Entrypoint")]
    pub(super) entrypoint: Option<Vec<String>>,
    #[serde(rename = "Cmd")]
    pub(super) command: Option<Vec<String>>,
    #[serde(rename = "Env")]
    pub(super) environment: Option<Vec<String>>,
    #[serde(rename = "WorkingDir")]
    pub(super) working_dir: Option<String>,
    #[serde(rename = "User")]
    pub(super) user: Option<String>,
    #[serde(rename = "StopSignal")]
    pub(super) stop_signal: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RootFs {
    pub(super) diff_ids: Vec<String>,
}
