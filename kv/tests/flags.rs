//! etcd's flags: what is honoured, passed over with a word, and refused by name.
mod support;

use etcd_client::{Client, GetOptions};
use support::{Member, folder, free_port};

fn refusal(flags: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hull-kv"));
    let output = command.args(flags).envs(variables.iter().copied()).output().expect("start");
    assert_eq!(output.status.code(), Some(2), "{flags:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn flags_of_etcd_that_tune_what_is_not_here_are_passed_over_and_told() {
    let folder = folder();
    let flags = [
        "--logger",
        "zap",
        "--log-level=error",
        "--enable-v2",
        "--snapshot-count",
        "5",
        "--experimental-x=1",
        "--experimental-initial-corrupt-check",
        "--experimental-corrupt-check-time",
        "1h",
        "--force-new-cluster=false",
        "--cors",
        "*",
        "--unsafe-no-fsync",
        "-cipher-suites",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "--feature-gates=InitialCorruptCheck=true",
        "--watch-progress-notify-interval=5s",
        "--compact-hash-check-time=1m",
    ];
    let member = Member::start_with(folder.path(), &flags);
    assert!(member.http("GET", "/health", "").0.starts_with("HTTP/1.1 200"));
    member.kill();
    let log = std::fs::read_to_string(folder.path().join("log")).expect("log");
    for flag in [
        "logger",
        "log-level",
        "enable-v2",
        "snapshot-count",
        "experimental-x",
        "unsafe-no-fsync",
        "compact-hash-check-time",
    ] {
        assert!(log.contains(&format!("--{flag}: has no effect in this store")), "{flag}:\n{log}");
    }
}

#[test]
fn settings_of_etcd_that_would_change_a_promise_are_refused_by_name() {
    for (flag, why) in [
        ("--discovery=x", "name the members with --initial-cluster"),
        ("--force-new-cluster", "hull-kv import"),
        ("--host-whitelist=a.example", "in front of the store"),
        ("--enable-grpc-gateway=false", "part of the port"),
    ] {
        let text = refusal(&[flag], &[]);
        let name = flag.split('=').next().unwrap_or(flag);
        assert!(text.contains(name) && text.contains("not in this store") && text.contains(why), "{text}");
    }
    let text = refusal(&[], &[("ETCD_FORCE_NEW_CLUSTER", "true")]);
    assert!(text.contains("--force-new-cluster true"), "{text}");
    assert!(refusal(&["--no-such-flag", "x"], &[]).contains("unknown flag --no-such-flag"));
    assert!(refusal(&["--listen-client-urls", "127.0.0.1:1"], &[]).contains("an IP address and a port were expected"));
    let both = ["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b"];
    assert!(refusal(&both, &[]).contains("give one of them"));
    let nobody = ["--client-cert-allowed-hostname=b", "--auto-tls"];
    assert!(refusal(&nobody, &[]).contains("without --client-cert-auth"));
    assert!(refusal(&["--tls-min-version", "TLS1.1"], &[]).contains("TLS1.2 or TLS1.3 was expected"));
    assert!(refusal(&["--max-txn-ops", "none"], &[]).contains("a number above 0"));
    assert!(refusal(&["--max-request-bytes", "99999999999"], &[]).contains("from 1 to 10485760"));
}

#[test]
fn a_file_sets_everything_and_flags_beside_it_count_for_nothing() {
    let folder = folder();
    let port = free_port();
    let (data, file) = (folder.path().join("data"), folder.path().join("etcd.yml"));
    let text = format!(
        "name: from-file\ndata-dir: {}\nlisten-client-urls: http://127.0.0.1:{port}\nlogger: zap\n\
         client-transport-security:\n  client-cert-auth: false\n",
        data.display()
    );
    std::fs::write(&file, &text).expect("file");
    let path = file.to_str().expect("text");
    let mut member = Member::start_with(folder.path(), &["--name", "from-flag", "--config-file", path]);
    member.port = port;
    assert!(member.http("POST", "/v3/cluster/member/list", "{}").1.contains(r#""name":"from-file""#));
    std::fs::write(&file, text + "no-such-setting: x\n").expect("file");
    assert!(refusal(&["--config-file", path], &[]).contains("unknown setting no-such-setting"));
    assert!(refusal(&[], &[("ETCD_CONFIG_FILE", "/nowhere.yml")]).contains("--config-file /nowhere.yml: No such file"));
}

#[tokio::test]
async fn the_largest_request_is_what_the_flag_says() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &["--max-request-bytes", "5000000"]);
    let mut client = Client::connect([member.endpoint()], None).await.expect("connect");
    client.put("large", "x".repeat(4_000_000), None).await.expect("below the limit");
    let refused = client.put("larger", "x".repeat(5_100_000), None).await.expect_err("above the limit").to_string();
    assert!(refused.contains("etcdserver: request is too large"), "{refused}");
    let count = client.get("l", Some(GetOptions::new().with_prefix().with_count_only())).await.expect("get").count();
    assert_eq!(count, 1);
}

#[test]
fn an_address_for_monitors_answers_them_and_nothing_else() {
    let folder = folder();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut member = Member::start_with(folder.path(), &["--listen-metrics-urls", &url]);
    assert!(member.http("PUT", "/kv/a", "1").0.starts_with("HTTP/1.1 200"));
    member.port = port;
    assert!(member.http("GET", "/metrics", "").1.contains("etcd_mvcc_put_total 1"));
    assert!(member.http("GET", "/health", "").1.contains(r#""health":"true""#));
    assert!(member.http("GET", "/kv/a", "").0.starts_with("HTTP/1.1 404"));
    assert!(member.http("POST", "/v3/kv/range", r#"{"key":"YQ=="}"#).0.starts_with("HTTP/1.1 404"));
}

#[test]
fn a_folder_with_an_etcds_data_is_not_served_as_an_empty_store() {
    let folder = folder();
    std::fs::create_dir_all(folder.path().join("data/member/snap")).expect("folder");
    std::fs::write(folder.path().join("data/member/snap/db"), "x").expect("file");
    let (well, said) = Member::spawn(folder.path(), free_port(), &[]).member.ended();
    assert!(!well && said.contains("holds an etcd's data") && said.contains("hull-kv import"), "{said}");
}

#[test]
fn old_and_second_paths_of_the_json_gateway_lead_to_the_same_methods() {
    let folder = folder();
    let member = Member::start(folder.path());
    assert!(member.http("POST", "/v3beta/lease/grant", r#"{"ID":7,"TTL":"60"}"#).1.contains(r#""ID":"7""#));
    for path in ["/v3/kv/lease/leases", "/v3/lease/leases", "/v3beta/kv/lease/leases"] {
        assert!(member.http("POST", path, "{}").1.contains(r#""leases":[{"ID":"7"}]"#), "{path}");
    }
    assert!(member.http("POST", "/v3/kv/lease/revoke", r#"{"ID":7}"#).0.starts_with("HTTP/1.1 200"));
}

#[test]
fn clients_can_come_by_a_unix_socket_named_as_an_address() {
    let folder = folder();
    let path = folder.path().join("clients.sock");
    let url = format!("unix://{}", path.display());
    let member = Member::start_with(folder.path(), &["--listen-client-urls", &url]);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("connect");
    let mut answer = String::new();
    std::io::Write::write_all(&mut stream, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("ask");
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(member.stop());
}
