//! HTTP: plain values, the JSON gateway, health, version and metrics.
mod support;

use std::io::{BufRead as _, BufReader, Read as _};

use support::{Member, folder};

/// Base64 of what the tests send.
const FOO: &str = "Zm9v";
const BAR: &str = "YmFy";

#[test]
fn plain_values_are_put_got_and_deleted_under_the_key_that_follows_kv() {
    let folder = folder();
    let member = Member::start(folder.path());
    let (head, _) = member.http("PUT", "/kv/config/hello/greeting", "hi there");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("x-hull-revision: 2"), "{head}");
    let (head, body) = member.http("GET", "/kv/config/hello/greeting", "");
    assert!(head.contains("x-hull-key-revision: 2") && head.contains("x-hull-key-version: 1"), "{head}");
    assert_eq!(body, "hi there");
    let (_, body) = member.http("GET", "/kv?key=%2Fconfig%2Fhello%2Fgreeting", "");
    assert_eq!(body, "hi there");
    assert!(member.http("DELETE", "/kv/config/hello/greeting", "").0.starts_with("HTTP/1.1 200"));
    let (head, body) = member.http("GET", "/kv/config/hello/greeting", "");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert_eq!(body, "no such key: /config/hello/greeting\n");
    assert!(member.http("GET", "/kv", "").0.starts_with("HTTP/1.1 400"));
}

#[test]
fn waiting_for_a_key_answers_when_it_changes_after_the_revision() {
    let folder = folder();
    let member = Member::start(folder.path());
    member.http("PUT", "/kv/a", "1");
    let (_, body) = member.http("GET", "/kv/a?wait=1", "");
    assert_eq!(body, "1", "it changed after revision 1 already");
    let mut stream = member.http_stream("GET", "/kv/a?wait=2", "");
    member.http("PUT", "/kv/other", "x");
    member.http("PUT", "/kv/a", "2");
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.contains("x-hull-key-revision: 4") && answer.ends_with('2'), "{answer}");
}

#[test]
fn waiting_below_the_compaction_is_gone_with_the_remedy() {
    let folder = folder();
    let member = Member::start(folder.path());
    for n in 0..5 {
        member.http("PUT", "/kv/other", &n.to_string());
    }
    member.http("POST", "/v3/kv/compaction", r#"{"revision":"5"}"#);
    let (head, body) = member.http("GET", "/kv/never?wait=2", "");
    assert!(head.starts_with("HTTP/1.1 410"), "{head}");
    assert!(body.contains("/never") && body.contains("read it without wait"), "{body}");
}

#[test]
fn the_json_gateway_speaks_grpc_gateways_dialect() {
    let folder = folder();
    let member = Member::start(folder.path());
    let post = |path: &str, body: &str| member.http("POST", path, body).1;
    post("/v3/kv/put", &format!(r#"{{"key":"{FOO}","value":"{BAR}"}}"#));
    let range = post("/v3/kv/range", &format!(r#"{{"key":"{FOO}","sortOrder":"ASCEND"}}"#));
    let expected =
        r#""kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"}"#;
    assert!(range.ends_with(expected), "{range}");
    let txn = format!(
        r#"{{"compare":[{{"key":"{FOO}","target":"VALUE","result":"EQUAL","value":"{BAR}"}}],
            "success":[{{"request_delete_range":{{"key":"{FOO}"}}}}]}}"#
    );
    let answer = post("/v3/kv/txn", &txn);
    assert!(answer.contains(r#""succeeded":true"#) && answer.contains(r#""deleted":"1""#), "{answer}");
    assert!(post("/v3/lease/grant", r#"{"ID":7,"TTL":"60"}"#).contains(r#""ID":"7","TTL":"60""#));
    assert!(post("/v3/lease/keepalive", r#"{"ID":7}"#).contains(r#"{"result":{"header""#));
    assert!(post("/v3/maintenance/status", "{}").contains(r#""version":"3.5"#));
    assert!(post("/v3/cluster/member/list", "").contains(r#""name":"default""#));
    let (head, body) = member.http("POST", "/v3/kv/range", r#"{"revision":"99","key":"Zm9v"}"#);
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(body.contains(r#"is a future revision","code":11}"#), "{body}");
    assert!(member.http("POST", "/v3/kv/range", "{").0.starts_with("HTTP/1.1 400"));
    assert!(member.http("GET", "/v3/kv/range", "").0.starts_with("HTTP/1.1 405"));
}

#[test]
fn a_downgrade_is_announced_once_and_can_be_taken_back() {
    let folder = folder();
    let mut member = Member::start(folder.path());
    fn said(member: &Member, action: &str, version: &str) -> String {
        let request = format!(r#"{{"action":"{action}","version":"{version}"}}"#);
        member.http("POST", "/v3/maintenance/downgrade", &request).1
    }
    let well = r#""version":"3.5.0"}"#;
    assert!(said(&member, "CANCEL", "").contains("etcdserver: no inflight downgrade job"));
    assert!(said(&member, "VALIDATE", "garbage").contains("etcdserver: wrong downgrade target version format"));
    assert!(said(&member, "ENABLE", "3.5.0").contains("etcdserver: invalid downgrade target version"));
    assert!(said(&member, "VALIDATE", "3.4").ends_with(well));
    assert!(said(&member, "ENABLE", "3.4.0").ends_with(well));
    assert!(member.stop());
    member = Member::start(folder.path());
    for action in ["VALIDATE", "ENABLE"] {
        assert!(said(&member, action, "3.4.0").contains("etcdserver: cluster has a downgrade job in progress"));
    }
    assert!(said(&member, "CANCEL", "").ends_with(well));
    assert!(said(&member, "CANCEL", "").contains("etcdserver: no inflight downgrade job"));
}

#[test]
fn a_watch_over_json_is_a_line_an_answer() {
    let folder = folder();
    let member = Member::start(folder.path());
    let request = format!(r#"{{"create_request":{{"key":"{FOO}"}}}}"#);
    let mut lines = BufReader::new(member.http_stream("POST", "/v3/watch", &request)).lines();
    let mut next = |wanted: &str| loop {
        let line = lines.next().expect("open").expect("line");
        if line.contains(wanted) {
            return line;
        }
    };
    next(r#""created":true"#);
    member.http("POST", "/v3/kv/put", &format!(r#"{{"key":"{FOO}","value":"{BAR}"}}"#));
    let line = next("events");
    assert!(line.contains(r#""events":[{"kv":{"key":"Zm9v","create_revision":"2""#), "{line}");
}

#[test]
fn health_version_and_metrics_are_where_monitors_look() {
    let folder = folder();
    let member = Member::start(folder.path());
    member.http("PUT", "/kv/a", "1");
    assert_eq!(member.http("GET", "/health", "").1, r#"{"health":"true","reason":""}"#);
    assert!(member.http("GET", "/version", "").1.contains(r#""etcdserver":"3.5."#));
    let (_, metrics) = member.http("GET", "/metrics", "");
    for line in ["etcd_server_has_leader 1", "etcd_mvcc_put_total 1", "etcd_debugging_mvcc_keys_total 1"] {
        assert!(metrics.lines().any(|l| l == line), "no line {line} in {metrics}");
    }
    for beginning in [
        "etcd_server_id{server_id=\"",
        "etcd_cluster_version{cluster_version=\"3.5\"} 1",
        "etcd_server_is_learner 0",
        "etcd_server_health_success 1",
        "etcd_server_quota_backend_bytes ",
        "etcd_disk_backend_commit_duration_seconds_bucket{le=\"0.001\"} ",
        "process_cpu_seconds_total ",
        "process_start_time_seconds 1",
        "process_max_fds ",
        "os_fd_used ",
    ] {
        assert!(metrics.lines().any(|l| l.starts_with(beginning)), "no line {beginning} in {metrics}");
    }
    assert!(metrics.contains("# TYPE etcd_server_proposals_applied_total gauge"), "as in etcd");
    assert!(member.http("GET", "/nowhere", "").0.starts_with("HTTP/1.1 404"));
    assert!(member.http("POST", "/health", "").0.starts_with("HTTP/1.1 405"));
}

#[test]
fn probes_are_checks_with_names_that_can_be_told_left_out_and_asked_alone() {
    let folder = folder();
    let member = Member::start(folder.path());
    let ask = |path: &str| {
        let (head, body) = member.http("GET", path, "");
        (head.split(' ').nth(1).unwrap_or_default().to_owned(), body)
    };
    let ok = |body: &str| ("200".to_owned(), body.to_owned());
    assert_eq!((ask("/livez"), ask("/readyz")), (ok("ok\n"), ok("ok\n")));
    assert_eq!(ask("/livez?verbose"), ok("[+]serializable_read ok\nok\n"));
    let all = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n";
    assert_eq!(ask("/readyz?verbose"), ok(all));
    let rest = "[+]serializable_read ok\nok\n";
    assert_eq!(ask("/readyz?verbose&exclude=linearizable_read&exclude=data_corruption"), ok(rest));
    assert_eq!(ask("/readyz/linearizable_read"), ok("ok\n"));
    assert_eq!((ask("/readyz/nonsense").0, ask("/livez/data_corruption").0), ("404".into(), "404".into()));
    let corrupt = r#"{"action":"ACTIVATE","memberID":"1","alarm":"CORRUPT"}"#;
    member.http("POST", "/v3/maintenance/alarm", corrupt);
    let (code, told) = ask("/readyz");
    assert_eq!(code, "503");
    assert!(told.starts_with("[-]data_corruption failed: alarm activated: CORRUPT\n"), "{told}");
    assert_eq!((ask("/readyz?exclude=data_corruption").0, ask("/livez").0), ("200".into(), "200".into()));
}

#[test]
fn an_alarm_makes_the_member_unhealthy_and_refuses_puts_until_it_is_lowered() {
    let folder = folder();
    let member = Member::start(folder.path());
    let alarm = |action: &str| format!(r#"{{"action":"{action}","memberID":"1","alarm":"NOSPACE"}}"#);
    member.http("POST", "/v3/maintenance/alarm", &alarm("ACTIVATE"));
    assert!(member.http("GET", "/health", "").0.starts_with("HTTP/1.1 503"));
    let (head, body) = member.http("PUT", "/kv/a", "1");
    assert!(head.starts_with("HTTP/1.1 507"), "{head}");
    assert_eq!(body, "etcdserver: mvcc: database space exceeded\n");
    assert!(member.http("DELETE", "/kv/a", "").0.starts_with("HTTP/1.1 404"), "deleting is allowed");
    member.http("POST", "/v3/maintenance/alarm", &alarm("DEACTIVATE"));
    assert!(member.http("PUT", "/kv/a", "1").0.starts_with("HTTP/1.1 200"));
}
