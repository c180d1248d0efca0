//! Who belongs to the cluster: whether a change is safe now, what raft must hear of it, and handing leadership over.
use std::collections::BTreeMap;

use hull_kv_core::{Instant, Member, Vote};
use hull_kv_proto::hullpb::{MemberChange, member_change::Kind, refusal::Why};
use raft::StateRole;
use tokio::sync::oneshot;

use super::{Driver, Failed};
use crate::lock::read;

/// Who was silent for this long (milliseconds) is down, however slowly elections go (etcd's `HealthInterval`).
const LONGEST_SILENCE_MS: u64 = 5_000;
/// So long (milliseconds) a new leader waits to hear the others before it calls one of them silent: until then they spoke to the old one.
const SETTLED_MS: u64 = 1_000;
/// A learner that holds this share (percent) of the leader's log has caught up (etcd's `readyPercent`).
const READY_PERCENT: u64 = 90;

/// Where the word goes that leadership moved.
pub type MoveReply = oneshot::Sender<Result<(), Failed>>;

/// Leadership on its way to another member.
#[derive(Debug)]
pub(super) struct Moving {
    reply: MoveReply,
    /// Whom; 0: whoever is best.
    to: u64,
}

/// What a member knows of the others.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// When each was heard last, of those that did not close their connection since.
    pub(super) heard: BTreeMap<u64, Instant>,
    pub(super) now: Instant,
    /// Since when this member leads.
    pub(super) leading_since: Option<Instant>,
    pub(super) moving: Vec<Moving>,
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl Driver {
    /// etcd's strict checks before a change is proposed (`mayAddMember`, `mayRemoveMember`, `mayPromoteMember`).
    pub(super) fn vet(&self, change: &MemberChange) -> Result<(), Why> {
        let wanted = change.member.clone().unwrap_or_default();
        let (voters, vote): (Vec<Member>, Option<Vote>) = {
            let store = read(&self.shared.store);
            let members = store.members();
            (
                members.iter().filter(|m| m.vote == Vote::Voter).cloned().collect(),
                members.get(wanted.id).map(|m| m.vote),
            )
        };
        let started = |members: &[&Member]| members.iter().filter(|member| !member.name.is_empty()).count();
        let all: Vec<&Member> = voters.iter().collect();
        match change.kind() {
            Kind::Add if wanted.learner => self.all_connected(&voters),
            Kind::Add => {
                // A cluster of one may grow although the second member has not started.
                let alone = all.len() == 1 && started(&all) == 1;
                if !alone && started(&all) < majority(all.len() + 1) {
                    return Err(Why::NotEnoughStarted);
                }
                self.all_connected(&voters)
            }
            Kind::Promote if vote == Some(Vote::Learner) => {
                self.learner_is_ready(wanted.id)?;
                if started(&all) + 1 < majority(all.len() + 1) {
                    return Err(Why::NotEnoughStarted);
                }
                self.enough_are_up(all.iter().map(|member| member.id).chain([wanted.id]))
            }
            Kind::Remove if vote == Some(Vote::Voter) => {
                let rest: Vec<&Member> = voters.iter().filter(|member| member.id != wanted.id).collect();
                if started(&rest) < majority(rest.len()) {
                    return Err(Why::NotEnoughStarted);
                }
                self.enough_are_up(rest.iter().map(|member| member.id))
            }
            // Whom nobody knows, or who votes already, is refused when it is applied.
            Kind::Promote | Kind::Remove | Kind::Update => Ok(()),
        }
    }

    /// Whether this leader can know who is up.
    pub(super) fn is_settled(&mut self) -> bool {
        let now = self.others.now;
        let since = *self.others.leading_since.get_or_insert(now);
        if now.0.saturating_sub(since.0) >= SETTLED_MS {
            return true;
        }
        let voters = read(&self.shared.store).members().ids(Vote::Voter);
        voters.into_iter().all(|id| self.is_up(id))
    }

    /// Whether a member answers this leader's heartbeats, and its connection is open.
    fn is_up(&self, id: u64) -> bool {
        let within = self.clock.timing.election_ms.min(LONGEST_SILENCE_MS);
        let heard = self.others.heard.get(&id);
        id == self.shared.member || heard.is_some_and(|at| self.others.now.0.saturating_sub(at.0) < within)
    }

    fn all_connected(&self, voters: &[Member]) -> Result<(), Why> {
        if voters.iter().all(|member| self.is_up(member.id)) { Ok(()) } else { Err(Why::Unhealthy) }
    }

    /// Whether those who would vote have a majority without whoever is silent. One that goes does not count, up or down: it could be
    /// what the change itself is committed by, and be gone then.
    fn enough_are_up(&self, voters: impl Iterator<Item = u64>) -> Result<(), Why> {
        let (mut all, mut up) = (0, 0);
        for id in voters {
            all += 1;
            up += usize::from(self.is_up(id));
        }
        if up < majority(all) { Err(Why::Unhealthy) } else { Ok(()) }
    }

    fn learner_is_ready(&self, id: u64) -> Result<(), Why> {
        let progress = self.raft.raft.prs();
        let Some(learner) = progress.get(id) else { return Ok(()) };
        let last = self.raft.raft.raft_log.last_index();
        if learner.matched * 100 < last * READY_PERCENT { Err(Why::LearnerNotReady) } else { Ok(()) }
    }

    /// Moves leadership to member `to`; 0: to whoever is best, for a planned stop.
    pub fn move_leader(&mut self, to: u64, reply: MoveReply) {
        let answer = |reply: MoveReply, result| {
            // Whoever asked may have gone.
            let _ = reply.send(result);
        };
        if self.raft.raft.state != StateRole::Leader {
            return answer(reply, Err(Failed::NotLeader));
        }
        if to == self.shared.member {
            return answer(reply, Ok(()));
        }
        let begun = if to == 0 {
            self.begin_hand_off()
        } else {
            let voter = read(&self.shared.store).members().get(to).is_some_and(|member| member.vote == Vote::Voter);
            if voter {
                self.raft.transfer_leader(to);
            }
            voter
        };
        if begun {
            self.others.moving.push(Moving { reply, to });
        } else {
            answer(reply, Err(Failed::BadTransferee));
        }
    }

    /// Starts to hand leadership to the voter that is furthest and up. False: there is none.
    pub(super) fn begin_hand_off(&mut self) -> bool {
        let me = self.shared.member;
        let voters = read(&self.shared.store).members().ids(Vote::Voter);
        let progress = self.raft.raft.prs();
        let best = voters
            .into_iter()
            .filter(|id| *id != me && self.is_up(*id))
            .filter_map(|id| progress.get(id).map(|progress| (progress.matched, id)))
            .max();
        match best {
            Some((_, id)) => {
                self.raft.transfer_leader(id);
                true
            }
            None => false,
        }
    }

    /// Tells those who wait whether leadership moved.
    pub(super) fn follow_moves(&mut self) {
        if self.others.moving.is_empty() {
            return;
        }
        let raft = &self.raft.raft;
        let (leader, leads) = (raft.leader_id, raft.state == StateRole::Leader);
        let trying = leads && raft.lead_transferee.is_some();
        if trying || !leads && leader == 0 {
            return;
        }
        for moving in std::mem::take(&mut self.others.moving) {
            let there = !leads && (moving.to == 0 || moving.to == leader);
            let _ = moving.reply.send(if there { Ok(()) } else { Err(Failed::NotMoved) });
        }
    }
}
