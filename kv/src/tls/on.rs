//! TLS by rustls: certificates from files that are read anew when they change, so that renewing them needs no restart.
//! All cipher suites that there are encrypt and authenticate in one, with a key that is made for the connection.
use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite,
    client::verify_server_name,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::{ParsedCertificate, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    Accepted, Allowed, ClientAuth, Origin, Secure, TlsError, TlsFiles, Versions,
    anchors::AnchorsToo,
    not_set_up,
    self_signed::{Unverified, make},
};
use crate::{certificate::Certificate, lock::lock};

fn error(file: &Path, why: impl fmt::Display) -> TlsError {
    TlsError { file: file.to_owned(), why: why.to_string() }
}

/// What a file's change shows in.
type Stamp = Option<(SystemTime, u64)>;

#[derive(Debug)]
struct Loaded {
    stamps: Vec<Stamp>,
    server: Arc<ServerConfig>,
    client: Option<Arc<ClientConfig>>,
}

/// Certificates in use.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    protocols: Vec<Vec<u8>>,
    loaded: Mutex<Loaded>,
}

impl Tls {
    /// Reads the files. `protocols` are offered to whoever connects (ALPN).
    ///
    /// # Errors
    /// Names the file that cannot be used, and why.
    pub fn load(files: TlsFiles, protocols: &[&str]) -> Result<Self, TlsError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        if let Origin::SelfSigned(hosts) = &files.origin {
            make(hosts, &files.cert, &files.key).map_err(|why| error(&files.cert, why))?;
        }
        let loaded = read_all(&files, &protocols)?;
        Ok(Self { files, protocols, loaded: Mutex::new(loaded) })
    }

    /// Agrees on TLS with whoever connected, with the certificates as they are in the files now.
    ///
    /// # Errors
    /// The other end has no good certificate, or speaks something else.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Accepted> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current().server));
        let stream = acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let common_name = shown.map(|shown| common_name(shown));
        let is_allowed = match &self.files.allowed {
            None => true,
            Some(Allowed::CommonName(names)) => common_name.as_ref().is_some_and(|name| names.contains(name)),
            Some(Allowed::Host(hosts)) => shown.is_some_and(|shown| hosts.iter().any(|host| is_good_for(shown, host))),
        };
        match &self.files.allowed {
            Some(allowed) if !is_allowed => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{allowed} was expected")))
            }
            _ => {
                let common_name = common_name.filter(|_| self.files.names_user);
                Ok(Accepted { stream: Box::new(stream), common_name })
            }
        }
    }

    /// Agrees on TLS with the member at `host`.
    ///
    /// # Errors
    /// Its certificate is not good for that host, or no authority is trusted.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Secure> {
        let client = self.current().client.clone().ok_or_else(|| not_set_up("--peer-trusted-ca-file"))?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(client).connect(name, stream).await?))
    }

    /// Files that are being replaced may not fit together for a moment: until they do, the old ones count.
    fn current(&self) -> std::sync::MutexGuard<'_, Loaded> {
        let mut loaded = lock(&self.loaded);
        let stamps = stamps(&self.files);
        if stamps != loaded.stamps {
            match read_all(&self.files, &self.protocols) {
                Ok(fresh) => {
                    eprintln!("hull-kv: {} changed and is used from now on", self.files.cert.display());
                    *loaded = fresh;
                }
                Err(error) => {
                    eprintln!("hull-kv: {error}; the certificates from before are used on");
                    loaded.stamps = stamps;
                }
            }
        }
        loaded
    }
}

fn stamps(files: &TlsFiles) -> Vec<Stamp> {
    [Some(&files.cert), Some(&files.key), files.trusted.as_ref(), files.revoked.as_ref()]
        .into_iter()
        .flatten()
        .map(|file| fs::metadata(file).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok())
        .collect()
}

fn read_all(files: &TlsFiles, protocols: &[Vec<u8>]) -> Result<Loaded, TlsError> {
    let stamps = stamps(files);
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|why| error(&files.key, why))?;
    let roots = files.trusted.as_deref().map(authorities).transpose()?.map(Arc::new);
    let mut server = server_config(files, &provider, roots.clone(), chain.clone(), key.clone_key())?;
    server.alpn_protocols = protocols.to_vec();
    let client = match (&files.origin, roots) {
        (_, Some(roots)) => Some(client_config(files, provider, roots, chain, key)?),
        (Origin::SelfSigned(_), None) => Some(unverified_config(files, &provider)?),
        (Origin::Given, None) => None,
    };
    Ok(Loaded { stamps, server: Arc::new(server), client: client.map(Arc::new) })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(error(file, "there is no certificate in it")),
        other => other.map_err(|why| error(file, why)),
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    certificates(file)?.into_iter().try_for_each(|cert| roots.add(cert)).map_err(|why| error(file, why))?;
    Ok(roots)
}

fn server_config(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
    roots: Option<Arc<RootCertStore>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let versions = match files.versions {
        Versions::Both => vec![&TLS13, &TLS12],
        Versions::Old => vec![&TLS12],
        Versions::New => vec![&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(only(&files.suites, provider)))
        .with_protocol_versions(&versions)
        .map_err(|why| error(&files.cert, why))?;
    let builder = match (files.client_auth, roots) {
        (ClientAuth::None, _) => builder.with_no_client_auth(),
        (ClientAuth::Required, Some(roots)) => {
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
            if let Some(revoked) = &files.revoked {
                // A list speaks for its authority only; of another one's certificates nothing is known to be taken back.
                verifier = verifier.with_crls([revocations(revoked)?]).allow_unknown_revocation_status();
            }
            let verifier = verifier.build().map_err(|why| error(&files.cert, why))?;
            let anchors = files.trusted.as_deref().map(certificates).transpose()?.unwrap_or_default();
            builder.with_client_cert_verifier(Arc::new(AnchorsToo { verifier, anchors }))
        }
        (ClientAuth::Required, None) => {
            return Err(error(&files.cert, "certificates are asked for, but no trusted authority is named"));
        }
    };
    builder.with_single_cert(chain, key).map_err(|why| error(&files.cert, why))
}

/// The provider with those suites of TLS 1.2 only that are named, if any are. As in etcd those of TLS 1.3 are not chosen.
fn only(named: &[String], provider: &CryptoProvider) -> CryptoProvider {
    let mut provider = provider.clone();
    if !named.is_empty() {
        // Go has two names for some: the end may be left out.
        let is = |known: &str, name: &str| known == name || known.strip_suffix("_SHA256") == Some(name);
        let is_named = |suite: &SupportedCipherSuite| {
            suite.suite().as_str().is_some_and(|known| named.iter().any(|name| is(known, name)))
        };
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || is_named(suite));
    }
    provider
}

fn client_config(
    files: &TlsFiles,
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, TlsError> {
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|why| error(&files.cert, why))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|why| error(&files.cert, why))
}

/// For members that all have certificates signed by themselves: the line cannot be read, but anybody can be at its other end.
fn unverified_config(files: &TlsFiles, provider: &Arc<CryptoProvider>) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|why| error(&files.cert, why))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(Arc::clone(provider))))
        .with_no_client_auth();
    Ok(config)
}

/// A list of revoked certificates, PEM or DER.
fn revocations(file: &Path) -> Result<CertificateRevocationListDer<'static>, TlsError> {
    match CertificateRevocationListDer::from_pem_file(file) {
        Ok(list) => Ok(list),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            fs::read(file).map(Into::into).map_err(|why| error(file, why))
        }
        Err(why) => Err(error(file, why)),
    }
}

/// Whether a certificate is good for a host (RFC 9525).
fn is_good_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let name = ServerName::try_from(host.to_owned());
    let parsed = ParsedCertificate::try_from(certificate);
    name.is_ok_and(|name| parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok()))
}

/// The common name of a certificate; empty if there is none.
fn common_name(certificate: &[u8]) -> String {
    Certificate::read(certificate).and_then(|certificate| certificate.common_name()).unwrap_or_default()
}
