//! Short ways to say requests.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]
use hull_kv_core::{Applied, Instant, Outcome, Refused, Response, Store};
use hull_kv_proto::{
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
        RequestOp, TxnRequest, TxnResponse, request_op::Request,
    },
    hullpb::{Command, command::Op},
    mvccpb::KeyValue,
};

pub const NOW: Instant = Instant(1_000);

pub fn apply(store: &mut Store, op: Op) -> Result<Response, Refused> {
    let applied = Applied { index: store.applied().index + 1, term: 1 };
    let Outcome { result, .. } = store.apply(applied, Command { op: Some(op), ..Command::default() }, NOW);
    result
}

pub fn put(store: &mut Store, key: &str, value: &str) -> i64 {
    apply(store, Op::Put(put_request(key, value))).expect("put");
    store.revision()
}

pub fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() }
}

pub fn put_leased(store: &mut Store, key: &str, lease: i64) -> Result<Response, Refused> {
    apply(store, Op::Put(PutRequest { lease, ..put_request(key, "v") }))
}

pub fn delete_request(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.to_owned().into(), range_end: end.to_owned().into(), ..DeleteRangeRequest::default() }
}

pub fn delete(store: &mut Store, key: &str) -> i64 {
    match apply(store, Op::DeleteRange(delete_request(key, ""))).expect("delete") {
        Response::DeleteRange(response) => response.deleted,
        other => panic!("{other:?}"),
    }
}

pub fn compact(store: &mut Store, revision: i64) -> Result<(), Refused> {
    apply(store, Op::Compaction(CompactionRequest { revision, physical: false })).map(drop)
}

pub fn scrub(store: &mut Store) {
    while store.scrub() == hull_kv_core::Scrub::More {}
}

pub fn grant(store: &mut Store, id: i64, ttl: i64) -> Result<i64, Refused> {
    match apply(store, Op::LeaseGrant(LeaseGrantRequest { id, ttl }))? {
        Response::LeaseGrant(response) => Ok(response.ttl),
        other => panic!("{other:?}"),
    }
}

pub fn revoke(store: &mut Store, id: i64) -> Result<(), Refused> {
    apply(store, Op::LeaseRevoke(LeaseRevokeRequest { id })).map(drop)
}

pub fn range_request(key: &str, end: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), range_end: end.to_owned().into(), ..RangeRequest::default() }
}

pub fn get_at(store: &Store, key: &str, revision: i64) -> Result<Option<String>, Refused> {
    let response = store.range(&RangeRequest { revision, ..range_request(key, "") })?;
    Ok(response.kvs.first().map(value))
}

pub fn get(store: &Store, key: &str) -> Option<String> {
    get_at(store, key, 0).expect("range")
}

pub fn value(pair: &KeyValue) -> String {
    String::from_utf8(pair.value.to_vec()).expect("text")
}

pub fn keys(pairs: &[KeyValue]) -> Vec<String> {
    pairs.iter().map(|pair| String::from_utf8(pair.key.to_vec()).expect("text")).collect()
}

pub fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub fn txn(store: &mut Store, request: TxnRequest) -> Result<TxnResponse, Refused> {
    match apply(store, Op::Txn(request))? {
        Response::Txn(response) => Ok(response),
        other => panic!("{other:?}"),
    }
}
