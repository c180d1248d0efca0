//! The state as a sequence of small parts, and back. Taking and restoring need memory for one part only.
//!
//! A snapshot can be taken while entries are applied: revisions never change, so it takes those up to where it began
//! and everything small (leases, alarms, members) at its very start. While it is taken, compaction must not be scrubbed.
use std::sync::Arc;

use bytes::Bytes;
use hull_kv_proto::{
    hullpb::{LeaseRecord, RevisionRecord, SnapshotHead, SnapshotPart},
    mvccpb::KeyValue,
};

use crate::{
    alarm::Alarms,
    auth::Auth,
    error::Refused,
    index::{Index, Step},
    lease::LeaseId,
    limits::SNAPSHOT_PART_BYTES,
    member::{Member, Members, Vote},
    record::{Change, Key, Record, Revision},
    store::{Applied, Store},
    value::{Place, Unreadable, Value, Values},
};

/// Leases in one part.
const LEASES_A_PART: usize = 1024;

/// Takes a snapshot part by part. A copy takes the same one again.
#[derive(Debug, Clone)]
pub struct SnapshotCursor {
    head: Option<SnapshotHead>,
    leases: std::vec::IntoIter<LeaseRecord>,
    next: Revision,
    last: i64,
    applied: Applied,
}

/// A part whose values may still lie outside memory, so that they can be read without holding the store up.
#[derive(Debug)]
pub struct Unread {
    /// Head, if it is the first part, and leases.
    pub small: SnapshotPart,
    records: Vec<Record>,
    values: Arc<dyn Values>,
}

impl Unread {
    /// Leaves out records, told by key and revision, that `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], Revision) -> bool) {
        self.records.retain(|record| keep(&record.key, record.rev));
    }

    /// The part with all its values.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read(self) -> Result<SnapshotPart, Unreadable> {
        let mut part = self.small;
        part.records.reserve_exact(self.records.len());
        for record in &self.records {
            part.records.push(to_wire(record, record.to_kv(&*self.values)?));
        }
        Ok(part)
    }
}

impl SnapshotCursor {
    /// Begins a snapshot of the state as it is now.
    ///
    /// # Errors
    /// A command had only a part of its effect.
    pub fn new(store: &Store) -> Result<Self, Unreadable> {
        Self::since(store, Revision::default())
    }

    /// Like [`Self::new`], with only those records that are not below a revision.
    ///
    /// # Errors
    /// A command had only a part of its effect.
    pub fn since(store: &Store, from: Revision) -> Result<Self, Unreadable> {
        store.check_whole()?;
        let head = SnapshotHead {
            applied_index: store.applied.index,
            applied_term: store.applied.term,
            cluster_id: store.cluster_id,
            voters: store.members.ids(Vote::Voter),
            learners: store.members.ids(Vote::Learner),
            members: store.members.to_wire(),
            revision: store.revision,
            compacted: store.compacted,
            alarms: store.alarms.all().to_vec(),
            records: store.history.len() as u64,
            auth: Some(store.auth.to_wire()),
            downgrade: store.downgrade.clone(),
            removed: store.members.removed(),
        };
        let leases: Vec<_> = store.lessor.iter().map(|(id, ttl_seconds)| LeaseRecord { id, ttl_seconds }).collect();
        Ok(Self {
            head: Some(head),
            leases: leases.into_iter(),
            next: from,
            last: store.revision,
            applied: store.applied,
        })
    }

    /// Where in the log the snapshot stands.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// The current revision when it began.
    pub fn revision(&self) -> i64 {
        self.last
    }

    /// The next part; `None` after the last.
    pub fn next_part(&mut self, store: &Store) -> Option<Unread> {
        let small = |small| Unread { small, records: Vec::new(), values: Arc::clone(store.values()) };
        if let Some(head) = self.head.take() {
            return Some(small(SnapshotPart { head: Some(head), ..SnapshotPart::default() }));
        }
        let leases: Vec<_> = self.leases.by_ref().take(LEASES_A_PART).collect();
        if !leases.is_empty() {
            return Some(small(SnapshotPart { leases, ..SnapshotPart::default() }));
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        for record in store.history.since(self.next) {
            if record.rev.main > self.last || bytes >= SNAPSHOT_PART_BYTES {
                break;
            }
            self.next = Revision { main: record.rev.main, sub: record.rev.sub + 1 };
            bytes += record.bytes() as usize;
            records.push(record);
        }
        let unread = Unread { small: SnapshotPart::default(), records, values: Arc::clone(store.values()) };
        (!unread.records.is_empty()).then_some(unread)
    }
}

fn to_wire(record: &Record, kv: KeyValue) -> RevisionRecord {
    RevisionRecord {
        main: record.rev.main,
        sub: i64::from(record.rev.sub),
        tombstone: record.change == Change::Tombstone,
        kv: Some(kv),
        value_length: 0,
    }
}

/// Why a sequence of parts is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreError {
    /// The first part is not the head.
    NoHead,
    /// A second head.
    SecondHead,
    /// A revision that is not above the one before it, or above the head's.
    OutOfOrder,
    /// A revision without its pair.
    NoPair,
    /// Fewer or more revisions than the head said.
    WrongCount {
        /// The head's number.
        expected: u64,
        /// How many there were.
        found: u64,
    },
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoHead => f.write_str("the first part is not the head"),
            Self::SecondHead => f.write_str("there is a second head"),
            Self::OutOfOrder => f.write_str("revisions are out of order"),
            Self::NoPair => f.write_str("a revision has no key"),
            Self::WrongCount { expected, found } => write!(f, "{found} revisions where the head says {expected}"),
        }
    }
}

impl std::error::Error for RestoreError {}

/// Puts a state together from parts.
#[derive(Debug, Default)]
pub struct Restore {
    store: Store,
    /// What becomes the index at the end.
    changes: Vec<(Key, Step)>,
    /// Changes that gave a key to a lease.
    leased: Vec<(Key, Revision, LeaseId)>,
    expected: Option<u64>,
    last: Revision,
    found: u64,
}

impl Restore {
    /// Takes the next part.
    ///
    /// # Errors
    /// The part does not belong there; the restore is over then.
    pub fn part(&mut self, part: SnapshotPart) -> Result<(), RestoreError> {
        if let Some(head) = part.head {
            self.head(head)?;
        }
        if self.expected.is_none() {
            return Err(RestoreError::NoHead);
        }
        // Only before the records: which of them a lease has is found out at the end.
        if self.found > 0 && !part.leases.is_empty() {
            return Err(RestoreError::OutOfOrder);
        }
        for lease in part.leases {
            self.store.lessor.restore(lease.id, lease.ttl_seconds);
        }
        part.records.into_iter().try_for_each(|record| self.record(record, None))
    }

    /// Takes a record whose value lies at a place that the store's [`Values`] will know; `None`: it has none.
    ///
    /// # Errors
    /// The record does not belong there; the restore is over then.
    pub fn placed(&mut self, record: RevisionRecord, place: Option<Place>) -> Result<(), RestoreError> {
        if self.expected.is_none() {
            return Err(RestoreError::NoHead);
        }
        self.record(record, place)
    }

    fn head(&mut self, head: SnapshotHead) -> Result<(), RestoreError> {
        if self.expected.replace(head.records).is_some() {
            return Err(RestoreError::SecondHead);
        }
        let store = &mut self.store;
        store.applied = Applied { index: head.applied_index, term: head.applied_term };
        store.cluster_id = head.cluster_id;
        store.revision = head.revision;
        store.compacted = head.compacted;
        store.alarms = Alarms::restore(head.alarms);
        store.auth = head.auth.map(Auth::from_wire).unwrap_or_default();
        let mut members = Members::default();
        head.members.into_iter().map(Member::from).for_each(|member| members.insert(member));
        members.restore_removed(head.removed);
        store.members = members;
        store.downgrade = head.downgrade;
        Ok(())
    }

    fn record(&mut self, wire: RevisionRecord, place: Option<Place>) -> Result<(), RestoreError> {
        let sub = u32::try_from(wire.sub).map_err(|_| RestoreError::OutOfOrder)?;
        let rev = Revision { main: wire.main, sub };
        if rev <= self.last || rev.main > self.store.revision {
            return Err(RestoreError::OutOfOrder);
        }
        let KeyValue { key, create_revision, version, value, lease, .. } = wire.kv.ok_or(RestoreError::NoPair)?;
        self.last = rev;
        self.found += 1;
        let change = if wire.tombstone { Change::Tombstone } else { Change::Put };
        let record = Record {
            rev,
            change,
            create: create_revision,
            version,
            lease,
            key: Key::from(&*key),
            value: place.map_or_else(|| Value::Here(Bytes::copy_from_slice(&value)), Value::Away),
        };
        if lease != 0 {
            self.leased.push((Key::clone(&record.key), rev, lease));
        }
        self.changes.push((Key::clone(&record.key), Step::new(rev, change)));
        self.store.history.push(record);
        Ok(())
    }

    /// The state, if everything was there.
    ///
    /// # Errors
    /// No head, or another number of revisions than it said.
    pub fn finish(mut self) -> Result<Store, RestoreError> {
        let expected = self.expected.ok_or(RestoreError::NoHead)?;
        let Store { history, index, lessor, .. } = &mut self.store;
        *index = Index::build(self.changes, |rev, key| history.share_key(rev, key));
        // A key is its lease's as long as nothing came after.
        for (key, rev, lease) in self.leased {
            if let Some(key) = index.shared_if_newest(&key, rev) {
                lessor.attach(lease, key);
            }
        }
        if expected != self.found {
            return Err(RestoreError::WrongCount { expected, found: self.found });
        }
        // A compaction may have been under way.
        let compacted = self.store.compacted;
        if compacted > 0 {
            self.store.compacted = compacted - 1;
            let resumed: Result<(), Refused> = self.store.compact(compacted);
            debug_assert!(resumed.is_ok(), "a compacted revision is at or below the current one");
        }
        Ok(self.store)
    }
}
