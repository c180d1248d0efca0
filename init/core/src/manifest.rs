//! `/hull/manifest`: what the initramfs knows about the release it belongs to, one `key=value` a line.

use std::fmt;

use semver::Version;

use crate::verity::{Digest, Verity};

/// The release that a running initramfs belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the release.
    pub version: Version,
    /// Oldest version that this image agrees to stage.
    pub floor: Version,
    /// The root image that belongs to this initramfs, and no other.
    pub root: Verity,
}

/// Why a manifest cannot be used. A build that makes such an initramfs is broken: there is nothing to do on the node.
#[allow(missing_docs, reason = "the sentence of a variant explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// A line without `=`.
    NotAPair { line: usize },
    /// A key that must be there is not.
    Missing { key: &'static str },
    /// A value of the wrong form.
    BadValue { key: &'static str, value: String, expected: &'static str },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPair { line } => write!(f, "parse /hull/manifest: line {line} is not key=value"),
            Self::Missing { key } => write!(f, "parse /hull/manifest: {key} is missing"),
            Self::BadValue { key, value, expected } => {
                write!(f, "parse /hull/manifest: {key}={value}: expected {expected}")
            }
        }?;
        f.write_str("; build the initramfs again")
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Reads the text form. Unknown keys are for newer readers and pass.
    ///
    /// # Errors
    /// A required key is missing or a value has the wrong form.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut fields = Fields::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(ManifestError::NotAPair { line: index + 1 })?;
            fields.set(key.trim(), value.trim());
        }
        let hash = required("root.hash", fields.hash)?;
        let blocks = required("root.data-blocks", fields.data_blocks)?;
        let salt = fields.salt.unwrap_or("");
        let bad = |key, value: &str, expected| ManifestError::BadValue { key, value: value.to_owned(), expected };
        Ok(Self {
            version: version("version", required("version", fields.version)?)?,
            floor: version("floor", fields.floor.unwrap_or("0.0.0"))?,
            root: Verity {
                root_hash: Digest::parse(hash).ok_or_else(|| bad("root.hash", hash, "64 hexadecimal digits"))?,
                salt: hex::decode(salt).map_err(|_| bad("root.salt", salt, "pairs of hexadecimal digits"))?,
                data_blocks: blocks
                    .parse()
                    .ok()
                    .filter(|blocks| *blocks > 0)
                    .ok_or_else(|| bad("root.data-blocks", blocks, "a number of 4 KiB blocks above zero"))?,
            },
        })
    }
}

#[derive(Default)]
struct Fields<'a> {
    version: Option<&'a str>,
    floor: Option<&'a str>,
    hash: Option<&'a str>,
    salt: Option<&'a str>,
    data_blocks: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn set(&mut self, key: &str, value: &'a str) {
        match key {
            "version" => self.version = Some(value),
            "floor" => self.floor = Some(value),
            "root.hash" => self.hash = Some(value),
            "root.salt" => self.salt = Some(value),
            "root.data-blocks" => self.data_blocks = Some(value),
            _ => {}
        }
    }
}

fn required<'a>(key: &'static str, value: Option<&'a str>) -> Result<&'a str, ManifestError> {
    value.ok_or(ManifestError::Missing { key })
}

fn version(key: &'static str, value: &str) -> Result<Version, ManifestError> {
    Version::parse(value).map_err(|_| ManifestError::BadValue {
        key,
        value: value.to_owned(),
        expected: "a version such as 1.2.3",
    })
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "version={}", self.version)?;
        writeln!(f, "root.hash={}", self.root.root_hash)?;
        writeln!(f, "root.salt={}", hex::encode(&self.root.salt))?;
        writeln!(f, "root.data-blocks={}", self.root.data_blocks)?;
        writeln!(f, "floor={}", self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn text() -> String {
        format!("# what runs\nversion=0.1.0\nroot.hash={HASH}\nroot.salt=\nroot.data-blocks=7\nfloor=0.0.1\nlater=1\n")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let manifest = Manifest::parse(&text()).unwrap();
        assert_eq!(Manifest::parse(&manifest.to_string()).unwrap(), manifest);
        assert_eq!(manifest.floor, Version::new(0, 0, 1));
        assert_eq!(manifest.root.partition_id().to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn a_missing_or_bad_value_is_named() {
        let without_hash = text().replace("root.hash", "hash.of.root");
        assert_eq!(Manifest::parse(&without_hash), Err(ManifestError::Missing { key: "root.hash" }));
        for (bad, key) in
            [("version=one", "version"), ("root.data-blocks=0", "root.data-blocks"), ("root.salt=f", "root.salt")]
        {
            let error = Manifest::parse(&format!("{}{bad}\n", text())).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
