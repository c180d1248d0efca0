//! gRPC as it goes over the wire: what no client library sends, and the words of its refusals.
mod support;

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use support::{Member, folder};
use tokio::net::TcpStream;

/// A connection; its upkeep is a task of its own.
async fn connect(member: &Member) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(member.endpoint()).await.expect("connect");
    let (client, connection) = h2::client::handshake(stream).await.expect("handshake");
    tokio::spawn(connection);
    client.ready().await.expect("ready")
}

/// Sends one message; answers the head and the body.
async fn send(member: &Member, path: &str, message: &[u8]) -> (HeaderMap, h2::RecvStream) {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    let request = Request::post(format!("http://x{path}")).header("content-type", "application/grpc").body(());
    let (answer, mut body) = connect(member).await.send_request(request.expect("request"), false).expect("send");
    let _ = body.send_data(frame.freeze(), true);
    let (head, body) = answer.await.expect("answer").into_parts();
    (head.headers, body)
}

/// The message of an answer, or code and words of a refusal.
async fn call(member: &Member, path: &str, message: &[u8]) -> Result<Vec<u8>, (String, String)> {
    let (head, mut body) = send(member, path, message).await;
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        body.flow_control().release_capacity(data.len()).expect("capacity");
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.expect("trailers").unwrap_or(head);
    let said = |name: &str| trailers.get(name).map_or("", |value| value.to_str().expect("text")).replace("%20", " ");
    match said("grpc-status").as_str() {
        "0" => Ok(bytes),
        code => Err((code.to_owned(), said("grpc-message"))),
    }
}

fn refused(code: u8, words: &str) -> Result<Vec<u8>, (String, String)> {
    Err((code.to_string(), words.to_owned()))
}

/// `HealthCheckRequest { service }`.
fn about(service: &str) -> Vec<u8> {
    [&[0x0a, service.len() as u8], service.as_bytes()].concat()
}

const CHECK: &str = "/grpc.health.v1.Health/Check";
const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 0x08, 1];

#[tokio::test]
async fn a_message_that_is_none_ends_a_stream_with_an_error() {
    let folder = folder();
    let member = Member::start(folder.path());
    for path in ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"] {
        let (code, _) = call(&member, path, &[0xff, 0xff]).await.expect_err("no message");
        assert_eq!(code, "13", "{path}");
    }
}

#[tokio::test]
async fn who_asks_for_a_head_gets_no_body() {
    let folder = folder();
    let member = Member::start(folder.path());
    for path in ["/version", "/health", "/kv/a"] {
        let request = Request::head(format!("http://x{path}")).body(()).expect("request");
        let (answer, _) = connect(&member).await.send_request(request, true).expect("send");
        let mut body = answer.await.expect("an answer").into_body();
        assert!(body.data().await.is_none(), "{path}");
    }
}

#[tokio::test]
async fn health_is_asked_of_the_whole_and_of_nothing_else() {
    let folder = folder();
    let member = Member::start(folder.path());
    assert_eq!(call(&member, CHECK, &[]).await, Ok(SERVING.to_vec()));
    assert_eq!(call(&member, CHECK, &about("")).await, Ok(SERVING.to_vec()));
    assert_eq!(call(&member, CHECK, &about("etcdserverpb.KV")).await, refused(5, "unknown service"));
    let malformed = call(&member, CHECK, &[0xff]).await.expect_err("malformed");
    assert!(malformed.0 == "13" && malformed.1.starts_with("grpc: error unmarshalling request"), "{malformed:?}");
}

#[tokio::test]
async fn who_watches_health_is_answered_at_once_and_not_sent_away() {
    let folder = folder();
    let member = Member::start(folder.path());
    for (service, status) in [("", 1), ("other", 3)] {
        let (_, mut body) = send(&member, "/grpc.health.v1.Health/Watch", &about(service)).await;
        let first = body.data().await.expect("an answer").expect("data");
        assert_eq!(*first, [0, 0, 0, 0, 2, 0x08, status]);
        let more = tokio::time::timeout(Duration::from_millis(1500), body.data()).await;
        assert!(more.is_err(), "nothing changed, so nothing more comes: {more:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_words_of_etcds_library() {
    let folder = folder();
    let member = Member::start(folder.path());
    let of = |method: &str, service: &str| refused(12, &format!("unknown method {method} for service {service}"));
    assert_eq!(call(&member, "/etcdserverpb.KV/Nope", &[]).await, of("Nope", "etcdserverpb.KV"));
    assert_eq!(call(&member, "/grpc.health.v1.Health/List", &[]).await, of("List", "grpc.health.v1.Health"));
    assert_eq!(call(&member, "/nope.Nope/Nope", &[]).await, refused(12, "unknown service nope.Nope"));
}

#[tokio::test]
async fn every_method_of_the_proto_files_is_there() {
    let folder = folder();
    let member = Member::start(folder.path());
    for route in hull_kv_proto::gateway::ROUTES {
        // What waits for its turn (the election's queue is the lock's here) is there as well.
        let sent = tokio::time::timeout(Duration::from_secs(1), send(&member, route.grpc, &[])).await;
        let code = sent.ok().and_then(|(head, _)| head.get("grpc-status").cloned());
        assert_ne!(code.as_ref().map(|code| code.as_bytes()), Some(&b"12"[..]), "{}", route.grpc);
    }
}

/// Code and words that a call ends with, whatever its body is, with one more header.
async fn end_of(member: &Member, path: &str, header: (&str, &str), body: &'static [u8]) -> (String, String) {
    let request = Request::post(format!("http://x{path}")).header("content-type", "application/grpc");
    let request = request.header(header.0, header.1).body(()).expect("request");
    let (answer, mut to) = connect(member).await.send_request(request, false).expect("send");
    let _ = to.send_data(Bytes::from_static(body), true);
    let (head, mut body) = answer.await.expect("answer").into_parts();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data.expect("data").len()).expect("capacity");
    }
    let end = body.trailers().await.expect("trailers").unwrap_or(head.headers);
    let said = |name: &str| end.get(name).map_or("", |value| value.to_str().expect("text"));
    (said("grpc-status").to_owned(), said("grpc-message").replace("%20", " ").replace("%22", "\""))
}

const NO_HEADER: (&str, &str) = ("te", "trailers");
const PUT: &str = "/etcdserverpb.KV/Put";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

#[tokio::test]
async fn what_is_compressed_cut_off_or_malformed_is_refused_in_the_words_of_etcds_library() {
    let folder = folder();
    let member = Member::start(folder.path());
    let told = |code: &str, words: &str| (code.to_owned(), words.to_owned());
    for path in [PUT, STATUS, SNAPSHOT] {
        let not_installed = told("12", "grpc: Decompressor is not installed for grpc-encoding \"gzip\"");
        assert_eq!(end_of(&member, path, ("grpc-encoding", "gzip"), &[1, 0, 0, 0, 0]).await, not_installed, "{path}");
        let flagged = told("13", "grpc: compressed flag set with identity or empty encoding");
        assert_eq!(end_of(&member, path, ("grpc-encoding", "identity"), &[1, 0, 0, 0, 0]).await, flagged, "{path}");
        assert_eq!(end_of(&member, path, NO_HEADER, &[]).await, told("2", "EOF"), "{path}");
        assert_eq!(end_of(&member, path, NO_HEADER, &[0, 0, 0, 0, 9, 1]).await, told("2", "unexpected EOF"), "{path}");
        let (code, words) = end_of(&member, path, NO_HEADER, &[0, 0, 0, 0, 2, 0xff, 0xff]).await;
        assert!(code == "13" && words.starts_with("grpc: error unmarshalling request: "), "{path}: {code} {words}");
    }
    // Whether or not a client wants a leader, its watch ends as told.
    for header in [NO_HEADER, ("hasleader", "true")] {
        assert_eq!(end_of(&member, WATCH, header, &[0, 0, 0, 0, 9, 1]).await, told("13", "unexpected EOF"));
        let (code, words) = end_of(&member, WATCH, header, &[0, 0, 0, 0, 2, 0xff, 0xff]).await;
        assert!(code == "13" && words.starts_with("grpc: failed to unmarshal the received message"), "{code} {words}");
    }
    // Nobody waits for the end of a call whose one message is there.
    let request = Request::post(format!("http://x{STATUS}")).header("content-type", "application/grpc").body(());
    let (answer, mut open) = connect(&member).await.send_request(request.expect("request"), false).expect("send");
    open.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), false).expect("send");
    let mut body = answer.await.expect("answer").into_body();
    while body.data().await.transpose().expect("data").is_some() {}
    assert_eq!(body.trailers().await.expect("end").expect("trailers")["grpc-status"], "0");
    // A second message in a call with one is passed over.
    let two = [0, 0, 0, 0, 3, 0x0a, 1, b'a', 0, 0, 0, 0, 3, 0x0a, 1, b'b'];
    assert_eq!(end_of(&member, PUT, ("hasleader", "true"), Box::leak(Box::new(two))).await.0, "0");
    assert!(member.http("GET", "/kv?key=a", "").0.starts_with("HTTP/1.1 200"));
    assert!(member.http("GET", "/kv?key=b", "").0.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn what_only_looks_like_grpc_calls_nothing() {
    let folder = folder();
    let member = Member::start(folder.path());
    for (method, kind) in
        [("POST", "application/grpcfoo"), ("POST", "application/grpc-web"), ("GET", "application/grpc")]
    {
        let request = Request::builder().method(method).uri(format!("http://x{PUT}")).header("content-type", kind);
        let request = request.body(()).expect("request");
        let (answer, mut to) = connect(&member).await.send_request(request, false).expect("send");
        let _ = to.send_data(Bytes::from_static(&[0, 0, 0, 0, 3, 0x0a, 1, b'a']), true);
        assert_eq!(answer.await.expect("answer").status(), 404, "{method} {kind}");
    }
    assert!(member.http("GET", "/kv?key=a", "").0.starts_with("HTTP/1.1 404"), "nothing was put");
}

#[tokio::test]
async fn names_of_what_is_not_there_are_not_counted_even_without_a_leader() {
    let folder = folder();
    // The others of three never start.
    let port = support::free_port();
    let peers = [support::free_port(), support::free_port(), support::free_port()];
    let urls = peers.map(|port| format!("http://127.0.0.1:{port}"));
    let cluster = format!("a={},b={},c={}", urls[0], urls[1], urls[2]);
    let flags = ["--name", "a", "--initial-cluster", &cluster, "--initial-advertise-peer-urls", &urls[0]];
    let member = Member::spawn(folder.path(), port, &flags).member;
    while TcpStream::connect(member.endpoint()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(end_of(&member, "/evil.A/B", ("hasleader", "true"), &[0, 0, 0, 0, 0]).await.0, "12");
    assert_eq!(end_of(&member, PUT, ("hasleader", "true"), &[0, 0, 0, 0, 0]).await.0, "14");
    let wants_leader = "Grpc-Metadata-hasleader: true\r\n";
    let (head, answer) =
        member.http_with("POST", "/v3/kv/range", wants_leader, r#"{"key":"YQ==","serializable":true}"#);
    assert!(head.starts_with("HTTP/1.1 503") && answer.contains("etcdserver: no leader"), "{head} {answer}");
    let metrics = member.http("GET", "/metrics", "").1;
    assert!(metrics.contains("grpc_method=\"Put\"") && !metrics.contains("evil"), "{metrics}");
}

#[tokio::test]
async fn clients_that_take_nothing_of_their_ranges_hold_nobody_up() {
    let folder = folder();
    let member = Member::start(folder.path());
    let value = "v".repeat(120_000);
    for key in 'k'..'w' {
        assert!(member.http("PUT", &format!("/kv?key={key}"), &value).0.starts_with("HTTP/1.1 200"));
    }
    let stream = TcpStream::connect(member.endpoint()).await.expect("connect");
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder.initial_window_size(0).handshake(stream).await.expect("handshake");
    tokio::spawn(connection);
    let range = Bytes::from_static(&[0, 0, 0, 0, 6, 0x0a, 1, b'k', 0x12, 1, b'z']);
    let mut stalled = Vec::new();
    for _ in 0..600 {
        let request = Request::post("http://x/etcdserverpb.KV/Range").header("content-type", "application/grpc");
        let mut client = client.clone().ready().await.expect("ready");
        let (answer, mut to) = client.send_request(request.body(()).expect("request"), false).expect("send");
        to.send_data(range.clone(), true).expect("send");
        stalled.push(answer.await.expect("a head"));
    }
    let others = tokio::time::timeout(Duration::from_secs(20), call(&member, "/etcdserverpb.KV/Range", &range[5..]));
    assert!(others.await.expect("in time").expect("an answer").len() > 12 * 120_000);
    assert_eq!(stalled.len(), 600);
}

#[tokio::test]
async fn a_message_larger_than_any_may_be_is_refused_whatever_is_asked() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &["--max-request-bytes", "1000"]);
    let most = 1000 + 512 * 1024;
    let key = vec![b'k'; most];
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(key.len() as u64, &mut message);
    message.extend_from_slice(&key);
    let words = format!("grpc: received message larger than max ({} vs. {most})", message.len());
    for method in ["Range", "DeleteRange"] {
        assert_eq!(call(&member, &format!("/etcdserverpb.KV/{method}"), &message).await, refused(8, &words));
    }
}
