//! Reads that must see every acknowledged write, by raft's ReadIndex: the leader proves that it still leads, then the
//! read waits until this member has applied what was committed at that moment. One proof serves all reads that wait.
use std::collections::BTreeMap;

use hull_kv_core::Instant;
use hull_kv_proto::hullpb::{Answer, Question, question::About};
use raft::{ReadState, StateRole};

use super::{Driver, Failed, Outlet, Reply, answers::Told};
use crate::{lock::write, peer::Word};

/// Where the word goes that a read may go on.
pub type ReadReply = Reply<()>;
/// Where the leader's answer goes: seconds, or none if there is no such lease.
pub type AnswerReply = Reply<Option<i64>>;

/// Who waits for a proof.
#[derive(Debug)]
enum Reader {
    /// A client's read here.
    Local(ReadReply),
    /// A question that this member answers as the leader.
    Asked { from: u64, question: Question },
}

#[derive(Debug)]
struct Round {
    context: Vec<u8>,
    readers: Vec<Reader>,
    asked_at: Instant,
}

#[derive(Debug)]
struct Asking {
    about: About,
    reply: AnswerReply,
    /// When and of which leader it was asked last; `None`: not yet.
    asked: Option<(Instant, u64)>,
}

/// All reads under way.
#[derive(Debug, Default)]
pub(super) struct Reads {
    next: Vec<Reader>,
    round: Option<Round>,
    /// Proven, and waiting for this index to be applied.
    proven: Vec<(u64, Vec<Reader>)>,
    /// Questions for the leader, by their ids.
    asking: BTreeMap<u64, Asking>,
}

impl Reads {
    pub(super) fn fail_all(&mut self, why: Failed) {
        let rounds = self.round.take().map(|round| round.readers).into_iter();
        let proven = std::mem::take(&mut self.proven).into_iter().map(|(_, readers)| readers);
        for reader in rounds.chain(proven).flatten().chain(std::mem::take(&mut self.next)) {
            if let Reader::Local(reply) = reader {
                reply.give(Err(why));
            }
        }
        for asking in std::mem::take(&mut self.asking).into_values() {
            asking.reply.give(Err(why));
        }
    }

    /// Lets go of reads whose clients have gone: without a leader nobody else would.
    pub(super) fn forget_the_gone(&mut self) {
        self.next.retain(|reader| match reader {
            Reader::Local(reply) => !reply.is_closed(),
            Reader::Asked { .. } => true,
        });
        self.asking.retain(|_, asking| !asking.reply.is_closed());
    }

    fn is_idle(&self) -> bool {
        self.next.is_empty() && self.round.is_none() && self.proven.is_empty() && self.asking.is_empty()
    }
}

impl Driver {
    /// Answers once a read of this member's store sees every write acknowledged before now.
    pub fn read(&mut self, reply: ReadReply) {
        self.reads.next.push(Reader::Local(reply));
    }

    /// Asks the leader, here or elsewhere.
    pub fn ask(&mut self, about: About, reply: AnswerReply) {
        let id = self.proposals.fresh_id();
        self.reads.asking.insert(id, Asking { about, reply, asked: None });
    }

    /// Another member asks this one as the leader.
    pub(super) fn take_question(&mut self, from: u64, question: Question) {
        if self.raft.raft.state == StateRole::Leader {
            self.reads.next.push(Reader::Asked { from, question });
        }
    }

    /// The leader answered.
    pub(super) fn take_answer(&mut self, answer: Answer) {
        if let Some(asking) = self.reads.asking.remove(&answer.id) {
            self.answers.push(Told::Asked(asking.reply, Ok(answer.seconds)));
        }
    }

    /// Starts what can be started: the next round, and questions whose leader is another one now or does not answer.
    pub(super) fn move_reads(&mut self, now: Instant, outlet: &mut dyn Outlet) {
        if self.reads.is_idle() {
            return;
        }
        self.move_questions(now, outlet);
        let patience = self.clock.patience();
        let leads = self.raft.raft.state == StateRole::Leader;
        // A leader that has no entry of its own term committed cannot know yet what was acknowledged.
        if self.raft.raft.leader_id == 0 || leads && !self.raft.raft.commit_to_current_term() {
            return;
        }
        let mut readers = match &mut self.reads.round {
            Some(round) if now.0 < round.asked_at.0.saturating_add(patience) => return,
            Some(round) => std::mem::take(&mut round.readers),
            None => Vec::new(),
        };
        readers.append(&mut self.reads.next);
        readers.retain(|reader| match reader {
            Reader::Local(reply) => !reply.is_closed(),
            Reader::Asked { .. } => leads,
        });
        if readers.is_empty() {
            self.reads.round = None;
            return;
        }
        let mut context = self.shared.member.to_be_bytes().to_vec();
        context.extend_from_slice(&self.proposals.fresh_id().to_be_bytes());
        self.raft.read_index(context.clone());
        self.reads.round = Some(Round { context, readers, asked_at: now });
    }

    fn move_questions(&mut self, now: Instant, outlet: &mut dyn Outlet) {
        let (leader, me, patience) = (self.raft.raft.leader_id, self.shared.member, self.clock.patience());
        let reads = &mut self.reads;
        reads.asking.retain(|_, asking| !asking.reply.is_closed());
        if leader == 0 {
            return;
        }
        for (id, asking) in &mut reads.asking {
            let fresh = |(at, whom): (Instant, u64)| whom == leader && now.0 < at.0.saturating_add(patience);
            if asking.asked.is_some_and(fresh) {
                continue;
            }
            asking.asked = Some((now, leader));
            let question = Question { id: *id, about: Some(asking.about) };
            if leader == me {
                reads.next.push(Reader::Asked { from: me, question });
            } else {
                outlet.send(leader, Word::Question(question));
            }
        }
    }

    /// Raft proved a round.
    pub(super) fn proven(&mut self, states: Vec<ReadState>) {
        for state in states {
            if let Some(round) = self.reads.round.take_if(|round| round.context == state.request_ctx) {
                self.reads.proven.push((state.index, round.readers));
            }
        }
    }

    /// Lets those go on whose index is applied.
    pub(super) fn answer_reads(&mut self, now: Instant, outlet: &mut dyn Outlet) {
        if self.reads.proven.is_empty() {
            return;
        }
        let applied = self.raft.store().applied();
        let proven = std::mem::take(&mut self.reads.proven);
        let (ready, later) = proven.into_iter().partition(|(index, _)| *index <= applied);
        self.reads.proven = later;
        let ready: Vec<(u64, Vec<Reader>)> = ready;
        for reader in ready.into_iter().flat_map(|(_, readers)| readers) {
            match reader {
                Reader::Local(reply) => self.answers.push(Told::Read(reply, Ok(()))),
                Reader::Asked { from, question } => self.answer_question(from, question, now, outlet),
            }
        }
    }

    /// Answers as the leader that was just proven to be it.
    fn answer_question(&mut self, from: u64, question: Question, now: Instant, outlet: &mut dyn Outlet) {
        if self.raft.raft.state != StateRole::Leader {
            return;
        }
        let seconds = {
            let mut store = write(&self.shared.store);
            match question.about {
                Some(About::KeepAlive(lease)) => store.lessor_mut().renew(lease, now),
                Some(About::TimeToLive(lease)) => store.lessor().time_to_live(lease, now).map(|(left, ..)| left),
                None => return,
            }
        };
        let answer = Answer { id: question.id, seconds };
        if from == self.shared.member {
            self.take_answer(answer);
        } else {
            outlet.send(from, Word::Answer(answer));
        }
    }
}
