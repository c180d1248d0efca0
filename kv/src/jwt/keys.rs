//! Keys out of files (PEM), each in the form that `jsonwebtoken`, and ring behind it, wants.
use std::fmt;

use jsonwebtoken::{DecodingKey, EncodingKey};
use rustls_pki_types::{
    PrivateKeyDer, alg_id,
    pem::{self, PemObject as _, SectionKind},
};

use crate::{
    certificate::Certificate,
    der::{self, Reader},
};

/// `id-ecPublicKey`, 1.2.840.10045.2.1 (RFC 5480), as a value: a curve is the other half of the `AlgorithmIdentifier`.
const EC_PUBLIC_KEY: [u8; 9] = [der::OBJECT_ID, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    /// By what is in its `AlgorithmIdentifier` (RFC 3279, RFC 5480, RFC 8410).
    fn of(algorithm: &[u8]) -> Result<Self, Refused> {
        let known = [
            (alg_id::RSA_ENCRYPTION, Self::Rsa),
            (alg_id::ECDSA_P256, Self::P256),
            (alg_id::ECDSA_P384, Self::P384),
            (alg_id::ED25519, Self::Ed25519),
        ];
        let found = known.into_iter().find(|(id, _)| id.as_ref() == algorithm);
        found.map(|(_, kind)| kind).ok_or(Refused::UnknownKind)
    }

    fn expect(self, wanted: Self) -> Result<(), Refused> {
        if self == wanted { Ok(()) } else { Err(Refused::OtherKind { found: self, wanted }) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "RSA",
            Self::P256 => "the curve P-256",
            Self::P384 => "the curve P-384",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// Why a file is no key.
#[derive(Debug)]
pub(super) enum Refused {
    Pem(pem::Error),
    NoPrivateKey,
    NoPublicKey,
    Malformed,
    UnknownKind,
    OtherKind { found: Kind, wanted: Kind },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(why) => why.fmt(f),
            Self::NoPrivateKey => f.write_str("there is no private key in it (PEM, not encrypted)"),
            Self::NoPublicKey => f.write_str("there is neither a public key nor a certificate in it (PEM)"),
            Self::Malformed => f.write_str("the key in it is malformed"),
            Self::UnknownKind => f.write_str("the key in it is for something else than RSA, P-256, P-384 and Ed25519"),
            Self::OtherKind { found, wanted } => write!(f, "the key in it is for {found}, not for {wanted}"),
        }
    }
}

/// The first private key: PKCS#8, PKCS#1 (RSA) or SEC1 (curves).
pub(super) fn private(file: &[u8], wanted: Kind) -> Result<EncodingKey, Refused> {
    let key = PrivateKeyDer::from_pem_slice(file).map_err(|why| match why {
        pem::Error::NoItemsFound => Refused::NoPrivateKey,
        other => Refused::Pem(other),
    })?;
    match &key {
        PrivateKeyDer::Pkcs1(key) => {
            Kind::Rsa.expect(wanted)?;
            Ok(EncodingKey::from_rsa_der(key.secret_pkcs1_der()))
        }
        PrivateKeyDer::Sec1(key) => {
            let (kind, wrapped) = wrapped(key.secret_sec1_der())?;
            kind.expect(wanted)?;
            Ok(EncodingKey::from_ec_der(&wrapped))
        }
        PrivateKeyDer::Pkcs8(key) => {
            let whole = key.secret_pkcs8_der();
            let (algorithm, inner) = private_key_info(whole).ok_or(Refused::Malformed)?;
            Kind::of(algorithm)?.expect(wanted)?;
            Ok(match wanted {
                Kind::Rsa => EncodingKey::from_rsa_der(inner),
                Kind::P256 | Kind::P384 => EncodingKey::from_ec_der(whole),
                Kind::Ed25519 => EncodingKey::from_ed_der(whole),
            })
        }
        _ => Err(Refused::NoPrivateKey),
    }
}

/// Algorithm and key of a `PrivateKeyInfo` (PKCS#8, RFC 5958).
fn private_key_info(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Reader::new(der::only(bytes, der::SEQUENCE)?);
    let _version = fields.take(der::INTEGER)?;
    Some((fields.take(der::SEQUENCE)?, fields.take(der::OCTET_STRING)?))
}

/// An `ECPrivateKey` (SEC1, RFC 5915) as PKCS#8, which is what ring reads.
fn wrapped(bytes: &[u8]) -> Result<(Kind, Vec<u8>), Refused> {
    let curve = curve_of(bytes).ok_or(Refused::Malformed)?;
    let algorithm = [&EC_PUBLIC_KEY, curve].concat();
    let version = der::write(der::INTEGER, &[0]);
    let fields = [version, der::write(der::SEQUENCE, &algorithm), der::write(der::OCTET_STRING, bytes)];
    Ok((Kind::of(&algorithm)?, der::write(der::SEQUENCE, &fields.concat())))
}

fn curve_of(bytes: &[u8]) -> Option<&[u8]> {
    let mut fields = Reader::new(der::only(bytes, der::SEQUENCE)?);
    let _version = fields.take(der::INTEGER)?;
    let _private_key = fields.take(der::OCTET_STRING)?;
    fields.take(der::place(0))
}

/// The first public key, or that of the first certificate.
pub(super) fn public(file: &[u8], wanted: Kind) -> Result<DecodingKey, Refused> {
    // PKCS#1 has a label that `rustls_pki_types` passes over. What is under it tells it apart well enough.
    let text = String::from_utf8_lossy(file).replace("RSA PUBLIC KEY-----", "PUBLIC KEY-----");
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (section, bytes) = section.map_err(Refused::Pem)?;
        let (kind, key) = match section {
            SectionKind::PublicKey => public_key(&bytes),
            SectionKind::Certificate => {
                Certificate::read(&bytes).ok_or(Refused::Malformed).and_then(|read| public_key_info(read.public_key))
            }
            _ => continue,
        }?;
        kind.expect(wanted)?;
        return Ok(match kind {
            Kind::Rsa => DecodingKey::from_rsa_der(key),
            Kind::P256 | Kind::P384 => DecodingKey::from_ec_der(key),
            Kind::Ed25519 => DecodingKey::from_ed_der(key),
        });
    }
    Err(Refused::NoPublicKey)
}

/// Kind and bytes of an `RSAPublicKey` (PKCS#1, RFC 8017), which begins with a number, or a `SubjectPublicKeyInfo`.
fn public_key(bytes: &[u8]) -> Result<(Kind, &[u8]), Refused> {
    let content = der::only(bytes, der::SEQUENCE).ok_or(Refused::Malformed)?;
    match Reader::new(content).tag() {
        Some(der::INTEGER) => Ok((Kind::Rsa, bytes)),
        _ => public_key_info(content),
    }
}

/// Kind and bytes of what is in a `SubjectPublicKeyInfo` (RFC 5280).
fn public_key_info(content: &[u8]) -> Result<(Kind, &[u8]), Refused> {
    let mut fields = Reader::new(content);
    let (Some(algorithm), Some([0, key @ ..])) = (fields.take(der::SEQUENCE), fields.take(der::BIT_STRING)) else {
        return Err(Refused::Malformed);
    };
    Ok((Kind::of(algorithm)?, key))
}
