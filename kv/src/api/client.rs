//! Who a client is: its token, and whom that stands for.
use std::{fmt, sync::Arc};

use hull_kv_core::{Caller, Enforced, Store};
use hull_kv_proto::etcdserverpb::WatchCreateRequest;
use tonic::Status;

use super::{Api, refused};
use crate::lock::read;

/// What a client showed.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    token: Option<Arc<str>>,
    /// The common name of the certificate that it had to show.
    common_name: Option<Arc<str>>,
}

impl fmt::Debug for Credentials {
    /// A token is as good as a password for a while: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_some() { "a token" } else { "no token" };
        write!(f, "Credentials({token}, {:?})", self.common_name)
    }
}

impl Credentials {
    /// The token that was shown.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl Api {
    /// The same services for the client that showed this token.
    pub(crate) fn for_token(mut self, token: Option<&[u8]>) -> Self {
        self.credentials.token = token.and_then(|value| std::str::from_utf8(value).ok()).map(Arc::from);
        self
    }

    /// The same services on a connection whose client had to show a certificate with this common name.
    pub(crate) fn for_certificate(mut self, common_name: Option<String>) -> Self {
        self.credentials.common_name = common_name.filter(|name| !name.is_empty()).map(Arc::from);
        self
    }

    /// The same services for a client that no certificate speaks for: etcd looks at none behind its JSON gateway.
    pub(crate) fn without_certificate(self) -> Self {
        self.for_certificate(None)
    }

    /// In whose name the client's request runs, by what this member knows now. A good token counts before the certificate.
    pub(super) fn caller_in(&self, store: &Store) -> Result<Caller, Status> {
        if store.auth().enforced() == Enforced::No {
            return Ok(Caller::Nobody);
        }
        let by_token = self
            .credentials
            .token
            .as_deref()
            .map(|token| self.desk.logins.caller(token, store.auth(), self.shared.now()));
        match (by_token, &self.credentials.common_name) {
            (Some(Ok(caller)), _) => Ok(caller),
            (_, Some(name)) => Ok(Caller::User { name: name.to_string(), revision: store.auth().revision() }),
            (Some(Err(why)), None) => Err(refused(why)),
            (None, None) => Ok(Caller::Nobody),
        }
    }

    /// Like [`Self::caller_in`]. A token from another member that is not known here yet is waited for.
    pub(super) async fn caller(&self) -> Result<Caller, Status> {
        if self.must_learn_token() {
            Box::pin(self.learn_token()).await?;
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
