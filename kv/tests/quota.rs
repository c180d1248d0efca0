//! The quota: a store that is full says so, reads and deletes go on, and it is recovered as etcd is.
mod support;

use support::{Member, folder};

/// Bytes that the store of these tests may hold.
const QUOTA: &str = "400000";

/// `{"key":...,"value":...}` with a value of 100 kB.
fn large(key: &str) -> String {
    format!(r#"{{"key":"{key}","value":"{}"}}"#, "QUFB".repeat(25_000))
}

#[test]
fn a_full_store_refuses_writes_serves_reads_and_is_recovered_by_deleting_compacting_and_disarming() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &["--quota-backend-bytes", QUOTA]);
    let post = |path: &str, body: &str| member.http("POST", path, body);
    let mut taken = 0;
    let refused = loop {
        let (head, body) = post("/v3/kv/put", &large("Zm9v"));
        if !head.starts_with("HTTP/1.1 200") {
            break body;
        }
        taken += 1;
        assert!(taken < 10, "more went in than the quota allows");
    };
    assert!(refused.contains("etcdserver: mvcc: database space exceeded"), "{refused}");
    assert!(taken >= 3, "only {taken} went in");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !post("/v3/maintenance/alarm", "{}").1.contains("NOSPACE") {
        assert!(std::time::Instant::now() < deadline, "the alarm never went up");
    }
    let (head, body) = post("/v3/kv/put", r#"{"key":"YQ==","value":"YQ=="}"#);
    assert!(
        head.starts_with("HTTP/1.1 429") && body.contains("space exceeded"),
        "the alarm refuses small ones, too: {head}"
    );
    assert!(post("/v3/kv/range", r#"{"key":"Zm9v","count_only":true}"#).1.contains(r#""count":"1""#), "reads go on");
    let (head, body) = post("/v3/kv/deleterange", r#"{"key":"Zm9v"}"#);
    assert!(head.starts_with("HTTP/1.1 200") && body.contains(r#""deleted":"1""#), "deletes go on: {body}");
    let revision = body.split(r#""revision":""#).nth(1).and_then(|rest| rest.split('"').next()).expect("a revision");
    assert!(post("/v3/kv/compaction", &format!(r#"{{"revision":"{revision}","physical":true}}"#)).0.contains("200"));
    let alarms = post("/v3/maintenance/alarm", "{}").1;
    let id = alarms.split(r#""memberID":""#).nth(1).and_then(|rest| rest.split('"').next()).expect("who raised it");
    let disarm = format!(r#"{{"action":"DEACTIVATE","memberID":"{id}","alarm":"NOSPACE"}}"#);
    assert!(post("/v3/maintenance/alarm", &disarm).1.contains("NOSPACE"), "it was up");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !post("/v3/kv/put", &large("YmFy")).0.starts_with("HTTP/1.1 200") {
        assert!(std::time::Instant::now() < deadline, "the room did not come back");
        post("/v3/maintenance/alarm", &disarm);
    }
}

#[test]
fn a_quota_that_is_no_number_is_refused_by_name() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hull-kv"))
        .args(["--quota-backend-bytes", "much"])
        .output()
        .expect("start");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("--quota-backend-bytes much: a number of bytes"), "{text}");
}
