//! One request over HTTP/2 and its answer, to the end of both or until the client loses interest.
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hull_kv_wire::{Ended, Exchange, Reason, Respond, Sender};
use tonic::body::Body;

use super::{
    Face, direct,
    head::{Head, Leader, Plain},
    streaming,
    unary::{self, Call},
};
use crate::api::Api;

/// Answers one request: a common call at once or when the driver has answered, anything else in a task.
pub(super) fn begin(api: &Api, face: Face, exchange: Exchange) {
    api.asked();
    let path = exchange.head().path();
    let (common, streams) = (unary::is_one(path), streaming::is_one(path));
    if !common && super::goes_on(path) {
        exchange.goes_on();
    }
    if face == Face::Whole && (common || streams) {
        let head = Head::of_wire(exchange.head());
        // Whoever ends an exchange early, for want of a leader, knows why.
        if head.plain == Plain::Yes && head.leader == Leader::Optional {
            let api = api.clone().for_token(head.token);
            if common {
                call(api, exchange);
            } else {
                tokio::spawn(async move {
                    let _ = streaming::serve(api, exchange).await;
                });
            }
            return;
        }
    }
    let api = api.clone();
    tokio::spawn(async move {
        let head = Arc::clone(exchange.head());
        let (body, respond) = exchange.split();
        let _ = any(api, face, &head, body, respond).await;
    });
}

/// A call that is made often.
fn call(api: Api, mut exchange: Exchange) {
    // Mostly the message has come with the head.
    let whole = exchange.take_whole();
    match whole.as_ref().and_then(|whole| Call::read(exchange.head().path(), whole)) {
        Some(call) => direct::serve(api, call, exchange.respond()),
        None => drop(tokio::spawn(async move {
            let head = Arc::clone(exchange.head());
            let (mut body, respond) = exchange.split();
            let first = match whole {
                Some(whole) => Some(whole),
                None => poll_fn(|context| body.poll_data(context)).await.transpose()?,
            };
            match first.as_ref().filter(|_| body.is_end()).and_then(|first| Call::read(head.path(), first)) {
                Some(call) => direct::serve(api, call, respond),
                // Its first piece is here, or it has none.
                None => {
                    if let Some(first) = first {
                        body.again(first);
                    }
                    any(api, Face::Whole, &head, body, respond).await?;
                }
            }
            Ok::<_, Ended>(())
        })),
    }
}

/// Whatever else it may be. In a box, since few exchanges need its room.
fn any(
    api: Api,
    face: Face,
    head: &hull_kv_wire::Head,
    body: hull_kv_wire::Body,
    mut respond: Respond,
) -> Pin<Box<dyn Future<Output = Result<(), Ended>> + Send>> {
    let request = head.request(Body::new(Received(body)));
    // An answer to such a request has a head only (RFC 9110, section 9.3.2).
    let wants_head = head.method() == b"HEAD";
    Box::pin(async move {
        let Ok(request) = request else {
            let mut refusal = Response::new(());
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            return respond.empty(&refusal);
        };
        let answer = pin!(super::answer(api, face, request));
        let response = unless(|context| respond.poll_reset(context), answer).await?;
        let (head, body) = response.into_parts();
        let head = Response::from_parts(head, ());
        if wants_head || http_body::Body::is_end_stream(&body) {
            return respond.empty(&head);
        }
        send(body, respond.begin(&head)?).await
    })
}

/// Waits for `work` unless the client ends the exchange, which drops it.
pub(super) async fn unless<T>(
    mut reset: impl FnMut(&mut Context<'_>) -> Poll<Ended>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Ended> {
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => reset(context).map(Err),
    })
    .await
}

/// Sends a body as fast as the client takes it; one piece of it waits at most.
async fn send(mut body: Body, mut to: Sender) -> Result<(), Ended> {
    while let Some(frame) = unless(|context| to.poll_reset(context), pin!(body.frame())).await? {
        let Ok(frame) = frame else {
            to.fail();
            return Ok(());
        };
        match frame.into_data() {
            Ok(data) => send_data(data, &mut to).await?,
            Err(frame) => return to.trailers(frame.into_trailers().unwrap_or_default()),
        }
    }
    to.end()
}

/// Sends bytes and waits until the client has let them through.
pub(super) async fn send_data(data: Bytes, to: &mut Sender) -> Result<(), Ended> {
    to.send(data)?;
    poll_fn(|context| to.poll_sent(context)).await
}

/// What the client sends, as a body of the `http-body` crate.
#[derive(Debug)]
pub(super) struct Received(pub(super) hull_kv_wire::Body);

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        self.0.poll_data(context).map(|data| match data {
            // A request that needs no more of its body is none that failed (RFC 9113, section 8.1).
            Some(Err(ended)) if ended.reason() == Reason::NO_ERROR => None,
            data => data.map(|data| data.map(Frame::data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end()
    }
}
