//! Upkeep between writes: compaction in small steps, snapshots that make the log shorter.
use hull_kv_core::Scrub;

use super::Driver;
use crate::{
    limits::{SNAPSHOT_AFTER_BYTES, SNAPSHOT_SHARE},
    lock::{read, write},
    snapfile::{self, Effort, Written},
};

/// What became of the last snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Snapshots {
    #[default]
    Succeed,
    Fail,
}

impl Driver {
    /// Removes a little of what compaction made unreachable.
    pub fn scrub(&mut self) -> Scrub {
        write(&self.shared.store).scrub()
    }

    /// Whether enough is new to be worth a snapshot, or enough of the old was compacted away.
    pub fn wants_snapshot(&self) -> bool {
        let held = self.shared.runs.data_bytes();
        let enough = SNAPSHOT_AFTER_BYTES.max(held / SNAPSHOT_SHARE);
        if self.since_snapshot > enough {
            return true;
        }
        // After one that failed only more log is a reason to try again.
        if self.snapshots == Snapshots::Fail {
            return false;
        }
        let (unsettled, live) = {
            let store = read(&self.shared.store);
            (store.unsettled(), store.usage().bytes.saturating_sub(store.unsettled()))
        };
        unsettled > enough || held.saturating_sub(live) > snapfile::garbage_allowed(Effort::Usual, live)
    }

    /// A snapshot has begun: what is written from now on counts towards the next.
    pub fn snapshot_begun(&mut self) {
        self.since_snapshot = 0;
    }

    /// A snapshot could not be written.
    pub fn snapshot_failed(&mut self) {
        self.snapshots = Snapshots::Fail;
    }

    /// The data shall become small, and a snapshot is durable: the log begins a new file, so that the old one can go.
    pub fn renew_log(&mut self) {
        let next = self.raft.raft.raft_log.last_index() + 1;
        if let Err(error) = self.wal.renew(next) {
            eprintln!("hull-kv: begin a new log file: {error}; the old one goes on");
        }
    }

    /// A snapshot is durable: log files that it covers go.
    pub fn snapshot_done(&mut self, written: Written) {
        self.snapshots = Snapshots::Succeed;
        self.snapshot_bytes = written.bytes;
        if let Err(error) = self.wal.truncate_front(written.applied.index) {
            eprintln!("hull-kv: remove old log files: {error}; they stay until the next snapshot");
        }
    }
}
