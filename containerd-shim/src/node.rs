//! Tells the store about this node: `/hull/nodes/<name>`, under a lease, so that a node that is gone disappears from there.

use std::time::Duration;

use hull_kv_proto::client::{Store, connect};
use hull_kv_proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest};
use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::launcher::Event;

/// Where nodes are listed.
const PREFIX: &str = "/hull/nodes/";

/// How long a node that says nothing counts as there, in seconds.
const LEASE_SECONDS: i64 = 30;

/// How often it says something: three chances within the lease.
const PERIOD: Duration = Duration::from_secs(10);

/// Reports for ever; the store may come and go.
pub(crate) async fn report(endpoint: String, name: String, events: Sender<Event>) {
    loop {
        // Not at once: a starting node has more urgent things to do.
        tokio::time::sleep(PERIOD / 10).await;
        if let Ok(mut store) = connect(&endpoint).await {
            let _ = keep(&mut store, &name, &events).await;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// One lease, for as long as it lives.
async fn keep(store: &mut Store, name: &str, events: &Sender<Event>) -> Result<(), tonic::Status> {
    let grant = LeaseGrantRequest { ttl: LEASE_SECONDS, id: 0 };
    let lease = store.lease.lease_grant(grant).await?.into_inner().id;
    loop {
        let Some(status) = status(events).await else { return Ok(()) };
        let put =
            PutRequest { key: format!("{PREFIX}{name}").into(), value: status.into(), lease, ..PutRequest::default() };
        store.kv.put(put).await?;
        tokio::time::sleep(PERIOD).await;
        let request = tokio_stream::once(LeaseKeepAliveRequest { id: lease });
        let mut replies = store.lease.lease_keep_alive(request).await?.into_inner();
        let alive = replies.message().await?.is_some_and(|reply| reply.ttl > 0);
        if !alive {
            return Ok(());
        }
    }
}

/// What the node says of itself.
async fn status(events: &Sender<Event>) -> Option<String> {
    let (reply, answer) = oneshot::channel();
    events.send(Event::Ps(reply)).await.ok()?;
    let containers = answer.await.ok()?;
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("VERSION_ID=")).unwrap_or_default();
    Some(json!({ "version": version, "containers": containers }).to_string())
}
