//! Taking turns under a prefix: whoever's key was created first has the turn. What locks and elections share, in the
//! way etcd's clients do it, so that theirs and these queue up together.
use bytes::Bytes;
use hull_kv_core::Response as Answer;
use hull_kv_proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
        ResponseHeader, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op::Request as Op,
        response_op::Response as Got,
    },
    hullpb::command::Op as Command,
    mvccpb::KeyValue,
};
use tonic::{Code, Status};

use super::{Api, fresh_id, kv::mismatch};
use crate::{driver::thread::Input, lock::read};

/// What a lock or candidacy without a lease gets (seconds): etcd's session default.
const SESSION_SECONDS: i64 = 60;

/// A place in a queue.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: Bytes,
    /// Create revision of the key: smaller is earlier.
    pub(super) created: i64,
    pub(super) lease: i64,
    /// The value that was there, if the key was.
    pub(super) found: Option<KeyValue>,
}

/// Gives the place up if the wait is dropped, because the client went away.
pub(super) struct GivingUp<'a> {
    api: &'a Api,
    key: Option<Bytes>,
}

impl GivingUp<'_> {
    /// The turn came: the place stays.
    pub(super) fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for GivingUp<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
            let Ok(caller) = self.api.caller_in(&read(&self.api.shared.store)) else { return };
            let (reply, answer) = tokio::sync::oneshot::channel();
            self.api.desk.put(Input::Propose(Command::DeleteRange(request), caller, reply.into()));
            // Somebody must wait for the answer, or the driver takes the request for one whose client has gone. A member that
            // stops cannot give the place up; the lease then ends it.
            if let Ok(running) = tokio::runtime::Handle::try_current() {
                running.spawn(answer);
            }
        }
    }
}

/// etcd's locks and elections are clients of their own store, and pass on the words of a refusal but not its code. What may be
/// tried again keeps it.
pub(super) fn passed_on(status: Status) -> Status {
    match status.code() {
        Code::Unavailable => status,
        _ => Status::unknown(status.message()),
    }
}

pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The end of the range of all keys with this prefix.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}

/// Compares a key's create revision.
pub(super) fn created_is(key: &Bytes, revision: i64) -> Compare {
    Compare {
        key: key.clone(),
        target: CompareTarget::Create.into(),
        result: CompareResult::Equal.into(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}

pub(super) fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

impl Api {
    /// The lease as given, or a new one.
    async fn session(&self, lease: i64) -> Result<i64, Status> {
        if lease != 0 {
            return Ok(lease);
        }
        let request = LeaseGrantRequest { id: fresh_id(), ttl: SESSION_SECONDS };
        match self.propose(Command::LeaseGrant(request)).await? {
            Answer::LeaseGrant(granted) => Ok(granted.id),
            _ => Err(mismatch()),
        }
    }

    /// Enters the queue of `name`, or finds the place that the lease has there already.
    pub(super) async fn queue_up(&self, name: &[u8], lease: i64, value: Bytes) -> Result<Place, Status> {
        let lease = self.session(lease).await?;
        let key = Bytes::from([&prefix(name), format!("{lease:x}").as_bytes()].concat());
        let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
        let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let request = TxnRequest {
            compare: vec![created_is(&key, 0)],
            success: vec![op(Op::RequestPut(put))],
            failure: vec![op(Op::RequestRange(get))],
        };
        let response = self.txn_either(request).await?;
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        let found = response.responses.into_iter().next().and_then(|response| match response.response {
            Some(Got::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let created = found.as_ref().map_or(revision, |pair| pair.create_revision);
        Ok(Place { key, created, lease, found })
    }

    /// The place is given up unless it is kept.
    pub(super) fn giving_up(&self, place: &Place) -> GivingUp<'_> {
        GivingUp { api: self, key: Some(place.key.clone()) }
    }

    /// Waits until nobody is before `place`. `None`: the place was lost meanwhile, because its lease ended.
    pub(super) async fn turn(&self, name: &[u8], place: &Place) -> Result<Option<ResponseHeader>, Status> {
        let mut waited = false;
        loop {
            let mut request = self.queue(name, SortOrder::Descend);
            request.max_create_revision = place.created - 1;
            let before = self.range_local(&request).await?;
            let header = before.header.unwrap_or_default();
            match before.kvs.into_iter().next() {
                // Whatever changes, look again.
                Some(ahead) => {
                    waited = true;
                    self.wait(&ahead.key, header.revision).await;
                }
                None if waited => return self.kept(place).await,
                None => return Ok(Some(header)),
            }
        }
    }

    /// Whether the place is still there.
    async fn kept(&self, place: &Place) -> Result<Option<ResponseHeader>, Status> {
        let request = RangeRequest { key: place.key.clone(), keys_only: true, ..RangeRequest::default() };
        let found = self.range_local(&request).await?;
        let is_there = found.kvs.first().is_some_and(|pair| pair.create_revision == place.created);
        Ok(found.header.filter(|_| is_there))
    }

    /// Who has the turn now.
    pub(super) async fn first(&self, name: &[u8]) -> Result<RangeResponse, Status> {
        self.range_local(&self.queue(name, SortOrder::Ascend)).await
    }

    fn queue(&self, name: &[u8], order: SortOrder) -> RangeRequest {
        let key = prefix(name);
        RangeRequest {
            range_end: prefix_end(&key),
            key,
            limit: 1,
            sort_order: order.into(),
            sort_target: SortTarget::Create.into(),
            ..RangeRequest::default()
        }
    }

    /// Waits until something under `name` changes after `revision`.
    pub(super) async fn queue_changes(&self, name: &[u8], revision: i64) {
        let from = prefix(name);
        let end = prefix_end(&from);
        self.wait_range(hull_kv_core::KeyRange::new(&from, &end), revision).await;
    }
}
