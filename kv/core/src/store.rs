//! The state as a whole, and its upkeep: where it stands in the log, and compaction in small steps.
use crate::{
    alarm::Alarms,
    auth::Auth,
    error::Refused,
    history::History,
    index::{Index, Step},
    lease::Lessor,
    member::Members,
    record::{Change, Key, Record, Revision},
    watch::WatchHub,
};

/// The last log entry whose effects the state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Raft index.
    pub index: u64,
    /// Raft term of that entry.
    pub term: u64,
}

/// Whether compaction has removed everything that it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrub {
    /// Nothing is left to remove.
    Done,
    /// Call again.
    More,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Keys that exist now.
    pub keys: usize,
    /// Revisions that are still there.
    pub revisions: usize,
    /// Bytes of keys and values of those revisions, with their bookkeeping.
    pub bytes: u64,
}

/// Bytes that a revision takes besides key and value, for [`Usage::bytes`].
const RECORD_OVERHEAD: u64 = 64;

/// The state machine.
#[derive(Debug)]
pub struct Store {
    pub(crate) index: Index,
    pub(crate) history: History,
    pub(crate) lessor: Lessor,
    pub(crate) alarms: Alarms,
    pub(crate) auth: Auth,
    pub(crate) members: Members,
    pub(crate) applied: Applied,
    pub(crate) cluster_id: u64,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) hub: WatchHub,
    /// Where removing goes on; `None` when there is nothing to remove.
    scrub_from: Option<Revision>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store at revision 1, as etcd starts.
    pub fn new() -> Self {
        Self {
            index: Index::default(),
            history: History::default(),
            lessor: Lessor::default(),
            alarms: Alarms::default(),
            auth: Auth::default(),
            members: Members::default(),
            applied: Applied::default(),
            cluster_id: 0,
            revision: 1,
            compacted: -1,
            hub: WatchHub::default(),
            scrub_from: None,
        }
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision of the last compaction; -1 before the first, as etcd says.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Where the state stands in the log.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// The cluster's number; 0 until [`Self::found`] or a snapshot sets it.
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// Gives a new cluster its number and first members. Every first member must call it with the same arguments. The
    /// members stand at `at`, beyond the log's start, so that nobody can take them for what an empty log says.
    pub fn found(&mut self, cluster_id: u64, members: Members, at: Applied) {
        debug_assert!(self.applied == Applied::default(), "a cluster is founded once");
        self.cluster_id = cluster_id;
        self.members = members;
        self.applied = at;
    }

    /// Becomes what a snapshot from elsewhere says. Watchers stay registered, and those that have not seen everything
    /// up to the new revision are marked; tokens stay, as they are no part of a snapshot.
    pub fn become_restored(&mut self, mut restored: Self) {
        std::mem::swap(&mut restored.hub, &mut self.hub);
        std::mem::swap(restored.auth.tokens_mut(), self.auth.tokens_mut());
        restored.hub.mark_all(self.revision + 1);
        *self = restored;
    }

    /// Leases.
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// Leases, for the leader's clockwork (renewing, leading, following).
    pub fn lessor_mut(&mut self) -> &mut Lessor {
        &mut self.lessor
    }

    /// Alarms that are up.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Users and roles.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// How long an unused token lives on this member (milliseconds).
    pub fn set_token_ttl(&mut self, ttl_ms: u64) {
        self.auth.tokens_mut().set_ttl(ttl_ms);
    }

    /// Members of the cluster.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Members of the cluster, for configuration changes.
    pub fn members_mut(&mut self) -> &mut Members {
        &mut self.members
    }

    /// The registry of watchers.
    pub fn hub_mut(&mut self) -> &mut WatchHub {
        &mut self.hub
    }

    /// How much there is.
    pub fn usage(&self) -> Usage {
        Usage {
            keys: self.index.live(),
            revisions: self.history.len(),
            bytes: self.history.bytes() + self.history.len() as u64 * RECORD_OVERHEAD,
        }
    }

    /// An entry without a command (a new leader's first) or a configuration change took its place in the log.
    pub fn skip(&mut self, applied: Applied) {
        debug_assert!(applied.index == self.applied.index + 1, "entries come in order");
        self.applied = applied;
    }

    /// Appends one change to index and history.
    pub(crate) fn append(&mut self, key: &[u8], mut record: Record) -> Key {
        let key = self.index.push(key, Step::new(record.rev, record.change));
        record.key = Key::clone(&key);
        self.history.push(record);
        key
    }

    /// The record under which `key` exists at `at`.
    pub(crate) fn lookup(&self, key: &[u8], at: i64) -> Option<&Record> {
        self.history.get(self.index.get(key, at)?)
    }

    /// From now on no read is answered below `revision`; the space comes back through [`Self::scrub`].
    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), Refused> {
        if revision <= self.compacted {
            return Err(Refused::Compacted);
        }
        if revision > self.revision {
            return Err(Refused::FutureRevision);
        }
        self.compacted = revision;
        self.scrub_from = Some(Revision::default());
        Ok(())
    }

    /// Removes some of what the last compaction made unreachable: one chunk of the history a call.
    pub fn scrub(&mut self) -> Scrub {
        let Some(from) = self.scrub_from else { return Scrub::Done };
        let at = self.compacted;
        let index = &mut self.index;
        let until = Revision { main: at, sub: u32::MAX };
        self.scrub_from = self.history.thin_chunk(from, until, |record| {
            if record.rev.main > at {
                return true;
            }
            index.compact_key(&record.key, at);
            index.knows(&record.key, record.rev)
        });
        if self.scrub_from.is_some() { Scrub::More } else { Scrub::Done }
    }

    /// Whether a revision of a key outlives a compaction at `compacted`, whether or not that is through.
    pub fn outlives(&self, key: &[u8], revision: Revision, compacted: i64) -> bool {
        revision.main > compacted || self.index.outlives(key, revision, compacted)
    }

    /// A record for a deletion.
    pub(crate) fn tombstone(rev: Revision) -> Record {
        Record {
            rev,
            change: Change::Tombstone,
            create: 0,
            version: 0,
            lease: 0,
            key: Key::from([]),
            value: Box::default(),
        }
    }
}
