//! The store by its etcd v3 API: the few calls that verbs need, each with a deadline.

use crate::failure::Failure;
use crate::limits::STORE_ANSWER;
use crate::place::Place;
use hull_kv_proto::client::{self, Store as Clients};
use hull_kv_proto::etcdserverpb::watch_request::RequestUnion;
use hull_kv_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, StatusRequest, WatchCreateRequest, WatchRequest,
};
use hull_kv_proto::mvccpb::{Event, KeyValue};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::Status;

/// One key, or all that start so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which<'k> {
    Key(&'k str),
    Prefix(&'k str),
}

/// What the store says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    pub(crate) version: String,
    pub(crate) revision: i64,
    pub(crate) db_bytes: u64,
    /// Member id of the leader; 0 when there is none.
    pub(crate) leader: u64,
    /// Member id of who answered.
    pub(crate) member: u64,
    /// Alarms and errors it raised.
    pub(crate) errors: Vec<String>,
}

/// A connected store.
pub(crate) struct Store {
    runtime: Runtime,
    clients: Clients,
    endpoint: String,
    patience: Duration,
}

impl Store {
    /// Connects to the store that is within reach of `place`.
    pub(crate) fn open(place: &Place) -> Result<Self, Failure> {
        Self::open_within(place, STORE_ANSWER)
    }

    /// [`Store::open`] with a deadline for each call.
    pub(crate) fn open_within(place: &Place, patience: Duration) -> Result<Self, Failure> {
        let endpoint = place.store().to_owned();
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build().map_err(|error| {
                Failure::new("start", "the store's client", error, "free some memory or descriptors")
            })?;
        let connected = runtime.block_on(async { tokio::time::timeout(patience, client::connect(&endpoint)).await });
        let clients = match connected {
            Ok(Ok(clients)) => clients,
            Ok(Err(error)) => return Err(unreachable(place, &innermost(&error))),
            Err(_) => return Err(unreachable(place, &format!("no answer within {} s", patience.as_secs()))),
        };
        Ok(Self { runtime, clients, endpoint, patience })
    }

    /// The keys with their values, in order of the keys, and the store's revision.
    pub(crate) fn get(&self, which: Which<'_>) -> Result<(Vec<KeyValue>, i64), Failure> {
        let (key, range_end) = which.range();
        let request = RangeRequest { key, range_end, ..Default::default() };
        let mut kv = self.clients.kv.clone();
        let answer = self.call("read", which.name(), async move { kv.range(request).await })?;
        Ok((answer.kvs, answer.header.map_or(0, |header| header.revision)))
    }

    /// Sets a key; gives the revision of the write.
    pub(crate) fn put(&self, key: &str, value: &[u8]) -> Result<i64, Failure> {
        let request = PutRequest { key: key.to_owned().into(), value: value.to_vec().into(), ..Default::default() };
        let mut kv = self.clients.kv.clone();
        let answer = self.call("put", key, async move { kv.put(request).await })?;
        Ok(answer.header.map_or(0, |header| header.revision))
    }

    /// Deletes keys; gives how many there were.
    pub(crate) fn delete(&self, which: Which<'_>) -> Result<i64, Failure> {
        let (key, range_end) = which.range();
        let request = DeleteRangeRequest { key, range_end, ..Default::default() };
        let mut kv = self.clients.kv.clone();
        Ok(self.call("delete", which.name(), async move { kv.delete_range(request).await })?.deleted)
    }

    /// Gives each change from now on to `take`, until the store ends the watch.
    pub(crate) fn watch(
        &self,
        which: Which<'_>,
        mut take: impl FnMut(Event) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (key, range_end) = which.range();
        let create = WatchCreateRequest { key, range_end, ..Default::default() };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let mut client = self.clients.watch.clone();
        let name = which.name();
        self.runtime.block_on(async {
            let broken = |status: Status| self.broken("watch", name, &status);
            // The request's side stays open: the store ends a watch whose asker has gone.
            let requests = Once::new(request);
            let mut answers = client.watch(requests).await.map_err(broken)?.into_inner();
            while let Some(answer) = answers.message().await.map_err(broken)? {
                if answer.canceled {
                    return Err(Failure::new("watch", name, answer.cancel_reason, "start the watch again"));
                }
                answer.events.into_iter().try_for_each(&mut take)?;
            }
            Err(Failure::new("watch", name, "the store ended the watch", "start the watch again"))
        })
    }

    /// What the store says about itself.
    pub(crate) fn glance(&self) -> Result<Glance, Failure> {
        let mut maintenance = self.clients.maintenance.clone();
        let answer =
            self.call("ask", "the store's status", async move { maintenance.status(StatusRequest::default()).await })?;
        let header = answer.header.unwrap_or_default();
        Ok(Glance {
            version: answer.version,
            revision: header.revision,
            db_bytes: u64::try_from(answer.db_size).unwrap_or_default(),
            leader: answer.leader,
            member: header.member_id,
            errors: answer.errors,
        })
    }

    fn call<T>(
        &self,
        operation: &str,
        object: &str,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match self.runtime.block_on(async { tokio::time::timeout(self.patience, call).await }) {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.broken(operation, object, &status)),
            Err(_) => Err(self.broken(operation, object, &Status::deadline_exceeded("no answer in time"))),
        }
    }

    fn broken(&self, operation: &str, object: &str, status: &Status) -> Failure {
        let remedy = match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => "correct the request".to_owned(),
            tonic::Code::ResourceExhausted => "compact the store or delete keys".to_owned(),
            _ => format!("see that the store at {} is healthy: hullctl status", self.endpoint),
        };
        Failure::new(operation, object, format!("the store says: {}", status.message()), remedy)
    }
}

/// A stream of one request that never ends by itself.
struct Once<T>(Option<T>);

impl<T> Once<T> {
    fn new(item: T) -> Self {
        Self(Some(item))
    }
}

impl<T: Unpin> tonic::codegen::tokio_stream::Stream for Once<T> {
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.take().map_or(std::task::Poll::Pending, |item| std::task::Poll::Ready(Some(item)))
    }
}

impl<'k> Which<'k> {
    /// The key as it was named.
    pub(crate) fn name(self) -> &'k str {
        match self {
            Self::Key(key) | Self::Prefix(key) => key,
        }
    }

    /// Key and end of the range, as etcd's RangeRequest wants them.
    fn range<K: From<Vec<u8>>>(self) -> (K, K) {
        match self {
            Self::Key(key) => (key.as_bytes().to_vec().into(), Vec::new().into()),
            Self::Prefix(prefix) => {
                // An empty key with an end is refused; NUL is the smallest key there is.
                let key = if prefix.is_empty() { vec![0] } else { prefix.as_bytes().to_vec() };
                (key.into(), prefix_end(prefix.as_bytes()).into())
            }
        }
    }
}

/// The first key behind all that start with `prefix`; a NUL stands for the end of all keys.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn unreachable(place: &Place, cause: &str) -> Failure {
    let remedy = match place {
        Place::Node => "see why it does not run: hullctl logs kv",
        Place::Outside(_) => {
            "name another with --endpoint HOST:PORT; on the node, hull.kv.listen= says where it listens"
        }
    };
    Failure::new("reach", format!("the store at {}", place.store()), cause, remedy)
}

/// The last of a chain of causes: the one that says something.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end(b"/a/"), b"/a0");
        assert_eq!(prefix_end(&[b'a', 0xff]), b"b");
        assert_eq!(prefix_end(&[0xff, 0xff]), [0]);
    }

    #[test]
    fn every_key_is_the_empty_prefix() {
        assert_eq!(Which::Prefix("").range::<Vec<u8>>(), (vec![0], vec![0]));
    }

    #[test]
    fn one_key_has_no_end() {
        assert_eq!(Which::Key("/a").range::<Vec<u8>>(), (b"/a".to_vec(), vec![]));
    }

    #[test]
    fn a_store_that_is_not_there_is_named_with_a_remedy() {
        // Port 1 of the loopback: reserved, nothing listens there.
        let failure = Store::open(&Place::Outside("127.0.0.1:1".into())).err().expect("nothing listens");
        assert!(failure.object.contains("127.0.0.1:1"), "{failure}");
        assert!(failure.cause.to_lowercase().contains("refused"), "{failure}");
        assert!(failure.remedy.contains("--endpoint"), "{failure}");
    }
}
