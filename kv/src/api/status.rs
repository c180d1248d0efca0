//! Refusals as gRPC statuses, with etcd's codes and messages.
use hull_kv_core::{Code as CoreCode, Refused};
use tonic::{Code, Status};

use crate::driver::Failed;

/// A refusal of the state machine.
pub(crate) fn refused(refused: Refused) -> Status {
    let code = match refused.code() {
        CoreCode::InvalidArgument => Code::InvalidArgument,
        CoreCode::NotFound => Code::NotFound,
        CoreCode::ResourceExhausted => Code::ResourceExhausted,
        CoreCode::FailedPrecondition => Code::FailedPrecondition,
        CoreCode::OutOfRange => Code::OutOfRange,
        CoreCode::Unavailable => Code::Unavailable,
        CoreCode::DataLoss => Code::DataLoss,
        CoreCode::Unknown => Code::Unknown,
        CoreCode::PermissionDenied => Code::PermissionDenied,
        CoreCode::Unauthenticated => Code::Unauthenticated,
    };
    Status::new(code, refused.message())
}

/// A proposal without an answer.
pub(super) fn failed(failed: Failed) -> Status {
    match failed {
        Failed::Refused(why) => refused(why),
        Failed::NoLeader => Status::unavailable("etcdserver: no leader"),
        Failed::NotLeader => Status::failed_precondition("etcdserver: not leader"),
        Failed::BadTransferee => Status::failed_precondition("etcdserver: bad leader transferee"),
        Failed::TooLarge => Status::invalid_argument("etcdserver: request is too large"),
        Failed::Stopped => Status::unavailable("etcdserver: server stopped"),
        Failed::TimedOut => too_late(),
        Failed::NotMoved => Status::unavailable("etcdserver: request timed out, leader transfer took too long"),
    }
}

/// Nothing came back in time.
fn too_late() -> Status {
    Status::unavailable("etcdserver: request timed out")
}
