//! Values on the disk: they are what was written or the member stops, whatever is compacted, written anew or cut short.
#[path = "support/alone.rs"]
mod alone;

use std::sync::Arc;

use alone::alone;
use hull_kv::{
    disk::{Disk, MemoryDisk},
    driver::{Driver, Moment, Nobody},
    snapfile::{self, Effort},
};
use hull_kv_core::{Applied, Caller, Instant, KeyHash, Refused, Scrub, Store};
use hull_kv_proto::{
    etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest},
    hullpb::{Command, command::Op},
};

const NOW: Instant = Instant(0);

fn open(disk: &MemoryDisk) -> Result<Driver, String> {
    let mut driver = Driver::open(Arc::new(disk.clone()), alone()).map_err(|error| error.to_string())?;
    driver.campaign();
    let _ = driver.turn(NOW, &mut Nobody).map_err(|error| error.to_string())?;
    Ok(driver)
}

fn run(driver: &mut Driver, op: Op) -> Result<(), String> {
    driver.propose(op, Caller::Nobody, None);
    driver.turn(NOW, &mut Nobody).map(drop).map_err(|error| error.to_string())
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() })
}

fn delete(key: &str) -> Op {
    Op::DeleteRange(DeleteRangeRequest { key: key.to_owned().into(), ..DeleteRangeRequest::default() })
}

fn compact(revision: i64) -> Op {
    Op::Compaction(CompactionRequest { revision, physical: false })
}

fn snapshot(disk: &MemoryDisk, driver: &mut Driver, effort: Effort) {
    driver.snapshot_begun(Moment::Pause);
    let written = snapfile::write(disk, driver.shared(), effort).expect("snapshot");
    driver.snapshot_done(written);
}

fn everything() -> RangeRequest {
    RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..RangeRequest::default() }
}

fn read_all(driver: &Driver) -> Result<Vec<(String, String)>, Refused> {
    let response = driver.shared().store.read().expect("store").range(&everything())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(response.kvs.iter().map(|pair| (text(&pair.key), text(&pair.value))).collect())
}

fn hash(driver: &Driver) -> KeyHash {
    driver.shared().store.read().expect("store").hash_kv(0).expect("readable")
}

fn revision(driver: &Driver) -> i64 {
    driver.shared().store.read().expect("store").revision()
}

fn files(disk: &MemoryDisk, prefix: &str) -> Vec<String> {
    let mut names = disk.list().expect("list");
    names.retain(|name| name.starts_with(prefix));
    names.sort_unstable();
    names
}

/// A member with two runs.
fn filled() -> (MemoryDisk, Driver) {
    let disk = MemoryDisk::default();
    let mut driver = open(&disk).expect("open");
    for half in 0..2 {
        for n in 0..40 {
            run(&mut driver, put(&format!("k{half}{n:02}"), &format!("value {n}"))).expect("put");
        }
        snapshot(&disk, &mut driver, Effort::Usual);
    }
    (disk, driver)
}

#[test]
fn a_snapshot_writes_what_is_new_and_leaves_the_rest_as_it_is() {
    let (disk, mut driver) = filled();
    let first = files(&disk, "values-");
    assert_eq!(first.len(), 2);
    let before = read_all(&driver).expect("readable");
    run(&mut driver, put("k000", "new")).expect("put");
    snapshot(&disk, &mut driver, Effort::Usual);
    let second = files(&disk, "values-");
    assert_eq!((second.len(), &second[..2]), (3, &first[..]));
    assert!(disk.read(&second[2]).expect("read").len() < 64, "one value");
    snapshot(&disk, &mut driver, Effort::Usual);
    assert_eq!(files(&disk, "values-"), second, "nothing is new");
    driver.renew_log();
    let again = open(&disk.after_power_cut(|_, _| 0)).expect("open");
    assert_eq!(hash(&again), hash(&driver));
    let after = read_all(&again).expect("readable");
    assert_eq!(after[0], ("k000".to_owned(), "new".to_owned()));
    assert_eq!(after[1..], before[1..]);
}

#[test]
fn what_compaction_removed_leaves_the_disk_when_it_shall_become_small() {
    let (disk, mut driver) = filled();
    for n in 0..40 {
        run(&mut driver, delete(&format!("k0{n:02}"))).expect("delete");
    }
    let at = revision(&driver);
    run(&mut driver, compact(at)).expect("compact");
    while driver.scrub() == Scrub::More {}
    let log = files(&disk, "wal-");
    run(&mut driver, put("large", &"v".repeat(1_000_000))).expect("put");
    run(&mut driver, delete("large")).expect("delete");
    let at = revision(&driver);
    run(&mut driver, compact(at)).expect("compact");
    while driver.scrub() == Scrub::More {}
    driver.snapshot_begun(Moment::Pause);
    let written = snapfile::write(&disk, driver.shared(), Effort::Shrink).expect("snapshot");
    driver.renew_log();
    driver.snapshot_done(written);
    assert!(files(&disk, "wal-")[0] > log[0], "a new file of the log took the place of the old one");
    assert!(disk.read(&files(&disk, "wal-")[0]).expect("read").len() < 1000);
    while driver.scrub() == Scrub::More {}
    let values = files(&disk, "values-");
    assert_eq!((values.len(), files(&disk, "index-").len()), (1, 1));
    assert!(disk.read(&values[0]).expect("read").len() < 40 * 16);
    let again = open(&disk.after_power_cut(|_, _| 0)).expect("open");
    assert_eq!(hash(&again), hash(&driver));
    assert_eq!(read_all(&again).expect("readable").len(), 40);
}

#[test]
fn a_flipped_bit_in_a_value_is_never_served_and_stops_the_member_whatever_byte_it_is_in() {
    let (disk, driver) = filled();
    let right = read_all(&driver).expect("readable");
    let name = files(&disk, "values-").remove(0);
    let bytes = disk.read(&name).expect("read").len();
    for at in 0..bytes {
        let flipped = disk.after_power_cut(|_, _| 0);
        flipped.tamper(&name, |bytes| bytes[at] ^= 16);
        let message = match open(&flipped) {
            Err(message) => message,
            Ok(mut member) => {
                assert_eq!(read_all(&member), Err(Refused::Unreadable), "byte {at} was flipped and nobody noticed");
                let one = RangeRequest { key: "k139".into(), ..RangeRequest::default() };
                let other = member.shared().store.read().expect("store").range(&one).expect("is in the other run");
                assert_eq!(other.kvs[0].value, right[79].1);
                member.turn(NOW, &mut Nobody).expect_err("the member stops").to_string()
            }
        };
        assert!(message.contains(&name) && message.contains("damaged at byte"), "{message}");
    }
}

#[test]
fn a_command_that_needs_a_damaged_value_stops_the_member_and_is_not_acknowledged() {
    let (disk, mut driver) = filled();
    let name = files(&disk, "values-").remove(0);
    disk.tamper(&name, |bytes| bytes[22] ^= 1);
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    let show = PutRequest { key: "k000".into(), prev_kv: true, ..PutRequest::default() };
    driver.propose(Op::Put(show), Caller::Nobody, Some(reply.into()));
    let message = driver.turn(NOW, &mut Nobody).expect_err("the member stops").to_string();
    assert!(message.contains(&name) && message.contains("damaged at byte"), "{message}");
    assert!(answer.try_recv().is_err(), "nobody was told that it is done");
    assert!(snapfile::write(&disk, driver.shared(), Effort::Shrink).is_err(), "no snapshot covers the damage");
}

#[test]
fn a_damaged_short_or_missing_index_stops_the_member_and_so_do_missing_values() {
    let (disk, _driver) = filled();
    let refused = |name: &str, change: &dyn Fn(&MemoryDisk)| {
        let changed = disk.after_power_cut(|_, _| 0);
        change(&changed);
        let message = open(&changed).err().unwrap_or_else(|| panic!("{name} was changed and nobody noticed"));
        assert!(message.contains(name) && message.contains("damaged at byte"), "{message}");
    };
    for name in files(&disk, "index-") {
        for at in (0..disk.read(&name).expect("read").len()).step_by(7) {
            refused(&name, &|disk| disk.tamper(&name, |bytes| bytes[at] ^= 2));
        }
    }
    for name in files(&disk, "index-").iter().chain(&files(&disk, "values-")) {
        refused(name, &|disk| disk.remove(name).expect("remove"));
        for cut in [0, 5, 20] {
            refused(name, &|disk| disk.tamper(name, |bytes| bytes.truncate(bytes.len() - 1 - cut)));
        }
    }
    let values = files(&disk, "values-");
    let other = disk.read(&values[1]).expect("read");
    refused(&values[0], &|disk| disk.tamper(&values[0], |bytes| *bytes = other.clone()));
}

/// A sequence of numbers that looks random and is the same every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What the member is compared with: the same commands on a store that keeps everything in memory.
fn follow(model: &mut Store, op: Op) {
    let applied = Applied { index: model.applied().index + 1, term: 1 };
    let _ = model.apply(applied, Command { op: Some(op), ..Command::default() }, NOW);
}

#[test]
fn whatever_is_compacted_written_anew_and_restarted_the_data_is_what_was_acknowledged() {
    for seed in 1..60 {
        let mut numbers = Numbers(seed * 0x9e37_79b9);
        let (mut disk, mut model) = (MemoryDisk::default(), Store::new());
        let mut driver = open(&disk).expect("open");
        for step in 0..250 {
            let key = format!("k{}", numbers.below(12));
            let op = match numbers.below(20) {
                0..8 => Some(put(&key, &"v".repeat(numbers.below(40) as usize))),
                8..12 => Some(delete(&key)),
                12 => Some(compact(model.revision() - numbers.below(6) as i64)),
                _ => None,
            };
            if let Some(op) = op {
                run(&mut driver, op.clone()).expect("done");
                follow(&mut model, op);
                continue;
            }
            match numbers.below(6) {
                0 | 1 => snapshot(&disk, &mut driver, Effort::Usual),
                2 => snapshot(&disk, &mut driver, Effort::Shrink),
                3 | 4 => {
                    for _ in 0..numbers.below(3) {
                        driver.scrub();
                    }
                }
                _ => {
                    drop(driver);
                    disk = disk.after_power_cut(|_, at_risk| at_risk / 2);
                    driver = open(&disk).unwrap_or_else(|why| panic!("seed {seed}, step {step}: {why}"));
                }
            }
            let expected = model.hash_kv(0).expect("in memory");
            assert_eq!(hash(&driver), expected, "seed {seed}, step {step}");
            let wanted = model.range(&everything()).expect("in memory").kvs;
            let found = driver.shared().store.read().expect("store").range(&everything()).expect("readable").kvs;
            assert_eq!(found, wanted, "seed {seed}, step {step}");
        }
    }
}

#[test]
fn what_was_compacted_before_it_was_in_a_run_is_no_reason_to_write_all_runs_anew() {
    let disk = MemoryDisk::default();
    let mut driver = open(&disk).expect("open");
    let value = "v".repeat(200_000);
    for n in 0..100 {
        run(&mut driver, put(&format!("k{n:02}"), &value)).expect("put");
    }
    snapshot(&disk, &mut driver, Effort::Usual);
    let runs = files(&disk, "values-");
    for _ in 0..100 {
        run(&mut driver, put("k00", &value)).expect("put");
    }
    let at = revision(&driver);
    run(&mut driver, compact(at)).expect("compact");
    while driver.scrub() == Scrub::More {}
    snapshot(&disk, &mut driver, Effort::Usual);
    let now = files(&disk, "values-");
    assert_eq!((now.len(), &now[..1]), (2, &runs[..]));
}
