//! The calls whose clients stay, watches and keep-alives, without the layers between: one task each, and no queue.
use std::pin::pin;

use hull_kv_proto::etcdserverpb::{LeaseKeepAliveRequest, WatchRequest};
use hull_kv_wire::{Body, Ended, Exchange, Sender};
use tokio_stream::StreamExt as _;

use super::{
    exchange::{Received, send_data, unless},
    frames::refusal,
    messages::Messages,
    unary::framed,
};
use crate::api::Api;

pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub(super) const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Whether a path is such a call.
pub(super) fn is_one(path: &str) -> bool {
    matches!(path, WATCH | KEEP_ALIVE)
}

/// Answers until the client or the member ends the call.
pub(super) async fn serve(api: Api, exchange: Exchange) -> Result<(), Ended> {
    let path = if exchange.head().path() == WATCH { WATCH } else { KEEP_ALIVE };
    let _open = api.shared.metrics.open(path);
    let (body, respond) = exchange.split();
    if api.must_learn_token()
        && let Err(status) = api.learn_token().await
    {
        return respond.empty(&status.into_http());
    }
    let to = respond.begin_grpc()?;
    if path == WATCH { watch(&api, body, to).await } else { keep_alive(&api, body, to).await }
}

async fn watch(api: &Api, body: Body, mut to: Sender) -> Result<(), Ended> {
    let mut watches = api.watches(Messages::<WatchRequest, _>::new(Received(body)));
    while let Some(response) = unless(|context| to.poll_reset(context), pin!(watches.next())).await? {
        match response {
            Ok(response) => send_data(framed(&response), &mut to).await?,
            Err(status) => return to.trailers(refusal(&status)),
        }
    }
    to.well()
}

async fn keep_alive(api: &Api, body: Body, mut to: Sender) -> Result<(), Ended> {
    // A client that takes its call back ends its requests.
    let mut requests = Messages::<LeaseKeepAliveRequest, _>::new(Received(body));
    while let Some(request) = requests.next().await {
        let answer = match request {
            Ok(request) => unless(|context| to.poll_reset(context), pin!(api.keep_alive(request.id))).await?,
            Err(status) => Err(status),
        };
        match answer {
            Ok(response) => send_data(framed(&response), &mut to).await?,
            Err(status) => return to.trailers(refusal(&status)),
        }
    }
    to.well()
}
