//! Upkeep between writes: compaction in small steps, snapshots that make the log shorter.
use hull_kv_core::{Instant, Scrub};

use super::Driver;
use crate::{
    limits::{SNAPSHOT_AFTER_BYTES, SNAPSHOT_DISK_SHARE, SNAPSHOT_QUIET, SNAPSHOT_SHARE, SNAPSHOT_TRICKLE},
    lock::{read, write},
    snapfile::{self, Effort, Written},
};

/// What became of the last snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Succeeded,
    Failed,
}

/// When a snapshot begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Next to nothing is written.
    Pause,
    /// Writes come without a pause, and will want the memory again that it frees.
    AmidWrites,
}

/// What has gathered since the last snapshot began.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Bytes of log.
    log: u64,
    /// So many of them were there when somebody looked, and next to nothing was written since.
    seen: u64,
    seen_at: Instant,
    /// Bytes that may gather while writes come without a pause.
    burst: u64,
    last: Last,
    /// When the last snapshot began.
    moment: Moment,
}

impl Gathered {
    pub(super) fn new(log: u64, burst: u64) -> Self {
        Self { log, seen: log, seen_at: Instant::default(), burst, last: Last::Succeeded, moment: Moment::Pause }
    }

    /// So much was written.
    pub(super) fn add(&mut self, bytes: u64) {
        self.log += bytes;
    }

    /// Looks whether more than next to nothing was written: a write may have taken long, so that it counts from now on.
    fn look(&mut self, now: Instant) {
        if self.log > self.seen + SNAPSHOT_TRICKLE {
            (self.seen, self.seen_at) = (self.log, now);
        }
    }

    /// A snapshot begins: what is written from now on counts towards the next.
    fn begin(&mut self, moment: Moment) {
        self.restart();
        self.moment = moment;
    }

    /// A snapshot came from elsewhere.
    pub(super) fn restart(&mut self) {
        (self.log, self.seen) = (0, 0);
    }

    fn moment(&mut self, now: Instant) -> Moment {
        self.look(now);
        if now < self.pause() { Moment::AmidWrites } else { Moment::Pause }
    }

    /// When it is a pause if next to nothing more is written.
    fn pause(&self) -> Instant {
        Instant(self.seen_at.0.saturating_add(SNAPSHOT_QUIET.as_millis() as u64))
    }

    /// When so many bytes become a snapshot, if `enough` are worth one and `free` are left on the disk.
    fn due(&self, bytes: u64, enough: u64, free: u64) -> Option<Instant> {
        let most = self.burst.min(free / SNAPSHOT_DISK_SHARE).max(enough);
        if bytes > most {
            return Some(self.seen_at);
        }
        // After one amid writes the pause behind them brings another, however small: memory is given back with it.
        (bytes > enough || self.moment == Moment::AmidWrites).then(|| self.pause())
    }
}

impl Driver {
    /// Removes a little of what compaction made unreachable.
    pub fn scrub(&mut self) -> Scrub {
        write(&self.shared.store).scrub()
    }

    /// When the next snapshot is due, if enough is new to be worth one, or enough of the old was compacted away.
    pub fn snapshot_due(&mut self, now: Instant) -> Option<Instant> {
        self.gathered.look(now);
        let held = self.shared.runs.data_bytes();
        let enough = SNAPSHOT_AFTER_BYTES.max(held / SNAPSHOT_SHARE);
        let due = |bytes| self.gathered.due(bytes, enough, self.space.free());
        // After one that failed only more log is a reason to try again.
        if self.gathered.last == Last::Failed {
            return due(self.gathered.log);
        }
        let store = read(&self.shared.store);
        if snapfile::is_mostly_garbage(Effort::Usual, held, &store) {
            return Some(now);
        }
        due(self.gathered.log.max(store.unsettled()))
    }

    /// A snapshot has begun: what is written from now on counts towards the next.
    pub fn snapshot_begun(&mut self, moment: Moment) {
        self.gathered.begin(moment);
    }

    /// What a snapshot would begin in now.
    pub fn moment(&mut self, now: Instant) -> Moment {
        self.gathered.moment(now)
    }

    /// A snapshot could not be written.
    pub fn snapshot_failed(&mut self) {
        (self.gathered.last, self.gathered.moment) = (Last::Failed, Moment::Pause);
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
        self.gathered.last = Last::Succeeded;
        self.snapshot_bytes = written.bytes;
        if let Err(error) = self.wal.truncate_front(written.applied.index) {
            eprintln!("hull-kv: remove old log files: {error}; they stay until the next snapshot");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const QUIET: u64 = SNAPSHOT_QUIET.as_millis() as u64;

    /// When so many MiB become a snapshot that were written up to 1 s.
    fn due(bytes: u64, burst: u64, free: u64) -> Option<u64> {
        let mut gathered = Gathered::new(0, burst * MIB);
        gathered.add(bytes * MIB);
        gathered.look(Instant(1000));
        gathered.look(Instant(1050));
        gathered.due(gathered.log, 16 * MIB, free * MIB).map(|due| due.0)
    }

    #[test]
    fn a_snapshot_waits_for_a_pause_between_writes_but_not_for_ever() {
        assert_eq!(due(16, 64, 1000), None);
        assert_eq!(due(17, 64, 1000), Some(1000 + QUIET));
        assert_eq!(due(64, 64, 1000), Some(1000 + QUIET));
        assert_eq!(due(65, 64, 1000), Some(1000));
    }

    #[test]
    fn less_gathers_where_memory_or_disk_are_small() {
        assert_eq!(due(17, 3, 1000), Some(1000), "a small memory");
        assert_eq!(due(33, 64, 128), Some(1000), "a small disk");
        assert_eq!(due(16, 0, 0), None, "what is too little for a snapshot anyway");
    }

    #[test]
    fn a_write_begins_the_wait_anew_and_a_snapshot_the_count() {
        let mut gathered = Gathered::new(20 * MIB, 64 * MIB);
        let due = |gathered: &Gathered| gathered.due(gathered.log, 16 * MIB, u64::MAX);
        assert_eq!(due(&gathered), Some(Instant(QUIET)), "what a start finds");
        gathered.add(SNAPSHOT_TRICKLE);
        gathered.look(Instant(80));
        assert_eq!(due(&gathered), Some(Instant(QUIET)), "next to nothing");
        gathered.add(1);
        gathered.look(Instant(90));
        assert_eq!(due(&gathered), Some(Instant(90 + QUIET)));
        gathered.begin(Moment::Pause);
        assert_eq!(due(&gathered), None);
    }

    #[test]
    fn the_pause_behind_a_snapshot_amid_writes_brings_another() {
        let mut gathered = Gathered::new(0, 64 * MIB);
        let due = |gathered: &Gathered| gathered.due(gathered.log, 16 * MIB, u64::MAX);
        gathered.add(65 * MIB);
        assert_eq!(gathered.moment(Instant(1000)), Moment::AmidWrites);
        gathered.begin(Moment::AmidWrites);
        gathered.add(MIB);
        gathered.look(Instant(1050));
        assert_eq!(due(&gathered), Some(Instant(1050 + QUIET)));
        assert_eq!(gathered.moment(Instant(1050 + QUIET)), Moment::Pause);
        gathered.begin(Moment::Pause);
        assert_eq!(due(&gathered), None);
    }
}
