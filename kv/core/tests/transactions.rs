//! Transactions: branches, what their reads see, what is refused.
mod support;

use hull_kv_core::{Refused, Store, check_txn, limits::MAX_TXN_OPS};
use hull_kv_proto::etcdserverpb::{
    Compare, RangeRequest, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
    response_op::Response as Answer,
};
use hull_kv_proto::hullpb::{Command, command::Op};
use prost::Message as _;
use support::{compact, delete_request, get, op, put, put_request, range_request, scrub, txn};

fn puts(key: &str, value: &str) -> RequestOp {
    op(Request::RequestPut(put_request(key, value)))
}

fn deletes(key: &str, end: &str) -> RequestOp {
    op(Request::RequestDeleteRange(delete_request(key, end)))
}

fn reads(key: &str) -> RequestOp {
    op(Request::RequestRange(range_request(key, "")))
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(TxnRequest { success, failure, ..TxnRequest::default() }))
}

fn when(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare, success, failure }
}

fn value_is(key: &str, value: &str) -> Compare {
    Compare {
        key: key.to_owned().into(),
        target: CompareTarget::Value.into(),
        result: CompareResult::Equal.into(),
        target_union: Some(TargetUnion::Value(value.to_owned().into())),
        ..Compare::default()
    }
}

#[test]
fn all_changes_of_a_transaction_share_one_revision() {
    let mut store = Store::new();
    let response = txn(&mut store, when(vec![], vec![puts("a", "1"), puts("b", "2"), deletes("c", "")], vec![]));
    assert_eq!(store.revision(), 2);
    assert_eq!(response.expect("txn").header.map(|header| header.revision), Some(2));
    assert_eq!(store.usage().revisions, 2);
}

#[test]
fn a_range_inside_a_transaction_sees_the_changes_before_it() {
    let mut store = Store::new();
    put(&mut store, "a", "old");
    let ops = vec![reads("a"), puts("a", "new"), reads("a"), nested(vec![puts("b", "1"), reads("b")], vec![])];
    let response = txn(&mut store, when(vec![], ops, vec![])).expect("txn");
    let seen: Vec<_> = response
        .responses
        .iter()
        .filter_map(|r| match &r.response {
            Some(Answer::ResponseRange(range)) => Some(support::value(&range.kvs[0])),
            Some(Answer::ResponseTxn(inner)) => match &inner.responses[1].response {
                Some(Answer::ResponseRange(range)) => Some(support::value(&range.kvs[0])),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(seen, ["old", "new", "1"]);
}

#[test]
fn conditions_choose_the_branch_before_anything_changes() {
    let mut store = Store::new();
    put(&mut store, "a", "1");
    let inner = op(Request::RequestTxn(when(vec![value_is("a", "1")], vec![puts("inner", "yes")], vec![])));
    let request = when(vec![value_is("a", "1")], vec![puts("a", "2"), inner], vec![puts("a", "wrong")]);
    assert!(txn(&mut store, request).expect("txn").succeeded);
    assert_eq!(get(&store, "a"), Some("2".into()));
    assert_eq!(get(&store, "inner"), Some("yes".into()), "the inner condition was decided on the state before");
}

#[test]
fn a_missing_key_has_version_zero_but_no_value() {
    let mut store = Store::new();
    let missing = Compare {
        key: "a".into(),
        target: CompareTarget::Version.into(),
        result: CompareResult::Equal.into(),
        target_union: Some(TargetUnion::Version(0)),
        ..Compare::default()
    };
    assert!(txn(&mut store, when(vec![missing], vec![], vec![])).expect("txn").succeeded);
    assert!(!txn(&mut store, when(vec![value_is("a", "")], vec![], vec![])).expect("txn").succeeded);
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let mut store = Store::new();
    let mut leased = put_request("b", "v");
    leased.lease = 77;
    let request = when(vec![], vec![puts("a", "1"), op(Request::RequestPut(leased))], vec![]);
    assert_eq!(txn(&mut store, request), Err(Refused::LeaseNotFound));
    assert_eq!((store.revision(), get(&store, "a")), (1, None));
}

#[test]
fn one_key_may_be_changed_once_in_any_possible_run() {
    let check = |success: Vec<RequestOp>| check_txn(&when(vec![], success, vec![]), MAX_TXN_OPS);
    assert_eq!(check(vec![puts("a", "1"), puts("a", "2")]), Err(Refused::DuplicateKey));
    assert_eq!(check(vec![puts("b", "1"), deletes("a", "c")]), Err(Refused::DuplicateKey));
    assert_eq!(check(vec![deletes("a", "c"), nested(vec![puts("b", "1")], vec![])]), Err(Refused::DuplicateKey));
    assert_eq!(check(vec![nested(vec![deletes("a", "c")], vec![]), puts("b", "1")]), Err(Refused::DuplicateKey));
    assert_eq!(check(vec![puts("a", "1"), nested(vec![puts("a", "2")], vec![])]), Err(Refused::DuplicateKey));
    assert_eq!(check(vec![nested(vec![puts("a", "1")], vec![puts("a", "2")])]), Ok(()), "only one branch runs");
    assert_eq!(check(vec![deletes("a", "c"), deletes("b", "")]), Ok(()), "deleting twice is deleting");
}

#[test]
fn a_put_after_the_delete_of_all_later_keys_is_no_duplicate_to_etcd() {
    let request = || when(vec![], vec![deletes("a", "\0"), puts("b", "new")], vec![]);
    assert_eq!(check_txn(&request(), MAX_TXN_OPS), Ok(()));
    let mut store = Store::new();
    put(&mut store, "b", "old");
    put(&mut store, "c", "old");
    txn(&mut store, request()).expect("txn");
    assert_eq!((get(&store, "b"), get(&store, "c")), (Some("new".into()), None));
    let pair = store.range(&range_request("b", "")).expect("range").kvs.remove(0);
    assert_eq!((pair.create_revision, pair.mod_revision, pair.version), (4, 4, 1), "a new life");
    put(&mut store, "d", "later");
    compact(&mut store, 5).expect("compact");
    scrub(&mut store);
    assert_eq!((get(&store, "b"), get(&store, "c")), (Some("new".into()), None));
}

#[test]
fn a_read_inside_a_transaction_takes_a_negative_revision_at_its_word() {
    let reads_at = |revision| {
        let range = RangeRequest { revision, ..range_request("a", "") };
        when(vec![], vec![puts("b", "1"), op(Request::RequestRange(range))], vec![])
    };
    let mut store = Store::new();
    assert!(txn(&mut store, reads_at(-1)).is_ok(), "nothing is compacted yet");
    assert_eq!(txn(&mut store, reads_at(-2)), Err(Refused::Compacted));
    compact(&mut store, 2).expect("compact");
    assert_eq!(txn(&mut store, reads_at(-1)), Err(Refused::Compacted));
}

#[test]
fn a_condition_of_a_kind_that_nobody_knows_is_as_in_etcd() {
    let mut store = Store::new();
    let mut holds = |target, result| {
        let condition = Compare { key: "a".into(), target, result, ..Compare::default() };
        txn(&mut store, when(vec![condition], vec![], vec![])).expect("txn").succeeded
    };
    let (equal, less) = (CompareResult::Equal as i32, CompareResult::Less as i32);
    assert!(holds(9, equal) && !holds(9, less), "what cannot be compared is equal");
    assert!(holds(CompareTarget::Version as i32, 9), "an unknown result holds");
}

#[test]
fn operations_are_counted_with_those_nested_in_them() {
    let many = |n: usize| (0..n).map(|i| puts(&format!("k{i}"), "v")).collect::<Vec<_>>();
    assert_eq!(check_txn(&when(vec![], many(128), vec![]), 128), Ok(()));
    assert_eq!(check_txn(&when(vec![], many(129), vec![]), 128), Err(Refused::TooManyOps));
    assert_eq!(check_txn(&when(vec![], vec![nested(many(128), vec![])], vec![]), 128), Err(Refused::TooManyOps));
    assert_eq!(check_txn(&when(vec![], vec![nested(many(127), vec![])], vec![]), 128), Ok(()));
}

#[test]
fn a_transaction_goes_no_deeper_than_the_log_can_be_read() {
    let deep = |levels| {
        (1..levels).fold(when(vec![], vec![puts("k", "v")], vec![]), |inner, _| {
            when(vec![], vec![RequestOp { request: Some(Request::RequestTxn(inner)) }], vec![])
        })
    };
    assert_eq!(check_txn(&deep(46), 128), Err(Refused::TooManyOps));
    let deepest = deep(45);
    assert_eq!(check_txn(&deepest, 128), Ok(()));
    let command = Command { op: Some(Op::Txn(deepest)), ..Command::default() };
    assert_eq!(Command::decode(&*command.encode_to_vec()), Ok(command));
}

#[test]
fn sub_revisions_tell_the_order_of_changes_within_a_transaction() {
    let mut store = Store::new();
    let spec = hull_kv_core::WatchSpec {
        range: hull_kv_core::KeyRange::new(b"a", b"z"),
        start_revision: 0,
        filters: vec![],
        previous: hull_kv_core::Previous::Omit,
    };
    put(&mut store, "m", "old");
    let mut watcher = store.watch(1, 0, spec).expect("watch");
    let ops = vec![puts("z0", "out of range"), puts("c", "1"), deletes("m", ""), puts("b", "2"), puts("a", "3")];
    txn(&mut store, when(vec![], ops, vec![])).expect("txn");
    let hull_kv_core::Pull::Events(events) = store.pull(&mut watcher, 0, 100, 100_000) else { panic!("events") };
    let seen: Vec<_> = events
        .events
        .iter()
        .map(|event| event.kv.as_ref().map(|pair| (String::from_utf8_lossy(&pair.key).into_owned(), pair.mod_revision)))
        .map(|pair| pair.expect("pair"))
        .collect();
    assert_eq!(seen, [("c", 3), ("m", 3), ("b", 3), ("a", 3)].map(|(key, revision)| (key.to_owned(), revision)));
}
