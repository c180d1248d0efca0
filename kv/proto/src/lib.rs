//! The etcd v3 API as Rust types (generated, committed), and how a client of this project connects to a store.
//!
//! Features: `client` (default) has the generated clients and [`client::connect`]; `json` has the JSON gateway's tables and
//! translation; without any only the messages remain, which is what the pure core uses. Servers have no generated code: what a method
//! is called stands beside who answers it.

/// `mvccpb`: keys with their revisions, and events.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod mvccpb {
    include!("generated/mvccpb.rs");
}

/// `authpb`: users, roles and permissions.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod authpb {
    include!("generated/authpb.rs");
}

/// `etcdserverpb`: the services KV, Watch, Lease, Cluster, Maintenance and Auth.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod etcdserverpb {
    include!("generated/etcdserverpb.rs");
}

/// `v3electionpb`: the election service.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v3electionpb {
    include!("generated/v3electionpb.rs");
}

/// `v3lockpb`: the lock service.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v3lockpb {
    include!("generated/v3lockpb.rs");
}

/// What the store writes into its log and snapshots.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod hullpb {
    include!("generated/hullpb.rs");
}

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "json")]
pub mod gateway;
#[cfg(feature = "json")]
pub mod json;
#[cfg(feature = "json")]
pub mod schema;
