//! Alarms: what the store refuses while one is up.
mod support;

use hull_kv_core::{Refused, Response, Store};
use hull_kv_proto::{
    etcdserverpb::{AlarmRequest, AlarmType, LeaseGrantRequest, TxnRequest, alarm_request::AlarmAction},
    hullpb::command::Op,
};
use support::{apply, compact, delete_request, get, grant, op, put, put_request, range_request, revoke, txn};

fn alarm(store: &mut Store, action: AlarmAction, alarm: AlarmType) {
    let request = AlarmRequest { action: action.into(), member_id: 7, alarm: alarm.into() };
    assert!(matches!(apply(store, Op::Alarm(request)), Ok(Response::Alarm(_))));
}

#[test]
fn while_members_may_differ_nothing_is_changed_that_could_hide_it() {
    use hull_kv_proto::etcdserverpb::request_op::Request;
    let mut store = Store::new();
    put(&mut store, "a", "1");
    grant(&mut store, 9, 60).expect("grant");
    alarm(&mut store, AlarmAction::Activate, AlarmType::Corrupt);
    let refused = Err(Refused::Corrupt);
    assert_eq!(apply(&mut store, Op::Put(put_request("a", "2"))), refused);
    assert_eq!(apply(&mut store, Op::DeleteRange(delete_request("a", ""))), refused);
    let writes = TxnRequest { success: vec![op(Request::RequestPut(put_request("a", "2")))], ..TxnRequest::default() };
    assert_eq!(txn(&mut store, writes.clone()), Err(Refused::Corrupt));
    assert_eq!(compact(&mut store, 2), Err(Refused::Corrupt));
    assert_eq!(apply(&mut store, Op::LeaseGrant(LeaseGrantRequest { id: 8, ttl: 60 })), refused);
    assert_eq!(revoke(&mut store, 9), Err(Refused::Corrupt));
    assert_eq!((store.revision(), get(&store, "a")), (2, Some("1".into())));
    assert_eq!(store.range(&range_request("a", "")).expect("reads go on").count, 1);
    alarm(&mut store, AlarmAction::Deactivate, AlarmType::Corrupt);
    assert!(txn(&mut store, writes).is_ok());
}
