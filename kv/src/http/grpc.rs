//! gRPC: what holds for every call, and who answers it.
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, header};
use tonic::{Code, Status, body::Body};

use super::{
    calls,
    head::{Head, Leader},
    led,
};
use crate::{api::Api, limits::GRPC_OVERHEAD_BYTES, shared::Shared};

/// Whether a request is a call: gRPC's content types are `application/grpc` and what begins so with a `+` or `;` behind.
pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind =
        request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    request.method() == Method::POST && matches!(kind, Some([] | [b'+' | b';', ..]))
}

/// Answers a gRPC call; an unknown service or method is `Unimplemented`, in the words of etcd's gRPC library.
pub(super) async fn answer(api: Api, request: Request<Body>) -> Response<Body> {
    let shared = Arc::clone(&api.shared);
    let needs_leader = Head::of(&request).leader == Leader::Required;
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if let Some(unknown) = calls::unknown(path) {
        // Whoever calls what does not exist must not fill the memory with names.
        return unknown.into_http();
    }
    let response = match before(&api, needs_leader, &head.headers).await {
        Ok(()) => {
            let largest = api.bounds().request_bytes + GRPC_OVERHEAD_BYTES;
            calls::answer(api, path, body, largest).await
        }
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

/// Counts an answer. A refusal is in the head; streams that break later count as begun well.
fn counted(shared: &Shared, path: &str, response: Response<Body>) -> Response<Body> {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    shared.metrics.call(path, code);
    response
}
