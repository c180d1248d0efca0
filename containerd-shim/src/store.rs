//! Follows the declarations in the store: all of them, then every change, and again from the start when the thread is lost.

use std::time::Duration;

use hull_kv_proto::client::{Store, connect_socket};
use hull_kv_proto::etcdserverpb::watch_request::RequestUnion;
use hull_kv_proto::etcdserverpb::{RangeRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use hull_kv_proto::mvccpb::event::EventType;
use hull_oci_core::declaration::PREFIX;
use tokio::sync::mpsc::Sender;

use crate::launcher::Event;

/// First wait before the store is asked again; doubled up to the longest. The store of a starting node is there within milliseconds.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// Sends [`Event::Listed`], then [`Event::Put`] and [`Event::Deleted`], for ever.
pub(crate) async fn follow(endpoint: String, events: Sender<Event>) {
    let mut wait = RETRY_FIRST;
    loop {
        let lost = match connect_socket(&endpoint).await {
            Ok(mut store) => follow_once(&mut store, &events, &mut wait).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = lost
            && events.send(Event::StoreLost(reason)).await.is_err()
        {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LONGEST);
    }
}

/// Returns when the stream ends: after a compaction, a restart of the store, or a failure.
async fn follow_once(store: &mut Store, events: &Sender<Event>, wait: &mut Duration) -> Result<(), String> {
    let range =
        RangeRequest { key: PREFIX.into(), range_end: prefix_end(PREFIX.as_bytes()).into(), ..Default::default() };
    let listed = store.kv.range(range).await.map_err(|status| status.message().to_owned())?.into_inner();
    let revision = listed.header.map_or(0, |header| header.revision);
    let entries = listed.kvs.into_iter().map(|pair| (pair.key.to_vec(), pair.value.to_vec())).collect();
    events.send(Event::Listed(entries)).await.map_err(|error| error.to_string())?;
    *wait = RETRY_FIRST;
    let create = WatchCreateRequest {
        key: PREFIX.into(),
        range_end: prefix_end(PREFIX.as_bytes()).into(),
        start_revision: revision + 1,
        ..Default::default()
    };
    // The request side of the stream stays open as long as its sender lives.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    sender.send(request).await.map_err(|error| error.to_string())?;
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut stream = store.watch.watch(requests).await.map_err(|status| status.message().to_owned())?.into_inner();
    while let Some(response) = stream.message().await.map_err(|status| status.message().to_owned())? {
        if response.canceled {
            return Err(response.cancel_reason);
        }
        forward(response, events).await?;
    }
    Err("the store ended the watch".to_owned())
}

async fn forward(response: WatchResponse, events: &Sender<Event>) -> Result<(), String> {
    for change in response.events {
        let deleted = change.r#type() == EventType::Delete;
        let Some(pair) = change.kv else { continue };
        let event = match deleted {
            true => Event::Deleted(pair.key.to_vec()),
            false => Event::Put(pair.key.to_vec(), pair.value.to_vec()),
        };
        events.send(event).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The first key behind all that begin with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix_lies_behind_every_key_with_it() {
        assert_eq!(prefix_end(b"/hull/"), b"/hull0");
        assert_eq!(prefix_end(&[1, 0xff]), [2]);
        assert_eq!(prefix_end(&[0xff]), [0]);
    }
}
