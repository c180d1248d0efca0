//! The state as a sequence of small parts, and back. Taking and restoring need memory for one part only.
//!
//! A snapshot can be taken while entries are applied: revisions never change, so it takes those up to where it began
//! and everything small (leases, alarms, members) at its very start. While it is taken, compaction must not be scrubbed.
use hull_kv_proto::{
    hullpb::{LeaseRecord, RevisionRecord, SnapshotHead, SnapshotPart},
    mvccpb::KeyValue,
};

use crate::{
    alarm::Alarms,
    auth::Auth,
    error::Refused,
    limits::SNAPSHOT_PART_BYTES,
    member::{Member, Members, Vote},
    record::{Change, Key, Record, Revision},
    store::{Applied, Store},
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

impl SnapshotCursor {
    /// Begins a snapshot of the state as it is now.
    pub fn new(store: &Store) -> Self {
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
            removed: store.members.removed(),
        };
        let leases: Vec<_> = store
            .lessor
            .iter()
            .map(|(id, ttl_seconds, remaining_seconds)| LeaseRecord { id, ttl_seconds, remaining_seconds })
            .collect();
        Self {
            head: Some(head),
            leases: leases.into_iter(),
            next: Revision::default(),
            last: store.revision,
            applied: store.applied,
        }
    }

    /// Where in the log the snapshot stands.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// The next part; `None` after the last.
    pub fn next_part(&mut self, store: &Store) -> Option<SnapshotPart> {
        if let Some(head) = self.head.take() {
            return Some(SnapshotPart { head: Some(head), ..SnapshotPart::default() });
        }
        let leases: Vec<_> = self.leases.by_ref().take(LEASES_A_PART).collect();
        if !leases.is_empty() {
            return Some(SnapshotPart { leases, ..SnapshotPart::default() });
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        for record in store.history.since(self.next) {
            if record.rev.main > self.last || bytes >= SNAPSHOT_PART_BYTES {
                break;
            }
            self.next = Revision { main: record.rev.main, sub: record.rev.sub + 1 };
            bytes += record.bytes() as usize;
            records.push(to_wire(record));
        }
        (!records.is_empty()).then(|| SnapshotPart { records, ..SnapshotPart::default() })
    }
}

fn to_wire(record: &Record) -> RevisionRecord {
    RevisionRecord {
        main: record.rev.main,
        sub: i64::from(record.rev.sub),
        tombstone: record.change == Change::Tombstone,
        kv: Some(record.to_kv()),
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
        for lease in part.leases {
            self.store.lessor.restore(lease.id, lease.ttl_seconds, lease.remaining_seconds);
        }
        part.records.into_iter().try_for_each(|record| self.record(record))
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
        Ok(())
    }

    fn record(&mut self, wire: RevisionRecord) -> Result<(), RestoreError> {
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
            key: Key::from([]),
            value: Box::from(&*value),
        };
        let previous = self.store.lookup(&key, rev.main).map_or(0, |old| old.lease);
        let key = self.store.append(&key, record);
        if previous != 0 && previous != lease {
            self.store.lessor.detach(previous, &key);
        }
        if lease != 0 {
            self.store.lessor.attach(lease, key);
        }
        Ok(())
    }

    /// The state, if everything was there.
    ///
    /// # Errors
    /// No head, or another number of revisions than it said.
    pub fn finish(mut self) -> Result<Store, RestoreError> {
        let expected = self.expected.ok_or(RestoreError::NoHead)?;
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
