//! Connects to a store: `http://host:port`, `host:port`, or the path of its unix socket.
use std::path::PathBuf;

use tonic::transport::{Channel, Endpoint};

use crate::etcdserverpb::{
    cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
    maintenance_client::MaintenanceClient, watch_client::WatchClient,
};

/// The node's own store, as every process on it and every container sees it.
pub const NODE_SOCKET: &str = "/run/hull/kv.sock";

/// A connection that answers nothing for this long is an error to its caller (seconds); a local store connects in microseconds.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Clients of one store over one shared connection; cloning is cheap.
#[derive(Debug, Clone)]
pub struct Store {
    /// Range, Put, DeleteRange, Txn, Compact.
    pub kv: KvClient<Channel>,
    /// Watch.
    pub watch: WatchClient<Channel>,
    /// Leases.
    pub lease: LeaseClient<Channel>,
    /// Status, alarms, snapshots.
    pub maintenance: MaintenanceClient<Channel>,
    /// Members.
    pub cluster: ClusterClient<Channel>,
}

impl Store {
    /// Wraps a channel.
    pub fn new(channel: Channel) -> Self {
        Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            cluster: ClusterClient::new(channel),
        }
    }
}

/// Connects to `endpoint`: a path that starts with `/` (or `unix:`) is a unix socket, everything else is a host and
/// port with or without `http://`.
///
/// # Errors
/// The endpoint is no URL, or nothing answers there.
pub async fn connect(endpoint: &str) -> Result<Store, tonic::transport::Error> {
    let target = Target::parse(endpoint);
    let endpoint = target.endpoint()?;
    Ok(Store::new(match target {
        Target::Unix(path) => endpoint.connect_with_connector(unix_connector(path)).await?,
        Target::Url(_) => endpoint.connect().await?,
    }))
}

/// Connects to the store of this node by its unix socket. Whoever needs no more than that carries no resolver of host names along.
///
/// # Errors
/// Nothing answers there.
pub async fn connect_socket(path: &str) -> Result<Store, tonic::transport::Error> {
    let path = PathBuf::from(path);
    let endpoint = Target::Unix(path.clone()).endpoint()?;
    Ok(Store::new(endpoint.connect_with_connector(unix_connector(path)).await?))
}

/// Like [`connect`], but connects at the first call and again after every loss.
///
/// # Errors
/// The endpoint is no URL.
pub fn connect_lazy(endpoint: &str) -> Result<Store, tonic::transport::Error> {
    let target = Target::parse(endpoint);
    let endpoint = target.endpoint()?;
    Ok(Store::new(match target {
        Target::Unix(path) => endpoint.connect_with_connector_lazy(unix_connector(path)),
        Target::Url(_) => endpoint.connect_lazy(),
    }))
}

enum Target {
    Unix(PathBuf),
    Url(String),
}

impl Target {
    fn parse(text: &str) -> Self {
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).unwrap_or(text);
        if path.starts_with('/') {
            return Self::Unix(PathBuf::from(path));
        }
        if text.contains("://") { Self::Url(text.to_owned()) } else { Self::Url(format!("http://{text}")) }
    }

    fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = match self {
            // The name is only what the `:authority` header says; the connector ignores it.
            Self::Unix(_) => Endpoint::from_static("http://localhost"),
            Self::Url(url) => Endpoint::from_shared(url.clone())?,
        };
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true))
    }
}

fn unix_connector(
    path: PathBuf,
) -> impl tower::Service<
    tonic::codegen::http::Uri,
    Response = hyper_util::rt::TokioIo<tokio::net::UnixStream>,
    Error = std::io::Error,
    Future = impl Future<Output = Result<hyper_util::rt::TokioIo<tokio::net::UnixStream>, std::io::Error>> + Send,
> + Clone
+ Send {
    tower::service_fn(move |_| {
        let path = path.clone();
        async move { Ok(hyper_util::rt::TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
    })
}
