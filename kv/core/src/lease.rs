//! Leases: what the cluster agrees on (id, time to live, keys), and beside it the leader's own clockwork (deadlines).
//!
//! Only the leader has deadlines. A new leader starts every lease afresh with its whole time, plus the election's, so
//! that no lease ends because its keeper could not reach a leader; a former leader forgets its deadlines.
use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::Refused,
    limits::{MAX_LEASE_SECONDS, MIN_LEASE_SECONDS},
    record::Key,
};

/// A lease's number; 0 is no lease.
pub type LeaseId = i64;

/// A point of the caller's monotonic clock, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// This point plus a number of seconds.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)))
    }
}

#[derive(Debug)]
struct Lease {
    ttl: i64,
    keys: BTreeSet<Key>,
    deadline: Option<Instant>,
}

/// Whether this member watches over the leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Role {
    #[default]
    Follower,
    Leader,
}

/// All leases of the store.
#[derive(Debug, Default)]
pub struct Lessor {
    leases: BTreeMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
    role: Role,
}

impl Lessor {
    /// Creates a lease; answers the time to live it got, which is at least [`MIN_LEASE_SECONDS`].
    pub(crate) fn grant(&mut self, id: LeaseId, ttl: i64, now: Instant) -> Result<i64, Refused> {
        if id == 0 {
            return Err(Refused::LeaseNotFound);
        }
        if ttl > MAX_LEASE_SECONDS {
            return Err(Refused::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Refused::LeaseExists);
        }
        let ttl = ttl.max(MIN_LEASE_SECONDS);
        self.leases.insert(id, Lease { ttl, keys: BTreeSet::new(), deadline: None });
        if self.role == Role::Leader {
            self.set_deadline(id, now.plus_seconds(ttl));
        }
        Ok(ttl)
    }

    /// Removes a lease; answers its keys in order.
    pub(crate) fn remove(&mut self, id: LeaseId) -> Result<BTreeSet<Key>, Refused> {
        let lease = self.leases.remove(&id).ok_or(Refused::LeaseNotFound)?;
        if let Some(deadline) = lease.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Ok(lease.keys)
    }

    pub(crate) fn attach(&mut self, id: LeaseId, key: Key) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(key);
        }
    }

    pub(crate) fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// Puts a lease back from a snapshot.
    pub(crate) fn restore(&mut self, id: LeaseId, ttl: i64) {
        self.leases.insert(id, Lease { ttl, keys: BTreeSet::new(), deadline: None });
    }

    /// Whether the lease exists.
    pub fn exists(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Keys of a lease, in order; none of an unknown lease.
    pub(crate) fn keys_of(&self, id: LeaseId) -> impl Iterator<Item = &Key> {
        self.leases.get(&id).into_iter().flat_map(|lease| &lease.keys)
    }

    /// Leases in order of their ids, as (id, time to live).
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, i64)> {
        self.leases.iter().map(|(id, lease)| (*id, lease.ttl))
    }

    /// Ids of all leases, the next to end first.
    pub fn ids(&self) -> Vec<LeaseId> {
        let mut ids: Vec<_> = self.leases.iter().map(|(id, lease)| (lease.deadline, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Starts the whole time of a lease again; answers it in seconds. `None`: no such lease, or its time is over and
    /// its end is on the way.
    pub fn renew(&mut self, id: LeaseId, now: Instant) -> Option<i64> {
        let lease = self.leases.get_mut(&id)?;
        if lease.deadline.is_some_and(|deadline| deadline <= now) {
            return None;
        }
        let ttl = lease.ttl;
        self.set_deadline(id, now.plus_seconds(ttl));
        Some(ttl)
    }

    /// (seconds left, seconds granted, keys) of a lease. Without a deadline of its own a follower says the whole time.
    pub fn time_to_live(&self, id: LeaseId, now: Instant) -> Option<(i64, i64, impl Iterator<Item = &[u8]>)> {
        let lease = self.leases.get(&id)?;
        let left = match lease.deadline {
            Some(deadline) => i64::try_from(deadline.0.saturating_sub(now.0) / 1000).unwrap_or(i64::MAX),
            None => lease.ttl,
        };
        Some((left, lease.ttl, lease.keys.iter().map(|key| &**key)))
    }

    /// This member leads from now on: every lease starts afresh, `extend` seconds longer.
    pub fn lead(&mut self, now: Instant, extend: i64) {
        self.role = Role::Leader;
        let all: Vec<_> = self.leases.iter().map(|(id, lease)| (*id, lease.ttl)).collect();
        for (id, seconds) in all {
            self.set_deadline(id, now.plus_seconds(seconds.saturating_add(extend)));
        }
    }

    /// This member leads no more: it must end no lease.
    pub fn follow(&mut self) {
        self.role = Role::Follower;
        self.deadlines.clear();
        for lease in self.leases.values_mut() {
            lease.deadline = None;
        }
    }

    /// Leases whose time is over, at most `limit`, the longest overdue first.
    pub fn overdue(&self, now: Instant, limit: usize) -> Vec<LeaseId> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).take(limit).map(|(_, id)| *id).collect()
    }

    /// When the next lease is over.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn set_deadline(&mut self, id: LeaseId, deadline: Instant) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if let Some(old) = lease.deadline.replace(deadline) {
            self.deadlines.remove(&(old, id));
        }
        self.deadlines.insert((deadline, id));
    }
}
