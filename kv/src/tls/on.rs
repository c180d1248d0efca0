//! TLS by rustls: certificates from files that are read anew when they change, so that renewing them needs no restart.
//! TLS 1.3 only.
use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{ClientAuth, Secure, TlsError, TlsFiles, not_set_up};
use crate::lock::lock;

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
        let loaded = read_all(&files, &protocols)?;
        Ok(Self { files, protocols, loaded: Mutex::new(loaded) })
    }

    /// Agrees on TLS with whoever connected, with the certificates as they are in the files now.
    ///
    /// # Errors
    /// The other end has no good certificate, or speaks something else.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Secure> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current().server));
        Ok(Box::new(acceptor.accept(stream).await?))
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
    [Some(&files.cert), Some(&files.key), files.trusted.as_ref()]
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
    let client = roots.map(|roots| client_config(files, provider, roots, chain, key)).transpose()?;
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
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|why| error(&files.cert, why))?;
    let builder = match (files.client_auth, roots) {
        (ClientAuth::None, _) => builder.with_no_client_auth(),
        (ClientAuth::Required, Some(roots)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
            builder.with_client_cert_verifier(verifier.map_err(|why| error(&files.cert, why))?)
        }
        (ClientAuth::Required, None) => {
            return Err(error(&files.cert, "certificates are asked for, but no trusted authority is named"));
        }
    };
    builder.with_single_cert(chain, key).map_err(|why| error(&files.cert, why))
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
