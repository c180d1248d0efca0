//! grpc.health.v1, whose two messages are one field each, written by hand
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>). As in etcd there is one thing to ask for: the whole, whose
//! name is empty.
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use prost::Message;
use tokio::time::{Interval, interval};
use tonic::{Status, body::Body};

use super::{
    frames,
    messages::{decoded, whole},
};
use crate::shared::Shared;

/// Asks once.
pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Asks for every change.
pub(super) const WATCH: &str = "/grpc.health.v1.Health/Watch";

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

/// Answers who asks once.
pub(super) async fn check(shared: &Shared, body: Body) -> Result<Response<Body>, Status> {
    let question: Question = decoded(whole(body, LARGEST).await?)?;
    if !question.service.is_empty() {
        return Err(Status::not_found("unknown service"));
    }
    Ok(frames::one(Serves::now(shared).frame()))
}

/// Answers who asks for every change.
pub(super) async fn watch(shared: Arc<Shared>, body: Body) -> Result<Response<Body>, Status> {
    let question: Question = decoded(whole(body, LARGEST).await?)?;
    let unknown = !question.service.is_empty();
    Ok(frames::many(Watched { shared, unknown, told: None, looks: interval(LOOK) }))
}

/// An answer now, and one for every change.
struct Watched {
    shared: Arc<Shared>,
    /// Whether it is asked about something that is not here; that does not change.
    unknown: bool,
    told: Option<Serves>,
    looks: Interval,
}

impl frames::Outgoing for Watched {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        while self.looks.poll_tick(context).is_ready() {
            let serves = if self.unknown { Serves::Unknown } else { Serves::now(&self.shared) };
            if self.told != Some(serves) {
                self.told = Some(serves);
                return Poll::Ready(Some(Ok(serves.frame())));
            }
        }
        Poll::Pending
    }
}
