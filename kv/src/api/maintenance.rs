//! The Maintenance service: status, alarms, checksums, making files smaller.
use std::sync::{Arc, atomic::Ordering};

use hull_kv_core::{KeyHash, KeyHasher, Response as Answer, Vote};
use hull_kv_proto::{
    etcdserverpb::{
        AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse, DowngradeRequest,
        DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest,
        MoveLeaderResponse, SnapshotResponse, StatusRequest, StatusResponse, alarm_request::AlarmAction,
    },
    hullpb::command::Op as Command,
};
use tonic::Status;

use super::{Answers, Api, SERVER_VERSION, backup, kv::mismatch, range::replaced, refused, status::failed};
use crate::{
    aside::aside,
    driver::{Failed, thread::Shrink},
    lock::read,
    shared::Shared,
};

/// How far a checksum is.
enum Hashed {
    Part(KeyHasher),
    All(KeyHash),
}

/// Hashes the next piece. Holds the store's lock to take it, and not while its values are read and hashed.
fn hash_piece(shared: &Shared, generation: u64, mut hasher: KeyHasher) -> Result<Hashed, Status> {
    let piece = {
        let store = read(&shared.store);
        if shared.generation() != generation {
            return Err(replaced());
        }
        hasher.next_piece(&store)
    };
    let Some(piece) = piece else { return Ok(Hashed::All(hasher.finish())) };
    hasher.update(&piece).map_err(|why| refused(why.into()))?;
    Ok(Hashed::Part(hasher))
}

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
            // What is applied is known before what is committed is published.
            raft_index: standing.committed.load(Ordering::Acquire).max(store.applied().index),
            raft_term: standing.term.load(Ordering::Acquire),
            raft_applied_index: store.applied().index,
            errors,
            db_size_in_use: in_use,
            is_learner: store.members().iter().any(|m| m.id == self.shared.member && m.vote == Vote::Learner),
            ..StatusResponse::default()
        }
    }

    pub(crate) async fn alarm(self, request: AlarmRequest) -> Result<AlarmResponse, Status> {
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
        Ok(response)
    }

    pub(crate) async fn status(self, _request: StatusRequest) -> Result<StatusResponse, Status> {
        Ok(self.status_now())
    }

    /// Nothing to stop for: space comes back in the background. What is left to do is a snapshot and a shorter log.
    pub(crate) async fn defragment(self, _request: DefragmentRequest) -> Result<DefragmentResponse, Status> {
        self.permit_admin().await?;
        self.shrink(Shrink::Now).await?;
        // etcd answers without a header.
        Ok(DefragmentResponse { header: None })
    }

    /// etcd hashes its database file; here the keys are what there is to compare.
    pub(crate) async fn hash(self, _request: HashRequest) -> Result<HashResponse, Status> {
        let HashKvResponse { header, hash, .. } = self.hash_kv(HashKvRequest::default()).await?;
        Ok(HashResponse { header, hash })
    }

    pub(crate) async fn hash_kv(self, request: HashKvRequest) -> Result<HashKvResponse, Status> {
        self.permit_admin().await?;
        // Compaction removes nothing until the last piece is hashed.
        let _hold = self.shared.hold_for_reader();
        let (mut hasher, generation) = {
            let store = read(&self.shared.store);
            (KeyHasher::new(&store, request.revision).map_err(refused)?, self.shared.generation())
        };
        // A thread for each piece, so that a hash ends with whoever asked for it.
        loop {
            let from = Arc::clone(&self.shared);
            let hashed = aside(move || hash_piece(&from, generation, hasher)).await;
            match hashed.ok_or_else(|| failed(Failed::Stopped))?? {
                Hashed::Part(next) => hasher = next,
                Hashed::All(KeyHash { hash, revision, compacted: compact_revision }) => {
                    let header = Some(self.header(revision));
                    return Ok(HashKvResponse { header, hash, compact_revision, ..HashKvResponse::default() });
                }
            }
        }
    }

    pub(crate) async fn snapshot(self) -> Result<Answers<SnapshotResponse>, Status> {
        self.permit_admin().await?;
        Ok(backup::stream(Arc::clone(&self.shared)))
    }

    pub(crate) async fn move_leader(self, request: MoveLeaderRequest) -> Result<MoveLeaderResponse, Status> {
        self.permit_admin().await?;
        self.move_leader_to(request.target_id).await?;
        Ok(MoveLeaderResponse::default())
    }

    pub(crate) async fn downgrade(self, request: DowngradeRequest) -> Result<DowngradeResponse, Status> {
        self.answer_downgrade(request).await
    }
}
