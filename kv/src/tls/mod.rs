//! TLS for clients and members, if the program was built with it (feature `tls`).
#[cfg(feature = "tls")]
mod anchors;
#[cfg(not(feature = "tls"))]
mod off;
#[cfg(feature = "tls")]
mod on;
#[cfg(feature = "tls")]
mod self_signed;

use std::{fmt, io, path::PathBuf};

#[cfg(not(feature = "tls"))]
pub use off::Tls;
#[cfg(feature = "tls")]
pub use on::Tls;

/// A connection on which TLS was agreed.
pub type Secure = hull_kv_wire::Io;

/// Whether whoever connects must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It must, and one that the trusted authorities signed.
    Required,
    /// It need not.
    None,
}

/// Which versions of TLS are spoken. Clients made for etcd up to 3.5 speak nothing newer than 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2.
    Old,
    /// 1.3.
    New,
}

/// Where this end's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Somebody put it there.
    Given,
    /// It is made at the first start, signed by itself, good for these hosts.
    SelfSigned(Vec<String>),
}

/// Whose certificates are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Of those with one of these common names.
    CommonName(Vec<String>),
    /// Of those that have one of these names as a host (their alternative names; patterns count).
    Host(Vec<String>),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommonName(names) => write!(f, "a certificate with the common name {}", names.join(" or ")),
            Self::Host(names) => write!(f, "a certificate that is good for the host {}", names.join(" or ")),
        }
    }
}

/// A connection, and who is at its other end.
pub struct Accepted {
    /// Where bytes go.
    pub stream: Secure,
    /// The common name in the certificate that the other end had to show, if that is a user; empty if there is none in it.
    pub common_name: Option<String>,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("common_name", &self.common_name).finish_non_exhaustive()
    }
}

/// The files of one purpose (clients, or other members).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Where certificate and key come from.
    pub origin: Origin,
    /// This end's certificate and what leads to its authority (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// Authorities whose certificates are believed (PEM).
    pub trusted: Option<PathBuf>,
    /// Whether the other end must show one.
    pub client_auth: ClientAuth,
    /// Whether the common name in it is a user (`--client-cert-auth`).
    pub names_user: bool,
    /// Certificates that the authorities took back (PEM).
    pub revoked: Option<PathBuf>,
    /// What the certificate of whoever connects must say, besides who signed it.
    pub allowed: Option<Allowed>,
    /// What is spoken with whoever connects; this program itself connects with 1.3.
    pub versions: Versions,
    /// Names of the cipher suites of TLS 1.2 that may be used; none: all that there are.
    pub suites: Vec<String>,
}

/// Why certificates cannot be used.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "use {} for TLS: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

/// The error of an address that wants TLS where none is set up.
pub(crate) fn not_set_up(flags: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("https needs {flags}"))
}
