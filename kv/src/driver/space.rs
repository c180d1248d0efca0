//! Room on the disk: refuses writes before it is gone, so that deletes and compactions still fit.
use std::time::Duration;

use hull_kv_core::takes_space;
use hull_kv_proto::hullpb::command::Op;

use crate::{
    disk::{Disk, RESERVE},
    limits::{LOW_SPACE_BYTES, SPACE_CHECK_BYTES},
};

/// How long a write that found no room waits for some.
const RETRY: Duration = Duration::from_millis(500);

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    /// Low, and the alarm was not raised yet.
    Low,
    /// Low, and the alarm is on its way.
    Alarmed,
}

/// Whether the person at the console was told that nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    No,
    Yes,
}

/// The size of the reserve (bytes): an election's record, a compaction and thousands of deletes fit.
const RESERVE_BYTES: u64 = 1024 * 1024;

/// Watches the room on one disk.
#[derive(Debug)]
pub(super) struct Space {
    room: Room,
    since_look: u64,
    low: u64,
    /// Bytes that were free when somebody looked last.
    free: u64,
    stuck: Stuck,
}

impl Space {
    /// Looks at the disk for the first time. On a small disk, a tenth of what is free at the start is kept back.
    pub(super) fn new(disk: &dyn Disk) -> Self {
        let free = disk.free_bytes().unwrap_or(u64::MAX);
        let mut space = Self {
            room: Room::Enough,
            since_look: 0,
            low: LOW_SPACE_BYTES.min(free / 10).max(LOWEST),
            free,
            stuck: Stuck::No,
        };
        space.look(disk);
        space
    }

    /// Whether there is room, as far as is known.
    pub(super) fn is_enough(&self) -> bool {
        self.room == Room::Enough
    }

    /// Bytes that are free, as far as is known.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// Whether a command must be refused for lack of room.
    pub(super) fn refuses(&mut self, op: &Op) -> bool {
        self.room != Room::Enough && takes_space(op)
    }

    /// So much was written; looks again from time to time.
    pub(super) fn written(&mut self, disk: &dyn Disk, bytes: u64) {
        self.since_look += bytes;
        if self.since_look >= SPACE_CHECK_BYTES || self.room != Room::Enough {
            self.look(disk);
        }
    }

    fn look(&mut self, disk: &dyn Disk) {
        self.since_look = 0;
        let Ok(free) = disk.free_bytes() else { return };
        self.free = free;
        self.room = match (free < self.low, self.room) {
            (false, _) => Room::Enough,
            (true, Room::Enough) => Room::Low,
            (true, room) => room,
        };
    }

    /// Looks again although nothing was written: somebody else may have made room.
    pub(super) fn look_again(&mut self, disk: &dyn Disk) {
        if self.room != Room::Enough {
            self.look(disk);
        }
    }

    /// Whether the alarm must be raised now; true once each time the room runs low.
    pub(super) fn take_alarm(&mut self) -> bool {
        let low = self.room == Room::Low;
        if low {
            self.room = Room::Alarmed;
        }
        low
    }

    /// A write did not fit at all. The reserve makes room once; then, since nothing was promised, waiting is safe, and
    /// reads go on meanwhile.
    pub(super) fn make_room(&mut self, disk: &dyn Disk) {
        if self.room == Room::Enough {
            self.room = Room::Low;
        }
        if disk.remove(RESERVE).is_ok() {
            eprintln!("hull-kv: no space left in {}: refusing writes, the reserve is for deletes", disk.display(""));
            return;
        }
        if self.stuck == Stuck::No {
            eprintln!("hull-kv: no space left in {}: even deletes wait until there is some", disk.display(""));
            self.stuck = Stuck::Yes;
        }
        std::thread::sleep(RETRY);
    }

    /// Sets the reserve aside if it is not there and there is plenty of room.
    pub(super) fn keep_reserve(&mut self, disk: &dyn Disk) {
        let plenty = disk.free_bytes().is_ok_and(|free| free > self.low + 2 * RESERVE_BYTES);
        let there = disk.list().is_ok_and(|names| names.iter().any(|name| name == RESERVE));
        if plenty && !there && disk.reserve(RESERVE, RESERVE_BYTES).is_err() {
            // A file system that cannot set space aside: half a file would be no use.
            let _ = disk.remove(RESERVE);
        }
        self.stuck = Stuck::No;
    }
}

/// Even on the smallest disk this much is kept back (bytes): more than the reserve, so that puts never take that.
const LOWEST: u64 = RESERVE_BYTES * 3 / 2;
