//! One writer, many watchers of one key.
use std::time::{Duration, Instant};

use hull_kv_proto::{
    client::{Store, connect},
    etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest, watch_request::RequestUnion},
};
use tokio::sync::mpsc;

use crate::{
    Outcome, Plan,
    cluster::{Cluster, Subject, runtime},
    limits::{WATCH_CONNECTIONS, WATCHED_PUTS, WATCHERS},
    spread::Spread,
};

/// What the watchers saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fanout {
    /// From before a put to its arrival at the last of the watchers, in ms; puts one after the other.
    pub(crate) last_ms: Spread,
    /// Events a second when the next put follows as soon as all have seen the one before.
    pub(crate) events: f64,
    /// Server processor time for 1,000 events, in ms.
    pub(crate) processor: f64,
}

/// Measures one subject: [`WATCHERS`] watchers over [`WATCH_CONNECTIONS`] connections, one stream each.
pub(crate) fn measure(plan: &Plan, subject: &Subject) -> Outcome<Fanout> {
    let cluster = Cluster::start(subject, 1, &plan.scratch)?;
    let endpoint = cluster.endpoints();
    let mut before = 0;
    let (latencies, took) = runtime()?.block_on(async {
        let (seen, mut arrivals) = mpsc::unbounded_channel();
        let mut streams = Vec::new();
        for _ in 0..WATCH_CONNECTIONS {
            let store = connect(&endpoint).await?;
            for _ in 0..WATCHERS / WATCH_CONNECTIONS {
                streams.push(watch(store.clone(), seen.clone()).await?);
            }
        }
        let mut store = connect(&endpoint).await?;
        before = cluster.processor_ms()?;
        let begun = Instant::now();
        let mut latencies = Vec::new();
        for number in 0..WATCHED_PUTS {
            let put = Instant::now();
            let request =
                PutRequest { key: "watched".into(), value: format!("{number}").into(), ..PutRequest::default() };
            store.kv.put(request).await?;
            for _ in 0..WATCHERS {
                arrivals.recv().await.ok_or("every watcher ended")?;
            }
            latencies.push(put.elapsed().as_secs_f64() * 1000.0);
        }
        Ok::<_, Box<dyn std::error::Error>>((latencies, begun.elapsed()))
    })?;
    let events = (WATCHED_PUTS * WATCHERS) as f64;
    let processor = (cluster.processor_ms()? - before) as f64 * 1000.0 / events;
    let fanout = Fanout { last_ms: Spread::of(latencies), events: events / Duration::as_secs_f64(&took), processor };
    eprintln!("fan-out: {}: {fanout:?}", subject.name);
    Ok(fanout)
}

/// Opens a stream with one watch, and tells of each event that comes. The sender must live as long as the stream.
async fn watch(mut store: Store, seen: mpsc::UnboundedSender<()>) -> Outcome<mpsc::Sender<WatchRequest>> {
    let create = WatchCreateRequest { key: "watched".into(), ..WatchCreateRequest::default() };
    let (requests, receiver) = mpsc::channel(1);
    requests.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut incoming = store.watch.watch(outgoing).await?.into_inner();
    incoming.message().await?.ok_or("the stream ended before it was confirmed")?;
    tokio::spawn(async move {
        while let Ok(Some(response)) = incoming.message().await {
            for _ in &response.events {
                let _ = seen.send(()); // the measurement may be over
            }
        }
    });
    Ok(requests)
}
