//! Certificates signed by themselves (`--auto-tls`, `--peer-auto-tls`): lines that cannot be read without anything to set up. Who is
//! at the other end nobody knows, as with etcd.
use std::{
    fs,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, alg_id, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::der;

/// `id-at-organizationName`, 2.5.4.10.
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
/// `id-ce-subjectAltName`, 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// `id-ce-extKeyUsage`, 2.5.29.37.
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// `id-kp-serverAuth`, 1.3.6.1.5.5.7.3.1.
const SERVERS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// `id-kp-clientAuth`, 1.3.6.1.5.5.7.3.2.
const CLIENTS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// `dNSName` and `iPAddress` of a `GeneralName` (RFC 5280, section 4.2.1.6).
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Long before and after anybody needs it: who else should renew it?
const NOT_BEFORE: &[u8] = b"750101000000Z";
const NOT_AFTER: &[u8] = b"40960101000000Z";

/// Bytes of a serial number (at most 20: RFC 5280, section 4.1.2.2).
const SERIAL_BYTES: usize = 16;
/// Characters of a line of PEM (RFC 7468, section 2).
const LINE: usize = 64;

/// Makes certificate and key unless both are there from an earlier start and belong together: a power cut may have left one of them,
/// or an old one. The key is its owner's only.
pub(super) fn make(hosts: &[String], cert: &Path, key: &Path) -> io::Result<()> {
    if is_pair(cert, key) {
        return Ok(());
    }
    let folder = cert.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(unspecified)?;
    let certificate = certificate(hosts, pair.as_ref(), &random)?;
    put(key, &pem("PRIVATE KEY", pair.as_ref()), 0o600)?;
    put(cert, &pem("CERTIFICATE", &certificate), 0o644)?;
    fs::File::open(folder)?.sync_all()
}

fn is_pair(cert: &Path, key: &Path) -> bool {
    let (Ok(cert), Ok(key)) = (CertificateDer::from_pem_file(cert), PrivateKeyDer::from_pem_file(key)) else {
        return false;
    };
    CertifiedKey::from_der(vec![cert], key, &default_provider()).is_ok()
}

/// Writes a file whole: under its name there is the old one or the new one, never a part.
fn put(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Made now, so that its mode is this one.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// What ring says of everything that fails.
fn unspecified(_: ring::error::Unspecified) -> io::Error {
    io::Error::other("no key or signature could be made")
}

/// A certificate (RFC 5280, section 4.1) for servers and clients, good for these hosts, with a key for P-256 (PKCS#8) that signs it.
fn certificate(hosts: &[String], pair: &[u8], random: &SystemRandom) -> io::Result<Vec<u8>> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pair, random)
        .map_err(|rejected| io::Error::other(rejected.to_string()))?;
    let mut serial = [0; SERIAL_BYTES];
    random.fill(&mut serial).map_err(unspecified)?;
    // Positive, and without a zero in front.
    serial[0] = serial[0] & 0x7f | 0x40;
    let uses = [der::write(der::OBJECT_ID, SERVERS), der::write(der::OBJECT_ID, CLIENTS)];
    let mut extensions = vec![extension(EXTENDED_KEY_USAGE, &uses)];
    // A member that only listens on sockets has no host; there is no list without a name in it.
    if !hosts.is_empty() {
        let names = hosts.iter().map(|host| general_name(host)).collect::<io::Result<Vec<_>>>()?;
        extensions.push(extension(ALTERNATIVE_NAMES, &names));
    }
    let algorithm = der::write(der::SEQUENCE, alg_id::ECDSA_SHA256.as_ref());
    let name = name("hull-kv");
    let said = sequence(&[
        // Version 3, whose number is 2.
        der::write(der::place(0), &der::write(der::INTEGER, &[2])),
        der::write(der::INTEGER, &serial),
        algorithm.clone(),
        name.clone(),
        sequence(&[der::write(der::UTC_TIME, NOT_BEFORE), der::write(der::GENERALIZED_TIME, NOT_AFTER)]),
        name,
        sequence(&[der::write(der::SEQUENCE, alg_id::ECDSA_P256.as_ref()), bits(pair.public_key().as_ref())]),
        der::write(der::place(3), &sequence(&extensions)),
    ]);
    let signature = pair.sign(random, &said).map_err(unspecified)?;
    Ok(sequence(&[said, algorithm, bits(signature.as_ref())]))
}

fn sequence(values: &[Vec<u8>]) -> Vec<u8> {
    der::write(der::SEQUENCE, &values.concat())
}

/// A BIT STRING of whole bytes.
fn bits(bytes: &[u8]) -> Vec<u8> {
    der::write(der::BIT_STRING, &[&[0], bytes].concat())
}

/// A name that is an organization's.
fn name(organization: &str) -> Vec<u8> {
    let attribute = [der::write(der::OBJECT_ID, ORGANIZATION), der::write(der::UTF8_STRING, organization.as_bytes())];
    sequence(&[der::write(der::SET, &sequence(&attribute))])
}

fn extension(id: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[der::write(der::OBJECT_ID, id), der::write(der::OCTET_STRING, &sequence(values))])
}

fn general_name(host: &str) -> io::Result<Vec<u8>> {
    match host.parse() {
        Ok(IpAddr::V4(address)) => Ok(der::write(IP_ADDRESS, &address.octets())),
        Ok(IpAddr::V6(address)) => Ok(der::write(IP_ADDRESS, &address.octets())),
        Err(_) if host.is_ascii() => Ok(der::write(DNS_NAME, host.as_bytes())),
        Err(_) => {
            let why = format!("{host:?} is no name for a certificate: ASCII was expected, as in xn--...");
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

/// RFC 7468.
fn pem(label: &str, bytes: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let encoded = STANDARD.encode(bytes);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.extend([line, "\n"]);
        rest = after;
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

/// Believes every certificate; only that the other end has its key is checked.
#[derive(Debug)]
pub(super) struct Unverified(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    use rustls::{client::verify_server_name, server::ParsedCertificate};

    use super::*;
    use crate::certificate::Certificate;

    fn made(hosts: &[&str]) -> CertificateDer<'static> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
        certificate(&hosts, pair.as_ref(), &random).expect("a certificate").into()
    }

    #[test]
    fn a_certificate_is_good_for_its_hosts_and_no_others_and_for_all_time() {
        let bytes = made(&["node-1.example", "192.0.2.7", "2001:db8::1"]);
        let parsed = ParsedCertificate::try_from(&bytes).expect("a certificate");
        let is_good_for =
            |host: &'static str| verify_server_name(&parsed, &ServerName::try_from(host).expect("a name")).is_ok();
        for host in ["node-1.example", "192.0.2.7", "2001:db8::1"] {
            assert!(is_good_for(host), "{host}");
        }
        for host in ["node-2.example", "192.0.2.8", "2001:db8::2"] {
            assert!(!is_good_for(host), "{host}");
        }
        let read = Certificate::read(&bytes).expect("a certificate");
        assert_eq!(read.common_name(), None);
        assert!(read.is_valid_at(0xffff_ffff) && read.is_valid_at(157_766_400) && !read.is_valid_at(157_766_399));
    }

    #[test]
    fn a_certificate_is_signed_by_its_own_key_and_no_two_are_the_same() {
        let bytes = made(&["a"]);
        let mut signed = der::Reader::new(der::only(&bytes, der::SEQUENCE).expect("a certificate"));
        let said = der::write(der::SEQUENCE, signed.take(der::SEQUENCE).expect("what is signed"));
        let _algorithm = signed.take(der::SEQUENCE);
        let signature = signed.take(der::BIT_STRING).expect("a signature");
        let mut key = der::Reader::new(Certificate::read(&bytes).expect("a certificate").public_key);
        let _algorithm = key.take(der::SEQUENCE);
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.take(der::BIT_STRING).expect("a key")[1..]);
        key.verify(&said, &signature[1..]).expect("its own signature");
        assert_ne!(made(&["a"]), bytes);
    }

    #[test]
    fn what_a_power_cut_left_is_made_anew_and_a_pair_is_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let make = || make(&["a".into()], &cert, &key).expect("made");
        let files = || [fs::read(&cert).expect("certificate"), fs::read(&key).expect("key")];
        make();
        let first = files();
        make();
        assert_eq!(files(), first, "a pair is kept");
        // Of a key that is there already, the mode does not count.
        fs::write(&key, "").expect("an empty key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("mode");
        make();
        let second = files();
        assert!(second.iter().zip(&first).all(|(new, old)| new != old), "both are new");
        assert_eq!(fs::metadata(&key).expect("key").permissions().mode() & 0o777, 0o600);
        fs::write(&cert, &first[0]).expect("the old certificate beside the new key");
        make();
        assert_ne!(files()[1], second[1]);
        assert!(is_pair(&cert, &key));
    }

    #[test]
    fn a_certificate_without_hosts_has_no_empty_list_and_one_for_no_name_is_refused() {
        let id = der::write(der::OBJECT_ID, ALTERNATIVE_NAMES);
        let has_list = |bytes: &[u8]| bytes.windows(id.len()).any(|found| found == id);
        assert!(has_list(&made(&["a"])) && !has_list(&made(&[])));
        assert!(general_name("Zoë").is_err());
    }
}
