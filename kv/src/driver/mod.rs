//! Drives raft: proposals in, durable log, applied state, answers and messages out.
//!
//! [`Driver`] is a machine without threads, sockets or clock, so that a simulation can run a cluster of them;
//! [`thread`] runs one for real.
mod apply;
mod expire;
mod log;
mod open;
mod ready;
mod space;
pub mod thread;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering},
    time::Instant as SystemInstant,
};

use hull_kv_core::{Caller, Instant, Refused, Response};
use hull_kv_proto::hullpb::{Command, command::Op};
use log::Log;
pub use open::{Identity, OpenError};
use prost::Message as _;
use raft::{RawNode, StateRole, eraftpb::Message};
pub use ready::Messages;
use ready::Ready;
use space::Space;
use tokio::sync::oneshot;

use crate::{disk::Disk, limits::MAX_REQUEST_BYTES, metrics::count, shared::Shared, wal::Wal};

/// Why a proposal has no answer of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The state machine refused it.
    Refused(Refused),
    /// There is no leader to take it.
    NoLeader,
    /// It is larger than a request may be.
    TooLarge,
    /// The member is stopping; whether the proposal gets through is unknown.
    Stopped,
    /// It was not applied in time; whether it still will be is unknown.
    TimedOut,
}

/// Where an answer goes.
pub type Reply = oneshot::Sender<Result<Response, Failed>>;

/// A cluster of one or many, seen from one member.
pub struct Driver {
    raft: RawNode<Log>,
    wal: Wal,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    waiting: HashMap<u64, Reply>,
    next_id: u64,
    role: StateRole,
    space: Space,
    /// What the member says of itself; proposed when the log says something else.
    identity: Identity,
    since_snapshot: u64,
    snapshot_bytes: u64,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("wal", &self.wal).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Driver {
    /// Puts a command into the log; the reply gets the state machine's answer once it is durable and applied.
    pub fn propose(&mut self, op: Op, caller: Caller, reply: Option<Reply>) {
        let failed = |reply: Option<Reply>, why| {
            if let Some(reply) = reply {
                // Whoever asked may have gone.
                let _ = reply.send(Err(why));
            }
        };
        if self.space.refuses(&op) {
            return failed(reply, Failed::Refused(Refused::NoSpace));
        }
        let id = self.next_id;
        self.next_id += 1;
        let mut command = Command { id, member: self.shared.member, op: Some(op), ..Command::default() };
        caller.sign(&mut command);
        let data = command.encode_to_vec();
        if data.len() > MAX_REQUEST_BYTES {
            return failed(reply, Failed::TooLarge);
        }
        if self.raft.propose(Vec::new(), data).is_err() {
            count(&self.shared.metrics.failed);
            return failed(reply, Failed::NoLeader);
        }
        if let Some(reply) = reply {
            self.waiting.insert(id, reply);
        }
    }

    /// Takes a message of another member.
    pub fn step(&mut self, message: Message) {
        // A message that does not fit (of an old term, of a stranger) is what raft drops, too.
        let _ = self.raft.step(message);
    }

    /// A tick of raft's clock.
    pub fn tick(&mut self) {
        self.raft.tick();
    }

    /// Stands for election at once: right for a member that is alone, since nobody else can lead.
    pub fn campaign(&mut self) {
        // Refused only while a configuration change is not applied; the next tick tries again.
        let _ = self.raft.campaign();
    }

    /// Runs raft until it wants nothing more; answers go to their replies. What is returned goes to the peers.
    ///
    /// # Errors
    /// The log cannot be written: the member must stop, since what it promised may be lost.
    pub fn turn(&mut self, now: Instant) -> io::Result<Messages> {
        let mut out = Messages::default();
        while let Some(mut ready) = Ready::take(&mut self.raft) {
            out.0.extend(ready.early_messages().0);
            let proof = self.persist(&ready)?;
            let released = ready.persisted(&mut self.raft, proof);
            out.0.extend(released.messages.0);
            self.apply(released.committed, now);
            self.raft.advance_apply();
            self.follow_role(now);
        }
        self.publish();
        Ok(out)
    }

    /// Writes a round's entries and hard state with one fdatasync.
    fn persist(&mut self, ready: &Ready) -> io::Result<crate::wal::Persisted> {
        if !ready.needs_disk() {
            return Ok(self.wal.nothing());
        }
        let state = ready.hard_state().unwrap_or_else(|| self.raft.store().state()).clone();
        let before = self.wal.bytes();
        let started = SystemInstant::now();
        let proof = loop {
            match self.wal.append(ready.entries(), Some(&state)) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => self.space.make_room(&*self.disk),
                done => break done?,
            }
        };
        self.shared.metrics.fsync(started.elapsed());
        let written = self.wal.bytes().saturating_sub(before);
        self.since_snapshot += written;
        self.space.written(&*self.disk, written);
        Ok(proof)
    }

    /// A leader minds the leases; whoever leads no more forgets their deadlines.
    fn follow_role(&mut self, now: Instant) {
        let role = self.raft.raft.state;
        if role == self.role {
            return;
        }
        let mut store = crate::lock::write(&self.shared.store);
        match (self.role, role) {
            (_, StateRole::Leader) => store.lessor_mut().lead(now, crate::limits::LEASE_EXTENSION_SECONDS),
            (StateRole::Leader, _) => store.lessor_mut().follow(),
            _ => {}
        }
        self.role = role;
    }

    /// Lets the API see where raft stands.
    fn publish(&self) {
        let standing = &self.shared.standing;
        let raft = &self.raft.raft;
        standing.term.store(raft.term, Ordering::Release);
        standing.committed.store(raft.raft_log.committed, Ordering::Release);
        standing.pending.store(self.waiting.len(), Ordering::Relaxed);
        standing.disk_bytes.store(self.wal.bytes() + self.snapshot_bytes, Ordering::Relaxed);
        if standing.leader.swap(raft.leader_id, Ordering::AcqRel) != raft.leader_id && raft.leader_id != 0 {
            count(&self.shared.metrics.leader_changes);
        }
    }

    /// Whether this member leads and has applied an entry of its own term: it serves reads and writes.
    pub fn serves(&self) -> bool {
        let raft = &self.raft.raft;
        let applied = crate::lock::read(&self.shared.store).applied();
        raft.state == StateRole::Leader && applied.term == raft.term
    }

    /// Shared state.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Nobody waits for more: what is not applied yet has an unknown fate.
    pub fn stop(&mut self) {
        for (_, reply) in self.waiting.drain() {
            let _ = reply.send(Err(Failed::Stopped));
        }
    }
}
