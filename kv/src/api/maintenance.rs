//! The Maintenance service: status, alarms, checksums, making files smaller.
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use futures_core::Stream;
use hull_kv_core::{Response as Answer, Vote};
use hull_kv_proto::{
    etcdserverpb::{
        AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse, DowngradeRequest,
        DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest,
        MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
        alarm_request::AlarmAction, maintenance_server::Maintenance,
    },
    hullpb::command::Op as Command,
};
use tonic::{Request, Response, Status};

use super::{Api, SERVER_VERSION, backup, kv::mismatch, refused};
use crate::{driver::thread::Shrink, lock::read};

impl Api {
    pub(crate) fn status_now(&self) -> StatusResponse {
        let store = read(&self.shared.store);
        let standing = &self.shared.standing;
        let leader = standing.leader.load(Ordering::Acquire);
        let in_use = i64::try_from(store.usage().bytes).unwrap_or(i64::MAX);
        let on_disk = i64::try_from(standing.disk_bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let mut errors = Vec::new();
        if leader == 0 {
            errors.push("etcdserver: no leader".to_owned());
        }
        errors.extend(store.alarms().all().iter().map(|alarm| {
            let kind = AlarmType::try_from(alarm.alarm).map_or("?", |kind| kind.as_str_name());
            format!("memberID:{} alarm:{kind} ", alarm.member_id)
        }));
        StatusResponse {
            header: Some(self.header_of(&store, store.revision())),
            version: SERVER_VERSION.to_owned(),
            db_size: on_disk,
            leader,
            raft_index: standing.committed.load(Ordering::Acquire),
            raft_term: standing.term.load(Ordering::Acquire),
            raft_applied_index: store.applied().index,
            errors,
            db_size_in_use: in_use,
            is_learner: store.members().iter().any(|m| m.id == self.shared.member && m.vote == Vote::Learner),
            ..StatusResponse::default()
        }
    }
}

#[tonic::async_trait]
impl Maintenance for Api {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        let mut response = if request.action() == AlarmAction::Get {
            self.linearize().await?;
            let store = read(&self.shared.store);
            let header = Some(self.header_of(&store, store.revision()));
            AlarmResponse { header, alarms: store.alarms().of_kind(request.alarm) }
        } else {
            match self.propose(Command::Alarm(request)).await? {
                Answer::Alarm(response) => response,
                _ => return Err(mismatch()),
            }
        };
        self.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(self.status_now()))
    }

    /// Nothing to stop for: space comes back in the background. What is left to do is a snapshot and a shorter log.
    async fn defragment(&self, _request: Request<DefragmentRequest>) -> Result<Response<DefragmentResponse>, Status> {
        self.permit_admin().await?;
        self.shrink(Shrink::Now).await?;
        // etcd answers without a header.
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    /// etcd hashes its database file; here the keys are what there is to compare.
    async fn hash(&self, _request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.permit_admin().await?;
        let store = read(&self.shared.store);
        let hash = store.hash_kv(0).map_err(refused)?;
        Ok(Response::new(HashResponse { header: Some(self.header_of(&store, hash.revision)), hash: hash.hash }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        self.permit_admin().await?;
        let store = read(&self.shared.store);
        let hash = store.hash_kv(request.get_ref().revision).map_err(refused)?;
        Ok(Response::new(HashKvResponse {
            header: Some(self.header_of(&store, hash.revision)),
            hash: hash.hash,
            compact_revision: hash.compacted,
            ..HashKvResponse::default()
        }))
    }

    async fn snapshot(&self, _request: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        self.permit_admin().await?;
        Ok(Response::new(backup::stream(Arc::clone(&self.shared))))
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Result<Response<MoveLeaderResponse>, Status> {
        self.permit_admin().await?;
        self.move_leader_to(request.get_ref().target_id).await?;
        Ok(Response::new(MoveLeaderResponse::default()))
    }

    async fn downgrade(&self, request: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        self.answer_downgrade(request.into_inner()).await.map(Response::new)
    }
}
