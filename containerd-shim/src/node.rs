//! Tells the store about this node: `/hull/nodes/<name>`, under a lease, so that a node that is gone disappears from there.

use std::process::{Command, Stdio};
use std::time::Duration;

use hull_kv_proto::client::{Store, connect_socket};
use hull_kv_proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::launcher::Event;

/// Where nodes are listed.
const PREFIX: &str = "/hull/nodes/";

/// Says what there is to say about the node.
const HULLCTL: &str = "/usr/bin/hullctl";

/// How long a node that says nothing counts as there, in seconds.
const LEASE_SECONDS: i64 = 30;

/// How often it says something: three chances within the lease.
const PERIOD: Duration = Duration::from_secs(10);

/// Reports for ever; the store may come and go.
pub(crate) async fn report(endpoint: String, name: String, events: Sender<Event>) {
    loop {
        // Not at once: a starting node has more urgent things to do.
        tokio::time::sleep(PERIOD / 10).await;
        if let Ok(mut store) = connect_socket(&endpoint).await {
            let _ = keep(&mut store, &name, &events).await;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// One lease, for as long as it lives. The record is written when it changes: a node at rest costs the store's log nothing.
async fn keep(store: &mut Store, name: &str, events: &Sender<Event>) -> Result<(), tonic::Status> {
    let grant = LeaseGrantRequest { ttl: LEASE_SECONDS, id: 0 };
    let lease = store.lease.lease_grant(grant).await?.into_inner().id;
    let mut written = None;
    loop {
        let Some(status) = status(events).await else { return Ok(()) };
        if written.as_ref() != Some(&status) {
            let put = PutRequest {
                key: format!("{PREFIX}{name}").into(),
                value: status.to_string().into(),
                lease,
                ..PutRequest::default()
            };
            store.kv.put(put).await?;
            written = Some(status);
        }
        tokio::time::sleep(PERIOD).await;
        let request = tokio_stream::once(LeaseKeepAliveRequest { id: lease });
        let mut replies = store.lease.lease_keep_alive(request).await?.into_inner();
        let alive = replies.message().await?.is_some_and(|reply| reply.ttl > 0);
        if !alive {
            return Ok(());
        }
    }
}

/// What the node says of itself: what `hullctl status -o json` says on it, without what changes all the time; where there is no
/// hullctl, the version and the containers.
async fn status(events: &Sender<Event>) -> Option<Value> {
    if let Ok(Some(status)) = tokio::task::spawn_blocking(told_by_hullctl).await {
        return Some(status);
    }
    let (reply, answer) = oneshot::channel();
    events.send(Event::Ps(reply)).await.ok()?;
    let containers = answer.await.ok()?;
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("VERSION_ID=")).unwrap_or_default();
    Some(json!({ "version": version, "containers": containers }))
}

fn told_by_hullctl() -> Option<Value> {
    let output = Command::new(HULLCTL).args(["status", "-o", "json"]).stdin(Stdio::null()).output().ok()?;
    let status = serde_json::from_slice(&output.stdout).ok()?;
    Some(at_rest(status, unix_seconds()))
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A status without what changes while nothing happens. Instead of the uptime there is `booted_at`, in seconds since 1970 and to
/// half a minute, so that a clock that is being set does not change it all the time.
fn at_rest(mut status: Value, now: u64) -> Value {
    /// Seconds that `booted_at` is rounded to.
    const STEP: u64 = 30;
    if let Some(fields) = status.as_object_mut() {
        let uptime = fields.remove("uptime_ms").and_then(|ms| ms.as_u64()).unwrap_or(0) / 1000;
        fields.insert("booted_at".to_owned(), json!((now.saturating_sub(uptime) + STEP / 2) / STEP * STEP));
        for name in ["kv", "pid1"] {
            fields.remove(name);
        }
        for service in fields.get_mut("services").and_then(Value::as_array_mut).into_iter().flatten() {
            service.as_object_mut().and_then(|service| service.remove("memory_bytes"));
        }
        if let Some(trial) = fields.get_mut("trial").and_then(Value::as_object_mut) {
            trial.remove("left_ms");
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_at_rest_says_the_same_again() {
        let told = |uptime: u64, memory: u64| {
            json!({
                "node": "ship", "uptime_ms": uptime, "kv": { "revision": uptime }, "pid1": { "resident_kib": memory },
                "services": [{ "name": "kv", "state": "ready", "memory_bytes": memory }],
                "trial": { "state": "running", "left_ms": uptime },
            })
        };
        let (early, late) = (at_rest(told(5_000, 1), 1_000_005), at_rest(told(65_000, 2), 1_000_065));
        assert_eq!(early, late);
        assert_eq!(
            early,
            json!({
                "node": "ship", "booted_at": 1_000_010 / 30 * 30,
                "services": [{ "name": "kv", "state": "ready" }], "trial": { "state": "running" },
            })
        );
    }
}
