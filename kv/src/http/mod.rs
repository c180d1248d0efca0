//! One port for everything: gRPC, the JSON gateway, `/kv/<key>`, health, version, metrics.
mod calls;
mod connection;
mod direct;
mod exchange;
mod frames;
mod gateway;
mod grpc;
mod head;
mod health;
mod info;
mod large;
mod led;
mod listen;
mod messages;
mod plain;
mod probes;
mod process;
mod streaming;
mod unary;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
pub(crate) use listen::bind_unix;
pub use listen::{Address, Face, ListenError, Listener, Manners, Passed, bind_tcp};
use tonic::body::Body;

use crate::api::Api;
use head::Head;

/// Answers one request of any kind.
pub(crate) async fn answer(api: Api, face: Face, request: Request<Body>) -> Response<Body> {
    if face == Face::Monitors {
        return info::answer(&api, &request.into_parts().0).await;
    }
    let api = api.for_token(Head::of(&request).token);
    if grpc::is_grpc(&request) {
        return grpc::answer(api, request).await;
    }
    let path = request.uri().path();
    if path == "/kv" || path.starts_with("/kv/") {
        return plain::answer(api, request).await;
    }
    if gateway::is_gateway(path) {
        return gateway::answer(api, request).await;
    }
    info::answer(&api, &request.into_parts().0).await
}

/// Whether what a path (with its query) asks for takes as long as somebody wants: watches, and what waits for a lock.
fn goes_on(path: &str) -> bool {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let in_json = path.strip_prefix("/v3beta").or_else(|| path.strip_prefix("/v3")).unwrap_or_default();
    match path {
        "/grpc.health.v1.Health/Watch"
        | "/v3electionpb.Election/Campaign"
        | "/v3electionpb.Election/Observe"
        | "/v3lockpb.Lock/Lock" => true,
        _ if streaming::is_one(path) => true,
        _ if path == "/kv" || path.starts_with("/kv/") => query.split('&').any(|pair| pair.starts_with("wait")),
        _ => matches!(in_json, "/watch" | "/election/campaign" | "/election/observe" | "/lock/lock"),
    }
}

/// A whole answer.
fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Body::new(Full::new(body.into()).map_err(|never| match never {}));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A sentence for a person.
fn text(status: StatusCode, line: impl std::fmt::Display) -> Response<Body> {
    whole(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// Whether a query says `name=value`.
fn queried(query: &str, name: &str, value: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=') == Some((name, value)))
}

/// The right path with the wrong method.
fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

#[cfg(test)]
mod tests {
    use super::goes_on;

    #[test]
    fn watches_and_locks_take_as_long_as_somebody_wants() {
        for path in ["/etcdserverpb.Watch/Watch", "/v3/watch", "/v3beta/lock/lock", "/kv/a?wait", "/kv?key=a&wait=7"] {
            assert!(goes_on(path), "{path}");
        }
        for path in ["/etcdserverpb.KV/Put", "/v3/kv/range", "/kv/watch", "/kv/a?lease=1", "/watch", "/"] {
            assert!(!goes_on(path), "{path}");
        }
    }
}
