//! Where a driver's words to other members go: a network, or a simulation of one.
use hull_kv_core::Members;
use raft::eraftpb::Message;

use super::Answers;
use crate::{peer::Word, shared::Shared, snapfile::Encoder};

/// What became of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// It is on its way, and may get lost there.
    OnItsWay,
    /// It certainly was not sent.
    NotSent,
}

/// A snapshot for a member that lags behind.
#[derive(Debug)]
pub struct SnapshotOut {
    /// Who lags behind.
    pub to: u64,
    /// Raft's message, to be delivered together with the snapshot's bytes.
    pub message: Message,
    /// The bytes.
    pub encoder: Encoder,
}

/// Takes what a driver says. Nothing comes here before what it promises is durable.
pub trait Outlet {
    /// Says `word` to member `to`.
    fn send(&mut self, to: u64, word: Word) -> Sending;
    /// Streams a snapshot; the driver must hear how that went ([`super::Driver::snapshot_sent`]).
    fn send_snapshot(&mut self, snapshot: SnapshotOut);
    /// Who belongs to the cluster from now on.
    fn members_changed(&mut self, members: &Members);
    /// Another member leads from now on.
    fn led_by(&mut self, _leader: u64, _term: u64) {}
    /// Lets this member's clients hear answers.
    fn deliver(&mut self, shared: &Shared, answers: Answers) {
        answers.give(shared);
    }
}

/// The outlet of a member that has nobody to talk to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Outlet for Nobody {
    fn send(&mut self, _to: u64, _word: Word) -> Sending {
        Sending::NotSent
    }

    fn send_snapshot(&mut self, _snapshot: SnapshotOut) {}

    fn members_changed(&mut self, _members: &Members) {}
}
