//! Who a client is: its token, and whom that stands for.
use std::{fmt, sync::Arc};

use http::HeaderMap;
use hull_kv_core::{Caller, Enforced, Store};
use hull_kv_proto::etcdserverpb::WatchCreateRequest;
use tonic::Status;

use super::{Api, refused};
use crate::{auth, lock::read};

/// What a client showed: a token or nothing.
#[derive(Clone, Default)]
pub(super) struct Credentials(Option<Arc<str>>);

impl fmt::Debug for Credentials {
    /// A token is as good as a password for a while: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Credentials(a token)" } else { "Credentials(none)" })
    }
}

impl Credentials {
    /// gRPC clients send `token`, users of the JSON gateway and of `/kv` send `Authorization`; both bare.
    fn of(headers: &HeaderMap) -> Self {
        let token = headers.get("token").or_else(|| headers.get(http::header::AUTHORIZATION));
        Self(token.and_then(|value| value.to_str().ok()).map(Arc::from))
    }
}

impl Api {
    /// The same services for the client that sent these headers.
    pub(crate) fn for_client(&self, headers: &HeaderMap) -> Self {
        Self { credentials: Credentials::of(headers), ..self.clone() }
    }

    /// In whose name the client's request runs, by what this member knows now.
    pub(super) fn caller_in(&self, store: &Store) -> Result<Caller, Status> {
        let Some(token) = self.credentials.0.as_deref().filter(|_| store.auth().enforced() == Enforced::Yes) else {
            return Ok(Caller::Nobody);
        };
        self.desk.logins.caller(token, store.auth(), self.shared.now()).map_err(refused)
    }

    /// Like [`Self::caller_in`]. A token from another member that is not known here yet is waited for.
    pub(super) async fn caller(&self) -> Result<Caller, Status> {
        let Some(token) = self.credentials.0.as_deref() else { return Ok(Caller::Nobody) };
        let ahead = auth::index_of(token).is_some_and(|index| index > read(&self.shared.store).applied().index);
        if ahead {
            self.linearize().await?;
        }
        self.caller_in(&read(&self.shared.store))
    }

    /// # Errors
    /// The client has not the root role.
    pub(super) async fn permit_admin(&self) -> Result<(), Status> {
        let caller = self.caller().await?;
        read(&self.shared.store).auth().permit_admin(&caller).map_err(refused)
    }

    /// # Errors
    /// The client may not read all keys of the lease.
    pub(super) fn permit_lease_keys(&self, lease: i64) -> Result<(), Status> {
        let store = read(&self.shared.store);
        let caller = self.caller_in(&store)?;
        store.permit_lease_keys(&caller, lease).map_err(refused)
    }

    /// # Errors
    /// The client may not read the range.
    pub(super) fn permit_watch(&self, create: &WatchCreateRequest) -> Result<(), Status> {
        let store = read(&self.shared.store);
        let caller = self.caller_in(&store)?;
        let key: &[u8] = if create.key.is_empty() { &[0] } else { &create.key };
        store.auth().permit_read(&caller, key, &create.range_end).map_err(refused)
    }
}
