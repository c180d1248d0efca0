//! The JSON gateway: each path is a gRPC method; a call is translated and made inside the process, so that JSON and gRPC
//! can never disagree.
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, Full, Limited};
use hull_kv_proto::{
    gateway::{Answers, ROUTES, Route},
    json,
    schema::Message,
};
use tonic::{Code, Status, body::Body};

use super::{
    grpc,
    head::{Head, Leader},
    method_not_allowed, text, whole,
};
use crate::api::Api;

/// JSON is larger than what it says: base64 adds a third, names and quotes the rest.
const JSON_TIMES: usize = 2;
/// A gRPC frame starts with a flag and a length.
const FRAME_HEADER: usize = 5;

pub(super) async fn answer(api: Api, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    let Some(route) = route(path) else {
        return text(StatusCode::NOT_FOUND, format_args!("404 page not found: {path} is no path of the JSON gateway"));
    };
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    let leader = Head::of(&request).leader;
    let Ok(body) = Limited::new(request.into_body(), JSON_TIMES * api.bounds().request_bytes).collect().await else {
        return refusal(&Status::invalid_argument("etcdserver: request is too large"));
    };
    let messages = match json::from_json(route.input, &body.to_bytes()) {
        Ok(messages) => messages,
        Err(why) => return refusal(&Status::invalid_argument(why)),
    };
    let response = grpc::answer(api.without_certificate(), call(route, leader, &messages)).await;
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
    {
        return refusal(&status);
    }
    match route.answers {
        Answers::One => one(route, response.into_body()).await,
        Answers::Stream => stream(route, response.into_body()),
    }
}

/// Whether this is a path of the gateway.
pub(super) fn is_gateway(path: &str) -> bool {
    path.starts_with("/v3/") || path.starts_with("/v3beta/")
}

/// The method behind a path. etcd 3.4 serves everything under `/v3beta`, too, and has second names for what is asked of leases.
fn route(path: &str) -> Option<&'static Route> {
    let rest = path.strip_prefix("/v3beta").or_else(|| path.strip_prefix("/v3"))?;
    let rest = match rest {
        "/kv/lease/revoke" => "/lease/revoke",
        "/kv/lease/timetolive" => "/lease/timetolive",
        "/kv/lease/leases" => "/lease/leases",
        other => other,
    };
    ROUTES.iter().find(|route| route.path.strip_prefix("/v3") == Some(rest))
}

/// The gRPC request that says the same.
fn call(route: &Route, leader: Leader, messages: &[Vec<u8>]) -> Request<Body> {
    let mut frames = BytesMut::new();
    for message in messages {
        frames.put_u8(0);
        frames.put_u32(message.len() as u32);
        frames.put_slice(message);
    }
    let body = Full::new(frames.freeze()).map_err(|never| match never {});
    let mut request = Request::new(Body::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(route.grpc);
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if leader == Leader::Required {
        request.headers_mut().insert("hasleader", HeaderValue::from_static("true"));
    }
    request
}

async fn one(route: &Route, body: Body) -> Response<Body> {
    let collected = match body.collect().await {
        Ok(collected) => collected,
        Err(status) => return refusal(&status),
    };
    if let Some(status) = failed(collected.trailers()) {
        return refusal(&status);
    }
    let mut bytes = collected.to_bytes();
    match take_frame(&mut bytes).map(|message| json::to_json(route.output, &message)) {
        Some(Ok(answer)) => whole(StatusCode::OK, "application/json", answer),
        Some(Err(why)) => refusal(&Status::internal(why)),
        None => refusal(&Status::internal("the method gave no answer")),
    }
}

fn failed(trailers: Option<&HeaderMap>) -> Option<Status> {
    trailers.and_then(Status::from_header_map).filter(|status| status.code() != Code::Ok)
}

/// The payload of the first whole frame in `bytes`.
fn take_frame(bytes: &mut Bytes) -> Option<Bytes> {
    let length = u32::from_be_bytes(bytes.get(1..FRAME_HEADER)?.try_into().ok()?) as usize;
    if bytes.len() < FRAME_HEADER + length {
        return None;
    }
    bytes.advance(FRAME_HEADER);
    Some(bytes.split_to(length))
}

fn stream(route: &'static Route, body: Body) -> Response<Body> {
    let lines = Lines { output: route.output, body, partial: BytesMut::new() };
    let mut response = Response::new(Body::new(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A stream of gRPC frames as lines of JSON: `{"result":...}`, and `{"error":...}` at a bad end.
struct Lines {
    output: &'static Message,
    body: Body,
    partial: BytesMut,
}

impl Lines {
    fn lines(&mut self, data: &[u8]) -> Bytes {
        self.partial.extend_from_slice(data);
        let mut whole = self.partial.split().freeze();
        let mut lines = Vec::new();
        while let Some(message) = take_frame(&mut whole) {
            let line = match json::to_json(self.output, &message) {
                Ok(json) => format!("{{\"result\":{json}}}"),
                Err(why) => error_json(&Status::internal(why), Shape::Nested),
            };
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
        }
        self.partial.extend_from_slice(&whole);
        lines.into()
    }
}

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Ok(Frame::data(error_line(&status))))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            match frame.into_data() {
                Ok(data) => {
                    let lines = self.lines(&data);
                    if !lines.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(lines))));
                    }
                }
                Err(frame) => {
                    let status = frame.into_trailers().ok().and_then(|trailers| failed(Some(&trailers)));
                    if let Some(status) = status {
                        return Poll::Ready(Some(Ok(Frame::data(error_line(&status)))));
                    }
                }
            }
        }
    }
}

fn error_line(status: &Status) -> Bytes {
    format!("{}\n", error_json(status, Shape::Nested)).into()
}

/// How grpc-gateway wraps an error: on its own, or inside a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Flat,
    Nested,
}

fn error_json(status: &Status, shape: Shape) -> String {
    let code = i32::from(status.code());
    let message = serde_json::Value::from(status.message());
    match shape {
        Shape::Flat => format!(r#"{{"error":{message},"message":{message},"code":{code}}}"#),
        Shape::Nested => {
            let http = http_code(status.code());
            let reason = http.canonical_reason().unwrap_or_default();
            format!(
                r#"{{"error":{{"grpc_code":{code},"http_code":{},"message":{message},"http_status":"{reason}"}}}}"#,
                http.as_u16()
            )
        }
    }
}

fn refusal(status: &Status) -> Response<Body> {
    whole(http_code(status.code()), "application/json", error_json(status, Shape::Flat))
}

/// grpc-gateway's table (`runtime.HTTPStatusFromCode`) of the version in etcd 3.4; later ones answer a failed precondition
/// with 400.
fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
