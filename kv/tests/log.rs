//! The write-ahead log on a disk that tears, shortens, loses and flips what was written.
use std::sync::Arc;

use hull_kv::{
    disk::{Disk, MemoryDisk},
    wal::{Replay, Wal, WalError},
};
use hull_kv_core::Applied;
use raft::eraftpb::{Entry, HardState};

const MEMBER: u64 = 7;
const START: Applied = Applied { index: 0, term: 0 };
const FILE: &str = "wal-0000000000000001";

fn entry(index: u64, bytes: usize) -> Entry {
    let data = (0..bytes).map(|n| (n as u64 * 31 + index) as u8 | 1).collect::<Vec<u8>>();
    Entry { index, term: 1, data: data.into(), ..Entry::default() }
}

fn state(commit: u64) -> HardState {
    HardState { term: 1, vote: MEMBER, commit, ..HardState::default() }
}

/// A log of batches of three entries; answers how long the file was after each batch.
fn written(disk: &MemoryDisk, batches: u64) -> Vec<usize> {
    let mut wal = Wal::create(Arc::new(disk.clone()), MEMBER, 1, HardState::default()).expect("create");
    let length = || disk.read(FILE).expect("read").len();
    let mut ends = vec![length()];
    for batch in 0..batches {
        let entries: Vec<_> = (1..=3).map(|n| entry(batch * 3 + n, 300)).collect();
        let _ = wal.append(&entries, Some(&state(batch * 3))).expect("append");
        ends.push(length());
    }
    ends
}

fn open(disk: &MemoryDisk) -> Result<Option<(Wal, Replay)>, WalError> {
    Wal::open(Arc::new(disk.clone()), MEMBER, START)
}

fn entries(disk: &MemoryDisk) -> Result<usize, String> {
    match open(disk) {
        Ok(Some((_, replay))) => Ok(replay.entries.len()),
        Ok(None) => Ok(0),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn what_was_appended_is_there_again() {
    let disk = MemoryDisk::default();
    written(&disk, 5);
    let (_, replay) = open(&disk).expect("open").expect("log");
    assert_eq!(replay.entries, (1..=15).map(|n| entry(n, 300)).collect::<Vec<_>>());
    assert_eq!((replay.state, replay.cut), (state(12), 0));
}

#[test]
fn one_batch_is_one_sync() {
    let disk = MemoryDisk::default();
    let mut wal = Wal::create(Arc::new(disk.clone()), MEMBER, 1, HardState::default()).expect("create");
    let before = disk.syncs();
    let entries: Vec<_> = (1..=1000).map(|n| entry(n, 50)).collect();
    let _ = wal.append(&entries, Some(&state(0))).expect("append");
    assert_eq!(disk.syncs(), before + 1);
}

#[test]
fn after_a_sync_that_failed_nothing_more_is_written() {
    let disk = MemoryDisk::default();
    let mut wal = Wal::create(Arc::new(disk.clone()), MEMBER, 1, HardState::default()).expect("create");
    disk.fail_syncs(1);
    assert!(wal.append(&[entry(1, 300)], Some(&state(0))).is_err());
    let length = disk.read(FILE).expect("read").len();
    let refused = wal.append(&[entry(1, 300)], Some(&state(0))).expect_err("what the disk holds is unknown");
    assert!(refused.to_string().contains("an earlier write failed"), "{refused}");
    assert_eq!(disk.read(FILE).expect("read").len(), length);
}

#[test]
fn a_batch_that_does_not_fit_can_be_tried_again() {
    let disk = MemoryDisk::default();
    let mut wal = Wal::create(Arc::new(disk.clone()), MEMBER, 1, HardState::default()).expect("create");
    disk.set_free(Some(100));
    assert!(!wal.has_room(300));
    let refused = wal.append(&[entry(1, 300)], Some(&state(0))).expect_err("there is no room");
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    disk.set_free(None);
    assert!(wal.has_room(300));
    let _ = wal.append(&[entry(1, 300)], Some(&state(0))).expect("now there is");
    drop(wal);
    assert_eq!(entries(&disk), Ok(1));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let disk = MemoryDisk::default();
    let ends = written(&disk, 3);
    let (synced, end) = (ends[2], ends[3]);
    for length in synced..end {
        let torn = MemoryDisk::default();
        written(&torn, 3);
        torn.tamper(FILE, |bytes| bytes.truncate(length));
        let (mut wal, replay) = open(&torn).expect("a torn tail is no damage").expect("log");
        let kept = replay.entries.len();
        assert!((6..=9).contains(&kept), "{kept} entries after a cut at {length}");
        let _ = wal.append(&[entry(kept as u64 + 1, 10)], Some(&state(6))).expect("append");
        assert_eq!(entries(&torn), Ok(kept + 1), "after a cut at {length}");
    }
}

#[test]
fn a_tail_with_unwritten_sectors_is_cut() {
    let ends = written(&MemoryDisk::default(), 3);
    for sector in (ends[2].next_multiple_of(512)..ends[3]).step_by(512) {
        let torn = MemoryDisk::default();
        written(&torn, 3);
        torn.tamper(FILE, |bytes| {
            let end = (sector + 512).min(bytes.len());
            bytes[sector..end].fill(0);
        });
        let kept = entries(&torn).expect("an unwritten sector of the last batch is no damage");
        assert!((6..=9).contains(&kept), "{kept} entries with sector {sector} unwritten");
    }
}

#[test]
fn zeros_behind_the_last_record_are_its_end() {
    let disk = MemoryDisk::default();
    written(&disk, 2);
    disk.tamper(FILE, |bytes| bytes.resize(bytes.len() + 4096, 0));
    assert_eq!(entries(&disk), Ok(6));
}

#[test]
fn a_flipped_bit_before_the_last_batch_stops_the_member_whatever_byte_it_is_in() {
    let ends = written(&MemoryDisk::default(), 3);
    for at in (0..ends[2]).step_by(7) {
        let disk = MemoryDisk::default();
        written(&disk, 3);
        disk.tamper(FILE, |bytes| bytes[at] ^= 0x10);
        match entries(&disk) {
            // The padding between records and the rest of the header hold nothing.
            Ok(count) => assert_eq!(count, 9, "byte {at} was flipped and entries are missing"),
            Err(message) => {
                assert!(message.contains(FILE) && message.contains("damaged at byte"), "{message}");
                assert!(message.contains("Restore the data folder"), "{message}");
            }
        }
    }
}

#[test]
fn a_synced_batch_that_is_gone_from_the_middle_stops_the_member() {
    let ends = written(&MemoryDisk::default(), 4);
    let disk = MemoryDisk::default();
    written(&disk, 4);
    disk.tamper(FILE, |bytes| bytes[ends[1]..ends[2]].fill(0));
    let message = entries(&disk).expect_err("a hole is damage");
    assert!(message.contains(&format!("damaged at byte {}", ends[1])), "{message}");
}

#[test]
fn a_record_at_another_place_is_no_record() {
    let ends = written(&MemoryDisk::default(), 4);
    let disk = MemoryDisk::default();
    written(&disk, 4);
    disk.tamper(FILE, |bytes| bytes.copy_within(ends[1]..ends[2], ends[2]));
    assert!(entries(&disk).is_err());
}

#[test]
fn a_log_that_ends_before_its_commit_index_stops_the_member() {
    let ends = written(&MemoryDisk::default(), 3);
    let disk = MemoryDisk::default();
    written(&disk, 3);
    // The second batch's hard state says that the first one's entries were committed; without them it cannot be right.
    disk.tamper(FILE, |bytes| {
        let tail = bytes.split_off(ends[2]);
        bytes.truncate(ends[0]);
        drop(tail);
    });
    let mut wal = open(&disk).expect("open").expect("log").0;
    let _ = wal.append(&[], Some(&state(5))).expect("append");
    let message = entries(&disk).expect_err("entries are missing");
    assert!(message.contains("entries up to 5 were committed, but the log ends at 0"), "{message}");
}

#[test]
fn another_members_log_is_refused_by_name() {
    let disk = MemoryDisk::default();
    written(&disk, 1);
    let Err(error) = Wal::open(Arc::new(disk), MEMBER + 1, START) else { panic!("a foreign log was opened") };
    assert!(error.to_string().contains("written by member 7, but this is member 8"), "{error}");
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was_and_it_goes_on_when_there_is_room() {
    let disk = MemoryDisk::default();
    let mut wal = Wal::create(Arc::new(disk.clone()), MEMBER, 1, HardState::default()).expect("create");
    let _ = wal.append(&[entry(1, 100)], Some(&state(0))).expect("append");
    disk.set_free(Some(50));
    let error = wal.append(&[entry(2, 100)], Some(&state(1))).expect_err("full");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(entries(&disk), Ok(1));
    disk.set_free(None);
    let _ = wal.append(&[entry(2, 100)], Some(&state(1))).expect("append");
    assert_eq!(entries(&disk), Ok(2));
}

#[test]
fn a_long_log_spreads_over_files_and_its_front_goes_when_a_snapshot_covers_it() {
    let disk = MemoryDisk::default();
    let mut wal = Wal::create(Arc::new(disk.clone()), MEMBER, 1, HardState::default()).expect("create");
    for index in 1..=50 {
        let _ = wal.append(&[entry(index, 1_000_000)], Some(&state(index - 1))).expect("append");
    }
    let files = || disk.list().expect("list").len();
    assert_eq!((files(), entries(&disk)), (3, Ok(50)));
    wal.truncate_front(40).expect("truncate");
    assert_eq!(files(), 1);
    let (_, replay) =
        Wal::open(Arc::new(disk.clone()), MEMBER, Applied { index: 40, term: 1 }).expect("open").expect("log");
    assert_eq!(replay.entries.first().map(|entry| entry.index), Some(41));
    assert!(Wal::open(Arc::new(disk), MEMBER, START).is_err(), "without the snapshot entries are missing");
}
