//! The store, with clients that nobody here wrote.

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, WatchOptions};
use hull_qemu_tests::{EVENTUALLY, Node, STORE_PORT, eventually, http_get, http_send};
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

#[test]
fn etcdctl_reads_writes_watches_leases_and_compacts() {
    let disk = Node::disk();
    let node = Node::boot(&disk, "");
    let etcdctl = node.etcdctl();

    let mut watch = etcdctl.spawn(&["watch", "/w", "--prefix"]);
    let events = watch.stdout.take().expect("the watch's output is piped");
    let reader =
        thread::spawn(move || BufReader::new(events).lines().map_while(Result::ok).take(3).collect::<Vec<_>>());
    eventually("the watch sees a write", EVENTUALLY, || {
        etcdctl.run(&["put", "/w/1", "x"]);
        if reader.is_finished() { Ok(()) } else { Err("no event yet") }
    });
    assert_eq!(reader.join().expect("the reader ends"), ["PUT", "/w/1", "x"]);
    let _ = watch.kill();
    let _ = watch.wait();

    let txn = etcdctl.try_run(&["txn"], "value(\"/w/1\") = \"x\"\n\nput /t yes\n\nput /t no\n\n");
    assert_eq!(txn.status, 0, "{}", txn.output);
    assert!(txn.output.starts_with("SUCCESS"), "{}", txn.output);
    assert!(etcdctl.run(&["get", "/t"]).ends_with("yes"));

    let granted = etcdctl.run(&["lease", "grant", "600"]);
    let lease = granted.split_whitespace().nth(1).expect("lease ID granted with TTL(600s)").to_owned();
    etcdctl.run(&["put", "/l", "leased", "--lease", &lease]);
    assert!(etcdctl.run(&["lease", "keep-alive", "--once", &lease]).contains("keepalived"));
    assert!(etcdctl.run(&["lease", "timetolive", &lease, "--keys"]).contains("/l"));
    etcdctl.run(&["lease", "revoke", &lease]);
    assert_eq!(etcdctl.run(&["get", "/l"]), "");

    let revision = node.store().put("/c", "1").expect("put into the store");
    node.store().put("/c", "2").expect("put into the store");
    etcdctl.run(&["compaction", &revision.to_string()]);
    let old = etcdctl.try_run(&["get", "/c", "--rev", "1"], "");
    assert!(old.status != 0 && old.output.contains("compacted"), "{}", old.output);

    assert!(etcdctl.run(&["endpoint", "health"]).contains("is healthy"));
    assert!(etcdctl.run(&["endpoint", "status"]).contains("true"));
    assert!(etcdctl.run(&["member", "list"]).contains("started"));
}

#[test]
fn the_crate_etcd_client_works() {
    let disk = Node::disk();
    let node = Node::boot(&disk, "");
    let store = node.store();
    store.run(|mut client| async move {
        let mut events = client.watch("/e/", Some(WatchOptions::new().with_prefix())).await.expect("start a watch");
        let lease = client.lease_grant(600, None).await.expect("grant a lease").id();
        let options = PutOptions::new().with_lease(lease).with_prev_key();
        client.put("/e/1", "one", Some(options)).await.expect("put with a lease");
        let event = loop {
            let answer = events.message().await.expect("the watch lives").expect("the watch has an answer");
            if let Some(event) = answer.events().first().cloned() {
                break event;
            }
        };
        assert_eq!(event.kv().map(|pair| pair.value().to_vec()), Some(b"one".to_vec()));
        drop(events);

        let txn = Txn::new()
            .when([Compare::value("/e/1", CompareOp::Equal, "one")])
            .and_then([TxnOp::put("/e/2", "two", None)])
            .or_else([TxnOp::put("/e/2", "wrong", None)]);
        assert!(client.txn(txn).await.expect("run a transaction").succeeded());
        client.lease_revoke(lease).await.expect("revoke a lease");
        let status = client.status().await.expect("ask for the status");
        assert_ne!(status.leader(), 0);
        assert_eq!(client.member_list().await.expect("list the members").members().len(), 1);
    });
    assert_eq!(store.get("/e/1").expect("get a revoked key"), None);
    assert_eq!(store.get("/e/2").expect("get what the transaction put").as_deref(), Some("two"));
    assert_eq!(store.delete("/e/2").expect("delete a key"), 1);
}

#[test]
fn plain_http_reads_writes_deletes_and_waits() {
    let disk = Node::disk();
    let node = Node::boot(&disk, "");
    let port = node.vm.port(STORE_PORT);
    let (status, _) = http_send("PUT", port, "/kv/config/a", "plain value").expect("put by hand");
    assert_eq!(status, 200);
    assert_eq!(http_get(port, "/kv/config/a").expect("get by hand"), (200, "plain value".to_owned()));

    let revision = node.store().put("/other", "x").expect("put into the store");
    let path = format!("/kv/config/a?wait={revision}");
    let waiting = thread::spawn(move || http_get(port, &path));
    http_send("PUT", port, "/kv/config/a", "changed").expect("put by hand");
    assert_eq!(waiting.join().expect("the wait ends").expect("the wait is answered"), (200, "changed".to_owned()));

    assert_eq!(http_send("DELETE", port, "/kv/config/a", "").expect("delete by hand").0, 200);
    assert_eq!(http_get(port, "/kv/config/a").expect("get what is gone").0, 404);
}

#[test]
fn the_json_gateway_speaks_base64_and_numbers_as_strings() {
    let disk = Node::disk();
    let node = Node::boot(&disk, "");
    let port = node.vm.port(STORE_PORT);
    // "L2c=" is "/g" and "aGk=" is "hi".
    let (status, body) = http_send("POST", port, "/v3/kv/put", r#"{"key":"L2c=","value":"aGk="}"#).expect("put");
    assert_eq!(status, 200, "{body}");
    let (status, body) = http_send("POST", port, "/v3/kv/range", r#"{"key":"L2c="}"#).expect("range");
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("the gateway answers with JSON");
    assert_eq!(answer["kvs"][0]["value"], "aGk=", "{answer:#}");
    assert_eq!(answer["count"], "1", "{answer:#}");
    assert!(answer["header"]["revision"].is_string(), "{answer:#}");
    for path in ["/version", "/metrics"] {
        assert_eq!(http_get(port, path).expect("an answer").0, 200, "{path}");
    }
}

#[test]
fn every_acknowledged_write_survives_the_sudden_death_of_the_machine() {
    let disk = Node::disk();
    let node = Node::boot(&disk, "hull.run=hello");
    let acknowledged = AtomicI64::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let store = node.store();
        let (acknowledged, stop) = (&acknowledged, &stop);
        scope.spawn(move || {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                if store.put(&format!("/n/{number}"), &number.to_string()).is_err() {
                    return;
                }
                acknowledged.store(number, Ordering::SeqCst);
            }
        });
        eventually("writes are acknowledged", EVENTUALLY, || match acknowledged.load(Ordering::SeqCst) {
            count @ 50.. => Ok(count),
            count => Err(count),
        });
        node.vm.kill();
        stop.store(true, Ordering::Relaxed);
    });
    let count = acknowledged.load(Ordering::SeqCst);

    let node = Node::boot(&disk, "hull.run=hello");
    let store = node.store();
    for number in 1..=count {
        let value = store.get(&format!("/n/{number}")).expect("get from the store");
        assert_eq!(value, Some(number.to_string()), "write {number} of {count} was acknowledged");
    }
    node.wait_hello("");
}

#[test]
fn a_store_that_is_full_refuses_writes_and_lives() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.wait_store();
    let kv = |node: &mut Node| {
        let status = node.status();
        let services = status["services"].as_array().cloned().unwrap_or_default();
        services
            .into_iter()
            .find(|service| service["name"] == "kv")
            .map(|kv| (kv["pid"].clone(), kv["restarts"].clone()))
    };
    let before = kv(&mut node);
    let value = "x".repeat(1_000_000);
    let port = node.vm.port(STORE_PORT);
    // The machine has 256 MiB: were there no limit, the store would be killed for its memory before that.
    let refused = (0..250).find_map(|number| {
        let (status, body) = http_send("PUT", port, &format!("/kv/fill/{number}"), &value).expect("an answer");
        (status != 200).then_some(body)
    });
    assert!(refused.as_deref().is_some_and(|body| body.contains("space exceeded")), "{refused:?}");
    assert_eq!(kv(&mut node), before, "it was killed and started again");
    assert_eq!(http_get(port, "/kv/fill/0").expect("reads go on").1.len(), value.len());
    node.etcdctl().run(&["del", "--prefix", "/fill/"]);
}
