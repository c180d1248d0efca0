//! The part of the log that raft may still ask for, in memory: everything not applied, and a tail for slow followers.
use std::collections::VecDeque;

use raft::{
    Error, GetEntriesContext, RaftState, Result, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot},
    util::limit_size,
};

/// Raft's view of the log.
#[derive(Debug)]
pub(super) struct Log {
    /// (index, term) of the entry before the first one held.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    state: HardState,
    conf: ConfState,
    /// The last entry whose effects the store holds.
    applied: u64,
    /// Bytes of the applied entries that are held.
    applied_bytes: usize,
}

/// What an entry takes in memory (bytes).
fn size(entry: &Entry) -> usize {
    std::mem::size_of::<Entry>() + entry.data.len() + entry.context.len()
}

impl Log {
    /// A log that goes on after the entry (`index`, `term`).
    pub(super) fn new(index: u64, term: u64, entries: Vec<Entry>, state: HardState, conf: ConfState) -> Self {
        Self { before: (index, term), entries: entries.into(), state, conf, applied: index, applied_bytes: 0 }
    }

    /// Begins anew after a snapshot from elsewhere.
    pub(super) fn restart(&mut self, index: u64, term: u64, conf: ConfState) {
        *self = Self::new(index, term, Vec::new(), self.state.clone(), conf);
    }

    /// The last entry whose effects the store holds.
    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// The store has taken everything up to `index`.
    pub(super) fn set_applied(&mut self, index: u64) {
        let first = self.before.0 + 1;
        let from = (self.applied + 1 - first) as usize;
        let to = ((index + 1 - first) as usize).min(self.entries.len());
        self.applied_bytes += self.entries.range(from..to).map(size).sum::<usize>();
        self.applied = index;
    }

    /// Takes entries that are durable now; those with known indices replace what was there.
    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        debug_assert!(first.index > self.before.0, "applied entries never change");
        self.entries.truncate((first.index - self.before.0 - 1) as usize);
        self.entries.extend(entries);
    }

    /// Takes the hard state that is durable now.
    pub(super) fn set_state(&mut self, state: HardState) {
        self.state = state;
    }

    /// The hard state.
    pub(super) fn state(&self) -> &HardState {
        &self.state
    }

    /// Moves the commit index, which alone need not be durable.
    pub(super) fn set_commit(&mut self, commit: u64) {
        self.state.commit = commit;
    }

    /// Takes the voters and learners of an applied change.
    pub(super) fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    /// Forgets applied entries, the oldest first, until no more than `keep` bytes are held; those from `needed` on, which
    /// somebody lags behind for, until no more than `limit` bytes are held.
    pub(super) fn forget(&mut self, needed: u64, keep: usize, limit: usize) {
        while let Some(first) = self.entries.front()
            && first.index <= self.applied
            && (self.applied_bytes > limit || self.applied_bytes > keep && first.index < needed)
        {
            self.before = (first.index, first.term);
            self.applied_bytes -= size(first);
            self.entries.pop_front();
        }
    }

    fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }
}

impl Storage for Log {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.state.clone(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.before.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let from = (low - self.before.0 - 1) as usize;
        let to = (high - self.before.0 - 1) as usize;
        let mut entries: Vec<Entry> = self.entries.range(from..to).cloned().collect();
        limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        if index < self.before.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let at = (index - self.before.0 - 1) as usize;
        self.entries.get(at).map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.before.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    /// Only where a snapshot would stand; its bytes go by a connection of their own.
    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        let index = self.applied;
        if index < request_index || index == 0 {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = self.term(index)?;
        metadata.set_conf_state(self.conf.clone());
        Ok(snapshot)
    }
}
