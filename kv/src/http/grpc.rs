//! gRPC: finds the service by the first part of the path.
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use hull_kv_proto::{
    etcdserverpb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer, lease_server::LeaseServer,
        maintenance_server::MaintenanceServer, watch_server::WatchServer,
    },
    v3electionpb::election_server::ElectionServer,
    v3lockpb::lock_server::LockServer,
};
use tonic::{Code, Status, body::Body};
use tower_service::Service as _;

use super::{
    head::{Head, Leader, Plain},
    health, large, led,
    messages::too_large,
    unary,
};
use crate::{
    api::Api,
    limits::{GRPC_OVERHEAD_BYTES, MAX_REQUEST_BYTES},
    shared::Shared,
};

/// Largest message of a watch or keep-alive (bytes).
pub(super) const MAX_MESSAGE: usize = MAX_REQUEST_BYTES + GRPC_OVERHEAD_BYTES;

/// What an answer of gRPC begins with.
pub(super) fn head() -> Response<()> {
    let mut head = Response::new(());
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head
}

/// What an answer ends with that is no refusal.
pub(super) fn well() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a gRPC call; an unknown service or method is `Unimplemented`, in the words of etcd's gRPC library.
pub(super) async fn answer(api: Api, request: Request<Body>) -> Response<Body> {
    let shared = Arc::clone(&api.shared);
    let head = Head::of(&request);
    let needs_leader = head.leader == Leader::Required;
    let is_plain = head.plain == Plain::Yes;
    if needs_leader && !shared.has_leader() {
        let refusal = led::no_leader();
        shared.metrics.call(request.uri().path(), refusal.code());
        return refusal.into_http();
    }
    if api.must_learn_token()
        && let Err(status) = api.learn_token().await
    {
        shared.metrics.call(request.uri().path(), status.code());
        return status.into_http();
    }
    let largest = api.bounds().request_bytes + GRPC_OVERHEAD_BYTES;
    let uri = request.uri().clone();
    let path = uri.path();
    let service = path.split('/').nth(1).unwrap_or_default();
    if path == unary::RANGE && is_plain {
        return counted(&shared, path, large::range(api, request, largest).await);
    }
    // The services' errors are `Infallible`: a refusal is an answer.
    let answered = match service {
        "etcdserverpb.KV" => KvServer::new(api).max_decoding_message_size(largest).call(request).await,
        "etcdserverpb.Watch" => WatchServer::new(api).max_decoding_message_size(largest).call(request).await,
        "etcdserverpb.Lease" => LeaseServer::new(api).max_decoding_message_size(largest).call(request).await,
        "etcdserverpb.Cluster" => ClusterServer::new(api).max_decoding_message_size(largest).call(request).await,
        "v3lockpb.Lock" => LockServer::new(api).call(request).await,
        "v3electionpb.Election" => ElectionServer::new(api).call(request).await,
        "etcdserverpb.Auth" => AuthServer::new(api).call(request).await,
        "etcdserverpb.Maintenance" => MaintenanceServer::new(api).call(request).await,
        "grpc.health.v1.Health" => Ok(health::answer(Arc::clone(&shared), request).await),
        _ => Ok(Status::unimplemented(format!("unknown service {service}")).into_http()),
    };
    match answered {
        Ok(response) => {
            let response = counted(&shared, path, in_etcds_words(path, response));
            if needs_leader { response.map(|body| led::watch_over(body, shared)) } else { response }
        }
        Err(never) => match never {},
    }
}

/// What etcd's gRPC library says in other words than the one here.
fn in_etcds_words(path: &str, response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let status = match status.code() {
        Code::Unimplemented if status.message().is_empty() => {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
            Some(Status::unimplemented(format!("unknown method {method} for service {service}")))
        }
        Code::OutOfRange => sizes(status.message()).map(|(found, most)| too_large(found, most)),
        _ => None,
    };
    status.map_or(response, Status::into_http)
}

/// How large a message was, and how large it may be, in the words of the library here.
fn sizes(message: &str) -> Option<(usize, usize)> {
    let rest = message.strip_prefix("Error, decoded message length too large: found ")?.strip_suffix(" bytes")?;
    let (found, most) = rest.split_once(" bytes, the limit is: ")?;
    Some((found.parse().ok()?, most.parse().ok()?))
}

/// Counts an answer. A refusal is in the head; streams that break later count as begun well.
fn counted(shared: &Shared, path: &str, response: Response<Body>) -> Response<Body> {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    shared.metrics.call(path, code);
    response
}
