//! Users and roles through the crate `etcd-client` and over HTTP.
mod support;

use etcd_client::{
    Client, ConnectOptions, Error, GetOptions, Permission, PutOptions, RoleRevokePermissionOptions, Txn, TxnOp,
    UserAddOptions, WatchOptions,
};
use support::{Member, folder};

/// Cheap hashes, as many are made here.
const CHEAP: [&str; 2] = ["--bcrypt-cost", "4"];

async fn anonymous(member: &Member) -> Client {
    Client::connect([member.endpoint()], None).await.expect("connect")
}

async fn user(member: &Member, name: &str, password: &str) -> Result<Client, Error> {
    let options = ConnectOptions::new().with_user(name, password);
    Client::connect([member.endpoint()], Some(options)).await
}

fn refusal<T>(result: Result<T, Error>) -> (i32, String) {
    match result {
        Err(Error::GRpcStatus(status)) => (status.code().into(), status.message().to_owned()),
        Err(other) => panic!("a refusal was expected, not {other}"),
        Ok(_) => panic!("a refusal was expected"),
    }
}

/// Root with the password `r`, ann with the password `a` who may read and write what begins with `ann/`.
async fn guarded(member: &Member) -> Client {
    let mut client = anonymous(member).await;
    client.user_add("root", "r", None).await.expect("root");
    client.user_grant_role("root", "root").await.expect("grant");
    client.user_add("ann", "a", None).await.expect("ann");
    client.role_add("anns").await.expect("role");
    let permission = Permission::read_write("ann/").with_prefix();
    client.role_grant_permission("anns", permission).await.expect("permission");
    client.user_grant_role("ann", "anns").await.expect("grant");
    client.auth_enable().await.expect("enable");
    user(member, "root", "r").await.expect("root")
}

const DENIED: &str = "etcdserver: permission denied";

#[tokio::test]
async fn users_do_what_their_roles_allow_and_nothing_else() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &CHEAP);
    let mut root = guarded(&member).await;
    let mut ann = user(&member, "ann", "a").await.expect("ann");
    ann.put("ann/x", "1", None).await.expect("hers");
    assert_eq!(refusal(ann.put("x", "1", None).await), (7, DENIED.into()));
    assert_eq!(refusal(ann.get("", Some(GetOptions::new().with_all_keys())).await), (7, DENIED.into()));
    ann.get("ann/", Some(GetOptions::new().with_prefix())).await.expect("hers");
    let read = Txn::new().and_then([TxnOp::get("ann/x", None)]).or_else([TxnOp::get("x", None)]);
    assert_eq!(refusal(ann.txn(read).await), (7, DENIED.into()));
    assert_eq!(refusal(ann.user_list().await), (7, DENIED.into()));
    assert_eq!(ann.user_get("ann").await.expect("herself").roles(), ["anns"]);
    assert_eq!(refusal(ann.user_get("root").await), (7, DENIED.into()));
    ann.role_get("anns").await.expect("her role");
    assert_eq!(refusal(ann.hash_kv(0).await), (7, DENIED.into()));
    assert_eq!(root.user_list().await.expect("users").users(), ["ann", "root"]);
    let mut nobody = anonymous(&member).await;
    assert_eq!(refusal(nobody.get("ann/x", None).await), (3, "etcdserver: user name is empty".into()));
    nobody.status().await.expect("everybody may ask for the status");
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_are_refused_alike() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &CHEAP);
    assert_eq!(
        refusal(anonymous(&member).await.user_delete("nobody").await),
        (9, "etcdserver: user name not found".into())
    );
    let mut root = guarded(&member).await;
    let failed = (3, "etcdserver: authentication failed, invalid user ID or password".to_owned());
    assert_eq!(refusal(user(&member, "ann", "wrong").await), failed);
    assert_eq!(refusal(user(&member, "nobody", "a").await), failed);
    root.user_add("bob", "", Some(UserAddOptions::new().with_no_pwd())).await.expect("bob");
    assert_eq!(refusal(user(&member, "bob", "").await).0, 2, "a user without a password has none to give");
    root.user_change_password("ann", "b").await.expect("change");
    assert_eq!(refusal(user(&member, "ann", "a").await), failed);
    user(&member, "ann", "b").await.expect("the new password");
}

#[tokio::test]
async fn a_watch_and_a_lease_need_permission_for_their_keys() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &CHEAP);
    let mut root = guarded(&member).await;
    let mut ann = user(&member, "ann", "a").await.expect("ann");
    let refused = ann.watch("x", Some(WatchOptions::new().with_prefix())).await;
    let reason = match refused {
        Ok(mut stream) => stream.message().await.expect("message").expect("open").cancel_reason().to_owned(),
        Err(Error::WatchError(reason)) => reason,
        Err(other) => panic!("{other}"),
    };
    assert!(reason.contains("PermissionDenied") && reason.contains(DENIED), "{reason}");
    let lease = root.lease_grant(60, None).await.expect("grant").id();
    root.put("x", "1", Some(PutOptions::new().with_lease(lease))).await.expect("put");
    assert_eq!(refusal(ann.lease_revoke(lease).await), (7, DENIED.into()));
    assert_eq!(refusal(ann.lease_time_to_live(lease, None).await), (7, DENIED.into()));
    assert_eq!(refusal(ann.lease_keep_alive(lease).await), (7, DENIED.into()));
    let mut nobody = anonymous(&member).await;
    let unnamed = (3, "etcdserver: user name is empty".to_owned());
    assert_eq!(refusal(nobody.lease_keep_alive(lease).await), unnamed);
    assert_eq!(refusal(nobody.lease_grant(60, None).await), unnamed);
    assert_eq!(refusal(nobody.leases().await), unnamed);
    assert_eq!(refusal(nobody.compact(1, None).await), unnamed);
    assert_eq!(refusal(nobody.move_leader(1).await), unnamed);
    let own = ann.lease_grant(60, None).await.expect("grant").id();
    ann.lease_keep_alive(own).await.expect("a lease without keys is anybody's who has a name");
    root.lease_revoke(lease).await.expect("revoke");
}

#[tokio::test]
async fn users_survive_a_restart_and_permissions_can_be_taken_back() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &CHEAP);
    guarded(&member).await.defragment().await.expect("a snapshot that holds them");
    member.kill();
    let member = Member::start_with(folder.path(), &CHEAP);
    let mut root = user(&member, "root", "r").await.expect("root");
    let mut ann = user(&member, "ann", "a").await.expect("ann");
    ann.put("ann/x", "1", None).await.expect("hers");
    let options = RoleRevokePermissionOptions::new().with_prefix();
    root.role_revoke_permission("anns", "ann/", Some(options)).await.expect("revoke");
    assert_eq!(refusal(ann.put("ann/x", "1", None).await), (7, DENIED.into()));
    root.auth_disable().await.expect("disable");
    anonymous(&member).await.put("x", "1", None).await.expect("everybody may everything");
}

#[tokio::test]
async fn the_gateway_takes_the_token_as_authorization() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &CHEAP);
    guarded(&member).await;
    let (_, body) = member.http("POST", "/v3/auth/authenticate", r#"{"name":"ann","password":"a"}"#);
    let (_, token) = body.split_once(r#""token":""#).expect("a token");
    let (token, _) = token.split_once('"').expect("a token");
    let (head, body) = member.http("POST", "/v3/kv/range", r#"{"key":"YW5uLw=="}"#);
    assert!(head.starts_with("HTTP/1.1 400"), "{head} {body}");
    assert!(body.contains("etcdserver: user name is empty"), "{body}");
    let (_, metrics) = member.http("GET", "/metrics", "");
    let method = r#"grpc_method="Authenticate",grpc_service="etcdserverpb.Auth",grpc_type="unary""#;
    let logins = format!(r#"grpc_server_handled_total{{grpc_code="OK",{method}}} 2"#);
    assert!(metrics.contains(&logins), "root's and ann's: {metrics}");
    let token = format!("Authorization: {token}\r\n");
    let (head, body) = member.http_with("POST", "/v3/kv/range", &token, r#"{"key":"YW5uLw=="}"#);
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
    let (head, _) = member.http_with("GET", "/kv/x", &token, "");
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}
