//! Range over gRPC for answers of any size: one message, whose length is known before its end is.
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use hull_kv_proto::etcdserverpb::{RangeRequest, kv_server::KvServer};
use tokio::sync::mpsc;
use tonic::{Status, body::Body};
use tower_service::Service as _;

use super::{
    grpc::{head, well},
    messages::{declared, too_large},
    unary::{self, PREFIX},
};
use crate::api::{Api, Ranged};

/// Answers a call of Range, whose request is no larger than `largest` (bytes).
pub(super) async fn range(api: Api, request: Request<Body>, largest: usize) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match whole(body, largest).await {
        Ok(body) => body,
        Err(status) => return status.into_http(),
    };
    let Some(request) = unary::message::<RangeRequest>(&body) else {
        // Whatever it is, the library knows what to say to it.
        let request = Request::from_parts(head, Body::new(Full::new(body).map_err(|never| match never {})));
        let Ok(response) = KvServer::new(api).max_decoding_message_size(largest).call(request).await;
        return response;
    };
    match api.range_of_any_size(&request).await {
        Ok(Ranged::Whole(response)) => {
            answer(Message { first: Some(unary::framed(&response)), rest: None, end: End::Ahead })
        }
        Ok(Ranged::Streamed(length, pieces)) => match u32::try_from(length) {
            Ok(length) => {
                let mut prefix = BytesMut::with_capacity(PREFIX);
                prefix.put_u8(0);
                prefix.put_u32(length);
                answer(Message { first: Some(prefix.freeze()), rest: Some(pieces), end: End::Ahead })
            }
            Err(_) => {
                Status::resource_exhausted(format!("an answer of {length} bytes: gRPC counts no further than 4 GiB"))
                    .into_http()
            }
        },
        Err(status) => status.into_http(),
    }
}

/// All of a body that holds one message, unless that is larger than it may be.
async fn whole(mut body: Body, largest: usize) -> Result<Bytes, Status> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await.transpose()? {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        let length = declared(&bytes).unwrap_or_default().max(bytes.len().saturating_sub(PREFIX));
        if length > largest {
            return Err(too_large(length, largest));
        }
    }
    Ok(bytes.freeze())
}

fn answer(message: Message) -> Response<Body> {
    head().map(|()| Body::new(message))
}

/// Whether the end of the answer was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ahead,
    Said,
}

/// An answer: its beginning, what follows piece by piece, and that all is well.
#[derive(Debug)]
struct Message {
    first: Option<Bytes>,
    rest: Option<mpsc::Receiver<Result<Bytes, Status>>>,
    end: End,
}

impl http_body::Body for Message {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(rest) = &mut self.rest {
            match rest.poll_recv(context) {
                Poll::Ready(Some(piece)) => return Poll::Ready(Some(piece.map(Frame::data))),
                Poll::Ready(None) => self.rest = None,
                Poll::Pending => return Poll::Pending,
            }
        }
        match std::mem::replace(&mut self.end, End::Said) {
            End::Ahead => Poll::Ready(Some(Ok(Frame::trailers(well())))),
            End::Said => Poll::Ready(None),
        }
    }
}
