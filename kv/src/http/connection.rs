//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, and its requests.
use std::{
    convert::Infallible,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
};

use http::{Request, uri::PathAndQuery};
use hull_kv_wire::{Company, Io, Speaks, accept, http2};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tonic::body::Body;

use super::{Face, Manners, exchange};
use crate::api::Api;

/// Serves requests until the client leaves. A connection that breaks is its client's business.
pub(super) async fn serve(stream: Io, api: Api, face: Face, manners: Manners, company: Company) {
    let Some(speaks) = accept(stream).await else { return };
    match speaks {
        Speaks::Http2(connection) => {
            let on_request = Box::new(move |exchange| exchange::begin(&api, face, exchange));
            let _ = http2(connection, manners.max_streams, &company, on_request).await;
        }
        Speaks::Http1(connection) => {
            let present = company.enter();
            let goes_on = AtomicBool::new(false);
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                let api = api.clone();
                api.asked();
                let path = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
                goes_on.store(super::goes_on(path), Ordering::Relaxed);
                async move { Ok::<_, Infallible>(super::answer(api, face, request.map(Body::new)).await) }
            });
            let io = TokioIo::new(connection);
            let mut connection = pin!(http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service));
            tokio::select! {
                _ = &mut connection => return,
                () = company.parting() => {}
            }
            // What was asked is answered to its end, if it has one; nothing more is taken.
            connection.as_mut().graceful_shutdown();
            if goes_on.load(Ordering::Relaxed) {
                drop(present);
            }
            let _ = connection.await;
        }
    }
}
