//! What an OCI image says: digests, which manifest fits this machine, layers, and what a container of it runs by default
//! (OCI image specification 1.1).

use std::fmt;

use sha2::{Digest as _, Sha256};

mod documents;

pub use documents::{Descriptor, Platform};

use documents::{Configuration, Index, ManifestDocument};

/// Largest manifest, index or configuration, in bytes: the size that registries agree on.
pub const DOCUMENT_MAX: u64 = 4 << 20;

/// The digest of a blob. Only SHA-256, which every image uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:` and 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// It is something else; names it.
    pub fn parse(text: &str) -> Result<Digest, Refused> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let digits = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if hex.len() == 64 && hex.chars().all(digits) {
            return Ok(Digest(hex.to_owned()));
        }
        Err(Refused::Digest { text: text.chars().take(100).collect() })
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_hash(Sha256::digest(bytes).into())
    }

    /// The digest with this value.
    pub fn from_hash(hash: [u8; 32]) -> Digest {
        Digest(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The 64 digits: a file name.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// Where an image layout keeps the blob.
    pub fn path(&self) -> String {
        format!("blobs/sha256/{}", self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// tar.
    Plain,
    /// tar, gzip.
    Gzip,
    /// tar, Zstandard.
    Zstd,
}

/// A layer, lowest first in [`Manifest::layers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Of the packed bytes.
    pub digest: Digest,
    /// Packed length in bytes.
    pub size: u64,
    /// How it is packed.
    pub packing: Packing,
}

/// A manifest that fits this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Of the configuration.
    pub config: Digest,
    /// Length of the configuration in bytes.
    pub config_size: u64,
    /// Lowest first.
    pub layers: Vec<Layer>,
}

/// What a container of the image runs unless it is declared otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Defaults {
    /// Entrypoint.
    pub entrypoint: Vec<String>,
    /// Command: arguments of the entrypoint, or the program where there is none.
    pub command: Vec<String>,
    /// `KEY=VALUE`.
    pub environment: Vec<String>,
    /// Working directory; empty is `/`.
    pub working_dir: String,
    /// `uid[:gid]` or names, empty is root of the container.
    pub user: String,
    /// `SIGTERM`, `15`; empty is SIGTERM.
    pub stop_signal: String,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// Why an image is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Not a SHA-256 digest.
    Digest {
        /// As given, cut.
        text: String,
    },
    /// A document that cannot be read.
    Document {
        /// `index.json`, `manifest`, `configuration`.
        which: &'static str,
        /// What the reader says.
        cause: String,
    },
    /// No manifest for linux/amd64.
    Platform {
        /// What there is.
        found: String,
    },
    /// A layer of a kind that cannot be unpacked.
    LayerType {
        /// Its media type.
        media_type: String,
    },
    /// Bytes that are not those of the digest.
    Mismatch {
        /// What was expected.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A configuration whose list of layers is not the manifest's.
    LayerCount {
        /// By the manifest.
        manifest: usize,
        /// By the configuration.
        configuration: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest { text } => write!(f, "digest {text:?}: expected sha256: and 64 hexadecimal digits"),
            Self::Document { which, cause } => write!(f, "{which}: {cause}"),
            Self::Platform { found } => write!(f, "no manifest for linux/amd64; there is: {found}"),
            Self::LayerType { media_type } => {
                write!(f, "layer of type {media_type}: expected a tar layer, plain, gzip or zstd")
            }
            Self::Mismatch { expected, found } => write!(f, "blob {expected}: its bytes have the digest {found}"),
            Self::LayerCount { manifest, configuration } => {
                write!(f, "the manifest has {manifest} layers, the configuration {configuration}")
            }
        }
    }
}

impl std::error::Error for Refused {}

fn read<'a, T: serde::Deserialize<'a>>(which: &'static str, bytes: &'a [u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|error| Refused::Document { which, cause: error.to_string() })
}

/// Picks the manifest for linux/amd64 out of an index; one without a platform fits, too.
///
/// # Errors
/// The index cannot be read, or nothing in it fits.
pub fn select_manifest(index: &[u8]) -> Result<Descriptor, Refused> {
    let index: Index = read("index.json", index)?;
    let fits = |descriptor: &Descriptor| {
        descriptor.platform.as_ref().is_none_or(|own| own.os == "linux" && own.architecture == "amd64")
    };
    if let Some(descriptor) = index.manifests.iter().find(|descriptor| fits(descriptor)) {
        return Ok(descriptor.clone());
    }
    let platform = |d: &Descriptor| d.platform.as_ref().map(|p| format!("{}/{}", p.os, p.architecture));
    let found: Vec<String> = index.manifests.iter().filter_map(platform).collect();
    Err(Refused::Platform { found: if found.is_empty() { "nothing".to_owned() } else { found.join(", ") } })
}

/// Whether a descriptor points to another index instead of a manifest.
pub fn is_index(descriptor: &Descriptor) -> bool {
    let kinds =
        ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
    kinds.contains(&descriptor.media_type.as_str())
}

/// The name an archive gives to its image: `org.opencontainers.image.ref.name` or the last part of a full reference.
pub fn reference_name(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations.as_ref()?;
    let full =
        annotations.get("io.containerd.image.name").or_else(|| annotations.get("org.opencontainers.image.ref.name"))?;
    let last = full.rsplit('/').next()?;
    let plain = last.split(['@', ':']).next()?;
    (!plain.is_empty()).then(|| plain.to_owned())
}

/// Reads a manifest.
///
/// # Errors
/// It cannot be read, or a layer is of a kind that cannot be unpacked.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, Refused> {
    let manifest: ManifestDocument = read("manifest", bytes)?;
    let layers = manifest.layers.iter().map(|layer| {
        Ok(Layer { digest: Digest::parse(&layer.digest)?, size: layer.size, packing: packing(&layer.media_type)? })
    });
    Ok(Manifest {
        config: Digest::parse(&manifest.config.digest)?,
        config_size: manifest.config.size,
        layers: layers.collect::<Result<_, Refused>>()?,
    })
}

fn packing(media_type: &str) -> Result<Packing, Refused> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Packing::Plain),
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Ok(Packing::Gzip)
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" => Ok(Packing::Zstd),
        _ => Err(Refused::LayerType { media_type: media_type.to_owned() }),
    }
}

/// Reads a configuration and holds it against its manifest.
///
/// # Errors
/// It cannot be read, or has another number of layers.
pub fn parse_configuration(bytes: &[u8], manifest: &Manifest) -> Result<Defaults, Refused> {
    let configuration: Configuration = read("configuration", bytes)?;
    let diff_ids: Vec<Digest> =
        configuration.rootfs.diff_ids.iter().map(|id| Digest::parse(id)).collect::<Result<_, _>>()?;
    if diff_ids.len() != manifest.layers.len() {
        return Err(Refused::LayerCount { manifest: manifest.layers.len(), configuration: diff_ids.len() });
    }
    let config = configuration.config.unwrap_or_default();
    Ok(Defaults {
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.command.unwrap_or_default(),
        environment: config.environment.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        stop_signal: config.stop_signal.unwrap_or_default(),
        diff_ids,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Contents, build};

    #[test]
    fn a_digest_that_is_a_path_is_refused() {
        for text in ["sha256:../../etc/passwd", "sha512:00", "", "sha256:ABC", &format!("sha256:{}G", "0".repeat(63))] {
            assert!(Digest::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_that_was_built_can_be_read() {
        let layout =
            build(&Contents { files: vec![("hello".into(), 0o755, b"#!".to_vec())], ..Contents::default() }).unwrap();
        let find = |path: &str| layout.iter().find(|(name, _)| name == path).map(|(_, bytes)| bytes.clone()).unwrap();
        let descriptor = select_manifest(&find("index.json")).unwrap();
        let manifest_bytes = find(&Digest::parse(&descriptor.digest).unwrap().path());
        let manifest = parse_manifest(&manifest_bytes).unwrap();
        assert_eq!(manifest.layers.len(), 1);
        let defaults = parse_configuration(&find(&manifest.config.path()), &manifest).unwrap();
        assert_eq!(defaults.diff_ids.len(), 1);
        assert_eq!(Digest::of(&find(&manifest.layers[0].digest.path())), manifest.layers[0].digest);
    }

    #[test]
    fn what_is_missing_or_of_the_wrong_type_is_named() {
        let refused = parse_manifest(br#"{"schemaVersion":2,"layers":[]}"#).unwrap_err().to_string();
        assert!(refused.starts_with("manifest: missing field `config`"), "{refused}");
        let manifest = Manifest { config: Digest::of(b""), config_size: 0, layers: Vec::new() };
        let refused = parse_configuration(br#"{"config":{"Env":7},"rootfs":{"diff_ids":[]}}"#, &manifest);
        assert!(refused.unwrap_err().to_string().starts_with("configuration: invalid type"));
        // Docker writes null where it has nothing to say.
        let empty = br#"{"config":{"Cmd":null,"Env":null},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert_eq!(parse_configuration(empty, &manifest), Ok(Defaults::default()));
    }

    #[test]
    fn an_image_for_another_machine_is_refused_by_platform() {
        let index =
            br#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,
            "digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "platform":{"os":"linux","architecture":"arm64"}}]}"#;
        assert_eq!(select_manifest(index), Err(Refused::Platform { found: "linux/arm64".into() }));
    }
}
