//! Takes the commands of the log, one by one, in order.
use hull_kv_proto::{
    etcdserverpb::{
        AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse, DeleteRangeResponse, LeaseGrantRequest,
        LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse, PutRequest, PutResponse, TxnRequest, TxnResponse,
        alarm_request::AlarmAction, request_op::Request,
    },
    hullpb::{Command, command::Op},
};

use crate::{
    auth::Caller,
    error::Refused,
    lease::Instant,
    member::Member,
    put::{Write, header},
    store::{Applied, Store},
};

/// What a command answered.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is the API's response of that name")]
pub enum Response {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compaction(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke(LeaseRevokeResponse),
    Alarm(AlarmResponse),
    /// A change of users or roles; the current revision.
    Auth(i64),
    /// A login: the current revision and the token.
    Token(i64, String),
    /// The members after a change of them.
    Members(Vec<Member>),
    /// Commands that only the members themselves propose.
    Internal,
}

/// What became of a command, and who asked.
#[derive(Debug)]
pub struct Outcome {
    /// The member that proposed it.
    pub member: u64,
    /// The proposal's number at that member.
    pub id: u64,
    /// Its answer.
    pub result: Result<Response, Refused>,
}

impl Store {
    /// Applies one command. `now` starts the clock of a lease if this member leads; nothing replicated depends on it.
    pub fn apply(&mut self, applied: Applied, command: Command, now: Instant) -> Outcome {
        self.skip(applied);
        let caller = Caller::of(&command);
        let result = match command.op {
            Some(op) => self.permit(&caller, &op).and_then(|()| self.apply_op(op, now)),
            None => Ok(Response::Internal),
        };
        if result == Err(Refused::Unreadable) {
            self.tear();
        }
        Outcome { member: command.member, id: command.id, result }
    }

    fn apply_op(&mut self, op: Op, now: Instant) -> Result<Response, Refused> {
        if self.alarms.corrupt() && changes_data(&op) {
            return Err(Refused::Corrupt);
        }
        if self.alarms.no_space() && takes_space(&op) {
            return Err(Refused::NoSpace);
        }
        match op {
            Op::Put(request) => self.apply_put(request).map(Response::Put),
            Op::DeleteRange(request) => {
                let mut write = Write::new(self);
                let response = write.delete_range(&request);
                write.finish();
                response.map(Response::DeleteRange)
            }
            Op::Txn(request) => self.txn(request).map(Response::Txn),
            Op::Compaction(request) => self.apply_compaction(&request).map(Response::Compaction),
            Op::LeaseGrant(request) => self.apply_grant(&request, now).map(Response::LeaseGrant),
            Op::LeaseRevoke(request) => self.apply_revoke(&request).map(Response::LeaseRevoke),
            Op::Alarm(request) => Ok(Response::Alarm(self.apply_alarm(request))),
            Op::MemberAttributes(attributes) => {
                self.members.describe(attributes);
                Ok(Response::Internal)
            }
            Op::AuthChange(change) => {
                change.change.map_or(Ok(()), |change| self.auth.change(change))?;
                Ok(Response::Auth(self.revision))
            }
            Op::Login(login) => {
                let token = self.auth.login(login, self.applied.index, now)?;
                Ok(Response::Token(self.revision, token))
            }
            Op::DowngradeChange(change) => {
                self.downgrade = change.target;
                Ok(Response::Internal)
            }
            Op::MemberChange(change) => {
                self.members.change(change)?;
                Ok(Response::Members(self.members.iter().cloned().collect()))
            }
        }
    }

    fn apply_put(&mut self, request: PutRequest) -> Result<PutResponse, Refused> {
        if request.lease != 0 && !self.lessor.exists(request.lease) {
            return Err(Refused::LeaseNotFound);
        }
        let mut write = Write::new(self);
        let response = write.put(request);
        write.finish();
        response
    }

    fn apply_compaction(&mut self, request: &CompactionRequest) -> Result<CompactionResponse, Refused> {
        self.compact(request.revision)?;
        Ok(CompactionResponse { header: Some(header(self.revision)) })
    }

    fn apply_grant(&mut self, request: &LeaseGrantRequest, now: Instant) -> Result<LeaseGrantResponse, Refused> {
        let ttl = self.lessor.grant(request.id, request.ttl, now)?;
        Ok(LeaseGrantResponse { header: Some(header(self.revision)), id: request.id, ttl, error: String::new() })
    }

    /// The lease ends and its keys with it, in one revision.
    fn apply_revoke(&mut self, request: &LeaseRevokeRequest) -> Result<LeaseRevokeResponse, Refused> {
        let keys = self.lessor.remove(request.id)?;
        let mut write = Write::new(self);
        write.delete_keys(keys);
        let revision = write.finish();
        Ok(LeaseRevokeResponse { header: Some(header(revision)) })
    }

    fn apply_alarm(&mut self, request: AlarmRequest) -> AlarmResponse {
        let alarms = match request.action() {
            AlarmAction::Get => self.alarms.of_kind(request.alarm),
            AlarmAction::Activate => vec![self.alarms.raise(request.member_id, request.alarm)],
            AlarmAction::Deactivate => self.alarms.lower(request.member_id, request.alarm).into_iter().collect(),
        };
        AlarmResponse { header: Some(header(self.revision)), alarms }
    }
}

/// Whether a command changes keys or leases, which the CORRUPT alarm refuses, even to a member that ends leases: whatever is changed
/// then would hide what went wrong.
fn changes_data(op: &Op) -> bool {
    match op {
        Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_) | Op::Compaction(_) | Op::LeaseGrant(_) | Op::LeaseRevoke(_) => {
            true
        }
        Op::Alarm(_)
        | Op::MemberAttributes(_)
        | Op::AuthChange(_)
        | Op::Login(_)
        | Op::DowngradeChange(_)
        | Op::MemberChange(_) => false,
    }
}

/// Whether a command needs space, which the NOSPACE alarm refuses. Deletes, compaction and revoking give space back.
pub fn takes_space(op: &Op) -> bool {
    match op {
        Op::Put(_) | Op::LeaseGrant(_) => true,
        Op::Txn(request) => txn_puts(request),
        _ => false,
    }
}

fn txn_puts(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => txn_puts(nested),
        _ => false,
    })
}
