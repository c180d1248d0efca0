//! The same requests to this store and to a real etcd, where one is installed: the checksums of both must be equal, and
//! so must the refusals.
#[path = "support/etcd.rs"]
mod etcd;
mod support;

use std::{path::Path, process::Command};

use etcd::Etcd;
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, GetOptions, LeaseGrantOptions, Permission, PutOptions, Txn, TxnOp,
};
use support::{Member, folder};

/// Both stores, freshly started.
async fn both(folder: &Path) -> Option<(Etcd, Member, [Client; 2])> {
    let Some(etcd) = Etcd::start(&folder.join("etcd")) else {
        eprintln!("skipped: etcd is not installed");
        return None;
    };
    let member = Member::start_with(folder, &["--bcrypt-cost", "4"]);
    let ours = Client::connect([member.endpoint()], None).await.expect("connect");
    let clients = [etcd.client().await, ours];
    Some((etcd, member, clients))
}

fn refusal<T>(result: Result<T, Error>) -> Option<(i32, String)> {
    match result {
        Err(Error::GRpcStatus(status)) => Some((status.code().into(), status.message().to_owned())),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

/// A step of a made-up workload; every step of a number is the same everywhere.
async fn step(client: &mut Client, n: usize) {
    let key = format!("k{:02}", n * 7 % 40);
    let done = match n % 9 {
        0 => client.delete(key, None).await.map(drop),
        1 => {
            let ops =
                [TxnOp::put(key.clone(), "t", None), TxnOp::delete("k0", Some(DeleteOptions::new().with_prefix()))];
            let otherwise = [TxnOp::put(key.clone(), "e", None), TxnOp::put(format!("x{n}"), "e", None)];
            let when = Compare::version(key, CompareOp::Greater, (n % 4) as i64);
            // Of a put and a delete of the same key both refuse.
            client.txn(Txn::new().when([when]).and_then(ops).or_else(otherwise)).await.map(drop).or(Ok(()))
        }
        2 => client.put(key, "leased", Some(PutOptions::new().with_lease(9))).await.map(drop),
        // To etcd that is no change of the same key twice.
        3 => {
            let ops = [TxnOp::delete("k2", Some(DeleteOptions::new().with_from_key())), TxnOp::put(key, "after", None)];
            client.txn(Txn::new().and_then(ops)).await.map(drop)
        }
        _ => client.put(key, "v".repeat(n % 50), None).await.map(drop),
    };
    done.expect("step");
}

#[tokio::test]
async fn hash_kv_equals_etcds_after_the_same_requests() {
    let folder = folder();
    let Some((_etcd, _member, mut clients)) = both(folder.path()).await else { return };
    for client in &mut clients {
        client.lease_grant(1000, Some(LeaseGrantOptions::new().with_id(9))).await.expect("grant");
    }
    for n in 0..300 {
        for client in &mut clients {
            step(client, n).await;
        }
        if n % 60 == 59 {
            let mut hashes = Vec::new();
            for client in &mut clients {
                let at = client.get("k", None).await.expect("get");
                let revision = at.header().map_or(0, etcd_client::ResponseHeader::revision);
                let options = etcd_client::CompactionOptions::new().with_physical();
                client.compact(revision - 25, Some(options)).await.expect("compact");
                let now = client.hash_kv(0).await.expect("hash");
                let then = client.hash_kv(revision - 10).await.expect("hash");
                hashes.push((revision, now.hash(), now.compact_version(), then.hash()));
            }
            assert_eq!(hashes[0], hashes[1], "after {n} steps: revision, hash, compacted, hash of an older revision");
        }
    }
}

#[tokio::test]
async fn refusals_are_those_of_etcd_to_the_letter() {
    let folder = folder();
    let Some((_etcd, _member, mut clients)) = both(folder.path()).await else { return };
    let mut all = Vec::new();
    for client in &mut clients {
        let mut refusals = Vec::new();
        for _ in 0..3 {
            client.put("a", "1", None).await.expect("put");
        }
        client.compact(3, None).await.expect("compact");
        refusals.push(refusal(client.get("a", Some(GetOptions::new().with_revision(2))).await));
        refusals.push(refusal(client.get("a", Some(GetOptions::new().with_revision(99))).await));
        refusals.push(refusal(client.compact(3, None).await));
        refusals.push(refusal(client.compact(99, None).await));
        refusals.push(refusal(client.put("", "v", None).await));
        refusals.push(refusal(client.put("n", "", Some(PutOptions::new().with_ignore_value())).await));
        refusals.push(refusal(client.put("n", "v", Some(PutOptions::new().with_ignore_value())).await));
        refusals.push(refusal(client.put("n", "v", Some(PutOptions::new().with_lease(4))).await));
        refusals.push(refusal(client.lease_revoke(4).await));
        refusals.push(refusal(client.lease_grant(9_000_000_001, None).await));
        let twice = Txn::new().and_then([TxnOp::put("a", "1", None), TxnOp::put("a", "2", None)]);
        refusals.push(refusal(client.txn(twice).await));
        let many = (0..129).map(|n| TxnOp::put(format!("{n}"), "", None)).collect::<Vec<_>>();
        refusals.push(refusal(client.txn(Txn::new().and_then(many)).await));
        refusals.push(refusal(client.auth_enable().await));
        refusals.push(refusal(client.auth_disable().await));
        refusals.push(refusal(client.user_add("", "p", None).await));
        refusals.push(refusal(client.user_add("u", "p", None).await));
        refusals.push(refusal(client.user_add("u", "p", None).await));
        refusals.push(refusal(client.user_get("nobody").await));
        refusals.push(refusal(client.user_delete("nobody").await));
        refusals.push(refusal(client.user_change_password("nobody", "p").await));
        refusals.push(refusal(client.user_grant_role("nobody", "r").await));
        refusals.push(refusal(client.user_grant_role("u", "nothing").await));
        refusals.push(refusal(client.user_revoke_role("u", "nothing").await));
        refusals.push(refusal(client.role_add("").await));
        refusals.push(refusal(client.role_add("r").await));
        refusals.push(refusal(client.role_add("r").await));
        refusals.push(refusal(client.role_get("nothing").await));
        refusals.push(refusal(client.role_delete("nothing").await));
        refusals.push(refusal(client.role_grant_permission("nothing", Permission::read("a")).await));
        refusals.push(refusal(client.role_revoke_permission("r", "a", None).await));
        refusals.push(refusal(client.auth_client().role_list().await));
        refusals.push(refusal(client.leader("nobody").await));
        refusals.push(refusal(client.move_leader(4).await));
        all.push(refusals);
    }
    for (at, (etcds, ours)) in all[0].iter().zip(&all[1]).enumerate() {
        assert_eq!(etcds, ours, "refusal number {at}");
    }
}

#[tokio::test]
async fn etcdctl_may_write_its_endpoint_as_a_url() {
    let folder = folder();
    let member = Member::start(folder.path());
    let endpoint = format!("http://{}", member.endpoint());
    let status = ["--endpoints", &endpoint, "--command-timeout", "10s", "endpoint", "status"];
    match Command::new("etcdctl").env("ETCDCTL_API", "3").args(status).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => eprintln!("skipped: etcdctl is not installed"),
    }
}
