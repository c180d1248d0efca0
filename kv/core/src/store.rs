//! The state as a whole, and its upkeep: where it stands in the log, and compaction in small steps.
use std::sync::Arc;

use crate::{
    alarm::Alarms,
    auth::Auth,
    error::Refused,
    history::History,
    index::{Index, Step},
    lease::Lessor,
    limits::COMPARED_REVISIONS,
    member::Members,
    record::{Change, Key, Record, Revision},
    value::{Nowhere, Place, Unreadable, Value, Values},
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

/// Whether every command had its whole effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    /// A value that a command needed could not be read when some of its changes were made.
    No,
}

/// Bytes that a revision takes besides key and value, for [`Usage::bytes`].
pub(crate) const RECORD_OVERHEAD: u64 = 64;

/// The state machine.
#[derive(Debug)]
pub struct Store {
    pub(crate) index: Index,
    pub(crate) history: History,
    pub(crate) lessor: Lessor,
    pub(crate) alarms: Alarms,
    pub(crate) auth: Auth,
    pub(crate) members: Members,
    /// The version that a downgrade was announced to; empty without one.
    pub(crate) downgrade: String,
    pub(crate) applied: Applied,
    pub(crate) cluster_id: u64,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) hub: WatchHub,
    pub(crate) values: Arc<dyn Values>,
    whole: Whole,
    /// What lies above this revision is in no file yet.
    settled: i64,
    /// [`History::appended`] when that was found.
    appended_then: u64,
    /// The first deletion that could go but is in no file yet.
    owed: Option<Revision>,
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
            downgrade: String::new(),
            applied: Applied::default(),
            cluster_id: 0,
            revision: 1,
            compacted: -1,
            hub: WatchHub::default(),
            values: Arc::new(Nowhere),
            whole: Whole::Yes,
            settled: i64::MAX,
            appended_then: 0,
            owed: None,
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

    /// The version that a downgrade of the cluster was announced to, if one was.
    pub fn downgrade(&self) -> Option<&str> {
        Some(self.downgrade.as_str()).filter(|target| !target.is_empty())
    }

    /// Whether a state that claims to be a later one of this lacks one of the newest changes here, or has another in its place. What
    /// it has compacted tells nothing.
    pub fn is_contradicted_by(&self, later: &Self) -> bool {
        let from = (self.revision - COMPARED_REVISIONS).max(later.compacted) + 1;
        self.revision > later.revision
            || self.history.since(Revision { main: from, sub: 0 }).any(|own| {
                let other = later.history.since(own.rev).next();
                other.is_none_or(|other| (other.rev, &*other.key, other.version) != (own.rev, &*own.key, own.version))
            })
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

    /// Reads values that lie outside memory.
    pub fn values(&self) -> &Arc<dyn Values> {
        &self.values
    }

    /// Values outside memory are read by this from now on; it must know every place that the store has.
    pub fn set_values(&mut self, values: Arc<dyn Values>) {
        self.values = values;
    }

    /// Gives values their places outside memory: `place` is asked for each value that is not empty, in the order of
    /// their revisions, from `from` up to transaction `until`. Does a bounded number; answers the revision to go on
    /// from, `None` after the last. What [`crate::SnapshotCursor`] took comes in the same order.
    pub fn place_values(
        &mut self,
        from: Revision,
        until: i64,
        place: &mut dyn FnMut(u32) -> Place,
    ) -> Option<Revision> {
        self.history.place_chunk(from, until, place)
    }

    /// Bytes of keys and values ever appended, with what each record is charged for.
    pub fn appended(&self) -> u64 {
        self.history.appended()
    }

    /// Bytes of what was appended and is in no file yet, with what compaction has removed since.
    pub fn unsettled(&self) -> u64 {
        self.history.appended().saturating_sub(self.appended_then)
    }

    /// Everything up to `revision` is in files now; [`Self::appended`] was `appended` then. Deletions above it outlast
    /// their compaction until they are in a file, too: without them, a start from the files would find what they
    /// deleted. A store that nobody told lets go of them at once.
    pub fn set_settled(&mut self, revision: i64, appended: u64) {
        (self.settled, self.appended_then) = (revision, appended);
        if let Some(owed) = self.owed.take() {
            self.scrub_from = Some(self.scrub_from.map_or(owed, |from| from.min(owed)));
        }
    }

    /// A command had only a part of its effect: nothing may be read any more.
    pub(crate) fn tear(&mut self) {
        self.whole = Whole::No;
    }

    /// # Errors
    /// A command had only a part of its effect.
    pub(crate) fn check_whole(&self) -> Result<(), Unreadable> {
        if self.whole == Whole::Yes { Ok(()) } else { Err(Unreadable) }
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
    pub(crate) fn lookup(&self, key: &[u8], at: i64) -> Option<Record> {
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
        let (index, owed, settled) = (&mut self.index, &mut self.owed, self.settled);
        let until = Revision { main: at, sub: u32::MAX };
        self.scrub_from = self.history.thin_chunk(from, until, |record| {
            if record.rev.main > at {
                return true;
            }
            index.compact_key(&record.key, at);
            if index.knows(&record.key, record.rev) {
                return true;
            }
            let owes = record.change == Change::Tombstone && record.rev.main > settled;
            if owes {
                *owed = Some(owed.map_or(record.rev, |first| first.min(record.rev)));
            }
            owes
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
            value: Value::NONE,
        }
    }
}
