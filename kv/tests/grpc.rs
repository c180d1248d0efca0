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

#[tokio::test]
async fn what_is_compressed_is_refused_in_the_words_of_etcds_library() {
    let folder = folder();
    let member = Member::start(folder.path());
    for path in ["/etcdserverpb.KV/Put", "/etcdserverpb.Maintenance/Status", "/etcdserverpb.Watch/Watch"] {
        let request = Request::post(format!("http://x{path}")).header("content-type", "application/grpc");
        let request = request.header("grpc-encoding", "gzip").body(()).expect("request");
        let (answer, mut body) = connect(&member).await.send_request(request, false).expect("send");
        let _ = body.send_data(Bytes::from_static(&[1, 0, 0, 0, 0]), true);
        let head = answer.await.expect("answer").into_parts().0.headers;
        assert_eq!(head["grpc-status"], "12", "{path}");
        assert_eq!(
            head["grpc-message"],
            "grpc:%20Decompressor%20is%20not%20installed%20for%20grpc-encoding%20%22gzip%22"
        );
        // Flagged, but not said how.
        let mut frame = vec![1, 0, 0, 0, 2];
        frame.extend_from_slice(&[0x0a, 0]);
        let request = Request::post(format!("http://x{path}")).header("content-type", "application/grpc").body(());
        let (answer, mut body) = connect(&member).await.send_request(request.expect("request"), false).expect("send");
        let _ = body.send_data(frame.into(), true);
        let (head, mut body) = answer.await.expect("answer").into_parts();
        while body.data().await.is_some() {}
        let end = body.trailers().await.expect("trailers").unwrap_or(head.headers);
        assert_eq!(end["grpc-status"], "13", "{path}");
    }
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
