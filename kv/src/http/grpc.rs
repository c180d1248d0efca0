//! gRPC: what holds for every call, and who answers it.
use std::sync::Arc;

use http::{HeaderMap, Request, Response, header};
use tonic::{Code, Status, body::Body};

use super::{
    calls,
    head::{Head, Leader},
    health, large, led, unary,
};
use crate::{
    api::Api,
    limits::{GRPC_OVERHEAD_BYTES, MAX_REQUEST_BYTES},
    shared::Shared,
};

/// Largest message of a watch or keep-alive (bytes).
pub(super) const MAX_MESSAGE: usize = MAX_REQUEST_BYTES + GRPC_OVERHEAD_BYTES;

pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a gRPC call; an unknown service or method is `Unimplemented`, in the words of etcd's gRPC library.
pub(super) async fn answer(api: Api, request: Request<Body>) -> Response<Body> {
    let shared = Arc::clone(&api.shared);
    let needs_leader = Head::of(&request).leader == Leader::Required;
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let response = match before(&api, needs_leader, &head.headers).await {
        Ok(()) => reply(api, path, body).await,
        Err(status) => Err(status),
    };
    let response = counted(&shared, path, response.unwrap_or_else(Status::into_http));
    if needs_leader { response.map(|body| led::watch_over(body, shared)) } else { response }
}

/// What is seen to before a call begins.
async fn before(api: &Api, needs_leader: bool, headers: &HeaderMap) -> Result<(), Status> {
    if needs_leader && !api.shared.has_leader() {
        return Err(led::no_leader());
    }
    // As with etcd, whose server has no codec but the identity.
    if let Some(encoding) = headers.get("grpc-encoding")
        && encoding != "identity"
    {
        return Err(Status::unimplemented(format!(
            "grpc: Decompressor is not installed for grpc-encoding {encoding:?}"
        )));
    }
    if api.must_learn_token() { api.learn_token().await } else { Ok(()) }
}

async fn reply(api: Api, path: &str, body: Body) -> Result<Response<Body>, Status> {
    let largest = api.bounds().request_bytes + GRPC_OVERHEAD_BYTES;
    match path {
        unary::RANGE => large::range(api, body, largest).await,
        health::CHECK => health::check(&api.shared, body).await,
        health::WATCH => health::watch(Arc::clone(&api.shared), body).await,
        _ => calls::answer(api, path, body, largest).await,
    }
}

/// Counts an answer. A refusal is in the head; streams that break later count as begun well.
fn counted(shared: &Shared, path: &str, response: Response<Body>) -> Response<Body> {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    shared.metrics.call(path, code);
    response
}
