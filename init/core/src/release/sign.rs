//! Writes and signs metadata: for the image builder, which holds the key. Nothing on a node signs.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::Serialize;

use super::verify::{
    Custom, Envelope, Hashes, KeyField, KeyValue, RoleField, RootSigned, SignatureField, TargetField, TargetsSigned,
    canonical,
};
use super::{Document, ROOT, Refused, Release, Target, Timestamp, UKI};
use crate::verity::Digest;

/// The specification that the written documents follow.
const SPEC_VERSION: &str = "1.0.33";

/// The roles that TUF demands of a root document; one key serves them all until there is more than one holder.
const ROLES: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

/// A private key that signs releases.
pub struct ReleaseKey(SigningKey);

/// A release or a set of keys that cannot be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignError {
    /// A root document needs at least one key.
    NoKeys,
    /// What would be written would also be refused.
    WouldBeRefused(Refused),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeys => f.write_str("sign root.json: no key given"),
            Self::WouldBeRefused(refused) => write!(f, "sign release: a node would refuse it: {refused}"),
        }
    }
}

impl std::error::Error for SignError {}

impl ReleaseKey {
    /// The key of a 32-byte secret seed (RFC 8032); the same seed is always the same key.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half, 32 bytes.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The name of this key in metadata: SHA-256 of its canonical JSON form (TUF specification 4.2).
    pub fn id(&self) -> String {
        let bytes = canonical(Document::Root, &self.field()).unwrap_or_default();
        Digest::of(&bytes).to_string()
    }

    fn field(&self) -> KeyField {
        KeyField {
            keytype: "ed25519".to_owned(),
            scheme: "ed25519".to_owned(),
            keyval: KeyValue { public: hex::encode(self.public()) },
        }
    }

    fn sign(&self, message: &[u8]) -> SignatureField {
        SignatureField { keyid: self.id(), sig: hex::encode(self.0.sign(message).to_bytes()) }
    }
}

/// Writes `root.json`: these keys, each of which alone may sign any role.
///
/// # Errors
/// There is no key.
pub fn sign_root(keys: &[ReleaseKey], version: u64, expires: Timestamp) -> Result<Vec<u8>, SignError> {
    if keys.is_empty() {
        return Err(SignError::NoKeys);
    }
    let ids: Vec<String> = keys.iter().map(ReleaseKey::id).collect();
    let role = || RoleField { keyids: ids.clone(), threshold: 1 };
    let signed = RootSigned {
        kind: Document::Root.role().to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version,
        expires: expires.to_string(),
        consistent_snapshot: false,
        keys: keys.iter().map(|key| (key.id(), key.field())).collect(),
        roles: ROLES.iter().map(|name| ((*name).to_owned(), role())).collect(),
    };
    write(Document::Root, signed, keys)
}

/// Writes `targets.json` for a release.
///
/// # Errors
/// The description is one that every node would refuse.
pub fn sign_targets(key: &ReleaseKey, release: &Release) -> Result<Vec<u8>, SignError> {
    let custom = Custom {
        version: release.version.to_string(),
        root_hash: release.verity.root_hash.to_string(),
        data_blocks: release.verity.data_blocks,
        salt: hex::encode(&release.verity.salt),
        floor: release.floor.to_string(),
    };
    let signed = TargetsSigned {
        kind: Document::Targets.role().to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version: release.metadata_version,
        expires: release.expires.to_string(),
        targets: BTreeMap::from([
            (UKI.to_owned(), field(&release.uki, None)),
            (ROOT.to_owned(), field(&release.root, Some(custom))),
        ]),
    };
    write(Document::Targets, signed, std::slice::from_ref(key))
}

fn field(target: &Target, custom: Option<Custom>) -> TargetField {
    TargetField { length: target.length, hashes: Hashes { sha256: target.sha256.to_string() }, custom }
}

/// Documents are written in canonical form too, so that the same release has the same bytes.
fn write<T: Serialize>(document: Document, signed: T, keys: &[ReleaseKey]) -> Result<Vec<u8>, SignError> {
    let message = canonical(document, &signed).map_err(SignError::WouldBeRefused)?;
    let signatures = keys.iter().map(|key| key.sign(&message)).collect();
    let mut bytes = canonical(document, &Envelope { signatures, signed }).map_err(SignError::WouldBeRefused)?;
    bytes.push(b'\n');
    Ok(bytes)
}
