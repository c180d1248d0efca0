//! grpc.health.v1, whose two messages are one field each, written by hand
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
use bytes::Bytes;

/// Asks once.
pub(crate) const HEALTH_PATH_CHECK: &str = "/grpc.health.v1.Health/Check";
/// Asks for every change.
pub(crate) const HEALTH_PATH_WATCH: &str = "/grpc.health.v1.Health/Watch";

/// `HealthCheckResponse { status: SERVING }`, or `NOT_SERVING`, as a gRPC frame.
pub(crate) fn check(serves: Serves) -> Bytes {
    match serves {
        Serves::Yes => Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 1]),
        Serves::No => Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 2]),
    }
}

/// Whether the member has a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serves {
    Yes,
    No,
}
