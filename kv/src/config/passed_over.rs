//! Settings of etcd that this store does not have. Those that tune what is not here are passed over with a word, so that a command line
//! made for etcd starts. Those that would change a promise (where data lies, who may come in, what is durable) are refused by name.
use super::ConfigError;

/// Settings that have a value.
const VALUED: &[&str] = &[
    "log-level",
    "logger",
    "log-output",
    "log-outputs",
    "log-format",
    "log-package-levels",
    "log-rotation-config-json",
    "snapshot-count",
    "max-snapshots",
    "max-wals",
    "grpc-keepalive-min-time",
    "backend-batch-interval",
    "backend-batch-limit",
    "backend-bbolt-freelist-type",
    "metrics",
    "election-tick-advance",
    "discovery-fallback",
    "proxy-failure-wait",
    "proxy-refresh-interval",
    "proxy-dial-timeout",
    "proxy-write-timeout",
    "proxy-read-timeout",
    "self-signed-cert-validity",
    "v2-deprecation",
    "experimental-corrupt-check-time",
    "experimental-enable-v2v3",
    "experimental-backend-bbolt-freelist-type",
    "experimental-compaction-batch-limit",
    "experimental-compaction-sleep-interval",
    "experimental-compact-hash-check-time",
    "experimental-warning-apply-duration",
    "experimental-warning-unary-request-duration",
    "experimental-bootstrap-defrag-threshold-megabytes",
    "experimental-downgrade-check-time",
    "experimental-max-learners",
    "experimental-snapshot-catch-up-entries",
    "experimental-distributed-tracing-address",
    "experimental-distributed-tracing-service-name",
    "experimental-distributed-tracing-instance-id",
    "experimental-distributed-tracing-sampling-rate",
    "experimental-snapshot-catchup-entries",
    "feature-gates",
];

/// Settings that may stand alone.
const SWITCHES: &[&str] = &[
    "debug",
    "enable-pprof",
    "enable-v2",
    "pre-vote",
    "strict-reconfig-check",
    "initial-election-tick-advance",
    "enable-log-rotation",
    "socket-reuse-port",
    "socket-reuse-address",
    // It allows what is not done here: what is acknowledged is on the disk.
    "unsafe-no-fsync",
    "experimental-enable-distributed-tracing",
    "experimental-memory-mlock",
    "experimental-peer-skip-client-san-verification",
    "experimental-set-member-localaddr",
    "experimental-stop-grpc-service-on-defrag",
];

/// A setting that would change a promise: the values that it has no effect with, and what to do instead.
struct Refused {
    flag: &'static str,
    harmless: &'static [&'static str],
    instead: &'static str,
}

const NO_DISCOVERY: &str = "name the members with --initial-cluster";

const REFUSED: &[Refused] = &[
    Refused { flag: "discovery", harmless: &[""], instead: NO_DISCOVERY },
    Refused { flag: "discovery-proxy", harmless: &[""], instead: NO_DISCOVERY },
    Refused { flag: "discovery-srv", harmless: &[""], instead: NO_DISCOVERY },
    Refused { flag: "discovery-srv-name", harmless: &[""], instead: NO_DISCOVERY },
    Refused { flag: "proxy", harmless: &["", "off"], instead: "clients speak to the members" },
    Refused {
        flag: "force-new-cluster",
        harmless: &["false"],
        instead: "begin anew from a snapshot (etcdctl snapshot save, hull-kv import)",
    },
    Refused { flag: "host-whitelist", harmless: &["", "*"], instead: "set names of hosts apart in front of the store" },
    Refused { flag: "cors", harmless: &["", "*"], instead: "no page of another origin may ask this store" },
    Refused { flag: "enable-grpc-gateway", harmless: &["true"], instead: "the JSON gateway is part of the port" },
];

/// Refused settings that may stand alone: they are true then.
const REFUSED_SWITCHES: &[&str] = &["force-new-cluster", "enable-grpc-gateway"];

/// What follows such a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// A value.
    Value,
    /// A value behind `=`, or nothing.
    Perhaps,
}

/// Whether etcd has this flag and this store does not, and what follows it.
pub(super) fn follows(flag: &str) -> Option<Follows> {
    let refused = REFUSED.iter().any(|refused| refused.flag == flag);
    // etcd 3.6 calls experimental settings by the rest of their names.
    let is_one = |known: &&str| *known == flag || known.strip_prefix("experimental-") == Some(flag);
    if VALUED.iter().any(is_one) || refused && !REFUSED_SWITCHES.contains(&flag) {
        Some(Follows::Value)
    } else if SWITCHES.iter().any(is_one) || refused || flag.starts_with("experimental-") {
        Some(Follows::Perhaps)
    } else {
        None
    }
}

/// # Errors
/// The flag with this value would change a promise.
pub(super) fn judge(flag: &str, value: &str) -> Result<(), ConfigError> {
    match REFUSED.iter().find(|refused| refused.flag == flag) {
        Some(refused) if !refused.harmless.contains(&value) => {
            Err(ConfigError(format!("--{flag} {value}: not in this store; {}", refused.instead)))
        }
        _ => Ok(()),
    }
}

/// Looks at the variables of settings that would change a promise.
///
/// # Errors
/// The first one that does.
pub(super) fn judge_variables(variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    REFUSED.iter().try_for_each(|refused| {
        let name = format!("ETCD_{}", refused.flag.to_uppercase().replace('-', "_"));
        variable(&name).map_or(Ok(()), |value| judge(refused.flag, &value))
    })
}
