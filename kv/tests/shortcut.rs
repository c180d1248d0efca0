//! A client that is alone has its write made on its own thread: with the same promises, and only where that holds nobody up.
#[path = "support/alone.rs"]
mod alone;

use std::sync::Arc;

use alone::alone;
use hull_kv::{
    disk::MemoryDisk,
    driver::{
        Driver, Failed, Nobody,
        thread::{self, Input, Inputs, Running},
    },
};
use hull_kv_core::{Caller, Response};
use hull_kv_proto::{
    etcdserverpb::{PutRequest, RangeRequest},
    hullpb::{MemberChange, command::Op, member_change::Kind},
};
use tokio::sync::oneshot;

type Answer = oneshot::Receiver<Result<Response, Failed>>;

fn start(disk: &MemoryDisk) -> (Running, Arc<hull_kv::shared::Shared>) {
    let driver = Driver::open(Arc::new(disk.clone()), alone()).expect("open");
    let shared = Arc::clone(driver.shared());
    let (stopped, _) = oneshot::channel();
    (thread::start(driver, Inputs::default(), Box::new(Nobody), stopped).expect("start"), shared)
}

fn put(key: &str) -> (Input, Answer) {
    let (reply, answer) = oneshot::channel();
    let request = PutRequest { key: key.to_owned().into(), value: "v".into(), ..PutRequest::default() };
    (Input::Propose(Op::Put(request), Caller::Nobody, reply.into()), answer)
}

/// Has a write made at once; the log's thread may be busy with what a start leaves to do.
fn write(running: &Running, key: &str) -> Answer {
    let (mut input, answer) = put(key);
    for _ in 0..1000 {
        match running.shortcut.take(input) {
            None => return answer,
            Some(back) => input = back,
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{key} is never taken");
}

fn has(shared: &hull_kv::shared::Shared, key: &str) -> bool {
    let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    shared.store.read().expect("store").range(&request).expect("range").count == 1
}

#[test]
fn what_is_answered_at_once_is_durable_and_applied() {
    let disk = MemoryDisk::default();
    let (running, shared) = start(&disk);
    for number in 0..50 {
        let key = format!("k{number}");
        assert!(matches!(write(&running, &key).try_recv(), Ok(Ok(Response::Put(_)))), "answered when it comes back");
        assert!(has(&shared, &key));
    }
    let after = disk.after_power_cut(|_, _| 0);
    let (_running, shared) = start(&after);
    assert!((0..50).all(|number| has(&shared, &format!("k{number}"))));
}

#[test]
fn a_disk_that_fails_ends_the_member_for_good() {
    let disk = MemoryDisk::default();
    let (running, _shared) = start(&disk);
    assert!(matches!(write(&running, "before").try_recv(), Ok(Ok(_))));
    disk.fail_syncs(1);
    assert_eq!(write(&running, "lost").try_recv().expect("answered"), Err(Failed::Stopped));
    // Before and after the log's thread has learned of it.
    for _ in 0..20 {
        assert!(running.shortcut.take(put("after").0).is_some(), "a member that has ended takes nothing");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let ended = running.join().expect_err("the log failed");
    assert!(ended.to_string().contains("the disk is gone"), "{ended}");
    let (_running, shared) = start(&disk.after_power_cut(|_, _| 0));
    assert!(has(&shared, "before") && !has(&shared, "after"));
}

#[test]
fn a_write_that_may_have_to_wait_for_room_goes_the_usual_way() {
    let disk = MemoryDisk::default();
    let (running, _shared) = start(&disk);
    assert!(matches!(write(&running, "k").try_recv(), Ok(Ok(_))));
    disk.set_free(Some(64));
    assert!(running.shortcut.take(put("k").0).is_some());
    disk.set_free(None);
    assert!(matches!(write(&running, "k").try_recv(), Ok(Ok(_))));
}

#[test]
fn what_is_no_clients_write_or_concerns_other_members_goes_the_usual_way() {
    let disk = MemoryDisk::default();
    let (running, shared) = start(&disk);
    let (reply, _answer) = oneshot::channel();
    assert!(running.shortcut.take(Input::Read(reply.into())).is_some());
    assert!(matches!(write(&running, "k").try_recv(), Ok(Ok(_))));
    let member = hull_kv_proto::hullpb::Member {
        id: 7,
        peer_urls: vec!["http://localhost:2480".to_owned()],
        learner: true,
        ..Default::default()
    };
    let change = MemberChange { kind: Kind::Add.into(), member: Some(member) };
    let (reply, answer) = oneshot::channel();
    let input = Input::Propose(Op::MemberChange(change), Caller::Member, reply.into());
    running.inputs.send(input).expect("the thread runs");
    assert!(answer.blocking_recv().expect("answered").is_ok());
    assert_eq!(shared.store.read().expect("store").members().iter().count(), 2);
    assert!(running.shortcut.take(put("k").0).is_some(), "a member of several does not hold the others up");
}
