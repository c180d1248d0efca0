//! gRPC: finds the service by the first part of the path.
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
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
    large, led, unary,
};
use crate::{
    api::{Api, HEALTH_PATH_CHECK, HEALTH_PATH_WATCH, Serves, health_check},
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
    let head = Head::of(&request);
    let needs_leader = head.leader == Leader::Required;
    let is_plain = head.plain == Plain::Yes;
    if needs_leader && !shared.has_leader() {
        let refusal = led::no_leader();
        shared.metrics.call(request.uri().path(), refusal.code());
        return refusal.into_http();
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
        "grpc.health.v1.Health" if path == HEALTH_PATH_CHECK || path == HEALTH_PATH_WATCH => Ok(health(&api)),
        _ => Ok(Status::unimplemented(format!("unknown service {service}")).into_http()),
    };
    match answered {
        Ok(response) => {
            let response = counted(&shared, path, response);
            if needs_leader { response.map(|body| led::watch_over(body, shared)) } else { response }
        }
        Err(never) => match never {},
    }
}

/// Counts an answer. A refusal is in the head; streams that break later count as begun well.
fn counted(shared: &Shared, path: &str, response: Response<Body>) -> Response<Body> {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    shared.metrics.call(path, code);
    response
}

/// One answer and the end: clients that watch ask again after it.
fn health(api: &Api) -> Response<Body> {
    let serves = if api.shared.has_leader() { Serves::Yes } else { Serves::No };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::<Bytes>::new(health_check(serves))
        .map_err(|never| match never {})
        .with_trailers(std::future::ready(Some(Ok::<_, Status>(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
