//! grpc.health.v1, whose two messages are one field each, written by hand
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>). As in etcd there is one thing to ask for: the whole, whose
//! name is empty.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, Full, Limited};
use prost::Message;
use tokio::time::{Interval, interval};
use tonic::{Code, Status, body::Body};

use super::{
    grpc::{head, well},
    messages::declared,
    unary::PREFIX,
};
use crate::shared::Shared;

/// Asks once.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Asks for every change.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Largest question (bytes): a name.
const LARGEST: usize = 4096;

/// How often it is looked whether the answer is another one.
const LOOK: Duration = Duration::from_secs(1);

/// What the answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    Yes,
    No,
    /// There is nothing of that name.
    Unknown,
}

impl Serves {
    /// The member serves while it has a leader.
    fn now(shared: &Shared) -> Self {
        if shared.has_leader() { Self::Yes } else { Self::No }
    }

    /// `HealthCheckResponse { status }`, as a gRPC frame.
    fn frame(self) -> Bytes {
        match self {
            Self::Yes => Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 1]),
            Self::No => Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 2]),
            Self::Unknown => Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 3]),
        }
    }
}

/// `HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(bytes = "bytes", tag = "1")]
    service: Bytes,
}

/// Answers a call of the service.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let watches = match request.uri().path() {
        CHECK => false,
        WATCH => true,
        // The caller finds words for it.
        _ => return Status::new(Code::Unimplemented, "").into_http(),
    };
    let question = match read(request.into_body()).await {
        Ok(question) => question,
        Err(status) => return status.into_http(),
    };
    let unknown = !question.service.is_empty();
    if unknown && !watches {
        return Status::not_found("unknown service").into_http();
    }
    if watches {
        return head().map(|()| Body::new(Watched { shared, unknown, told: None, looks: interval(LOOK) }));
    }
    let body = Full::new(Serves::now(&shared).frame())
        .map_err(|never| match never {})
        .with_trailers(std::future::ready(Some(Ok::<_, Status>(well()))));
    head().map(|()| Body::new(body))
}

async fn read(body: Body) -> Result<Question, Status> {
    let malformed = |why: &dyn std::fmt::Display| Status::internal(format!("grpc: error unmarshalling request: {why}"));
    let body = Limited::new(body, LARGEST).collect().await.map_err(|error| malformed(&error))?.to_bytes();
    match declared(&body) {
        Some(length) if body.len() == PREFIX + length && body[0] == 0 => {
            Question::decode(body.slice(PREFIX..)).map_err(|error| malformed(&error))
        }
        _ => Err(malformed(&"unexpected EOF")),
    }
}

/// An answer now, and one for every change.
struct Watched {
    shared: Arc<Shared>,
    /// Whether it is asked about something that is not here; that does not change.
    unknown: bool,
    told: Option<Serves>,
    looks: Interval,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        while self.looks.poll_tick(context).is_ready() {
            let serves = if self.unknown { Serves::Unknown } else { Serves::now(&self.shared) };
            if self.told != Some(serves) {
                self.told = Some(serves);
                return Poll::Ready(Some(Ok(Frame::data(serves.frame()))));
            }
        }
        Poll::Pending
    }
}
