//! Counters under etcd's names, so that dashboards made for etcd work.
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tonic::Code;

use crate::lock::lock;

/// Upper bounds of the fsync histogram (microseconds): etcd's, 1 ms doubling to 8.192 s.
const FSYNC_BOUNDS: [u64; 14] = [
    1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 1_024_000, 2_048_000, 4_096_000,
    8_192_000,
];

/// All counters of one member.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Entries applied.
    pub applied: AtomicU64,
    /// Entries committed.
    pub committed: AtomicU64,
    /// Proposals that did not get through.
    pub failed: AtomicU64,
    /// Times the leader changed, as seen here.
    pub leader_changes: AtomicU64,
    /// Range requests.
    pub ranges: AtomicU64,
    /// Put requests.
    pub puts: AtomicU64,
    /// DeleteRange requests.
    pub deletes: AtomicU64,
    /// Txn requests.
    pub txns: AtomicU64,
    /// Events sent to watchers.
    pub events: AtomicU64,
    /// Times that somebody asked for the health and it was good.
    pub healthy: AtomicU64,
    /// Times that it was not.
    pub unhealthy: AtomicU64,
    /// Bytes of data that the store may hold; 0: any number.
    pub quota: AtomicU64,
    calls: Mutex<BTreeMap<String, Calls>>,
    peers: Mutex<BTreeMap<u64, Traffic>>,
    fsyncs: [AtomicU64; 15],
    fsync_micros: AtomicU64,
}

/// What became of the calls of a method.
#[derive(Debug, Default)]
struct Calls {
    /// Streams that are open.
    open: u64,
    /// How often each of gRPC's codes was the answer.
    codes: BTreeMap<i32, u64>,
}

/// A stream that is open; counted as answered when it ends.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    metrics: &'a Metrics,
    path: &'static str,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.metrics.with_calls(self.path, |calls| {
            calls.open -= 1;
            *calls.codes.entry(Code::Ok.into()).or_default() += 1;
        });
    }
}

/// Which way bytes go between members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the other member.
    Out,
    /// From it.
    In,
}

/// What went between this member and another one.
#[derive(Debug, Default)]
struct Traffic {
    sent: u64,
    received: u64,
    failures: u64,
}

/// etcd's kind of a method, for the label that dashboards tell streams by.
fn kind_of(path: &str) -> &'static str {
    match path {
        "/etcdserverpb.Watch/Watch" | "/etcdserverpb.Lease/LeaseKeepAlive" => "bidi_stream",
        "/etcdserverpb.Maintenance/Snapshot" | "/v3electionpb.Election/Observe" | "/grpc.health.v1.Health/Watch" => {
            "server_stream"
        }
        _ => "unary",
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// One write-and-fdatasync of the log took this long.
    pub fn fsync(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = FSYNC_BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(FSYNC_BOUNDS.len());
        count(&self.fsyncs[bucket]);
        self.fsync_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// A gRPC method, named by its path, was answered with a code.
    pub(crate) fn call(&self, path: &str, code: Code) {
        self.with_calls(path, |calls| *calls.codes.entry(code.into()).or_default() += 1);
    }

    /// A stream has begun; it ends when the answer is dropped.
    pub(crate) fn open(&self, path: &'static str) -> Open<'_> {
        self.with_calls(path, |calls| calls.open += 1);
        Open { metrics: self, path }
    }

    fn with_calls(&self, path: &str, change: impl FnOnce(&mut Calls)) {
        let mut calls = lock(&self.calls);
        match calls.get_mut(path) {
            Some(known) => change(known),
            None => change(calls.entry(path.to_owned()).or_default()),
        }
    }

    /// Bytes went to or came from another member.
    pub(crate) fn moved(&self, member: u64, way: Way, bytes: usize) {
        let mut peers = lock(&self.peers);
        let traffic = peers.entry(member).or_default();
        match way {
            Way::Out => traffic.sent += bytes as u64,
            Way::In => traffic.received += bytes as u64,
        }
    }

    /// Another member could not be reached, or the connection to it broke.
    pub(crate) fn unreached(&self, member: u64) {
        lock(&self.peers).entry(member).or_default().failures += 1;
    }

    fn write_calls(&self, to: &mut Exposition) {
        let (started, handled) = ("grpc_server_started_total", "grpc_server_handled_total");
        let calls = lock(&self.calls);
        let labels = |path: &str| {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
            format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{}\"", kind_of(path))
        };
        to.kind(started, "counter");
        for (path, calls) in &*calls {
            let all = calls.open + calls.codes.values().sum::<u64>();
            to.line(&format!("{started}{{{}}} {all}", labels(path)));
        }
        to.kind(handled, "counter");
        for (path, calls) in &*calls {
            for (code, count) in &calls.codes {
                // The names of gRPC for Go, which differ in two of them.
                let code = match Code::from_i32(*code) {
                    Code::Ok => "OK".to_owned(),
                    Code::Cancelled => "Canceled".to_owned(),
                    code => format!("{code:?}"),
                };
                to.line(&format!("{handled}{{grpc_code=\"{code}\",{}}} {count}", labels(path)));
            }
        }
    }

    fn write_peers(&self, to: &mut Exposition) {
        let peers = lock(&self.peers);
        if peers.is_empty() {
            return;
        }
        let mut row = |name: &str, label: &str, number: fn(&Traffic) -> u64| {
            to.kind(name, "counter");
            for (member, traffic) in &*peers {
                to.line(&format!("{name}{{{label}=\"{member:x}\"}} {}", number(traffic)));
            }
        };
        row("etcd_network_peer_sent_bytes_total", "To", |traffic| traffic.sent);
        row("etcd_network_peer_received_bytes_total", "From", |traffic| traffic.received);
        row("etcd_network_peer_sent_failures_total", "To", |traffic| traffic.failures);
    }

    /// The counters in Prometheus' text format.
    pub fn write(&self, to: &mut Exposition) {
        // Gauges in etcd, whatever their names say.
        to.gauge("etcd_server_proposals_applied_total", self.applied.load(Ordering::Relaxed));
        to.gauge("etcd_server_proposals_committed_total", self.committed.load(Ordering::Relaxed));
        to.gauge("etcd_server_quota_backend_bytes", self.quota.load(Ordering::Relaxed));
        let rows: [(&str, &AtomicU64); 9] = [
            ("etcd_server_health_success", &self.healthy),
            ("etcd_server_health_failures", &self.unhealthy),
            ("etcd_server_proposals_failed_total", &self.failed),
            ("etcd_server_leader_changes_seen_total", &self.leader_changes),
            ("etcd_mvcc_range_total", &self.ranges),
            ("etcd_mvcc_put_total", &self.puts),
            ("etcd_mvcc_delete_total", &self.deletes),
            ("etcd_mvcc_txn_total", &self.txns),
            ("etcd_debugging_mvcc_events_total", &self.events),
        ];
        for (name, counter) in rows {
            to.counter(name, counter.load(Ordering::Relaxed));
        }
        self.write_calls(to);
        self.write_peers(to);
        // A commit waits for the log and for nothing else: there is no database file whose transactions would take time of their own.
        for name in ["etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds"] {
            self.write_fsyncs(to, name);
        }
    }

    fn write_fsyncs(&self, to: &mut Exposition, name: &str) {
        let mut total = 0;
        to.kind(name, "histogram");
        for (at, bucket) in self.fsyncs.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = FSYNC_BOUNDS.get(at).map_or("+Inf".to_owned(), |micros| format!("{}", *micros as f64 / 1e6));
            to.line(&format!("{name}_bucket{{le=\"{bound}\"}} {total}"));
        }
        to.line(&format!("{name}_sum {}", self.fsync_micros.load(Ordering::Relaxed) as f64 / 1e6));
        to.line(&format!("{name}_count {total}"));
    }
}

/// Text in Prometheus' exposition format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// A number that only grows.
    pub fn counter(&mut self, name: &str, value: impl std::fmt::Display) {
        self.kind(name, "counter");
        self.line(&format!("{name} {value}"));
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, value: impl std::fmt::Display) {
        self.kind(name, "gauge");
        self.line(&format!("{name} {value}"));
    }

    /// A number with labels, which say what there is to say.
    pub fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.kind(name, "gauge");
        let labels = labels.iter().map(|(label, said)| format!("{label}=\"{said}\"")).collect::<Vec<_>>().join(",");
        self.line(&format!("{name}{{{labels}}} {value}"));
    }

    fn kind(&mut self, name: &str, kind: &str) {
        self.line(&format!("# TYPE {name} {kind}"));
    }

    /// One line as it is.
    pub fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// Everything written.
    pub fn into_text(self) -> String {
        self.text
    }
}
