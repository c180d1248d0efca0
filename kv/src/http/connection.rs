//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, and its requests.
use std::convert::Infallible;

use http::Request;
use hull_kv_wire::{Io, Speaks, accept, http2};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tonic::body::Body;

use super::{Face, Manners, exchange};
use crate::api::Api;

/// Serves requests until the client leaves. A connection that breaks is its client's business.
pub(super) async fn serve(stream: Io, api: Api, face: Face, manners: Manners) {
    let Some(speaks) = accept(stream).await else { return };
    match speaks {
        Speaks::Http2(connection) => {
            let on_request = Box::new(move |exchange| exchange::begin(&api, face, exchange));
            let _ = http2(connection, manners.max_streams, on_request).await;
        }
        Speaks::Http1(connection) => {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let api = api.clone();
                api.asked();
                async move { Ok::<_, Infallible>(super::answer(api, face, request.map(Body::new)).await) }
            });
            let io = TokioIo::new(connection);
            let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service).await;
        }
    }
}
