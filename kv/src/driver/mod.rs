//! Drives raft: proposals in, durable log, applied state, answers and messages out.
//!
//! [`Driver`] is a machine without threads, sockets or clock, so that a simulation can run a cluster of them;
//! [`thread`] runs one for real.
mod answers;
mod apply;
mod birth;
mod clock;
mod install;
mod log;
mod members;
mod open;
mod outlet;
mod propose;
mod quota;
mod reads;
mod ready;
mod reply;
mod runner;
mod shortcut;
mod space;
pub mod thread;
mod upkeep;

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant as SystemInstant},
};

use crate::{disk::Disk, limits::FAST_SYNC, metrics::count, peer::Word, shared::Shared, snapfile::Arrived, wal::Wal};
pub use answers::Answers;
pub use birth::{Birth, member_id};
use clock::Clock;
pub use clock::Timing;
use hull_kv_core::{Instant, Refused, Response};
pub use install::Sent;
use log::Log;
pub use members::MoveReply;
use members::Others;
pub(crate) use open::REMOVED;
pub use open::{Identity, OpenError, Start};
pub use outlet::{Nobody, Outlet, Sending, SnapshotOut};
use propose::Proposals;
use quota::Quota;
use raft::{
    RawNode, StateRole,
    eraftpb::{Message, MessageType},
};
use reads::Reads;
pub use reads::{AnswerReply, ReadReply};
pub use ready::Messages;
use ready::Ready;
pub use reply::{Recipient, Reply};
pub use shortcut::Shortcut;
use space::Space;
use upkeep::Gathered;
pub use upkeep::Moment;

/// Why a request has no answer of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The state machine refused it, or the leader did before.
    Refused(Refused),
    /// There is no leader to take it.
    NoLeader,
    /// Only the leader can do it, and this member is not the leader.
    NotLeader,
    /// Leadership cannot move there.
    BadTransferee,
    /// It is larger than a request may be.
    TooLarge,
    /// The member is stopping; whether the proposal gets through is unknown.
    Stopped,
    /// It was not applied in time; whether it still will be is unknown.
    TimedOut,
    /// The member that was to lead did not take over in time.
    NotMoved,
}

/// Where a proposal's answer goes.
pub type ProposalReply = Reply<Response>;

/// Whether a member goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Goes,
    /// It was removed from the cluster, and must stop.
    Removed,
    /// The leader knows of entries that this member acknowledged and does not have: its disk was lost or set back, and
    /// going on could undo what was acknowledged.
    Forgetful,
    /// The leader has something else where this member's log is committed: a majority chose it that no longer has what was
    /// acknowledged.
    Contradicted,
}

/// A cluster of one or many, seen from one member.
pub struct Driver {
    raft: RawNode<Log>,
    wal: Wal,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    proposals: Proposals,
    reads: Reads,
    /// What clients are to hear at the next opportunity.
    answers: Answers,
    others: Others,
    clock: Clock,
    role: StateRole,
    fate: Fate,
    space: Space,
    quota: Quota,
    /// What the member says of itself; proposed when the log says something else.
    identity: Identity,
    /// The leader's snapshot that raft is about to take.
    arrived: Option<Arrived>,
    cut_bytes: u64,
    /// How long the last write to the log took until it was durable.
    last_sync: Option<Duration>,
    catch_up_bytes: usize,
    gathered: Gathered,
    snapshot_bytes: u64,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("wal", &self.wal).field("role", &self.role).finish_non_exhaustive()
    }
}

/// SplitMix64's finisher: spreads neighbouring numbers.
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Driver {
    /// Takes a word of another member.
    pub fn hear(&mut self, from: u64, word: Word, now: Instant, outlet: &mut dyn Outlet) {
        self.others.heard.insert(from, now);
        match word {
            Word::Raft(message) if message.from == from => {
                // A message can end the term that entries were taken in.
                if message.term > self.raft.raft.term {
                    self.append_taken(outlet);
                }
                self.step(message);
            }
            Word::Raft(_) => {}
            Word::Forward(forward) => self.take_forward(from, forward),
            Word::Refusal(refusal) => self.take_refusal(refusal),
            Word::Question(question) => self.take_question(from, question),
            Word::Answer(answer) => self.take_answer(answer),
        }
    }

    /// Takes a message of raft's. One that does not fit (of an old term, of a stranger) is dropped.
    pub(super) fn step(&mut self, message: Message) {
        let kind = message.get_msg_type();
        let known = self.raft.raft.raft_log.last_index();
        if kind == MessageType::MsgHeartbeat && message.term >= self.raft.raft.term && message.commit > known {
            self.fate = Fate::Forgetful;
            return;
        }
        if kind == MessageType::MsgAppend && message.term >= self.raft.raft.term && self.is_contradicted(&message) {
            self.fate = Fate::Contradicted;
            return;
        }
        // What members forward to each other has its own words; raft's would come back after a change of leaders.
        if kind != MessageType::MsgPropose {
            let _ = self.raft.step(message);
        }
    }

    /// Whether a leader's entries are others than those that are committed here, which raft takes for impossible and does not
    /// look at. Terms never fall from entry to entry, so a later one than that of the last committed entry is enough where the
    /// entry itself is no longer at hand, and so is an earlier one behind it.
    fn is_contradicted(&self, append: &Message) -> bool {
        let log = &self.raft.raft.raft_log;
        let committed = log.committed;
        let Ok(newest) = log.term(committed) else { return false };
        let other = |index: u64, term: u64| {
            if index > committed {
                return term < newest;
            }
            term > newest || matches!(log.term(index), Ok(own) if own != 0 && own != term)
        };
        let mut known = append.entries.iter().take_while(|entry| entry.index <= committed);
        other(append.index, append.log_term) || known.any(|entry| other(entry.index, entry.term))
    }

    /// Nothing reaches that member at the moment.
    pub fn unreachable(&mut self, id: u64) {
        self.raft.report_unreachable(id);
    }

    /// Another member said that this one was removed from the cluster.
    pub fn dismissed(&mut self) {
        self.fate = Fate::Removed;
    }

    /// Stands for election at once: right for a member that is alone, since nobody else can lead.
    pub fn campaign(&mut self) {
        // Refused only while a configuration change is not applied; the next tick tries again.
        let _ = self.raft.campaign();
    }

    /// Runs raft until it wants nothing more; answers go to their replies, words to the outlet.
    ///
    /// # Errors
    /// The log cannot be written: the member must stop, since what it promised may be lost.
    pub fn turn(&mut self, now: Instant, outlet: &mut dyn Outlet) -> io::Result<Fate> {
        loop {
            self.move_proposals(outlet);
            self.move_reads(now, outlet);
            let Some(mut ready) = Ready::take(&mut self.raft) else { break };
            let early = ready.early_messages();
            self.say(early, outlet);
            self.proven(ready.read_states());
            let proof = self.persist(&ready, outlet)?;
            let released = ready.persisted(&mut self.raft, proof);
            self.say(released.messages, outlet);
            self.apply(released.committed, now, outlet)?;
            self.quota.applied();
            self.raft.advance_apply();
            self.follow_role(now);
            self.answer_reads(now, outlet);
            self.deliver(outlet);
        }
        self.answer_reads(now, outlet);
        self.deliver(outlet);
        if let Some(why) = self.shared.runs.damage() {
            return Err(io::Error::other(why.to_owned()));
        }
        self.quota.end_turn();
        self.follow_moves();
        self.trim_log();
        self.publish(outlet);
        Ok(self.fate)
    }

    /// Lets clients hear what is decided.
    fn deliver(&mut self, outlet: &mut dyn Outlet) {
        if !self.answers.is_empty() {
            outlet.deliver(&self.shared, self.answers.take());
        }
    }

    /// Sends what may be sent.
    fn say(&mut self, messages: Messages, outlet: &mut dyn Outlet) {
        for message in messages.release() {
            let to = message.to;
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.send_snapshot(message, outlet);
            } else if outlet.send(to, Word::Raft(message)) == Sending::NotSent {
                self.raft.report_unreachable(to);
            }
        }
    }

    /// Writes a round's entries and hard state with one fdatasync.
    fn persist(&mut self, ready: &Ready, outlet: &mut dyn Outlet) -> io::Result<crate::wal::Persisted> {
        if let Some(metadata) = ready.snapshot() {
            return self.install(ready, &metadata.clone(), outlet);
        }
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
        let took = started.elapsed();
        self.last_sync = Some(took);
        self.shared.metrics.fsync(took);
        let written = self.wal.bytes().saturating_sub(before);
        self.gathered.add(written);
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
            (_, StateRole::Leader) => store.lessor_mut().lead(now, self.clock.timing.lease_extension()),
            (StateRole::Leader, _) => store.lessor_mut().follow(),
            _ => {}
        }
        self.role = role;
    }

    /// Lets the API see where raft stands.
    fn publish(&self, outlet: &mut dyn Outlet) {
        let standing = &self.shared.standing;
        let raft = &self.raft.raft;
        standing.term.store(raft.term, Ordering::Release);
        standing.committed.store(raft.raft_log.committed, Ordering::Release);
        standing.pending.store(self.proposals.len(), Ordering::Relaxed);
        standing.disk_bytes.store(self.wal.bytes() + self.snapshot_bytes, Ordering::Relaxed);
        if standing.leader.swap(raft.leader_id, Ordering::AcqRel) != raft.leader_id && raft.leader_id != 0 {
            count(&self.shared.metrics.leader_changes);
            outlet.led_by(raft.leader_id, raft.term);
        }
    }

    /// Whether this member leads and has applied an entry of its own term: it serves reads and writes.
    pub fn serves(&self) -> bool {
        let raft = &self.raft.raft;
        let applied = crate::lock::read(&self.shared.store).applied();
        raft.state == StateRole::Leader && applied.term == raft.term
    }

    /// The term, the leader as this member sees it (0: none), and how far the log is committed.
    pub fn standing(&self) -> (u64, u64, u64) {
        (self.raft.raft.term, self.raft.raft.leader_id, self.raft.raft.raft_log.committed)
    }

    /// Bytes of an unfinished write that were cut off the log at the start; nothing acknowledged was in them.
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// Whether a command of so many bytes will most likely be durable in a moment: the last one was, and it takes no space that
    /// the log does not have already.
    pub fn is_fast(&self, bytes: usize) -> bool {
        self.last_sync.is_some_and(|took| took <= FAST_SYNC)
            && self.space.is_enough()
            && self.wal.has_room(bytes as u64)
    }

    /// Shared state.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Nobody waits for more: what is not applied yet has an unknown fate.
    pub fn stop(&mut self) {
        self.proposals.fail_all(Failed::Stopped);
        self.reads.fail_all(Failed::Stopped);
        self.others.moving.clear();
        std::mem::take(&mut self.answers).give(&self.shared);
    }
}
