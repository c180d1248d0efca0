//! Reads root and targets metadata and believes nothing that a trusted key did not sign.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use olpc_cjson::CanonicalFormatter;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Document, METADATA_MAX_BYTES, ROOT, Refused, Release, Target, Timestamp, UKI};
use crate::verity::{Digest, Verity};

/// The keys that an image trusts to sign releases: the targets role of its own `root.json`.
#[derive(Debug)]
pub struct Trust {
    keys: BTreeMap<String, VerifyingKey>,
    threshold: usize,
}

impl Trust {
    /// Reads `root.json`, which must be signed by enough of the keys it names for its own role.
    ///
    /// # Errors
    /// Not readable, not signed by its own keys, or its roles cannot work.
    pub fn from_root(bytes: &[u8]) -> Result<Self, Refused> {
        let (signed, signatures) = open(Document::Root, bytes)?;
        let root: RootSigned = typed(Document::Root, &signed)?;
        root.role(Document::Root)?.verify(Document::Root, &signed, &signatures)?;
        root.role(Document::Targets)
    }

    /// Reads `targets.json` and checks its signatures.
    ///
    /// # Errors
    /// Not readable, not signed by the keys trusted here, or without what a release needs.
    pub fn release(&self, bytes: &[u8]) -> Result<Release, Refused> {
        let (signed, signatures) = open(Document::Targets, bytes)?;
        self.verify(Document::Targets, &signed, &signatures)?;
        typed::<TargetsSigned>(Document::Targets, &signed)?.release()
    }

    fn verify(&self, document: Document, signed: &Value, signatures: &[SignatureField]) -> Result<(), Refused> {
        let message = canonical(document, signed)?;
        let mut good: Vec<&VerifyingKey> = Vec::new();
        let mut wrong = None;
        for field in signatures {
            let Some(key) = self.keys.get(&field.keyid) else { continue };
            if !field.signs(&message, key) {
                wrong = Some(field.keyid.clone());
            } else if !good.contains(&key) {
                good.push(key);
            }
        }
        match wrong {
            _ if good.len() >= self.threshold => Ok(()),
            Some(key) => Err(Refused::WrongSignature { document, key }),
            None if good.is_empty() => Err(Refused::UnknownSigner {
                document,
                signers: signatures.iter().map(|field| field.keyid.clone()).collect(),
                trusted: self.keys.keys().cloned().collect(),
            }),
            None => Err(Refused::TooFewSignatures { document, good: good.len(), threshold: self.threshold }),
        }
    }
}

/// The canonical bytes that signatures cover.
pub(super) fn canonical(document: Document, value: &impl Serialize) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    value.serialize(&mut serializer).map_err(|error| malformed(document, &error))?;
    Ok(bytes)
}

fn malformed(document: Document, error: &serde_json::Error) -> Refused {
    Refused::Malformed { document, reason: error.to_string() }
}

fn typed<T: serde::de::DeserializeOwned>(document: Document, signed: &Value) -> Result<T, Refused> {
    T::deserialize(signed).map_err(|error| malformed(document, &error))
}

/// Splits a document and checks what it says it is.
fn open(document: Document, bytes: &[u8]) -> Result<(Value, Vec<SignatureField>), Refused> {
    if bytes.len() > METADATA_MAX_BYTES {
        return Err(Refused::TooLarge { document, bytes: bytes.len() });
    }
    let envelope: Envelope<Value> = serde_json::from_slice(bytes).map_err(|error| malformed(document, &error))?;
    let header: Header = typed(document, &envelope.signed)?;
    if header.kind != document.role() {
        return Err(Refused::WrongType { document, found: header.kind });
    }
    if !header.spec_version.starts_with("1.") {
        return Err(Refused::SpecVersion { document, found: header.spec_version });
    }
    Ok((envelope.signed, envelope.signatures))
}

/// A document: what is signed, and by whom.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) signatures: Vec<SignatureField>,
    pub(super) signed: T,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SignatureField {
    pub(super) keyid: String,
    pub(super) sig: String,
}

impl SignatureField {
    /// Strict verification (RFC 8032 with cofactor checks): one message, one key, one accepted signature.
    fn signs(&self, message: &[u8], key: &VerifyingKey) -> bool {
        let mut bytes = [0; Signature::BYTE_SIZE];
        hex::decode_to_slice(&self.sig, &mut bytes).is_ok()
            && key.verify_strict(message, &Signature::from_bytes(&bytes)).is_ok()
    }
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
}

/// The signed part of `root.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct RootSigned {
    #[serde(rename = "_type")]
    pub(super) kind: String,
    pub(super) spec_version: String,
    pub(super) version: u64,
    pub(super) expires: String,
    #[serde(default)]
    pub(super) consistent_snapshot: bool,
    pub(super) keys: BTreeMap<String, KeyField>,
    pub(super) roles: BTreeMap<String, RoleField>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyField {
    pub(super) keytype: String,
    pub(super) scheme: String,
    pub(super) keyval: KeyValue,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyValue {
    pub(super) public: String,
}

impl KeyField {
    fn key(&self) -> Option<VerifyingKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.keyval.public, &mut bytes).ok()?;
        (self.keytype == "ed25519" && self.scheme == "ed25519").then_some(())?;
        VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct RoleField {
    pub(super) keyids: Vec<String>,
    pub(super) threshold: usize,
}

impl RootSigned {
    fn role(&self, document: Document) -> Result<Trust, Refused> {
        let role = document.role();
        let field = self.roles.get(role).ok_or(Refused::UnusableRole { role })?;
        let mut keys = BTreeMap::new();
        for id in &field.keyids {
            let key = self.keys.get(id).and_then(KeyField::key);
            keys.insert(id.clone(), key.ok_or_else(|| Refused::UnusableKey { key: id.clone() })?);
        }
        if field.threshold == 0 || keys.len() < field.threshold {
            return Err(Refused::UnusableRole { role });
        }
        Ok(Trust { keys, threshold: field.threshold })
    }
}

/// The signed part of `targets.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct TargetsSigned {
    #[serde(rename = "_type")]
    pub(super) kind: String,
    pub(super) spec_version: String,
    pub(super) version: u64,
    pub(super) expires: String,
    pub(super) targets: BTreeMap<String, TargetField>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TargetField {
    pub(super) length: u64,
    pub(super) hashes: Hashes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<Custom>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Hashes {
    pub(super) sha256: String,
}

/// What the metadata adds to `root.img`.
#[derive(Serialize, Deserialize)]
pub(super) struct Custom {
    pub(super) version: String,
    pub(super) root_hash: String,
    pub(super) data_blocks: u64,
    #[serde(default)]
    pub(super) salt: String,
    pub(super) floor: String,
}

impl TargetsSigned {
    fn release(self) -> Result<Release, Refused> {
        let root = self.targets.get(ROOT).ok_or(Refused::NoTarget { target: ROOT })?;
        let uki = self.targets.get(UKI).ok_or(Refused::NoTarget { target: UKI })?;
        let custom = root.custom.as_ref().ok_or(Refused::NoTarget { target: "custom of root.img" })?;
        let salt = hex::decode(&custom.salt).map_err(|_| bad_field("salt", &custom.salt))?;
        if custom.data_blocks == 0 {
            return Err(bad_field("data_blocks", "0"));
        }
        Ok(Release {
            version: version("version", &custom.version)?,
            metadata_version: self.version,
            expires: Timestamp::parse(&self.expires).ok_or_else(|| bad_field("expires", &self.expires))?,
            floor: version("floor", &custom.floor)?,
            uki: uki.target()?,
            root: root.target()?,
            verity: Verity {
                root_hash: digest("root_hash", &custom.root_hash)?,
                salt,
                data_blocks: custom.data_blocks,
            },
        })
    }
}

impl TargetField {
    fn target(&self) -> Result<Target, Refused> {
        Ok(Target { length: self.length, sha256: digest("sha256", &self.hashes.sha256)? })
    }
}

fn bad_field(field: &'static str, value: &str) -> Refused {
    Refused::BadField { field, value: value.to_owned() }
}

fn digest(field: &'static str, text: &str) -> Result<Digest, Refused> {
    Digest::parse(text).ok_or_else(|| bad_field(field, text))
}

fn version(field: &'static str, text: &str) -> Result<Version, Refused> {
    Version::parse(text).map_err(|_| bad_field(field, text))
}
