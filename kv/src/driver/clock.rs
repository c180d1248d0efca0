//! What time does to a member: raft's ticks, leases that are over, a look at the disk.
use hull_kv_core::{Caller, Instant, Vote};
use hull_kv_proto::{
    etcdserverpb::{AlarmRequest, AlarmType, LeaseRevokeRequest, alarm_request::AlarmAction},
    hullpb::{MemberAttributes, command::Op},
};
use raft::StateRole;

use super::Driver;
use crate::{
    limits::{LEASE_CHECK, LEASES_A_ROUND, SPACE_CHECK},
    lock::{read, write},
};

/// How fast raft's clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Milliseconds between two heartbeats. etcd's `--heartbeat-interval`.
    pub heartbeat_ms: u64,
    /// Milliseconds without a leader before an election. etcd's `--election-timeout`.
    pub election_ms: u64,
}

impl Default for Timing {
    /// etcd's defaults.
    fn default() -> Self {
        Self { heartbeat_ms: 100, election_ms: 1000 }
    }
}

impl Timing {
    /// Ticks of an election.
    pub(super) fn election_ticks(self) -> usize {
        usize::try_from(self.election_ms / self.heartbeat_ms.max(1)).unwrap_or(10).max(2)
    }

    /// Seconds that a new leader adds to every lease: what an election takes.
    pub(super) fn lease_extension(self) -> i64 {
        i64::try_from(self.election_ms.div_ceil(1000)).unwrap_or(1).max(1)
    }
}

/// When the next of each is due.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) timing: Timing,
    tick: Instant,
    leases: Instant,
    space: Instant,
    last: Instant,
    /// In this term the leader seems gone: so many ticks beyond the election time are enough.
    hurry: Option<(u64, usize)>,
}

fn after(now: Instant, milliseconds: u128) -> Instant {
    Instant(now.0.saturating_add(u64::try_from(milliseconds).unwrap_or(u64::MAX)))
}

impl Clock {
    pub(super) fn new(timing: Timing) -> Self {
        let start = Instant::default();
        Self {
            timing,
            tick: after(start, timing.heartbeat_ms.into()),
            leases: after(start, LEASE_CHECK.as_millis()),
            // Not at once: a member that starts has better things to do.
            space: after(start, SPACE_CHECK.as_millis()),
            last: start,
            hurry: None,
        }
    }

    /// How long (milliseconds) an answer of the leader may take before it is asked again.
    pub(super) fn patience(&self) -> u64 {
        (self.timing.election_ms / 2).max(self.timing.heartbeat_ms)
    }
}

impl Driver {
    /// When [`Self::on_time`] has something to do at the latest. A member that is alone needs no heartbeats.
    pub fn next_deadline(&self) -> Instant {
        if self.alone() { self.clock.leases } else { self.clock.leases.min(self.clock.tick) }
    }

    /// Whether this member is the whole cluster.
    pub fn alone(&self) -> bool {
        read(&self.shared.store).members().only(self.shared.member)
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Instant) {
        self.others.now = now;
        self.mind_gap(now);
        if self.clock.tick <= now {
            // However long the member slept, that is one tick: others could not answer meanwhile.
            self.clock.tick = after(now, self.clock.timing.heartbeat_ms.into());
            if !self.alone() {
                self.tick();
            }
            if self.raft.raft.leader_id == 0 {
                self.proposals.forget_the_gone();
                self.reads.forget_the_gone();
            }
            self.introduce();
        }
        if self.clock.leases <= now {
            self.clock.leases = after(now, LEASE_CHECK.as_millis());
            self.end_leases(now);
        }
        if self.clock.space <= now {
            self.clock.space = after(now, SPACE_CHECK.as_millis());
            self.space.look_again(&*self.disk);
            self.space.keep_reserve(&*self.disk);
        }
        self.raise_alarms();
    }

    /// A leader that slept (a stopped process, a suspended machine) could not hear keep-alives: its leases start afresh.
    fn mind_gap(&mut self, now: Instant) {
        let slept =
            now.0.saturating_sub(self.clock.last.0) > LEASE_CHECK.as_millis() as u64 + self.clock.timing.election_ms;
        self.clock.last = now;
        if slept && self.role == StateRole::Leader {
            write(&self.shared.store).lessor_mut().lead(now, self.clock.timing.lease_extension());
        }
    }

    /// A tick of raft's clock.
    pub(super) fn tick(&mut self) {
        let ticks = self.election_ticks();
        self.raft.raft.set_randomized_election_timeout(ticks);
        self.raft.tick();
    }

    /// After how many ticks this member stands for election: between one and two election times, different for every
    /// member and term. Raft's own choice is replaced, so that the same events give the same decisions.
    fn election_ticks(&self) -> usize {
        let base = self.clock.timing.election_ticks();
        let (term, state) = (self.raft.raft.term, self.raft.raft.state);
        match self.clock.hurry {
            Some((at, wait)) if at == term && state == StateRole::Follower => base + wait,
            _ => base + (super::mix(self.shared.member ^ term.rotate_left(32) ^ state as u64) % base as u64) as usize,
        }
    }

    /// A member's connection broke, so it is most likely gone. If it is the leader, an election need not wait for its silence.
    /// If it is not gone, its next heartbeat ends the matter. Members stand one after the other, in the order of their ids.
    pub fn suspect(&mut self, id: u64) {
        self.others.heard.remove(&id);
        let raft = &self.raft.raft;
        if id == 0 || raft.leader_id != id || raft.state != StateRole::Follower {
            return;
        }
        let base = self.clock.timing.election_ticks();
        let voters = read(&self.shared.store).members().ids(Vote::Voter);
        let rank = voters.iter().filter(|voter| **voter != id && **voter < self.shared.member).count();
        self.clock.hurry = Some((raft.term, (2 * rank).min(base - 1)));
        let elapsed = raft.election_elapsed.max(base);
        self.raft.raft.election_elapsed = elapsed;
    }

    /// Proposes the end of leases whose time is over. Only a leader has deadlines, and one that raft has just deposed must not
    /// hand its successor the end of a lease that is kept alive there.
    fn end_leases(&mut self, now: Instant) {
        if self.role != StateRole::Leader || self.raft.raft.state != StateRole::Leader {
            return;
        }
        let overdue = read(&self.shared.store).lessor().overdue(now, LEASES_A_ROUND);
        for id in overdue {
            self.propose(Op::LeaseRevoke(LeaseRevokeRequest { id }), Caller::Member, None);
        }
    }

    /// Raises the NOSPACE alarm if this member's disk just ran low, or a command went beyond the quota.
    fn raise_alarms(&mut self) {
        if self.raft.raft.leader_id != 0 && (self.space.take_alarm() || self.quota.take_alarm()) {
            let request = AlarmRequest {
                action: AlarmAction::Activate.into(),
                member_id: self.shared.member,
                alarm: AlarmType::Nospace.into(),
            };
            self.propose(Op::Alarm(request), Caller::Member, None);
        }
    }

    /// Tells the cluster name and addresses of this member if it knows others.
    pub fn introduce(&mut self) {
        if self.raft.raft.leader_id == 0 {
            return;
        }
        let told = match read(&self.shared.store).members().get(self.shared.member) {
            Some(member) => member.name == self.identity.name && member.client_urls == self.identity.client_urls,
            // Not a member yet, or no more.
            None => true,
        };
        if !told {
            let attributes = MemberAttributes {
                id: self.shared.member,
                name: self.identity.name.clone(),
                client_urls: self.identity.client_urls.clone(),
            };
            self.propose(Op::MemberAttributes(attributes), Caller::Member, None);
        }
    }
}
