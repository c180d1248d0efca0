//! The Election service: candidates queue like for a lock, and the first one's value is what the others see.
use hull_kv_proto::{
    etcdserverpb::{DeleteRangeRequest, PutRequest, ResponseHeader, TxnRequest, request_op::Request as Op},
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
        ResignRequest, ResignResponse,
    },
};
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    Answers, Api,
    turns::{created_is, op, passed_on},
};

/// Leaders on their way to one observer.
const OBSERVED: usize = 4;

/// etcd answers this and the next two without a code of their own.
fn missing_leader() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

fn no_leader() -> Status {
    Status::unknown("election: no leader")
}

impl Api {
    /// Stands for election until it is won.
    async fn campaign_for(&self, request: CampaignRequest) -> Result<CampaignResponse, Status> {
        let place = self.queue_up(&request.name, request.lease, request.value.clone()).await?;
        let waiting = self.giving_up(&place);
        let leader =
            LeaderKey { name: request.name.clone(), key: place.key.clone(), rev: place.created, lease: place.lease };
        if place.found.as_ref().is_some_and(|pair| pair.value != request.value) {
            self.proclaim_as(&leader, request.value).await?;
        }
        let header = self.turn(&request.name, &place).await?;
        waiting.keep();
        // etcd declares it elected; its first word would be refused.
        let header = header.ok_or_else(not_leader)?;
        Ok(CampaignResponse { header: Some(header), leader: Some(leader) })
    }

    /// Changes the leader's value, if it still leads.
    async fn proclaim_as(&self, leader: &LeaderKey, value: bytes::Bytes) -> Result<Option<ResponseHeader>, Status> {
        let put = PutRequest { key: leader.key.clone(), value, lease: leader.lease, ..PutRequest::default() };
        let request = TxnRequest {
            compare: vec![created_is(&leader.key, leader.rev)],
            success: vec![op(Op::RequestPut(put))],
            failure: vec![],
        };
        let response = self.txn_either(request).await?;
        if response.succeeded { Ok(response.header) } else { Err(not_leader()) }
    }

    /// Sends the leader whenever it is another one or says something else, until nobody listens.
    async fn observe_into(self, name: bytes::Bytes, out: mpsc::Sender<Result<LeaderResponse, Status>>) {
        let mut told = 0;
        loop {
            let response = match self.first(&name).await {
                Ok(response) => response,
                Err(status) => return drop(out.send(Err(passed_on(status))).await),
            };
            let revision = response.header.as_ref().map_or(0, |header| header.revision);
            if let Some(kv) = response.kvs.into_iter().next()
                && kv.mod_revision != told
            {
                told = kv.mod_revision;
                if out.send(Ok(LeaderResponse { header: response.header, kv: Some(kv) })).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = self.queue_changes(&name, revision) => {}
                () = out.closed() => return,
            }
        }
    }

    pub(crate) async fn campaign(self, request: CampaignRequest) -> Result<CampaignResponse, Status> {
        self.campaign_for(request).await.map_err(passed_on)
    }

    pub(crate) async fn proclaim(self, request: ProclaimRequest) -> Result<ProclaimResponse, Status> {
        let leader = request.leader.ok_or_else(missing_leader)?;
        let header = self.proclaim_as(&leader, request.value).await.map_err(passed_on)?;
        Ok(ProclaimResponse { header })
    }

    pub(crate) async fn leader(self, request: LeaderRequest) -> Result<LeaderResponse, Status> {
        let response = self.first(&request.name).await.map_err(passed_on)?;
        let kv = response.kvs.into_iter().next().ok_or_else(no_leader)?;
        Ok(LeaderResponse { header: response.header, kv: Some(kv) })
    }

    /// The leader, and every other one after it.
    pub(crate) fn observe(self, request: LeaderRequest) -> Answers<LeaderResponse> {
        let (out, answers) = mpsc::channel(OBSERVED);
        tokio::spawn(self.observe_into(request.name, out));
        answers
    }

    pub(crate) async fn resign(self, request: ResignRequest) -> Result<ResignResponse, Status> {
        let leader = request.leader.ok_or_else(missing_leader)?;
        let delete = DeleteRangeRequest { key: leader.key.clone(), ..DeleteRangeRequest::default() };
        let request = TxnRequest {
            compare: vec![created_is(&leader.key, leader.rev)],
            success: vec![op(Op::RequestDeleteRange(delete))],
            failure: vec![],
        };
        let header = self.txn_either(request).await.map_err(passed_on)?.header;
        Ok(ResignResponse { header })
    }
}
