//! JSON Web Tokens as login tokens.
mod support;

use std::path::Path;

use rcgen::KeyPair;
use support::{Member, folder};

/// Writes a key pair as `NAME.key` and `NAME.pub`.
fn pair(folder: &Path, name: &str) {
    let pair = KeyPair::generate().expect("key");
    std::fs::write(folder.join(format!("{name}.key")), pair.serialize_pem()).expect("write");
    std::fs::write(folder.join(format!("{name}.pub")), pair.public_key_pem()).expect("write");
}

fn setting(folder: &Path, signs: &str, checks: &str, ttl: &str) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        "jwt,sign-method=ES256,priv-key={},pub-key={},ttl={ttl}",
        file(&format!("{signs}.key")),
        file(&format!("{checks}.pub"))
    )
}

fn post(member: &Member, path: &str, body: &str) -> String {
    let (head, answer) = member.http("POST", path, body);
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head} {answer}");
    answer
}

/// Root with the password `r`, and authentication on.
fn guard(member: &Member) {
    post(member, "/v3/auth/user/add", r#"{"name":"root","password":"r"}"#);
    post(member, "/v3/auth/role/add", r#"{"name":"root"}"#);
    post(member, "/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#);
    post(member, "/v3/auth/enable", "{}");
}

fn log_in(member: &Member) -> String {
    let answer = post(member, "/v3/auth/authenticate", r#"{"name":"root","password":"r"}"#);
    let (_, token) = answer.split_once(r#""token":""#).expect("a token");
    token.split('"').next().expect("a token").to_owned()
}

fn read_with(member: &Member, token: &str) -> (String, String) {
    member.http_with("POST", "/v3/kv/range", &format!("Authorization: {token}\r\n"), r#"{"key":"YQ=="}"#)
}

#[test]
fn a_signed_token_counts_at_every_start_and_none_that_was_changed_or_signed_by_another() {
    let folder = folder();
    pair(folder.path(), "good");
    pair(folder.path(), "other");
    let good = setting(folder.path(), "good", "good", "5m");
    let member = Member::start_with(folder.path(), &["--bcrypt-cost", "4", "--auth-token", &good]);
    guard(&member);
    let token = log_in(&member);
    assert_eq!(token.split('.').count(), 3, "{token}");
    assert!(read_with(&member, &token).0.starts_with("HTTP/1.1 200"));
    // As grpc-gateway passes metadata on.
    let metadata = format!("Grpc-Metadata-Token: {token}\r\n");
    assert!(member.http_with("POST", "/v3/kv/range", &metadata, r#"{"key":"YQ=="}"#).0.starts_with("HTTP/1.1 200"));
    let changed = format!("{}A{}", &token[..10], &token[11..]);
    let (head, body) = read_with(&member, &changed);
    assert!(head.starts_with("HTTP/1.1 401") && body.contains("etcdserver: invalid auth token"), "{head} {body}");
    assert!(member.stop());

    let member = Member::start_with(folder.path(), &["--auth-token", &good]);
    assert!(read_with(&member, &token).0.starts_with("HTTP/1.1 200"), "nothing but the key is needed to know it");
    member.http_with(
        "POST",
        "/v3/auth/user/add",
        &format!("Authorization: {token}\r\n"),
        r#"{"name":"ann","password":"a"}"#,
    );
    let (_, body) = read_with(&member, &token);
    assert!(body.contains("etcdserver: revision of auth store is old"), "users changed since it was given out: {body}");
    assert!(member.stop());

    let other = setting(folder.path(), "other", "other", "5m");
    let member = Member::start_with(folder.path(), &["--auth-token", &other]);
    assert!(read_with(&member, &token).0.starts_with("HTTP/1.1 401"), "another key signs here");
}

#[test]
fn a_signed_token_ends_with_its_time() {
    let folder = folder();
    pair(folder.path(), "key");
    let setting = setting(folder.path(), "key", "key", "1s");
    let member = Member::start_with(folder.path(), &["--bcrypt-cost", "4", "--auth-token", &setting]);
    guard(&member);
    let token = log_in(&member);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while read_with(&member, &token).0.starts_with("HTTP/1.1 200") {
        assert!(std::time::Instant::now() < deadline, "it counts on");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn keys_that_cannot_work_are_named_at_the_start() {
    let folder = folder();
    pair(folder.path(), "one");
    pair(folder.path(), "two");
    let run = |setting: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hull-kv"))
            .args(["--data-dir".as_ref(), folder.path().join("data").as_os_str()])
            .args(["--auth-token", setting])
            .output()
            .expect("run");
        assert!(!output.status.success(), "{setting}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run("jwt").contains("sign-method is missing"));
    assert!(run("jwt,sign-method=none").contains("one of HS256"));
    assert!(run("jwt,sign-method=RS256").contains("pub-key is missing"));
    assert!(run("jwt,sign-method=ES256,pub-key=/nowhere").contains("read /nowhere"));
    assert!(run("jwt,colour=red").contains("unknown option colour"));
    assert!(run(&setting(folder.path(), "one", "two", "5m")).contains("different pairs"));
    assert!(run("paper").contains("simple or jwt"));
}
