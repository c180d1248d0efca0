//! A whole member on a disk whose power is cut: what was acknowledged is there again, and the member goes on.
#[path = "support/alone.rs"]
mod alone;

use std::sync::Arc;

use alone::alone;
use hull_kv::{
    disk::{Disk, Growth, MemoryDisk},
    driver::{Driver, Failed, Nobody},
    snapfile::{self, Effort},
};
use hull_kv_core::{Instant, Refused, Response};
use hull_kv_proto::{
    etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest},
    hullpb::command::Op,
};
use tokio::sync::oneshot;

const NOW: Instant = Instant(0);

fn start(disk: &MemoryDisk) -> Driver {
    let mut driver = Driver::open(Arc::new(disk.clone()), alone()).expect("open");
    driver.campaign();
    let _ = driver.turn(NOW, &mut Nobody).expect("turn");
    assert!(driver.serves(), "a member that is alone leads at once");
    driver
}

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() }
}

/// Proposes a batch of commands and runs it; answers the results.
fn run(driver: &mut Driver, ops: Vec<Op>) -> Vec<Result<Response, Failed>> {
    let answers: Vec<_> = ops
        .into_iter()
        .map(|op| {
            let (reply, answer) = oneshot::channel();
            driver.propose(op, hull_kv_core::Caller::Nobody, Some(reply.into()));
            answer
        })
        .collect();
    let _ = driver.turn(NOW, &mut Nobody).expect("turn");
    answers.into_iter().map(|mut answer| answer.try_recv().expect("answered")).collect()
}

fn get(driver: &Driver, key: &str) -> Option<String> {
    let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    let response = driver.shared().store.read().expect("store").range(&request).expect("range");
    response.kvs.first().map(|pair| String::from_utf8_lossy(&pair.value).into_owned())
}

#[test]
fn an_acknowledged_write_survives_a_power_cut_that_loses_everything_not_synced() {
    let mut disk = MemoryDisk::default();
    for round in 0..20 {
        let mut driver = start(&disk);
        for known in 0..round {
            assert_eq!(get(&driver, &format!("k{known}")), Some("v".into()), "round {round}");
        }
        let results = run(&mut driver, vec![Op::Put(put_request(&format!("k{round}"), "v"))]);
        assert!(results[0].is_ok());
        drop(driver);
        disk = disk.after_power_cut(|_, _| 0);
    }
}

#[test]
fn a_power_cut_inside_a_write_keeps_a_prefix_of_its_batch() {
    let disk = MemoryDisk::default();
    let mut driver = start(&disk);
    run(&mut driver, vec![Op::Put(put_request("before", "v"))]);
    let before = disk.read("wal-0000000000000001").expect("log").len();
    run(&mut driver, (0..20).map(|n| Op::Put(put_request(&format!("k{n:02}"), "v"))).collect());
    let after = disk.read("wal-0000000000000001").expect("log").len();
    for length in before..after {
        let torn = disk.after_power_cut(|_, _| 0);
        torn.tamper("wal-0000000000000001", |bytes| bytes.truncate(length));
        let driver = start(&torn);
        assert_eq!(get(&driver, "before"), Some("v".into()));
        let there: Vec<bool> = (0..20).map(|n| get(&driver, &format!("k{n:02}")).is_some()).collect();
        assert!(there.is_sorted_by(|a, b| a >= b), "a gap after a cut at {length}: {there:?}");
    }
}

#[test]
fn a_member_started_from_a_snapshot_and_the_log_behind_it_is_the_member() {
    let disk = MemoryDisk::default();
    let mut driver = start(&disk);
    for n in 0..500 {
        run(&mut driver, vec![Op::Put(put_request(&format!("k{}", n % 50), &n.to_string()))]);
    }
    let written = snapfile::write(&disk, driver.shared(), Effort::Usual).expect("snapshot");
    driver.snapshot_done(written);
    run(&mut driver, vec![Op::Put(put_request("after", "v"))]);
    let hash = |driver: &Driver| driver.shared().store.read().expect("store").hash_kv(0);
    let expected = hash(&driver);
    let again = start(&disk.after_power_cut(|_, _| 0));
    assert_eq!(hash(&again), expected);
    assert_eq!(get(&again, "after"), Some("v".into()));
}

#[test]
fn a_power_cut_while_a_snapshot_is_written_leaves_the_older_one() {
    let disk = MemoryDisk::default();
    let mut driver = start(&disk);
    run(&mut driver, (0..100).map(|n| Op::Put(put_request(&format!("k{n}"), "v"))).collect());
    let mut unfinished = disk.create("snapshot.new", Growth::Exact).expect("create");
    unfinished.write(b"HULLSNP1 and no more").expect("write");
    disk.sync_names().expect("sync");
    let after = disk.after_power_cut(|_, at_risk| at_risk / 2);
    let again = start(&after);
    assert_eq!(get(&again, "k99"), Some("v".into()));
    assert!(!after.list().expect("list").contains(&"snapshot.new".to_owned()), "what is unfinished takes no space");
}

#[test]
fn a_flipped_bit_in_a_snapshot_stops_the_member_whatever_byte_it_is_in() {
    let disk = MemoryDisk::default();
    let mut driver = start(&disk);
    run(&mut driver, (0..300).map(|n| Op::Put(put_request(&format!("k{n}"), "value"))).collect());
    snapfile::write(&disk, driver.shared(), Effort::Usual).expect("snapshot");
    let name = disk.list().expect("list").into_iter().find(|name| name.starts_with("snapshot-")).expect("snapshot");
    let bytes = disk.read(&name).expect("read").len();
    for at in (0..bytes).step_by(11) {
        let flipped = disk.after_power_cut(|_, _| 0);
        flipped.tamper(&name, |bytes| bytes[at] ^= 4);
        let error = Driver::open(Arc::new(flipped), alone()).err().map(|error| error.to_string());
        let message = error.unwrap_or_else(|| panic!("byte {at} was flipped and nobody noticed"));
        assert!(message.contains(&name) && message.contains("damaged at byte"), "{message}");
    }
}

#[test]
fn a_snapshot_without_its_log_stops_the_member() {
    let disk = MemoryDisk::default();
    let mut driver = start(&disk);
    run(&mut driver, vec![Op::Put(put_request("a", "v"))]);
    snapfile::write(&disk, driver.shared(), Effort::Usual).expect("snapshot");
    disk.remove("wal-0000000000000001").expect("remove");
    let error = Driver::open(Arc::new(disk), alone()).err().map(|error| error.to_string()).expect("refused");
    assert!(error.contains("there is a snapshot but no log"), "{error}");
}

#[test]
fn a_disk_that_runs_low_refuses_puts_but_not_deletes_until_the_alarm_is_lowered() {
    let disk = MemoryDisk::default();
    disk.set_free(Some(64 * 1024 * 1024));
    let mut driver = start(&disk);
    run(&mut driver, vec![Op::Put(put_request("a", "v"))]);
    disk.set_free(Some(1024 * 1024));
    // Enough is written for the member to look again.
    let big = "x".repeat(600_000);
    for n in 0..2 {
        run(&mut driver, vec![Op::Put(put_request(&format!("big{n}"), &big))]);
        disk.set_free(Some(1024 * 1024));
    }
    let refused = run(&mut driver, vec![Op::Put(put_request("b", "v"))]);
    assert_eq!(refused, [Err(Failed::Refused(Refused::NoSpace))]);
    driver.on_time(NOW);
    let _ = driver.turn(NOW, &mut Nobody).expect("turn");
    assert!(driver.shared().store.read().expect("store").alarms().no_space());
    let delete = DeleteRangeRequest { key: "a".into(), ..DeleteRangeRequest::default() };
    assert!(run(&mut driver, vec![Op::DeleteRange(delete)])[0].is_ok());
    assert_eq!(get(&driver, "a"), None);
}

#[test]
fn a_member_starts_and_deletes_on_a_disk_without_a_free_byte() {
    let disk = MemoryDisk::default();
    disk.set_free(Some(64 * 1024 * 1024));
    let mut driver = start(&disk);
    run(&mut driver, vec![Op::Put(put_request("a", "v")), Op::Put(put_request("b", "v"))]);
    driver.on_time(Instant(3_600_000));
    drop(driver);
    disk.set_free(Some(0));
    let mut driver = start(&disk);
    assert_eq!(get(&driver, "a"), Some("v".into()));
    let delete = DeleteRangeRequest { key: "a".into(), ..DeleteRangeRequest::default() };
    assert!(run(&mut driver, vec![Op::DeleteRange(delete)])[0].is_ok());
    let refused = run(&mut driver, vec![Op::Put(put_request("c", "v"))]);
    assert_eq!(refused, [Err(Failed::Refused(Refused::NoSpace))]);
}

#[test]
fn the_applied_index_is_stored_with_the_data_so_no_entry_counts_twice_or_never() {
    const WRITES: i64 = 30;
    for snapshot_after in 0..=WRITES {
        let disk = MemoryDisk::default();
        let mut driver = start(&disk);
        for n in 0..WRITES {
            if n == snapshot_after {
                let written = snapfile::write(&disk, driver.shared(), Effort::Usual).expect("snapshot");
                driver.snapshot_done(written);
            }
            assert!(run(&mut driver, vec![Op::Put(put_request("counter", "v"))])[0].is_ok());
        }
        drop(driver);
        let again = start(&disk.after_power_cut(|_, at_risk| at_risk / 2));
        let request = RangeRequest { key: "counter".into(), ..RangeRequest::default() };
        let store = again.shared().store.read().expect("store");
        let pair = store.range(&request).expect("range").kvs.remove(0);
        assert_eq!((pair.version, pair.mod_revision), (WRITES, WRITES + 1), "snapshot after {snapshot_after} writes");
    }
}
