//! Values outside memory: nothing that is answered depends on where a value lies, and a value that cannot be read is a
//! refusal that nothing follows.
mod support;

use std::sync::Arc;

use bytes::Bytes;
use hull_kv_core::{
    KeyRange, Place, Previous, Pull, Refused, Restore, Revision, SnapshotCursor, Store, Unreadable, Values, WatchSpec,
};
use hull_kv_proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
    hullpb::command::Op,
};
use proptest::prelude::*;
use support::{apply, compact, delete_request, put, put_request, range_request, scrub};

/// A file: every value behind the one before it, with four bytes between them.
#[derive(Debug, Clone, Default)]
struct Outside {
    bytes: Vec<u8>,
    broken: bool,
}

const GAP: u64 = 4;

impl Values for Outside {
    fn read(&self, place: Place) -> Result<Bytes, Unreadable> {
        let from = place.offset as usize;
        let bytes = self.bytes.get(from..from + place.length as usize).filter(|_| !self.broken).ok_or(Unreadable)?;
        Ok(Bytes::copy_from_slice(bytes))
    }
}

/// Puts every value away, also those that were before: all lie in a new file then.
fn put_away(store: &mut Store) {
    let mut cursor = SnapshotCursor::new(store).expect("whole");
    let mut file = Outside::default();
    while let Some(part) = cursor.next_part(store) {
        for record in part.read().expect("readable").records {
            let value = record.kv.expect("a pair").value;
            if !value.is_empty() {
                file.bytes.extend([0; GAP as usize]);
                file.bytes.extend(value);
            }
        }
    }
    store.set_values(Arc::new(file));
    let (mut from, mut offset) = (Revision::default(), 0);
    let mut place = |length: u32| {
        let place = Place { file: 7, offset: offset + GAP, length };
        offset += GAP + u64::from(length);
        place
    };
    while let Some(next) = store.place_values(from, cursor.revision(), &mut place) {
        from = next;
    }
}

fn break_values(store: &mut Store) {
    store.set_values(Arc::new(Outside { bytes: Vec::new(), broken: true }));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    PutAndShow(u8, u8),
    KeepValue(u8),
    Delete(u8, u8),
    IfValue(u8, u8),
    Compact(u8),
    Scrub,
    PutAway,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..12_u8, any::<u8>()).prop_map(|(key, value)| Step::PutAndShow(key, value)),
        1 => (0..12_u8).prop_map(Step::KeepValue),
        2 => (0..12_u8, 0..12_u8).prop_map(|(from, to)| Step::Delete(from, to)),
        2 => (0..12_u8, 0..4_u8).prop_map(|(key, value)| Step::IfValue(key, value)),
        1 => any::<u8>().prop_map(Step::Compact),
        1 => Just(Step::Scrub),
        2 => Just(Step::PutAway),
    ];
    prop::collection::vec(step, 1..150)
}

fn key(n: u8) -> String {
    format!("k{n:02}")
}

/// Short ones, equal ones and empty ones come often.
fn text(n: u8) -> String {
    "v".repeat((n % 4).into())
}

fn if_value(key: &str, value: &str) -> TxnRequest {
    let condition = Compare {
        key: key.to_owned().into(),
        target: CompareTarget::Value.into(),
        result: CompareResult::Equal.into(),
        target_union: Some(TargetUnion::Value(value.to_owned().into())),
        ..Compare::default()
    };
    let op = |request| RequestOp { request: Some(request) };
    TxnRequest {
        compare: vec![condition],
        success: vec![
            op(Request::RequestRange(range_request("\0", "\0"))),
            op(Request::RequestPut(put_request(key, "yes"))),
        ],
        failure: vec![op(Request::RequestDeleteRange(DeleteRangeRequest { prev_kv: true, ..delete_request(key, "") }))],
    }
}

fn op(step: &Step, revision: i64) -> Option<Op> {
    Some(match step {
        Step::Put(k, v) => Op::Put(put_request(&key(*k), &text(*v))),
        Step::PutAndShow(k, v) => Op::Put(PutRequest { prev_kv: true, ..put_request(&key(*k), &text(*v)) }),
        Step::KeepValue(k) => Op::Put(PutRequest { ignore_value: true, ..put_request(&key(*k), "") }),
        Step::Delete(from, to) => {
            Op::DeleteRange(DeleteRangeRequest { prev_kv: true, ..delete_request(&key(*from), &key(*to)) })
        }
        Step::IfValue(k, v) => Op::Txn(if_value(&key(*k), &text(*v))),
        Step::Compact(back) => Op::Compaction(hull_kv_proto::etcdserverpb::CompactionRequest {
            revision: revision - i64::from(back % 20),
            physical: false,
        }),
        Step::Scrub | Step::PutAway => return None,
    })
}

fn watched(store: &mut Store, since: i64) -> Vec<Pull> {
    let spec = WatchSpec {
        range: KeyRange::new(b"\0", b"\0"),
        start_revision: since,
        filters: Vec::new(),
        previous: Previous::Include,
    };
    let mut watcher = store.watch(1, 1, spec).expect("a range");
    let pulls = std::iter::repeat_with(|| store.pull(&mut watcher, 0, 10, 1000));
    pulls.take_while(|pull| matches!(pull, Pull::Events(_))).collect()
}

fn by_value() -> RangeRequest {
    RangeRequest {
        sort_target: SortTarget::Value.into(),
        sort_order: SortOrder::Descend.into(),
        limit: 5,
        ..range_request("\0", "\0")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_answer_depends_on_where_a_value_lies(steps in steps()) {
        let (mut here, mut away) = (Store::new(), Store::new());
        for step in steps {
            match (op(&step, here.revision()), &step) {
                (Some(op), _) => prop_assert_eq!(apply(&mut here, op.clone()), apply(&mut away, op)),
                (None, Step::Scrub) => [&mut here, &mut away].into_iter().for_each(scrub),
                (None, _) => put_away(&mut away),
            }
        }
        prop_assert_eq!(here.usage(), away.usage());
        for revision in 0..=here.revision() {
            let request = RangeRequest { revision, ..range_request("\0", "\0") };
            prop_assert_eq!(here.range(&request), away.range(&request));
            prop_assert_eq!(here.hash_kv(revision), away.hash_kv(revision));
        }
        prop_assert_eq!(here.range(&by_value()), away.range(&by_value()));
        let since = here.compacted().max(1);
        prop_assert_eq!(watched(&mut here, since), watched(&mut away, since));
    }
}

/// Enough for several chunks.
fn filled() -> Store {
    let mut store = Store::new();
    for n in 0..2000 {
        put(&mut store, &format!("k{:04}", n % 700), &format!("value {n}"));
    }
    store
}

#[test]
fn a_restore_takes_places_as_well_as_values() {
    let mut store = filled();
    put_away(&mut store);
    let mut cursor = SnapshotCursor::new(&store).expect("whole");
    let mut restore = Restore::default();
    let mut file = Outside::default();
    while let Some(part) = cursor.next_part(&store) {
        let mut part = part.read().expect("readable");
        let records = std::mem::take(&mut part.records);
        restore.part(part).expect("head");
        for record in records {
            let value = &record.kv.as_ref().expect("a pair").value;
            let place = Place { file: 1, offset: file.bytes.len() as u64, length: value.len() as u32 };
            file.bytes.extend(value);
            restore.placed(record, Some(place)).expect("in order");
        }
    }
    let mut copy = restore.finish().expect("whole");
    copy.set_values(Arc::new(file));
    assert_eq!(copy.hash_kv(0), store.hash_kv(0));
    for one in [&mut copy, &mut store] {
        let at = one.revision() - 5;
        compact(one, at).expect("compact");
        scrub(one);
    }
    assert_eq!(copy.usage(), store.usage());
    assert_eq!(copy.hash_kv(0), store.hash_kv(0));
    put_away(&mut copy);
    assert_eq!(copy.hash_kv(0), store.hash_kv(0));
}

#[test]
fn what_needs_no_value_goes_on_without_values() {
    let mut store = filled();
    put_away(&mut store);
    break_values(&mut store);
    put(&mut store, "k0001", "new");
    assert_eq!(support::get(&store, "k0001"), Some("new".into()));
    let counted = RangeRequest { count_only: true, ..range_request("\0", "\0") };
    assert_eq!(store.range(&counted).expect("counted").count, 700);
    let named = RangeRequest { keys_only: true, ..range_request("\0", "\0") };
    assert_eq!(store.range(&named).expect("named").kvs.len(), 700);
    assert_eq!(store.range(&range_request("k0002", "")), Err(Refused::Unreadable));
    assert_eq!(store.hash_kv(0), Err(Refused::Unreadable));
    assert!(watched(&mut store, 1).is_empty());
}

#[test]
fn after_a_command_that_could_not_be_done_whole_nothing_is_read_any_more() {
    let mut store = filled();
    put_away(&mut store);
    break_values(&mut store);
    let ops = [put_request("new", "v"), PutRequest { prev_kv: true, ..put_request("k0001", "v") }];
    let success = ops.map(|put| RequestOp { request: Some(Request::RequestPut(put)) }).into();
    let txn = TxnRequest { success, ..TxnRequest::default() };
    assert_eq!(apply(&mut store, Op::Txn(txn)), Err(Refused::Unreadable));
    assert_eq!(store.range(&range_request("new", "")), Err(Refused::Unreadable), "half of a transaction is not shown");
    assert!(SnapshotCursor::new(&store).is_err(), "nor does it become a snapshot");
    assert!(watched(&mut store, 1).is_empty());
}
