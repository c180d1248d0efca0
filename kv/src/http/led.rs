//! Clients that would rather have no answer than one of a member that has lost the cluster: they send `hasleader: true`, are refused
//! where no leader is known, and their streams end when the leader is gone for a while, as etcd's do.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::{Status, body::Body};

use crate::shared::Shared;

/// How often it is looked whether there is a leader.
const LOOK: Duration = Duration::from_secs(1);

/// Looks without a leader, one after the other, after which a stream ends. etcd: three election times.
const PATIENCE: u32 = 3;

/// etcd's words.
pub(super) fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

/// The same answer, which ends early when the leader is gone for a while.
pub(super) fn watch_over(body: Body, shared: Arc<Shared>) -> Body {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Body::new(Led { body, shared, looks, without: 0 })
}

struct Led {
    body: Body,
    shared: Arc<Shared>,
    looks: Interval,
    /// Looks without a leader, one after the other.
    without: u32,
}

impl HttpBody for Led {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        while self.looks.poll_tick(context).is_ready() {
            self.without = if self.shared.has_leader() { 0 } else { self.without + 1 };
            if self.without == PATIENCE {
                // Whoever is behind the stream learns of it as of a client that went away.
                self.body = Body::empty();
                let mut trailers = HeaderMap::new();
                return Poll::Ready(match no_leader().add_header(&mut trailers) {
                    Ok(()) => Some(Ok(Frame::trailers(trailers))),
                    Err(status) => Some(Err(status)),
                });
            }
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.without < PATIENCE
    }
}
