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
    /// Bytes received over gRPC.
    pub received: AtomicU64,
    calls: Mutex<BTreeMap<String, Calls>>,
    fsyncs: [AtomicU64; 15],
    fsync_micros: AtomicU64,
}

/// How often a method was answered with each of gRPC's codes.
type Calls = BTreeMap<i32, u64>;

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
        // Whoever calls what does not exist must not fill the memory with names.
        if code == Code::Unimplemented {
            return;
        }
        let mut calls = lock(&self.calls);
        match calls.get_mut(path) {
            Some(codes) => *codes.entry(code.into()).or_default() += 1,
            None => drop(calls.insert(path.to_owned(), Calls::from([(code.into(), 1)]))),
        }
    }

    fn write_calls(&self, to: &mut Exposition) {
        let name = "grpc_server_handled_total";
        to.kind(name, "counter");
        for (path, codes) in &*lock(&self.calls) {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
            for (code, count) in codes {
                // The names of gRPC for Go, which differ in two of them.
                let code = match Code::from_i32(*code) {
                    Code::Ok => "OK".to_owned(),
                    Code::Cancelled => "Canceled".to_owned(),
                    code => format!("{code:?}"),
                };
                to.line(&format!(
                    "{name}{{grpc_code=\"{code}\",grpc_method=\"{method}\",grpc_service=\"{service}\"}} {count}"
                ));
            }
        }
    }

    /// The counters in Prometheus' text format.
    pub fn write(&self, to: &mut Exposition) {
        let rows: [(&str, &AtomicU64); 9] = [
            ("etcd_server_proposals_applied_total", &self.applied),
            ("etcd_server_proposals_committed_total", &self.committed),
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
        self.write_fsyncs(to);
    }

    fn write_fsyncs(&self, to: &mut Exposition) {
        let name = "etcd_disk_wal_fsync_duration_seconds";
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
    pub fn counter(&mut self, name: &str, value: u64) {
        self.kind(name, "counter");
        self.line(&format!("{name} {value}"));
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, value: impl std::fmt::Display) {
        self.kind(name, "gauge");
        self.line(&format!("{name} {value}"));
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
