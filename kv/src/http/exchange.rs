//! One request over HTTP/2 and its answer, to the end of both or until the client loses interest.
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hull_kv_wire::Respond;
use tonic::body::Body;

use super::{
    Face, direct,
    head::{Head, Leader, Plain},
    streaming,
    unary::{self, Call},
};
use crate::api::Api;

/// Why an exchange ended early: the client took its request back, or the connection broke.
pub(super) struct Ended;

impl From<h2::Error> for Ended {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

/// Answers one request: a common call at once or when the driver has answered, anything else in a task.
pub(super) fn begin(api: &Api, face: Face, request: Request<RecvStream>, respond: Respond) {
    api.asked();
    let path = request.uri().path();
    let (common, streams) = (unary::is_one(path), streaming::is_one(path));
    if face == Face::Whole && (common || streams) {
        let head = Head::of(&request);
        // Whoever ends an exchange early, for want of a leader, knows why.
        if head.plain == Plain::Yes && head.leader == Leader::Optional {
            let api = api.clone().for_token(head.token);
            if common {
                call(api, request, respond);
            } else {
                tokio::spawn(async move { drop(streaming::serve(api, request, respond).await) });
            }
            return;
        }
    }
    let api = api.clone();
    tokio::spawn(async move { drop(any(api, face, request.map(Received::new), respond).await) });
}

/// A call that is made often.
fn call(api: Api, mut request: Request<RecvStream>, respond: Respond) {
    // Mostly the message has come with the head. If not, the task that waits for it takes this waker's place.
    let arrived = request.body_mut().poll_data(&mut Context::from_waker(Waker::noop()));
    match arrived {
        Poll::Ready(Some(Ok(piece))) => message(api, request, piece, respond),
        Poll::Ready(_) => {}
        Poll::Pending => drop(tokio::spawn(async move {
            if let Some(Ok(piece)) = request.body_mut().data().await {
                message(api, request, piece, respond);
            }
        })),
    }
}

/// Its message, which is mostly in one piece; the first piece is here.
fn message(api: Api, mut request: Request<RecvStream>, piece: Bytes, respond: Respond) {
    if request.body_mut().flow_control().release_capacity(piece.len()).is_err() {
        return;
    }
    let call = if request.body().is_end_stream() { Call::read(request.uri().path(), &piece) } else { None };
    match call {
        Some(call) => direct::serve(api, call, respond),
        None => {
            let request = request.map(|rest| Received { first: Some(piece), rest });
            tokio::spawn(async move { drop(any(api, Face::Whole, request, respond).await) });
        }
    }
}

/// Whatever else it may be. In a box, since few exchanges need its room.
fn any(
    api: Api,
    face: Face,
    request: Request<Received>,
    mut respond: Respond,
) -> Pin<Box<dyn Future<Output = Result<(), Ended>> + Send>> {
    Box::pin(async move {
        let answer = pin!(super::answer(api, face, request.map(Body::new)));
        let response = unless(|context| respond.poll_reset(context), answer).await?;
        let (head, body) = response.into_parts();
        let head = Response::from_parts(head, ());
        if http_body::Body::is_end_stream(&body) {
            return Ok(respond.empty(head)?);
        }
        send(body, respond.begin(head)?).await
    })
}

/// Waits for `work` unless the client ends the exchange, which drops it.
pub(super) async fn unless<T>(
    mut reset: impl FnMut(&mut Context<'_>) -> Poll<Result<Reason, h2::Error>>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Ended> {
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => reset(context).map(|_| Err(Ended)),
    })
    .await
}

/// Sends a body as fast as the client takes it; one piece of it waits at most.
async fn send(mut body: Body, mut to: SendStream<Bytes>) -> Result<(), Ended> {
    while let Some(frame) = unless(|context| to.poll_reset(context), pin!(body.frame())).await? {
        let Ok(frame) = frame else {
            to.send_reset(Reason::INTERNAL_ERROR);
            return Err(Ended);
        };
        match frame.into_data() {
            Ok(data) => send_data(data, &mut to).await?,
            Err(frame) => return Ok(to.send_trailers(frame.into_trailers().unwrap_or_default())?),
        }
    }
    Ok(to.send_data(Bytes::new(), true)?)
}

/// Sends bytes as the client lets them through.
pub(super) async fn send_data(mut data: Bytes, to: &mut SendStream<Bytes>) -> Result<(), Ended> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        // Mostly the client has room for all of it.
        if to.capacity() >= data.len() {
            return Ok(to.send_data(data, false)?);
        }
        let capacity = poll_fn(|context| to.poll_capacity(context)).await.ok_or(Ended)??;
        to.send_data(data.split_to(capacity.min(data.len())), false)?;
    }
    Ok(())
}

/// What the client sends, its first piece perhaps looked at already.
#[derive(Debug)]
struct Received {
    first: Option<Bytes>,
    rest: RecvStream,
}

impl Received {
    fn new(rest: RecvStream) -> Self {
        Self { first: None, rest }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Poll::Ready(data) = self.rest.poll_data(context) else { return Poll::Pending };
        match data {
            Some(Ok(data)) => {
                self.rest.flow_control().release_capacity(data.len())?;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // A request that needs no more of its body is none that failed (RFC 9113, section 8.1).
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers: Poll<Result<Option<HeaderMap>, h2::Error>> = self.rest.poll_trailers(context);
                trailers.map(|trailers| trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}
