//! What raft wants done, in the only order that is safe: persist, then send. The types leave no other.
use raft::{
    RawNode, ReadState, Ready as RaftReady,
    eraftpb::{Entry, HardState, Message, SnapshotMetadata},
};

use super::log::Log;
use crate::wal::Persisted;

/// Messages that may go out.
#[derive(Debug, Default)]
#[must_use = "peers wait for these"]
pub struct Messages(Vec<Message>);

impl Messages {
    /// The messages, to be sent now.
    pub(super) fn release(self) -> Vec<Message> {
        self.0
    }
}

/// One round of raft: what to write, and what that write will allow.
#[derive(Debug)]
pub(super) struct Ready {
    inner: RaftReady,
}

/// What a round allows once it is durable.
#[derive(Debug)]
pub(super) struct Released {
    /// Messages that promised what is durable now.
    pub messages: Messages,
    /// Entries that a majority holds, in order.
    pub committed: Vec<Entry>,
}

impl Ready {
    /// Takes the next round, if there is one.
    pub(super) fn take(raft: &mut RawNode<Log>) -> Option<Self> {
        raft.has_ready().then(|| Self { inner: raft.ready() })
    }

    /// Messages that promise nothing of this round (a leader's appends).
    pub(super) fn early_messages(&mut self) -> Messages {
        Messages(self.inner.take_messages())
    }

    /// Reads that the leader proved to be safe.
    pub(super) fn read_states(&mut self) -> Vec<ReadState> {
        self.inner.take_read_states()
    }

    /// Where the snapshot stands that takes the log's place.
    pub(super) fn snapshot(&self) -> Option<&SnapshotMetadata> {
        let snapshot = self.inner.snapshot();
        (!snapshot.is_empty()).then(|| snapshot.get_metadata())
    }

    /// Entries to make durable.
    pub(super) fn entries(&self) -> &[Entry] {
        self.inner.entries()
    }

    /// Hard state to make durable.
    pub(super) fn hard_state(&self) -> Option<&HardState> {
        self.inner.hs()
    }

    /// Whether the round has anything that must be on disk before it goes on.
    pub(super) fn needs_disk(&self) -> bool {
        self.inner.must_sync() || !self.inner.entries().is_empty()
    }

    /// The round is durable: raft's log takes the entries, and what waited for that comes free.
    pub(super) fn persisted(mut self, raft: &mut RawNode<Log>, _proof: Persisted) -> Released {
        let entries = self.inner.take_entries();
        let state = self.inner.hs().cloned();
        let mut messages = self.inner.take_persisted_messages();
        let mut committed = self.inner.take_committed_entries();
        let log = raft.mut_store();
        log.append(entries);
        if let Some(state) = state {
            log.set_state(state);
        }
        let mut light = raft.advance_append(self.inner);
        if let Some(commit) = light.commit_index() {
            raft.mut_store().set_commit(commit);
        }
        messages.extend(light.take_messages());
        committed.extend(light.take_committed_entries());
        Released { messages: Messages(messages), committed }
    }
}
