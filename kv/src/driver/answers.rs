//! The answers of a turn, gathered: whoever carries them to another thread wakes it once, not once for each.
use hull_kv_core::{Response, StreamId};

use super::{AnswerReply, Failed, ProposalReply, ReadReply};
use crate::{room::likely, shared::Shared};

/// One answer, and who gets it.
#[derive(Debug)]
pub(super) enum Told {
    /// What became of a proposal.
    Proposed(ProposalReply, Result<Response, Failed>),
    /// A read may go on, or not.
    Read(ReadReply, Result<(), Failed>),
    /// What the leader said.
    Asked(AnswerReply, Result<Option<i64>, Failed>),
}

/// Everything that a turn has to say to this member's clients.
#[derive(Debug, Default)]
#[must_use = "clients wait for these"]
pub struct Answers {
    pub(super) answers: Vec<Told>,
    /// Watch streams that have something to read.
    pub(super) woken: Vec<StreamId>,
}

impl Answers {
    /// Gives each its answer.
    pub fn give(self, shared: &Shared) {
        for answer in self.answers {
            match answer {
                Told::Proposed(reply, result) => reply.give(result),
                Told::Read(reply, result) => reply.give(result),
                Told::Asked(reply, result) => reply.give(result),
            }
        }
        shared.wake(&self.woken);
    }

    /// Takes them out, and makes room for those that are likely to come.
    pub(super) fn take(&mut self) -> Self {
        let room = likely(self.answers.len(), self.answers.capacity());
        let room = Self { answers: Vec::with_capacity(room), woken: Vec::new() };
        std::mem::replace(self, room)
    }

    pub(super) fn push(&mut self, told: Told) {
        self.answers.push(told);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.woken.is_empty()
    }
}
