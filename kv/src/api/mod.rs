//! etcd's services over the store. gRPC, the JSON gateway and `/kv/<key>` all end in the methods here.
mod auth;
mod backup;
mod client;
mod cluster;
mod company;
mod desk;
mod direct;
mod downgrade;
mod election;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod range;
mod status;
mod turns;
mod watch;
mod watch_stream;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use client::Credentials;
use desk::{Desk, NoAnswer};
pub(crate) use direct::{Freshness, Needs};
use hull_kv_core::{Caller, Response, Store};
use hull_kv_proto::{
    etcdserverpb::{CompactionRequest, ResponseHeader},
    hullpb::{command::Op, question::About},
};
pub(crate) use range::Ranged;
pub(crate) use status::refused;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
pub(crate) use watch_stream::Wait;

use crate::{
    auth::Logins,
    compactor::Compactor,
    driver::{
        Failed,
        thread::{Input, Running, Shrink},
    },
    lock::read,
    shared::{Shared, Voice},
};

/// The version that clients' feature checks see: what of etcd's API is here.
pub const SERVER_VERSION: &str = "3.5.21";
/// The version of the cluster: etcd says major and minor only.
pub const CLUSTER_VERSION: &str = "3.5.0";

/// What one request may be, and how often quiet watchers hear.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Operations in a transaction.
    pub txn_ops: usize,
    /// Bytes of a request.
    pub request_bytes: usize,
    /// How often a quiet watcher that asked for it hears how far it is.
    pub progress_every: Duration,
}

/// The services as one client sees them; clones share everything but the client.
#[derive(Debug, Clone)]
pub struct Api {
    pub(crate) shared: Arc<Shared>,
    desk: Arc<Desk>,
    credentials: Credentials,
    /// Tells the client's connection from others.
    connection: u64,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A change that goes through the log.
    Change,
    /// To know that a read is not old.
    Read,
    /// Something that only the leader knows or does.
    Leader,
}

/// The answers to a call that has many, as they come; a refusal is the last one.
pub(crate) type Answers<T> = mpsc::Receiver<Result<T, Status>>;

impl Api {
    /// Services over a running driver, served by the current event loop.
    pub fn new(shared: Arc<Shared>, running: &Running, bounds: Bounds, logins: Logins) -> Self {
        Self { shared, desk: Desk::open(running, bounds, logins), credentials: Credentials::default(), connection: 0 }
    }

    /// The same services on a connection of their own.
    pub(crate) fn for_connection(&self) -> Self {
        Self { connection: self.desk.next_connection(), ..self.clone() }
    }

    /// A client asked for something, whatever it is.
    pub(crate) fn asked(&self) {
        self.desk.asked(self.connection);
    }

    /// What one request may be.
    pub(crate) fn bounds(&self) -> Bounds {
        self.desk.bounds
    }

    /// Puts a command through the log; answers once it is durable and applied.
    async fn propose(&self, op: Op) -> Result<Response, Status> {
        if self.must_learn_token() {
            Box::pin(self.learn_token()).await?;
        }
        let caller = self.writer()?;
        self.tell(Asked::Change, |reply| Input::Propose(op, caller, reply.into())).await
    }

    /// Compacts from time to time while this member leads, forever.
    pub(crate) async fn compact_now_and_then(self, mut compactor: Compactor) {
        loop {
            tokio::time::sleep(compactor.step()).await;
            let (current, compacted) = {
                let store = read(&self.shared.store);
                (store.revision(), store.compacted())
            };
            let due = compactor.due(Duration::from_millis(self.shared.now().0), current);
            let Some(revision) = due.filter(|revision| *revision > compacted && self.shared.leads()) else { continue };
            let request = CompactionRequest { revision, physical: false };
            // One that fails is made up for by the next.
            let compaction = Op::Compaction(request);
            let _ = self.tell(Asked::Change, |reply| Input::Propose(compaction, Caller::Member, reply.into())).await;
        }
    }

    /// Returns once a read of the local store sees every write acknowledged before the call.
    async fn linearize(&self) -> Result<(), Status> {
        self.wait_for(self.linearizable()?).await
    }

    /// Returns once the store is so new. Several members go through raft's ReadIndex.
    async fn wait_for(&self, freshness: Freshness) -> Result<(), Status> {
        match freshness {
            Freshness::Now => Ok(()),
            Freshness::Linearizable => self.tell(Asked::Read, |reply| Input::Read(reply.into())).await,
        }
    }

    /// Whether the cluster agrees on what is new, as a linearizable read asks.
    pub(crate) async fn agrees(&self) -> Result<(), Status> {
        self.linearize().await
    }

    /// Whether this member leads a cluster of one.
    fn is_whole_cluster(&self) -> bool {
        self.shared.leads() && self.shared.standing.voice() == Voice::Alone
    }

    /// Asks the leader; seconds, or none if there is no such lease.
    async fn ask_leader(&self, about: About) -> Result<Option<i64>, Status> {
        self.refuse_learner()?;
        self.tell(Asked::Leader, |reply| Input::Ask(about, reply.into())).await
    }

    /// Moves leadership to another member.
    pub(crate) async fn move_leader_to(&self, member: u64) -> Result<(), Status> {
        self.tell(Asked::Leader, |reply| Input::MoveLeader(member, reply)).await
    }

    /// A learner answers only reads that are content with what it has, as in etcd.
    fn refuse_learner(&self) -> Result<(), Status> {
        match self.shared.standing.voice() {
            Voice::Learner => Err(Status::unavailable("etcdserver: rpc not supported for learner")),
            Voice::OneOfSeveral | Voice::Alone => Ok(()),
        }
    }

    /// Tells the driver's thread something that it answers.
    fn tell<T>(
        &self,
        asked: Asked,
        input: impl FnOnce(oneshot::Sender<Result<T, Failed>>) -> Input,
    ) -> impl Future<Output = Result<T, Status>> {
        let answer = self.desk.ask(input);
        async move {
            answer.await.map_err(|why| match why {
                NoAnswer::Failed(why) => self.no_answer(why),
                NoAnswer::TooLate => self.too_late(asked),
            })
        }
    }

    /// What a client is told that has no answer.
    pub(crate) fn no_answer(&self, why: Failed) -> Status {
        status::failed(why)
    }

    /// What a client is told that has waited too long.
    pub(crate) fn too_late(&self, asked: Asked) -> Status {
        match asked {
            // What etcd says of a proposal that found no leader: Go's words for a time that is up.
            Asked::Change if !self.shared.has_leader() => Status::unknown("context deadline exceeded"),
            Asked::Leader if !self.shared.has_leader() => status::failed(Failed::NoLeader),
            _ => status::failed(Failed::TimedOut),
        }
    }

    /// Completes a response's header, which the state machine filled with the revision only.
    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.shared.standing.cluster.load(Ordering::Acquire),
            member_id: self.shared.member,
            revision,
            raft_term: self.shared.standing.term.load(Ordering::Acquire),
        }
    }

    fn header_of(&self, store: &Store, revision: i64) -> ResponseHeader {
        ResponseHeader { cluster_id: store.cluster_id(), ..self.header(revision) }
    }

    /// Completes a header in place.
    fn fill(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.header(revision));
    }

    /// Has the driver take a snapshot; returns once it is durable.
    async fn shrink(&self, when: Shrink) -> Result<(), Status> {
        let (reply, answer) = oneshot::channel();
        self.desk.put(Input::Shrink(when, reply));
        answer.await.map_err(|_| status::failed(Failed::Stopped))
    }
}

/// A number nobody used before, for leases without one: the clock's nanoseconds, mixed so that neighbours differ.
fn fresh_id() -> i64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    // SplitMix64's finisher: a bijection, so different instants stay different.
    let mut x = nanos.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) & i64::MAX as u64).max(1) as i64
}
