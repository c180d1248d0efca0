//! What an answer of gRPC is made of: messages, each behind its length, and at the end that all is well, or why not.
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::Frame;
use tokio::sync::mpsc;
use tonic::{Status, body::Body};

use super::unary::framed;
use crate::api::Answers;

/// What an answer begins with.
fn head() -> Response<()> {
    let mut head = Response::new(());
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head
}

/// What an answer ends with that is no refusal.
fn well() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

/// What an answer ends with that began well.
pub(super) fn refusal(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // What cannot stand in a header is left out.
    let _ = status.add_header(&mut trailers);
    trailers
}

/// An answer of one message.
pub(super) fn one(message: Bytes) -> Response<Body> {
    answer(Frames { first: Some(message), rest: Rest::Nothing, end: Some(well()) })
}

/// An answer of one message of `length` bytes that comes in pieces behind `first`. If one fails, the
/// status behind what came of it says why; some clients say instead that the message has no end.
pub(super) fn pieces(first: Bytes, length: u64, rest: mpsc::Receiver<Result<Bytes, Status>>) -> Response<Body> {
    answer(Frames { first: Some(first), rest: Rest::Pieces { left: length, from: rest }, end: Some(well()) })
}

/// An answer of many messages, as they come.
pub(super) fn many(messages: impl Outgoing + Send + 'static) -> Response<Body> {
    answer(Frames { first: None, rest: Rest::Messages(Box::new(messages)), end: Some(well()) })
}

fn answer(frames: Frames) -> Response<Body> {
    head().map(|()| Body::new(frames))
}

/// Messages as they come, as they go over the wire.
pub(super) trait Outgoing {
    /// The next one. A refusal is the last.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>>;
}

impl<T: prost::Message> Outgoing for Answers<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        self.poll_recv(context).map(|next| next.map(|next| next.map(|message| framed(&message))))
    }
}

struct Frames {
    first: Option<Bytes>,
    rest: Rest,
    /// `None` once it was said.
    end: Option<HeaderMap>,
}

enum Rest {
    Nothing,
    Pieces {
        /// Bytes that are to come.
        left: u64,
        from: mpsc::Receiver<Result<Bytes, Status>>,
    },
    Messages(Box<dyn Outgoing + Send>),
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match &mut self.rest {
            Rest::Nothing => {}
            Rest::Pieces { left, from } => match from.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(piece))) => {
                    *left = left.saturating_sub(piece.len() as u64);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                // The message stays without its end.
                Poll::Ready(Some(Err(why))) => self.end = Some(refusal(&why)),
                // Whoever made the pieces has given the client up.
                Poll::Ready(None) if *left > 0 => {
                    return Poll::Ready(Some(Err(Status::aborted("an answer that nobody took"))));
                }
                Poll::Ready(None) => {}
            },
            Rest::Messages(messages) => match messages.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Poll::Ready(Some(Err(why))) => self.end = Some(refusal(&why)),
                Poll::Ready(None) => {}
            },
        }
        self.rest = Rest::Nothing;
        Poll::Ready(self.end.take().map(|end| Ok(Frame::trailers(end))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_fails_on_its_way_ends_with_the_reason() {
        let (made, rest) = mpsc::channel(2);
        made.send(Ok(Bytes::from_static(b"half"))).await.expect("room");
        made.send(Err(Status::data_loss("damaged"))).await.expect("room");
        let answer = pieces(Bytes::from_static(b"head"), 8, rest).into_body().collect().await.expect("an end");
        let trailers = answer.trailers().expect("trailers");
        assert_eq!(
            (trailers["grpc-status"].as_bytes(), trailers["grpc-message"].as_bytes()),
            (&b"15"[..], &b"damaged"[..])
        );
        assert_eq!(answer.to_bytes(), "headhalf");
    }
}
