//! A build without TLS: what would need it is refused, never served in the clear.
use std::{convert::Infallible, io};

use tokio::net::TcpStream;

use super::{Accepted, Secure, TlsError, TlsFiles};

/// There are no certificates in use.
#[derive(Debug)]
pub struct Tls(Infallible);

impl Tls {
    /// # Errors
    /// Always: this build cannot.
    pub fn load(files: TlsFiles, _protocols: &[&str]) -> Result<Self, TlsError> {
        let why = "this build has no TLS; build hull-kv with --features tls".to_owned();
        Err(TlsError { file: files.cert, why })
    }

    /// # Errors
    /// None: it is never called.
    pub async fn accept(&self, _stream: TcpStream) -> io::Result<Accepted> {
        match self.0 {}
    }

    /// # Errors
    /// None: it is never called.
    pub async fn connect(&self, _host: &str, _stream: TcpStream) -> io::Result<Secure> {
        match self.0 {}
    }
}
