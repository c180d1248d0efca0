//! Every way in which a release is refused, by name.

use std::fmt;

use semver::Version;

use super::Timestamp;
use crate::verity::Digest;

/// A signed document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// `root.json`: the keys and which of them may sign what.
    Root,
    /// `targets.json`: the files of a release.
    Targets,
}

impl Document {
    /// The name of the role in the metadata.
    pub const fn role(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.json", self.role())
    }
}

/// Why a document or a release is refused.
#[allow(missing_docs, reason = "the sentence of a variant explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Larger than [`super::METADATA_MAX_BYTES`].
    TooLarge { document: Document, bytes: usize },
    /// Not JSON of the expected shape; `reason` is the parser's.
    Malformed { document: Document, reason: String },
    /// `_type` names another role.
    WrongType { document: Document, found: String },
    /// A version of the specification that this reader does not know.
    SpecVersion { document: Document, found: String },
    /// A role without keys, or whose threshold its keys cannot reach.
    UnusableRole { role: &'static str },
    /// A key that is not ed25519, or not a valid point.
    UnusableKey { key: String },
    /// Signed under the name of a trusted key, but the signature does not belong to these bytes and that key.
    WrongSignature { document: Document, key: String },
    /// Signed, but by nobody this image trusts.
    UnknownSigner { document: Document, signers: Vec<String>, trusted: Vec<String> },
    /// Fewer good signatures than the role demands.
    TooFewSignatures { document: Document, good: usize, threshold: usize },
    /// Past its date.
    Expired { document: Document, expires: Timestamp, now: Timestamp },
    /// The metadata does not describe a file that a release must have.
    NoTarget { target: &'static str },
    /// A field of the metadata has a value that cannot be used.
    BadField { field: &'static str, value: String },
    /// A file has another length than was signed.
    Length { target: &'static str, signed: u64, found: u64 },
    /// A file has other bytes than were signed.
    Hash { target: &'static str, signed: Digest, found: Digest },
    /// The hash tree inside the root image does not lead to the signed root hash.
    RootHash { signed: Digest, found: Digest },
    /// The running image does not agree to go back that far.
    OlderThanFloor { version: Version, floor: Version },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { document, bytes } => {
                write!(f, "{document}: {bytes} bytes are more than {}", super::METADATA_MAX_BYTES)
            }
            Self::Malformed { document, reason } => write!(f, "{document}: {reason}; make the release again"),
            Self::WrongType { document, found } => {
                write!(f, "{document}: _type is \"{found}\", not \"{}\"", document.role())
            }
            Self::SpecVersion { document, found } => {
                write!(f, "{document}: spec_version {found} is not 1.x, which this image reads")
            }
            Self::UnusableRole { role } => write!(f, "root.json: role {role} has fewer keys than its threshold"),
            Self::UnusableKey { key } => write!(f, "root.json: key {key} is not a valid ed25519 key"),
            Self::WrongSignature { document, key } => write!(
                f,
                "{document}: wrong signature: key {key} did not sign these bytes; fetch the release again, it was changed after signing"
            ),
            Self::UnknownSigner { document, signers, trusted } => {
                write!(f, "{document}: wrong signature: signed by ")?;
                list(f, signers)?;
                f.write_str(", but this image trusts only ")?;
                list(f, trusted)?;
                f.write_str("; sign the release with that key")
            }
            Self::TooFewSignatures { document, good, threshold } => {
                write!(f, "{document}: {good} good signatures of {threshold} needed; let more key holders sign it")
            }
            Self::Expired { document, expires, now } => {
                write!(f, "{document}: expired {expires}, and it is {now}; sign it again or set the clock")
            }
            Self::NoTarget { target } => write!(f, "targets.json: does not list {target}; make the release again"),
            Self::BadField { field, value } => {
                write!(f, "targets.json: {field} is \"{value}\"; make the release again")
            }
            Self::Length { target, signed, found } => {
                write!(f, "{target}: {found} bytes, but {signed} were signed; fetch the release again")
            }
            Self::Hash { target, signed, found } => {
                write!(f, "{target}: sha256 is {found}, but {signed} was signed; fetch the release again")
            }
            Self::RootHash { signed, found } => {
                write!(
                    f,
                    "root.img: its hash tree gives root hash {found}, but {signed} was signed; make the release again"
                )
            }
            Self::OlderThanFloor { version, floor } => {
                write!(f, "version {version} is older than {floor}, the oldest that the running image allows")
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, keys: &[String]) -> fmt::Result {
    if keys.is_empty() {
        return f.write_str("nobody");
    }
    f.write_str(&keys.join(", "))
}

impl std::error::Error for Refused {}
