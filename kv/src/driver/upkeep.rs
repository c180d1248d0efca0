//! Upkeep between writes: compaction in small steps, snapshots that make the log shorter.
use hull_kv_core::Scrub;

use super::Driver;
use crate::{limits::SNAPSHOT_AFTER_BYTES, lock::write, snapfile::Written};

impl Driver {
    /// Removes a little of what compaction made unreachable.
    pub fn scrub(&mut self) -> Scrub {
        write(&self.shared.store).scrub()
    }

    /// Whether the log has grown enough to be worth a snapshot: it costs as much as it saves.
    pub fn wants_snapshot(&self) -> bool {
        self.since_snapshot > SNAPSHOT_AFTER_BYTES.max(self.snapshot_bytes)
    }

    /// A snapshot has begun: what is written from now on counts towards the next.
    pub fn snapshot_begun(&mut self) {
        self.since_snapshot = 0;
    }

    /// A snapshot is durable: log files that it covers go.
    pub fn snapshot_done(&mut self, written: Written) {
        self.snapshot_bytes = written.bytes;
        if let Err(error) = self.wal.truncate_front(written.applied.index) {
            eprintln!("hull-kv: remove old log files: {error}; they stay until the next snapshot");
        }
    }
}
