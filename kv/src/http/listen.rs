//! Listening: TCP addresses and the unix socket, and a task for each connection.
use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hull_kv_wire::Company;
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::connection;
use crate::{
    api::Api,
    tls::{Tls, not_set_up},
};

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A TCP address where TLS is spoken.
    Tls(SocketAddr),
    /// A unix socket, open to everyone on the node (mode 0666).
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Tls(address) => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// What an address answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Everything.
    Whole,
    /// Health, version and metrics.
    Monitors,
}

/// How clients' connections are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// Requests and streams that one may have open at a time.
    pub max_streams: u32,
    /// After how long without a word a client is asked whether it is there.
    pub ask_after: Option<Duration>,
    /// How long it may take to answer.
    pub answer_within: Duration,
}

/// Questions without an answer after which a client counts as gone.
const QUESTIONS: u32 = 4;

impl Manners {
    /// Has the kernel ask a silent client whether it is there (tcp(7)); where it cannot, the client stays until it is written to.
    fn keep_alive(self, stream: &TcpStream) {
        use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
        let Some(after) = self.ask_after else { return };
        let second = Duration::from_secs(1);
        let _ = set_socket_keepalive(stream, true)
            .and_then(|()| set_tcp_keepidle(stream, after.max(second)))
            .and_then(|()| set_tcp_keepintvl(stream, (self.answer_within / QUESTIONS).max(second)))
            .and_then(|()| set_tcp_keepcnt(stream, QUESTIONS));
    }
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    address: Address,
    source: io::Error,
}

impl ListenError {
    /// Why `address` cannot be listened on.
    pub(crate) fn new(address: Address, source: io::Error) -> Self {
        Self { address, source }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listen on {}: {}", self.address, self.source)?;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("; another program listens there: stop it, or choose another address")
            }
            io::ErrorKind::AddrNotAvailable => f.write_str("; this machine has no such address"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ListenError {}

/// An open socket that waits for connections.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// TLS over TCP.
    Tls(TcpListener, Arc<Tls>),
    /// Unix.
    Unix(UnixListener),
}

impl Listener {
    /// Opens a socket, or takes the one that the service manager bound to this address. A unix socket that an earlier
    /// run left behind is replaced.
    ///
    /// # Errors
    /// Names the address and the operating system's reason.
    pub fn bind(address: &Address, passed: &mut Passed, tls: Option<&Arc<Tls>>) -> Result<Self, ListenError> {
        let opened = match address {
            Address::Tcp(socket) => return bind_tcp(*socket).map(Self::Tcp),
            Address::Tls(socket) => match tls {
                Some(tls) => return bind_tcp(*socket).map(|listener| Self::Tls(listener, Arc::clone(tls))),
                None => Err(not_set_up("--cert-file and --key-file")),
            },
            Address::Unix(path) => match passed.take(path) {
                Some(listener) => {
                    listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener)).map(Self::Unix)
                }
                None => bind_unix(path, FOR_EVERYONE).map(Self::Unix),
            },
        };
        opened.map_err(|source| ListenError { address: address.clone(), source })
    }

    /// Serves connections until the task is dropped.
    pub async fn serve(self, api: Api, face: Face, manners: Manners, company: Company) {
        match self {
            Self::Tcp(listener) => loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        // Answers are small and wait for nothing; without this they would wait for an acknowledgement.
                        let _ = stream.set_nodelay(true);
                        manners.keep_alive(&stream);
                        let (api, company) = (api.for_connection(), company.clone());
                        tokio::spawn(connection::serve(Box::new(stream), api, face, manners, company));
                    }
                    Err(error) => pause(&error).await,
                }
            },
            Self::Tls(listener, tls) => loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let _ = stream.set_nodelay(true);
                        manners.keep_alive(&stream);
                        let (tls, api, company) = (Arc::clone(&tls), api.for_connection(), company.clone());
                        tokio::spawn(async move {
                            // Whoever has no good certificate learns so from the handshake.
                            if let Ok(Ok(accepted)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                                let api = api.for_certificate(accepted.common_name);
                                connection::serve(accepted.stream, api, face, manners, company).await;
                            }
                        });
                    }
                    Err(error) => pause(&error).await,
                }
            },
            Self::Unix(listener) => loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (api, company) = (api.for_connection(), company.clone());
                        tokio::spawn(connection::serve(Box::new(stream), api, face, manners, company));
                    }
                    Err(error) => pause(&error).await,
                }
            },
        }
    }
}

/// Unix sockets that the service manager bound and passed (sd_listen_fds(3)): they, and connections that wait in them,
/// outlive a restart of the store; a container that has one mounted keeps the right one; and the store's user need not
/// write to their folder.
#[derive(Debug, Default)]
pub struct Passed(Vec<std::os::unix::net::UnixListener>);

impl Passed {
    /// What this process was started with. Sockets of another kind are left alone.
    pub fn from_environment() -> Self {
        let mut fds = listenfd::ListenFd::from_env();
        Self((0..fds.len()).filter_map(|at| fds.take_unix_listener(at).ok().flatten()).collect())
    }

    fn take(&mut self, path: &Path) -> Option<std::os::unix::net::UnixListener> {
        let bound_to = |listener: &std::os::unix::net::UnixListener| {
            listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
        };
        let at = self.0.iter().position(bound_to)?;
        Some(self.0.swap_remove(at))
    }
}

/// Out of descriptors, most likely: others must close first.
async fn pause(error: &io::Error) {
    eprintln!("hull-kv: accept a connection: {error}; trying again");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Opens a TCP socket.
///
/// # Errors
/// Names the address and the operating system's reason.
pub fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let opened = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)));
    opened.map_err(|source| ListenError { address: Address::Tcp(address), source })
}

/// The mode of a socket that everyone on the machine may connect to.
const FOR_EVERYONE: u32 = 0o666;

/// Opens a unix socket of this mode, in place of one that an earlier run left behind.
///
/// # Errors
/// The operating system's, or something else is there.
pub(crate) fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there")),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
