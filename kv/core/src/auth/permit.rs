//! Whether a caller may do what a request asks. Asked on every member when a command is applied, and before a read.
//!
//! Where etcd looks at less than all of a transaction (nested ones, the leases of its puts), this looks at all. Leases without keys, compactions
//! and alarms are nobody's in etcd up to 3.5, so that who has not even logged in may end them, do them and raise them; here as in
//! newer ones they are not.
use bytes::Bytes;
use hull_kv_proto::{
    authpb::{Permission, permission::Type},
    etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest, request_op::Request},
    hullpb::command::Op,
};

use super::{Auth, Caller, Enforced, ROOT, User};
use crate::{error::Refused, lease::LeaseId, store::Store};

/// The permission to do everything.
pub(super) fn everything() -> Permission {
    Permission { perm_type: Type::Readwrite.into(), key: Bytes::new(), range_end: Bytes::from_static(&[0]) }
}

/// What is done to keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Access {
    fn granted_by(self, permission: &Permission) -> bool {
        match Type::try_from(permission.perm_type) {
            Ok(Type::Readwrite) => true,
            Ok(Type::Read) => self == Self::Read,
            Ok(Type::Write) => self == Self::Write,
            // Of a kind that this version does not know.
            Err(_) => false,
        }
    }
}

/// An interval of keys: from the first, included, to the second, excluded; `None` is no end.
type Span<'a> = (&'a [u8], Option<&'a [u8]>);

/// A request's or permission's range; a single key is what `key` alone says.
fn span<'a>(key: &'a [u8], end: &'a [u8], after_key: &'a [u8]) -> Span<'a> {
    match end {
        [] => (key, Some(after_key)),
        [0] => (key, None),
        _ => (key, Some(end)),
    }
}

/// The smallest key above `key`.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Whether several intervals together hold all of one.
fn covered(wanted: Span<'_>, mut granted: Vec<Span<'_>>) -> bool {
    granted.sort_unstable();
    let (mut from, to) = wanted;
    if to.is_some_and(|to| from >= to) {
        return false;
    }
    for (start, end) in granted {
        if start > from {
            return false;
        }
        match (end, to) {
            (None, _) => return true,
            (Some(end), Some(to)) if end >= to => return true,
            (Some(end), _) => from = from.max(end),
        }
    }
    false
}

impl Auth {
    /// The user behind a request on keys. `None`: nobody is asked, or the root role may do everything.
    fn subject(&self, caller: &Caller) -> Result<Option<&User>, Refused> {
        if self.enforced == Enforced::No {
            return Ok(None);
        }
        let (name, revision) = match caller {
            Caller::Member => return Ok(None),
            Caller::Nobody => return Err(Refused::UserEmpty),
            Caller::User { name, revision } => (name, *revision),
        };
        if revision < self.revision {
            return Err(Refused::AuthOldRevision);
        }
        let user = self.users.get(name).ok_or(Refused::PermissionDenied)?;
        Ok(Some(user).filter(|user| !user.roles.contains(ROOT)))
    }

    fn may(&self, caller: &Caller, access: Access, key: &[u8], end: &[u8]) -> Result<(), Refused> {
        let Some(user) = self.subject(caller)? else { return Ok(()) };
        let permissions: Vec<&Permission> = user
            .roles
            .iter()
            .filter_map(|role| self.roles.get(role))
            .flatten()
            .filter(|permission| access.granted_by(permission))
            .collect();
        let afters: Vec<Vec<u8>> = permissions.iter().map(|permission| after(&permission.key)).collect();
        let granted = permissions.iter().zip(&afters).map(|(p, after)| span(&p.key, &p.range_end, after)).collect();
        let after_key = after(key);
        if covered(span(key, end, &after_key), granted) { Ok(()) } else { Err(Refused::PermissionDenied) }
    }

    /// # Errors
    /// The caller is not a user at all.
    pub fn permit_somebody(&self, caller: &Caller) -> Result<(), Refused> {
        match (self.enforced, caller) {
            (Enforced::No, _) | (_, Caller::Member | Caller::User { .. }) => Ok(()),
            (_, Caller::Nobody) => Err(Refused::UserEmpty),
        }
    }

    /// # Errors
    /// The caller is not one with the root role.
    pub fn permit_admin(&self, caller: &Caller) -> Result<(), Refused> {
        let name = match (self.enforced, caller) {
            (Enforced::No, _) | (_, Caller::Member) => return Ok(()),
            (_, Caller::Nobody) => return Err(Refused::UserEmpty),
            (_, Caller::User { name, .. }) => name,
        };
        let user = self.users.get(name).ok_or(Refused::UserNotFound)?;
        if user.roles.contains(ROOT) { Ok(()) } else { Err(Refused::PermissionDenied) }
    }

    /// # Errors
    /// The caller is neither `user` nor one with the root role.
    pub fn permit_user(&self, caller: &Caller, user: &str) -> Result<(), Refused> {
        match caller {
            Caller::User { name, .. } if name == user => Ok(()),
            _ => self.permit_admin(caller),
        }
    }

    /// # Errors
    /// The caller has neither `role` nor the root role.
    pub fn permit_role(&self, caller: &Caller, role: &str) -> Result<(), Refused> {
        match caller {
            Caller::User { name, .. } if self.users.get(name).is_some_and(|user| user.roles.contains(role)) => Ok(()),
            _ => self.permit_admin(caller),
        }
    }

    /// # Errors
    /// The caller may not read all of the range.
    pub fn permit_read(&self, caller: &Caller, key: &[u8], end: &[u8]) -> Result<(), Refused> {
        self.may(caller, Access::Read, key, end)
    }

    fn permit_range(&self, caller: &Caller, request: &RangeRequest) -> Result<(), Refused> {
        self.may(caller, Access::Read, &request.key, &request.range_end)
    }

    fn permit_delete(&self, caller: &Caller, request: &DeleteRangeRequest) -> Result<(), Refused> {
        self.may(caller, Access::Write, &request.key, &request.range_end)?;
        if request.prev_kv { self.may(caller, Access::Read, &request.key, &request.range_end) } else { Ok(()) }
    }
}

impl Store {
    /// Whether a command may be done.
    pub(crate) fn permit(&self, caller: &Caller, op: &Op) -> Result<(), Refused> {
        match op {
            Op::Put(request) => self.permit_put(caller, request),
            Op::DeleteRange(request) => self.auth.permit_delete(caller, request),
            Op::Txn(request) => self.permit_txn(caller, request),
            Op::LeaseGrant(_) | Op::Compaction(_) => self.auth.permit_somebody(caller),
            Op::LeaseRevoke(request) => self.permit_lease_use(caller, request.id),
            Op::Alarm(_) | Op::AuthChange(_) | Op::DowngradeChange(_) => self.auth.permit_admin(caller),
            _ => Ok(()),
        }
    }

    /// Whoever cannot revoke a lease must not attach more keys to it, or a lease would be a way to delete them.
    fn permit_put(&self, caller: &Caller, request: &PutRequest) -> Result<(), Refused> {
        self.auth.may(caller, Access::Write, &request.key, &[])?;
        self.permit_lease(caller, Access::Write, request.lease)?;
        if request.prev_kv { self.auth.may(caller, Access::Read, &request.key, &[]) } else { Ok(()) }
    }

    fn permit_lease(&self, caller: &Caller, access: Access, lease: LeaseId) -> Result<(), Refused> {
        if self.auth.enforced == Enforced::No || lease == 0 {
            return Ok(());
        }
        let mut keys = self.lessor.keys_of(lease);
        keys.try_for_each(|key| self.auth.may(caller, access, key, &[]))
    }

    /// Whether a caller may end a lease or keep it alive.
    ///
    /// # Errors
    /// It is nobody, or there is a key that it may not write.
    pub fn permit_lease_use(&self, caller: &Caller, lease: LeaseId) -> Result<(), Refused> {
        self.auth.permit_somebody(caller)?;
        self.permit_lease(caller, Access::Write, lease)
    }

    /// Whether a caller may learn the keys of a lease.
    ///
    /// # Errors
    /// It is nobody, or there is one that it may not read.
    pub fn permit_lease_keys(&self, caller: &Caller, lease: LeaseId) -> Result<(), Refused> {
        self.auth.permit_somebody(caller)?;
        self.permit_lease(caller, Access::Read, lease)
    }

    /// Whether a caller may run a transaction, whichever way it goes.
    ///
    /// # Errors
    /// A key of a condition or of either branch, at any depth, is not the caller's.
    pub fn permit_txn(&self, caller: &Caller, request: &TxnRequest) -> Result<(), Refused> {
        if self.auth.enforced == Enforced::No {
            return Ok(());
        }
        for condition in &request.compare {
            self.auth.may(caller, Access::Read, &condition.key, &condition.range_end)?;
        }
        for op in request.success.iter().chain(&request.failure) {
            match &op.request {
                Some(Request::RequestRange(range)) => self.auth.permit_range(caller, range)?,
                Some(Request::RequestPut(put)) => self.permit_put(caller, put)?,
                Some(Request::RequestDeleteRange(delete)) => self.auth.permit_delete(caller, delete)?,
                Some(Request::RequestTxn(nested)) => self.permit_txn(caller, nested)?,
                None => {}
            }
        }
        Ok(())
    }
}
