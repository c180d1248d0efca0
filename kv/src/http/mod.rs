//! One port for everything: gRPC, the JSON gateway, `/kv/<key>`, health, version, metrics.
mod connection;
mod direct;
mod exchange;
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
