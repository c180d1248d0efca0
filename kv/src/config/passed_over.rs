//! Settings of etcd that tune what this store does not have: they are passed over with a word, so that a command line made for etcd
//! starts. What would change a promise (where data lies, who may come in, what is durable) is not among them and stays refused.

/// Settings that have a value.
const VALUED: &[&str] = &[
    "log-level",
    "logger",
    "log-outputs",
    "log-format",
    "log-package-levels",
    "snapshot-count",
    "max-snapshots",
    "max-wals",
    "max-concurrent-streams",
    "grpc-keepalive-min-time",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "backend-batch-interval",
    "backend-batch-limit",
    "backend-bbolt-freelist-type",
    "metrics",
    "election-tick-advance",
    "initial-election-tick-advance",
    "host-whitelist",
    "cors",
];

/// Settings that may stand alone.
const SWITCHES: &[&str] = &[
    "debug",
    "enable-pprof",
    "enable-v2",
    "pre-vote",
    "strict-reconfig-check",
    "enable-log-rotation",
    "enable-grpc-gateway",
];

/// What follows such a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// A value.
    Value,
    /// A value behind `=`, or nothing.
    Perhaps,
}

/// Whether etcd has this flag and this store has no use for it.
pub(super) fn follows(flag: &str) -> Option<Follows> {
    if VALUED.contains(&flag) {
        Some(Follows::Value)
    } else if SWITCHES.contains(&flag) || flag.starts_with("experimental-") {
        Some(Follows::Perhaps)
    } else {
        None
    }
}
