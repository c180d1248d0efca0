//! Settings of clients' connections, under etcd's names.
use std::time::Duration;

use super::{ConfigError, Setting, history::duration, listen_address, number, split};
use crate::{
    http::{Address, Manners},
    limits::{MAX_REQUEST_BYTES, MOST_REQUEST_BYTES, WATCH_PROGRESS},
};

/// What holds for every client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// `--listen-metrics-urls`: addresses that answer health, version and metrics only.
    pub monitors: Vec<Address>,
    /// `--max-request-bytes`
    pub max_request_bytes: usize,
    /// `--max-concurrent-streams` and `--grpc-keepalive-...`
    pub manners: Manners,
    /// `--experimental-watch-progress-notify-interval`
    pub progress_every: Duration,
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        flag: "listen-metrics-urls",
        variable: "ETCD_LISTEN_METRICS_URLS",
        default: "",
        help: "addresses that answer health, version and metrics only",
    },
    Setting {
        flag: "max-request-bytes",
        variable: "ETCD_MAX_REQUEST_BYTES",
        default: "1572864",
        help: "the largest request, in bytes; at most 10485760",
    },
    Setting {
        flag: "max-concurrent-streams",
        variable: "ETCD_MAX_CONCURRENT_STREAMS",
        default: "16384",
        help: "requests and streams that one connection may have open at a time",
    },
    Setting {
        flag: "grpc-keepalive-interval",
        variable: "ETCD_GRPC_KEEPALIVE_INTERVAL",
        default: "2h",
        help: "after how long without a word a client is asked whether it is there; 0: never",
    },
    Setting {
        flag: "grpc-keepalive-timeout",
        variable: "ETCD_GRPC_KEEPALIVE_TIMEOUT",
        default: "20s",
        help: "how long it may take to answer that",
    },
    Setting {
        flag: "experimental-watch-progress-notify-interval",
        variable: "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL",
        default: "10m",
        help: "how often a quiet watcher that asked for it hears how far it is",
    },
];

fn time(get: &impl Fn(&str) -> String, flag: &str) -> Result<Duration, ConfigError> {
    let value = get(flag);
    match value.as_str() {
        "0" | "0s" => Some(Duration::ZERO),
        text if text.ends_with(|c: char| c.is_ascii_digit()) => None,
        text => duration(text),
    }
    .ok_or_else(|| ConfigError(format!("--{flag} {value}: a time such as 30s was expected")))
}

impl Connections {
    pub(super) fn from_values(get: &impl Fn(&str) -> String) -> Result<Self, ConfigError> {
        let ask_after = time(get, "grpc-keepalive-interval")?;
        let progress_every = time(get, "experimental-watch-progress-notify-interval")?;
        Ok(Self {
            monitors: split(&get("listen-metrics-urls"))
                .map(|url| listen_address("listen-metrics-urls", &url))
                .collect::<Result<_, _>>()?,
            max_request_bytes: number(get, "max-request-bytes", 1..=MOST_REQUEST_BYTES as u64)? as usize,
            manners: Manners {
                max_streams: number(get, "max-concurrent-streams", 1..=u64::from(u32::MAX))? as u32,
                ask_after: Some(ask_after).filter(|after| !after.is_zero()),
                answer_within: time(get, "grpc-keepalive-timeout")?,
            },
            progress_every: if progress_every.is_zero() { WATCH_PROGRESS } else { progress_every },
        })
    }
}

const _: () = assert!(MAX_REQUEST_BYTES == 1_572_864 && MAX_REQUEST_BYTES <= MOST_REQUEST_BYTES);
