//! Users, roles, permissions: etcd's rules, and what they keep whom from doing.
mod support;

use hull_kv_core::{Applied, Caller, Enforced, Instant, Refused, Response, Restore, SnapshotCursor, Store};
use hull_kv_proto::{
    authpb::{Permission, permission::Type},
    etcdserverpb::{
        AlarmRequest, AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
        AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest, AuthUserDeleteRequest,
        AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest, CompactionRequest, LeaseGrantRequest, LeaseRevokeRequest,
        PutRequest, TxnRequest, alarm_request::AlarmAction, request_op::Request,
    },
    hullpb::{AuthChange, Command, Login, auth_change::Change, command::Op},
};
use support::{NOW, apply, delete_request, get, op, put, put_request, range_request};

fn change(store: &mut Store, change: Change) -> Result<(), Refused> {
    as_caller(store, Caller::Member, Op::AuthChange(AuthChange { change: Some(change) })).map(drop)
}

fn as_caller(store: &mut Store, caller: Caller, op: Op) -> Result<Response, Refused> {
    let applied = Applied { index: store.applied().index + 1, term: 1 };
    let mut command = Command { op: Some(op), ..Command::default() };
    caller.sign(&mut command);
    store.apply(applied, command, NOW).result
}

/// As a user whose token was just looked at.
fn as_user(store: &mut Store, name: &str, op: Op) -> Result<Response, Refused> {
    let caller = user(store, name);
    as_caller(store, caller, op)
}

fn user(store: &Store, name: &str) -> Caller {
    Caller::User { name: name.into(), revision: store.auth().revision() }
}

fn add_user(store: &mut Store, name: &str) -> Result<(), Refused> {
    let request = AuthUserAddRequest { name: name.into(), hashed_password: "hash".into(), ..Default::default() };
    change(store, Change::UserAdd(request))
}

fn add_role(store: &mut Store, name: &str) -> Result<(), Refused> {
    change(store, Change::RoleAdd(AuthRoleAddRequest { name: name.into() }))
}

fn grant_role(store: &mut Store, user: &str, role: &str) -> Result<(), Refused> {
    change(store, Change::UserGrantRole(AuthUserGrantRoleRequest { user: user.into(), role: role.into() }))
}

fn allow(store: &mut Store, role: &str, kind: Type, key: &str, end: &str) {
    let perm = Permission { perm_type: kind.into(), key: key.to_owned().into(), range_end: end.to_owned().into() };
    let request = AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(perm) };
    change(store, Change::RoleGrantPermission(request)).expect("grant");
}

/// A store with root and with ann, who has the role `r`; authentication is on.
fn guarded() -> Store {
    let mut store = Store::new();
    for name in ["root", "ann"] {
        add_user(&mut store, name).expect("user");
    }
    add_role(&mut store, "r").expect("role");
    grant_role(&mut store, "root", "root").expect("grant");
    grant_role(&mut store, "ann", "r").expect("grant");
    change(&mut store, Change::Enable(AuthEnableRequest {})).expect("enable");
    store
}

fn grant_as(store: &mut Store, user: &str, id: i64) -> Result<(), Refused> {
    as_user(store, user, Op::LeaseGrant(LeaseGrantRequest { id, ttl: 60 })).map(drop)
}

fn put_op(key: &str) -> Op {
    Op::Put(put_request(key, "v"))
}

#[test]
fn enabling_needs_the_root_user_with_the_root_role() {
    let mut store = Store::new();
    let enable = Change::Enable(AuthEnableRequest {});
    assert_eq!(change(&mut store, enable.clone()), Err(Refused::RootUserNotExist));
    add_user(&mut store, "root").expect("user");
    assert_eq!(change(&mut store, enable.clone()), Err(Refused::RootRoleNotExist));
    grant_role(&mut store, "root", "root").expect("the root role needs no adding");
    let before = store.auth().revision();
    change(&mut store, enable).expect("enable");
    assert_eq!((store.auth().enforced(), store.auth().revision()), (Enforced::Yes, before));
}

#[test]
fn every_change_of_users_and_roles_moves_the_revision_and_a_refused_one_does_not() {
    let mut store = Store::new();
    assert_eq!(store.auth().revision(), 1);
    add_user(&mut store, "u").expect("user");
    add_role(&mut store, "r").expect("role");
    grant_role(&mut store, "u", "r").expect("grant");
    assert_eq!(store.auth().revision(), 4);
    grant_role(&mut store, "u", "r").expect("again");
    assert_eq!(add_user(&mut store, "u"), Err(Refused::UserAlreadyExists));
    assert_eq!(add_user(&mut store, ""), Err(Refused::UserEmpty));
    assert_eq!(add_role(&mut store, "r"), Err(Refused::RoleAlreadyExists));
    assert_eq!(add_role(&mut store, ""), Err(Refused::RoleEmpty));
    assert_eq!(grant_role(&mut store, "nobody", "r"), Err(Refused::UserNotFound));
    assert_eq!(grant_role(&mut store, "u", "nothing"), Err(Refused::RoleNotFound));
    let revoke = AuthUserRevokeRoleRequest { name: "u".into(), role: "other".into() };
    assert_eq!(change(&mut store, Change::UserRevokeRole(revoke)), Err(Refused::RoleNotGranted));
    let revoke = AuthRoleRevokePermissionRequest { role: "r".into(), ..Default::default() };
    assert_eq!(change(&mut store, Change::RoleRevokePermission(revoke)), Err(Refused::PermissionNotGranted));
    let without = AuthRoleGrantPermissionRequest { name: "r".into(), perm: None };
    assert_eq!(change(&mut store, Change::RoleGrantPermission(without)), Err(Refused::PermissionNotGiven));
    assert_eq!(store.auth().revision(), 4);
}

#[test]
fn root_cannot_be_taken_away_while_authentication_is_on() {
    let mut store = guarded();
    let delete = Change::UserDelete(AuthUserDeleteRequest { name: "root".into() });
    let revoke = Change::UserRevokeRole(AuthUserRevokeRoleRequest { name: "root".into(), role: "root".into() });
    let role = Change::RoleDelete(AuthRoleDeleteRequest { role: "root".into() });
    for request in [delete.clone(), revoke, role] {
        assert_eq!(change(&mut store, request), Err(Refused::InvalidAuthMgmt));
    }
    change(&mut store, Change::Disable(AuthDisableRequest {})).expect("disable");
    change(&mut store, delete).expect("delete");
}

#[test]
fn a_user_reads_and_writes_only_what_its_roles_grant() {
    let mut store = guarded();
    allow(&mut store, "r", Type::Read, "a", "c");
    allow(&mut store, "r", Type::Write, "b", "");
    as_user(&mut store, "ann", put_op("b")).expect("granted");
    assert_eq!(as_user(&mut store, "ann", put_op("a")), Err(Refused::PermissionDenied));
    assert_eq!(as_user(&mut store, "bob", put_op("b")), Err(Refused::PermissionDenied));
    assert_eq!(as_caller(&mut store, Caller::Nobody, put_op("b")), Err(Refused::UserEmpty));
    as_user(&mut store, "root", put_op("z")).expect("root may everything");
    let ann = user(&store, "ann");
    let auth = store.auth();
    assert_eq!(auth.permit_read(&ann, b"a", b"c"), Ok(()));
    assert_eq!(auth.permit_read(&ann, b"b", b""), Ok(()));
    assert_eq!(auth.permit_read(&ann, b"c", b""), Err(Refused::PermissionDenied));
    assert_eq!(auth.permit_read(&ann, b"a", b"\0"), Err(Refused::PermissionDenied));
    let with_previous = Op::Put(PutRequest { prev_kv: true, ..put_request("b", "v") });
    as_user(&mut store, "ann", with_previous).expect("b may be read, too");
    let delete = Op::DeleteRange(delete_request("a", "c"));
    assert_eq!(as_user(&mut store, "ann", delete), Err(Refused::PermissionDenied));
}

#[test]
fn ranges_that_touch_grant_together_what_neither_grants_alone() {
    let mut store = guarded();
    allow(&mut store, "r", Type::Read, "a", "b");
    allow(&mut store, "r", Type::Readwrite, "b", "d");
    allow(&mut store, "r", Type::Read, "f", "\0");
    let ann = user(&store, "ann");
    let read = |from: &str, to: &str| store.auth().permit_read(&ann, from.as_bytes(), to.as_bytes());
    assert_eq!(read("a", "d"), Ok(()));
    assert_eq!(read("a", "e"), Err(Refused::PermissionDenied));
    assert_eq!(read("c", "g"), Err(Refused::PermissionDenied), "there is a gap from d to f");
    assert_eq!(read("g", "\0"), Ok(()));
    assert_eq!(read("d", "a"), Err(Refused::PermissionDenied), "a range that ends before it begins");
}

#[test]
fn a_permission_for_no_key_at_all_is_not_granted() {
    let mut store = guarded();
    let mut granted = |key: &str, end: &str, perm_type| {
        let perm = Permission { perm_type, key: key.to_owned().into(), range_end: end.to_owned().into() };
        let request = AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
        change(&mut store, Change::RoleGrantPermission(request))
    };
    for (key, end) in [("", ""), ("", "z"), ("", "\0"), ("z", "a"), ("k", "k")] {
        assert_eq!(granted(key, end, Type::Readwrite.into()), Err(Refused::InvalidAuthMgmt), "{key:?} to {end:?}");
    }
    assert_eq!(granted("m", "\0", 9), Ok(()), "of a kind that nobody knows");
    let caller = user(&store, "ann");
    assert_eq!(store.auth().permit_read(&caller, b"m", b""), Err(Refused::PermissionDenied), "which allows nothing");
}

#[test]
fn a_transaction_is_refused_for_any_key_of_any_branch_at_any_depth() {
    let mut store = guarded();
    allow(&mut store, "r", Type::Readwrite, "mine", "");
    let mine = || op(Request::RequestPut(put_request("mine", "v")));
    let theirs = || op(Request::RequestRange(range_request("theirs", "")));
    let nested = |inner| op(Request::RequestTxn(TxnRequest { failure: vec![inner], ..TxnRequest::default() }));
    let untaken = TxnRequest { success: vec![mine()], failure: vec![theirs()], ..TxnRequest::default() };
    assert_eq!(as_user(&mut store, "ann", Op::Txn(untaken)), Err(Refused::PermissionDenied));
    let deep = TxnRequest { success: vec![nested(theirs())], ..TxnRequest::default() };
    assert_eq!(as_user(&mut store, "ann", Op::Txn(deep)), Err(Refused::PermissionDenied));
    let allowed = TxnRequest { success: vec![mine(), nested(mine())], ..TxnRequest::default() };
    as_user(&mut store, "ann", Op::Txn(allowed)).expect("only the caller's own key");
    assert_eq!(get(&store, "mine"), Some("v".into()));
}

#[test]
fn a_lease_with_somebody_elses_key_is_neither_used_nor_revoked() {
    let mut store = guarded();
    allow(&mut store, "r", Type::Readwrite, "mine", "");
    grant_as(&mut store, "root", 5).expect("lease");
    let leased = |key: &str| Op::Put(PutRequest { lease: 5, ..put_request(key, "v") });
    as_user(&mut store, "root", leased("theirs")).expect("root");
    assert_eq!(as_user(&mut store, "ann", leased("mine")), Err(Refused::PermissionDenied));
    let revoke = || Op::LeaseRevoke(LeaseRevokeRequest { id: 5 });
    assert_eq!(as_user(&mut store, "ann", revoke()), Err(Refused::PermissionDenied));
    assert_eq!(store.permit_lease_keys(&user(&store, "ann"), 5), Err(Refused::PermissionDenied));
    as_caller(&mut store, Caller::Member, revoke()).expect("a lease that ends asks nobody");
    assert_eq!(get(&store, "theirs"), None);
}

#[test]
fn who_is_nobody_touches_no_lease_compacts_nothing_and_raises_no_alarm() {
    let mut store = guarded();
    grant_as(&mut store, "root", 7).expect("grant");
    let alarm = AlarmRequest { action: AlarmAction::Activate.into(), member_id: 1, alarm: 1 };
    let compaction = CompactionRequest { revision: 1, physical: false };
    for op in [
        Op::LeaseGrant(LeaseGrantRequest { id: 8, ttl: 60 }),
        Op::LeaseRevoke(LeaseRevokeRequest { id: 7 }),
        Op::Compaction(compaction),
        Op::Alarm(alarm),
    ] {
        assert_eq!(as_caller(&mut store, Caller::Nobody, op.clone()), Err(Refused::UserEmpty), "{op:?}");
    }
    assert_eq!(store.permit_lease_use(&Caller::Nobody, 7), Err(Refused::UserEmpty));
    assert_eq!(store.permit_lease_keys(&Caller::Nobody, 7), Err(Refused::UserEmpty));
    assert_eq!(as_user(&mut store, "ann", Op::Alarm(alarm)), Err(Refused::PermissionDenied), "that stops all writes");
    assert_eq!(as_user(&mut store, "ann", Op::Compaction(compaction)).map(drop), Ok(()), "as in etcd");
    grant_as(&mut store, "ann", 8).expect("grant");
}

#[test]
fn a_request_checked_against_older_users_is_refused() {
    let mut store = guarded();
    allow(&mut store, "r", Type::Readwrite, "a", "");
    let before = user(&store, "ann");
    add_user(&mut store, "bob").expect("user");
    assert_eq!(as_caller(&mut store, before, put_op("a")), Err(Refused::AuthOldRevision));
    as_user(&mut store, "ann", put_op("a")).expect("with the new revision");
}

#[test]
fn a_token_lapses_when_unused_and_is_void_when_its_user_goes() {
    let mut store = guarded();
    let login = |store: &mut Store, secret: &str| {
        let login = Login { user: "ann".into(), secret: secret.into() };
        match as_caller(store, Caller::Nobody, Op::Login(login)).expect("login") {
            Response::Token(_, token) => token,
            other => panic!("{other:?}"),
        }
    };
    store.set_token_ttl(100);
    let token = login(&mut store, "secret");
    let at = |ms: u64| Instant(NOW.0 + ms);
    assert_eq!(store.auth().tokens().user_of(&token, at(99)), Some("ann"));
    assert_eq!(store.auth().tokens().user_of(&token, at(198)), Some("ann"), "its use keeps it");
    assert_eq!(store.auth().tokens().user_of(&token, at(298)), None);
    let token = login(&mut store, "another");
    change(&mut store, Change::UserDelete(AuthUserDeleteRequest { name: "ann".into() })).expect("delete");
    assert_eq!(store.auth().tokens().user_of(&token, NOW), None);
}

#[test]
fn a_snapshot_carries_users_roles_and_that_they_count() {
    let mut store = guarded();
    allow(&mut store, "r", Type::Read, "a", "b");
    let mut cursor = SnapshotCursor::new(&store).expect("whole");
    let mut restore = Restore::default();
    while let Some(part) = cursor.next_part(&store) {
        restore.part(part.read().expect("in memory")).expect("part");
    }
    let copy = restore.finish().expect("whole");
    assert_eq!(copy.auth().to_wire(), store.auth().to_wire());
    assert_eq!(copy.auth().permit_read(&user(&copy, "ann"), b"a", b""), Ok(()));
}

#[test]
fn without_authentication_everybody_may_everything() {
    let mut store = Store::new();
    put(&mut store, "a", "1");
    apply(&mut store, put_op("a")).expect("put");
    assert_eq!(store.auth().permit_admin(&Caller::Nobody), Ok(()));
}
