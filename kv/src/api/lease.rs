//! The Lease service. Keep-alives are answered from the leader's memory; only grants and ends go through the log.
use bytes::Bytes;
use futures_core::Stream;
use hull_kv_core::{Response as Answer, Store};
use hull_kv_proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
        LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
        LeaseTimeToLiveResponse,
    },
    hullpb::{command::Op as Command, question::About},
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tonic::Status;

use super::{Answers, Api, fresh_id, kv::mismatch, refused};
use crate::lock::{read, write};

/// Keep-alives on their way to one client.
const KEPT: usize = 4;

impl Api {
    /// Starts a lease's time again, in the leader's memory.
    pub(crate) async fn keep_alive(&self, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        self.asked();
        if self.is_whole_cluster() {
            let now = self.shared.now();
            let mut store = write(&self.shared.store);
            self.permit_keep_alive(&store, id)?;
            // The revision is read before renewing, so that no answer claims a renewal after the lease's end.
            let header = Some(self.header_of(&store, store.revision()));
            let ttl = store.lessor_mut().renew(id, now).unwrap_or(0);
            return Ok(LeaseKeepAliveResponse { header, id, ttl });
        }
        let revision = {
            let store = read(&self.shared.store);
            self.permit_keep_alive(&store, id)?;
            store.revision()
        };
        let ttl = self.ask_leader(About::KeepAlive(id)).await?.unwrap_or(0);
        Ok(LeaseKeepAliveResponse { header: Some(self.header(revision)), id, ttl })
    }

    fn permit_keep_alive(&self, store: &Store, id: i64) -> Result<(), Status> {
        let caller = self.caller_in(store)?;
        store.permit_lease_use(&caller, id).map_err(refused)
    }

    /// Seconds left of a lease, which only the leader knows.
    async fn seconds_left(&self, id: i64) -> Result<Option<i64>, Status> {
        if self.is_whole_cluster() {
            let now = self.shared.now();
            return Ok(read(&self.shared.store).lessor().time_to_live(id, now).map(|(left, ..)| left));
        }
        self.ask_leader(About::TimeToLive(id)).await
    }

    pub(crate) async fn lease_grant(self, mut request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Status> {
        while request.id == 0 {
            request.id = Some(fresh_id()).filter(|id| !read(&self.shared.store).lessor().exists(*id)).unwrap_or(0);
        }
        let Answer::LeaseGrant(mut response) = self.propose(Command::LeaseGrant(request)).await? else {
            return Err(mismatch());
        };
        self.fill(&mut response.header);
        Ok(response)
    }

    pub(crate) async fn lease_revoke(self, request: LeaseRevokeRequest) -> Result<LeaseRevokeResponse, Status> {
        let Answer::LeaseRevoke(mut response) = self.propose(Command::LeaseRevoke(request)).await? else {
            return Err(mismatch());
        };
        self.fill(&mut response.header);
        Ok(response)
    }

    /// Answers one keep-alive after the other, until the client has no more or one is refused.
    pub(crate) fn keep_alives<R>(self, mut requests: R) -> Answers<LeaseKeepAliveResponse>
    where
        R: Stream<Item = Result<LeaseKeepAliveRequest, Status>> + Send + Unpin + 'static,
    {
        let (out, answers) = mpsc::channel(KEPT);
        tokio::spawn(async move {
            while let Some(request) = tokio::select! {
                request = requests.next() => request,
                () = out.closed() => None,
            } {
                let answer = match request {
                    Ok(request) => self.keep_alive(request.id).await,
                    Err(status) => Err(status),
                };
                let refused = answer.is_err();
                if out.send(answer).await.is_err() || refused {
                    return;
                }
            }
        });
        answers
    }

    pub(crate) async fn lease_time_to_live(
        self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, Status> {
        self.linearize().await?;
        self.permit_lease_keys(request.id)?;
        let seconds = self.seconds_left(request.id).await?;
        let now = self.shared.now();
        let store = read(&self.shared.store);
        let mut response = LeaseTimeToLiveResponse {
            header: Some(self.header_of(&store, store.revision())),
            id: request.id,
            ttl: -1,
            ..LeaseTimeToLiveResponse::default()
        };
        if let Some(left) = seconds
            && let Some((_, granted, keys)) = store.lessor().time_to_live(request.id, now)
        {
            response.ttl = left;
            response.granted_ttl = granted;
            if request.keys {
                response.keys = keys.map(Bytes::copy_from_slice).collect();
            }
        }
        Ok(response)
    }

    pub(crate) async fn lease_leases(self, _request: LeaseLeasesRequest) -> Result<LeaseLeasesResponse, Status> {
        self.linearize().await?;
        let store = read(&self.shared.store);
        let ids = store.lessor().ids();
        let caller = self.caller_in(&store)?;
        store.auth().permit_somebody(&caller).map_err(refused)?;
        ids.iter().try_for_each(|id| store.permit_lease_keys(&caller, *id)).map_err(refused)?;
        Ok(LeaseLeasesResponse {
            header: Some(self.header_of(&store, store.revision())),
            leases: ids.into_iter().map(|id| LeaseStatus { id }).collect(),
        })
    }
}
