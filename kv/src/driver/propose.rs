//! Proposals: into the log here, or to the leader elsewhere; and once more if a change of leaders lost them.
//!
//! A proposal is handed to the leader of one term only. Terms in a log never fall, so once an entry of a later term is
//! applied, a proposal of the earlier term that was not applied before it never will be: it is proposed again, and no
//! client has to guess what became of it.
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use hull_kv_core::{Caller, Outcome, Refused};
use hull_kv_proto::hullpb::{
    Command, Forward, Forwarded, MemberChange, Refusal, command::Op, member_change::Kind, refusal::Why,
};
use prost::Message as _;
use raft::{
    StateRole,
    eraftpb::{ConfChange, ConfChangeType, Entry, EntryType, Message, MessageType},
};
use rustc_hash::FxHashMap;

use super::{Driver, Failed, Outlet, ProposalReply, Sending, answers::Told};
use crate::{
    limits::{MAX_BATCH_BYTES, MAX_REQUEST_BYTES},
    lock::read,
    peer::Word,
    room::likely,
};

/// Where a proposal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nowhere yet: there is no leader.
    Parked,
    /// In the log of this term's leader, or on its way there.
    Term(u64),
}

/// Whether a command changes the voters or learners, which raft must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Plain,
    Reconfigures,
}

#[derive(Debug)]
struct Waiting {
    reply: Option<ProposalReply>,
    command: Bytes,
    nature: Nature,
    place: Place,
}

/// A change of members that waits at the leader for the one before it.
#[derive(Debug)]
struct Queued {
    id: u64,
    from: u64,
    command: Bytes,
}

/// Entries for the log of this leader.
#[derive(Debug, Default)]
struct Appends {
    /// The term that they were taken in.
    term: u64,
    entries: Vec<Entry>,
    /// Who proposed each, and its number there.
    from: Vec<(u64, u64)>,
}

/// All proposals that this member has a part in.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// Those made here, by their ids, whose answer somebody wants.
    waiting: FxHashMap<u64, Waiting>,
    parked: VecDeque<u64>,
    /// On their way to the leader with the next turn.
    forwards: Vec<Forwarded>,
    /// At the leader: what goes into its log with the next turn, all at once.
    appends: Appends,
    /// At the leader: raft takes one change of members at a time.
    changes: VecDeque<Queued>,
    /// What commands are written to.
    sheet: Sheet,
    next_id: u64,
    /// Bytes that one command may have.
    largest: usize,
    /// Bytes taken since the last turn.
    taken: usize,
    /// The last term of which an entry was applied.
    applied_term: u64,
}

/// Room for some commands, one behind the other: neither takes an allocation of its own. The room is free again when none of them
/// is held any more; values in memory hold theirs until a snapshot has them.
#[derive(Debug, Default)]
struct Sheet(BytesMut);

/// Bytes of a sheet.
const SHEET_BYTES: usize = 32 * 1024;

impl Sheet {
    /// A command that takes so many bytes.
    fn encode(&mut self, command: &Command, length: usize) -> Bytes {
        if length > SHEET_BYTES / 4 {
            return command.encode_to_vec().into();
        }
        if self.0.capacity() < length {
            self.0 = BytesMut::with_capacity(SHEET_BYTES);
        }
        command.encode_raw(&mut self.0);
        self.0.split().freeze()
    }
}

impl Proposals {
    /// Ids start at a number that no earlier life of this member used.
    pub(super) fn new(first_id: u64) -> Self {
        Self { next_id: first_id, largest: MAX_REQUEST_BYTES, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The ids of some, in the order in which they were made.
    fn ids(&self, which: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> = self.waiting.iter().filter(|(_, waiting)| which(waiting)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Answers everybody with the same refusal.
    pub(super) fn fail_all(&mut self, why: Failed) {
        for id in self.ids(|_| true) {
            if let Some(reply) = self.waiting.remove(&id).and_then(|waiting| waiting.reply) {
                reply.give(Err(why));
            }
        }
        self.parked.clear();
    }

    /// Lets go of parked proposals whose clients have gone: without a leader nobody else would.
    pub(super) fn forget_the_gone(&mut self) {
        let Self { waiting, parked, .. } = self;
        parked.retain(|id| {
            let gone =
                waiting.get(id).is_none_or(|waiting| waiting.reply.as_ref().is_none_or(ProposalReply::is_closed));
            if gone {
                waiting.remove(id);
            }
            !gone
        });
    }

    /// A number for a question or a round of reads.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

fn nature(op: &Op) -> Nature {
    match op {
        Op::MemberChange(change) if change.kind() != Kind::Update => Nature::Reconfigures,
        _ => Nature::Plain,
    }
}

impl Driver {
    /// Puts a command into the log; the reply gets the state machine's answer once it is durable and applied.
    pub fn propose(&mut self, op: Op, caller: Caller, reply: Option<ProposalReply>) {
        let shared = &self.shared;
        if self.space.refuses(&op) || self.quota.refuses(&op, || read(&shared.store).usage().bytes) {
            return self.refuse(reply, Failed::Refused(Refused::NoSpace));
        }
        let id = self.proposals.fresh_id();
        let nature = nature(&op);
        let mut command = Command { id, member: self.shared.member, op: Some(op), ..Command::default() };
        caller.sign(&mut command);
        let length = command.encoded_len();
        if length > self.proposals.largest {
            return self.refuse(reply, Failed::TooLarge);
        }
        self.proposals.taken += length;
        let command = self.proposals.sheet.encode(&command, length);
        let place = self.hand_over(id, nature, &command);
        // What nobody waits for is not kept: whoever proposed it will again.
        let Some(reply) = reply else { return };
        if place == Place::Parked {
            self.proposals.parked.push_back(id);
        }
        self.proposals.waiting.insert(id, Waiting { reply: Some(reply), command, nature, place });
    }

    fn refuse(&mut self, reply: Option<ProposalReply>, why: Failed) {
        if let Some(reply) = reply {
            self.answers.push(Told::Proposed(reply, Err(why)));
        }
    }

    /// Sets how many bytes one command may have.
    pub fn limit_requests(&mut self, bytes: usize) {
        self.proposals.largest = bytes;
    }

    /// Whether as much was taken as goes into one turn: it becomes one write, and one message a follower.
    pub fn is_full(&self) -> bool {
        self.proposals.taken >= MAX_BATCH_BYTES
    }

    /// Sends a proposal where it belongs now, after it was elsewhere; unless nobody wants its answer any more.
    fn dispatch_again(&mut self, id: u64) {
        let Some(waiting) = self.proposals.waiting.get(&id) else { return };
        if waiting.reply.as_ref().is_some_and(ProposalReply::is_closed) {
            self.proposals.waiting.remove(&id);
        } else {
            self.dispatch(id);
        }
    }

    /// Sends a proposal where it belongs now.
    fn dispatch(&mut self, id: u64) {
        let Some(waiting) = self.proposals.waiting.get(&id) else { return };
        let (command, nature) = (waiting.command.clone(), waiting.nature);
        let place = self.hand_over(id, nature, &command);
        self.place(id, place);
    }

    /// Hands a command to the leader; answers where it is then.
    fn hand_over(&mut self, id: u64, nature: Nature, command: &Bytes) -> Place {
        let raft = &self.raft.raft;
        let (term, leads, leader) = (raft.term, raft.state == StateRole::Leader, raft.leader_id);
        let command = command.clone();
        if leads {
            let from = self.shared.member;
            match nature {
                Nature::Reconfigures => self.proposals.changes.push_back(Queued { id, from, command }),
                Nature::Plain => self.take_entry(term, from, id, command),
            }
            Place::Term(term)
        } else if leader != 0 {
            let reconfigures = nature == Nature::Reconfigures;
            self.proposals.forwards.push(Forwarded { id, command, reconfigures });
            Place::Term(term)
        } else {
            Place::Parked
        }
    }

    fn place(&mut self, id: u64, place: Place) {
        let Some(waiting) = self.proposals.waiting.get_mut(&id) else { return };
        waiting.place = place;
        // What nobody waits for is not kept: whoever proposed it will again.
        if waiting.reply.is_none() {
            self.proposals.waiting.remove(&id);
        } else if place == Place::Parked {
            self.proposals.parked.push_back(id);
        }
    }

    fn take_entry(&mut self, term: u64, from: u64, id: u64, data: Bytes) {
        let appends = &mut self.proposals.appends;
        debug_assert!(appends.entries.is_empty() || appends.term == term, "put into the log before the term ends");
        appends.term = term;
        appends.entries.push(Entry { data, ..Entry::default() });
        appends.from.push((from, id));
    }

    /// Puts what was taken since the last turn into the log of this leader. Must come before raft hears of another term.
    pub(super) fn append_taken(&mut self, outlet: &mut dyn Outlet) {
        if self.proposals.appends.entries.is_empty() {
            return;
        }
        let appends = &mut self.proposals.appends;
        let count = appends.entries.len();
        let room = likely(count, appends.entries.capacity());
        let room = Appends { term: 0, entries: Vec::with_capacity(room), from: Vec::with_capacity(room) };
        let Appends { term, entries, from } = std::mem::replace(appends, room);
        let leads = self.raft.raft.state == StateRole::Leader && self.raft.raft.term == term;
        if leads && self.append(entries) {
            return;
        }
        for (from, id) in from {
            if from == self.shared.member {
                self.place(id, Place::Parked);
            } else {
                outlet.send(from, Word::Refusal(Refusal { id, why: Why::NotNow.into(), term }));
            }
        }
    }

    /// Puts entries into the log of this leader. False: raft takes none of them now.
    fn append(&mut self, entries: Vec<Entry>) -> bool {
        let number = entries.len() as u64;
        let mut message = Message { from: self.shared.member, ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.entries = entries.into();
        let taken = self.raft.step(message).is_ok();
        if !taken {
            self.shared.metrics.failed.fetch_add(number, std::sync::atomic::Ordering::Relaxed);
        }
        taken
    }

    /// Gives parked proposals a new chance, sends what is to be forwarded, and starts the next change of members.
    pub(super) fn move_proposals(&mut self, outlet: &mut dyn Outlet) {
        let raft = &self.raft.raft;
        if raft.leader_id != 0 && raft.lead_transferee.is_none() {
            for id in std::mem::take(&mut self.proposals.parked) {
                self.dispatch_again(id);
            }
        }
        self.proposals.taken = 0;
        self.append_taken(outlet);
        self.forward(outlet);
        self.next_change(outlet);
    }

    fn forward(&mut self, outlet: &mut dyn Outlet) {
        if self.proposals.forwards.is_empty() {
            return;
        }
        let raft = &self.raft.raft;
        let (term, leader) = (raft.term, raft.leader_id);
        let proposals = std::mem::take(&mut self.proposals.forwards);
        let ids: Vec<u64> = proposals.iter().map(|proposal| proposal.id).collect();
        let current = ids.iter().all(|id| match self.proposals.waiting.get(id) {
            Some(waiting) => waiting.place == Place::Term(term),
            None => true,
        });
        let sent = leader != 0
            && leader != self.shared.member
            && current
            && outlet.send(leader, Word::Forward(Forward { term, proposals })) == Sending::OnItsWay;
        if !sent {
            ids.into_iter().for_each(|id| self.place(id, Place::Parked));
        }
    }

    /// The leader takes what another member forwards, if it leads the term that the member believes in.
    pub(super) fn take_forward(&mut self, from: u64, forward: Forward) {
        let raft = &self.raft.raft;
        if raft.state != StateRole::Leader || raft.term != forward.term {
            // The sender learns from the next leader's first entry that these are lost.
            return;
        }
        for Forwarded { id, command, reconfigures } in forward.proposals {
            self.proposals.taken += command.len();
            if reconfigures {
                self.proposals.changes.push_back(Queued { id, from, command });
            } else {
                self.take_entry(forward.term, from, id, command);
            }
        }
    }

    /// The leader did not take a proposal.
    pub(super) fn take_refusal(&mut self, refusal: Refusal) {
        let asked = self.proposals.waiting.get(&refusal.id).map(|waiting| waiting.place);
        if asked != Some(Place::Term(refusal.term)) {
            return;
        }
        let why = match refusal.why() {
            Why::NotNow => return self.place(refusal.id, Place::Parked),
            Why::Unhealthy => Refused::Unhealthy,
            Why::NotEnoughStarted => Refused::NotEnoughStarted,
            Why::LearnerNotReady => Refused::LearnerNotReady,
        };
        self.answer_with(refusal.id, Err(Failed::Refused(why)));
    }

    /// Answers whoever waits for a command that was applied.
    pub(super) fn answer(&mut self, outcome: Outcome) {
        if outcome.member == self.shared.member {
            self.answer_with(outcome.id, outcome.result.map_err(Failed::Refused));
        }
    }

    fn answer_with(&mut self, id: u64, result: Result<hull_kv_core::Response, Failed>) {
        if let Some(reply) = self.proposals.waiting.remove(&id).and_then(|waiting| waiting.reply) {
            self.answers.push(Told::Proposed(reply, result));
        }
    }

    /// Everything up to an entry of `term` is applied: what an earlier leader had taken and is not applied is lost.
    pub(super) fn recover_lost(&mut self, term: u64) {
        if term <= self.proposals.applied_term {
            return;
        }
        self.proposals.applied_term = term;
        let lost = |waiting: &Waiting| matches!(waiting.place, Place::Term(earlier) if earlier < term);
        self.proposals.ids(lost).into_iter().for_each(|id| self.dispatch_again(id));
    }

    /// A snapshot took the place of entries up to `term`: what they answered is not known.
    pub(super) fn forget_up_to(&mut self, term: u64) {
        self.proposals.applied_term = self.proposals.applied_term.max(term);
        let gone = |waiting: &Waiting| matches!(waiting.place, Place::Term(earlier) if earlier <= term);
        self.proposals.ids(gone).into_iter().for_each(|id| self.answer_with(id, Err(Failed::TimedOut)));
    }

    /// The leader proposes the next change of members once the one before it is applied.
    fn next_change(&mut self, outlet: &mut dyn Outlet) {
        if self.raft.raft.state != StateRole::Leader {
            // Their proposers hear of the next leader, and propose again.
            self.proposals.changes.clear();
            self.others.leading_since = None;
            return;
        }
        if !self.is_settled() {
            return;
        }
        while !self.raft.raft.has_pending_conf()
            && self.raft.raft.lead_transferee.is_none()
            && let Some(queued) = self.proposals.changes.pop_front()
        {
            self.change_members(queued, outlet);
        }
    }

    fn change_members(&mut self, queued: Queued, outlet: &mut dyn Outlet) {
        let Ok(Command { op: Some(Op::MemberChange(change)), .. }) = Command::decode(&*queued.command) else { return };
        if let Err(why) = self.vet(&change) {
            return self.refuse_change(&queued, why, outlet);
        }
        if change.kind() == Kind::Remove
            && change.member.as_ref().is_some_and(|m| m.id == self.shared.member)
            && self.begin_hand_off()
        {
            // The next leader removes this member; until then the change waits where it was proposed.
            self.refuse_change(&queued, Why::NotNow, outlet);
            return;
        }
        let conf = protobuf::Message::write_to_bytes(&conf_change(&change)).unwrap_or_default();
        let (entry_type, context) = (EntryType::EntryConfChange, queued.command.clone());
        if !self.append(vec![Entry { entry_type, data: conf.into(), context, ..Entry::default() }]) {
            self.refuse_change(&queued, Why::NotNow, outlet);
        }
    }

    fn refuse_change(&mut self, queued: &Queued, why: Why, outlet: &mut dyn Outlet) {
        let refusal = Refusal { id: queued.id, why: why.into(), term: self.raft.raft.term };
        if queued.from == self.shared.member {
            self.take_refusal(refusal);
        } else {
            outlet.send(queued.from, Word::Refusal(refusal));
        }
    }
}

/// What raft must know of a change.
pub(super) fn conf_change(change: &MemberChange) -> ConfChange {
    let member = change.member.clone().unwrap_or_default();
    let mut conf = ConfChange { node_id: member.id, ..ConfChange::default() };
    conf.set_change_type(match change.kind() {
        Kind::Remove => ConfChangeType::RemoveNode,
        Kind::Add if member.learner => ConfChangeType::AddLearnerNode,
        Kind::Add | Kind::Promote | Kind::Update => ConfChangeType::AddNode,
    });
    conf
}
