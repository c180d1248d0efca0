//! Guarantees that other stores of this kind got wrong at one time or another, each by its name. docs/kv.md lists all of
//! them with their tests.
mod support;

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, GetOptions, LeaseGrantOptions, WatchOptions, WatchResponse, WatchStream};
use support::{Member, folder};

/// Nothing here takes long; what does not come at all must not hang a test run.
const PATIENCE: Duration = Duration::from_secs(60);

async fn client(member: &Member) -> Client {
    Client::connect([member.endpoint()], None).await.expect("connect")
}

async fn next(watch: &mut WatchStream) -> WatchResponse {
    let message = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time");
    message.expect("message").expect("open")
}

fn revisions(message: &WatchResponse) -> impl Iterator<Item = i64> + '_ {
    message.events().iter().map(|event| event.kv().expect("pair").mod_revision())
}

/// Reads events until the one of revision `last`; answers the revisions of all.
async fn read_to(watch: &mut WatchStream, last: i64) -> Vec<i64> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|seen| *seen < last) {
        seen.extend(revisions(&next(watch).await));
    }
    seen
}

#[tokio::test]
async fn a_watcher_that_does_not_read_starves_nobody_and_loses_repeats_or_reorders_nothing_itself() {
    let folder = folder();
    let member = Member::start(folder.path());
    let options = || Some(WatchOptions::new().with_prefix());
    let mut stalled = client(&member).await.watch("s/", options()).await.expect("watch");
    let mut other = client(&member).await.watch("s/", options()).await.expect("watch");
    let mut writer = client(&member).await;
    // More than the connection and all queues together hold.
    let value = Arc::<str>::from("x".repeat(200_000));
    let mut last = 0;
    for n in 0..150 {
        let put = writer.put(format!("s/{n}"), &*value, None).await.expect("put");
        last = put.header().expect("header").revision();
    }
    let expected: Vec<i64> = (2..=last).collect();
    assert_eq!(read_to(&mut other, last).await, expected, "whoever reads gets everything meanwhile");
    assert_eq!(read_to(&mut stalled, last).await, expected, "whoever reads late gets everything, too");
}

#[tokio::test]
async fn a_watcher_far_behind_starves_no_other_watcher_of_its_stream() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut writer = client(&member).await;
    let value = "x".repeat(100_000);
    // More than the stream's queue holds, so that turns are taken.
    const HOT: usize = 400;
    for _ in 0..HOT {
        writer.put("hot", value.clone(), None).await.expect("put");
    }
    writer.put("calm", "v", None).await.expect("put");
    let from_start = || Some(WatchOptions::new().with_start_revision(2));
    let mut stream = writer.watch("hot", from_start().map(|options| options.with_watch_id(1))).await.expect("watch");
    stream.watch("calm", from_start().map(|options| options.with_watch_id(2))).await.expect("watch");
    let mut hot = 0;
    loop {
        let message = next(&mut stream).await;
        match message.watch_id() {
            1 => hot += message.events().len(),
            _ if message.events().is_empty() => {}
            _ => break,
        }
    }
    assert!(hot < HOT, "the other one waited until all of {hot} events were read");
    while hot < HOT {
        hot += next(&mut stream).await.events().len();
    }
}

#[tokio::test]
async fn progress_never_runs_ahead_of_events() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut writer = client(&member).await;
    for n in 0..300 {
        writer.put(format!("p/{n}"), "x".repeat(5_000), None).await.expect("put");
    }
    let from_start = Some(WatchOptions::new().with_prefix().with_start_revision(2));
    let mut stream = writer.watch("p/", from_start).await.expect("watch");
    let more = tokio::spawn(async move {
        for n in 0..300 {
            writer.put(format!("p/{n}"), "y", None).await.expect("put");
        }
    });
    let (mut event, mut progress, mut told) = (0, 0, 0);
    while event < 601 || told == 0 {
        stream.request_progress().await.expect("ask");
        let message = next(&mut stream).await;
        if message.events().is_empty() {
            if !message.created() {
                progress = message.header().expect("header").revision();
                told += 1;
                assert!(event >= progress, "revision {progress} was told when events had come to {event} only");
            }
            continue;
        }
        for revision in revisions(&message) {
            assert!(revision > progress, "the event of {revision} came after progress {progress}");
            event = revision;
        }
    }
    more.await.expect("writer");
}

#[tokio::test]
async fn keep_alives_are_answered_from_memory_and_write_nothing() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(7))).await.expect("grant");
    let before = client.status().await.expect("status").raft_index();
    let (mut keeper, mut kept) = client.lease_keep_alive(7).await.expect("keep alive");
    for _ in 0..200 {
        keeper.keep_alive().await.expect("ask");
        assert_eq!(kept.message().await.expect("message").expect("open").ttl(), 60);
    }
    assert_eq!(client.status().await.expect("status").raft_index(), before);
}

#[tokio::test]
async fn a_compaction_below_a_reader_is_an_error_and_never_other_data() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    for n in 0..10 {
        client.put("a", n.to_string(), None).await.expect("put");
    }
    client.compact(8, None).await.expect("compact");
    for revision in 2..=11 {
        match client.get("a", Some(GetOptions::new().with_revision(revision))).await {
            Ok(answer) => assert_eq!(answer.kvs()[0].value(), (revision - 2).to_string().as_bytes()),
            Err(refused) => {
                assert!(refused.to_string().contains("required revision has been compacted"), "{refused}");
                assert!(revision < 8, "{revision} is kept");
            }
        }
    }
}
