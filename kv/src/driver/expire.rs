//! Upkeep between writes: leases that are over, compaction in small steps, what the member says of itself.
use hull_kv_core::{Caller, Instant, Scrub};
use hull_kv_proto::{
    etcdserverpb::{AlarmRequest, AlarmType, LeaseRevokeRequest, alarm_request::AlarmAction},
    hullpb::{MemberAttributes, command::Op},
};
use raft::StateRole;

use super::Driver;
use crate::{
    limits::{LEASES_A_ROUND, SNAPSHOT_AFTER_BYTES},
    lock::{read, write},
};

impl Driver {
    /// Proposes the end of leases whose time is over. Only a leader has deadlines.
    pub fn end_leases(&mut self, now: Instant) {
        if self.role != StateRole::Leader {
            return;
        }
        let overdue = read(&self.shared.store).lessor().overdue(now, LEASES_A_ROUND);
        for id in overdue {
            self.propose(Op::LeaseRevoke(LeaseRevokeRequest { id }), Caller::Member, None);
        }
    }

    /// Removes a little of what compaction made unreachable.
    pub fn scrub(&mut self) -> Scrub {
        write(&self.shared.store).scrub()
    }

    /// Raises the NOSPACE alarm if the disk just ran low.
    pub fn raise_alarms(&mut self) {
        if self.role == StateRole::Leader && self.space.take_alarm() {
            let request = AlarmRequest {
                action: AlarmAction::Activate.into(),
                member_id: self.shared.member,
                alarm: AlarmType::Nospace.into(),
            };
            self.propose(Op::Alarm(request), Caller::Member, None);
        }
    }

    /// Looks at the room on the disk while nothing is written: somebody else may have taken or made some.
    pub fn mind_space(&mut self) {
        self.space.look_again(&*self.disk);
        self.space.keep_reserve(&*self.disk);
    }

    /// Tells the cluster name and addresses of this member if it knows others.
    pub fn introduce(&mut self) {
        if self.role != StateRole::Leader {
            return;
        }
        let known = read(&self.shared.store).members().iter().any(|member| {
            member.id == self.shared.member
                && member.name == self.identity.name
                && member.client_urls == self.identity.client_urls
        });
        if !known {
            let attributes = MemberAttributes {
                id: self.shared.member,
                name: self.identity.name.clone(),
                client_urls: self.identity.client_urls.clone(),
            };
            self.propose(Op::MemberAttributes(attributes), Caller::Member, None);
        }
    }

    /// Whether the log has grown enough to be worth a snapshot: it costs as much as it saves.
    pub fn wants_snapshot(&self) -> bool {
        self.since_snapshot > SNAPSHOT_AFTER_BYTES.max(self.snapshot_bytes)
    }

    /// A snapshot has begun: what is written from now on counts towards the next.
    pub fn snapshot_begun(&mut self) {
        self.since_snapshot = 0;
    }

    /// A snapshot is durable: log files that it covers go.
    pub fn snapshot_done(&mut self, written: crate::snapfile::Written) {
        self.snapshot_bytes = written.bytes;
        if let Err(error) = self.wal.truncate_front(written.applied.index) {
            eprintln!("hull-kv: remove old log files: {error}; they stay until the next snapshot");
        }
    }
}
