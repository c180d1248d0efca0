//! The store's server: raft driver, write-ahead log, snapshots, and etcd's v3 API over gRPC and HTTP.
pub mod api;
pub mod auth;
pub mod bolt;
pub mod compactor;
pub mod config;
pub mod disk;
pub mod driver;
pub mod http;
pub mod import;
pub mod limits;
mod lock;
pub mod metrics;
pub mod peer;
pub mod serve;
pub mod shared;
pub mod snapfile;
pub mod tls;
pub mod wal;
