//! Watches: nothing lost, repeated or reordered, however slowly they are read.
mod support;

use hull_kv_core::{Filter, KeyRange, Previous, Pull, Rest, Store, WatchRefused, WatchSpec, Watcher};
use hull_kv_proto::{
    etcdserverpb::{TxnRequest, request_op::Request},
    mvccpb::{Event, event::EventType},
};
use support::{compact, delete, op, put, put_request, scrub, txn};

const STREAM: u64 = 1;

fn spec(key: &str, end: &str, start_revision: i64) -> WatchSpec {
    WatchSpec {
        range: KeyRange::new(key.as_bytes(), end.as_bytes()),
        start_revision,
        filters: vec![],
        previous: Previous::Omit,
    }
}

fn said(event: &Event) -> String {
    let pair = event.kv.as_ref().expect("pair");
    let kind = if event.r#type == EventType::Delete as i32 { "-" } else { "=" };
    format!(
        "{}{kind}{}@{}",
        String::from_utf8_lossy(&pair.key),
        String::from_utf8_lossy(&pair.value),
        pair.mod_revision
    )
}

/// Reads as a stream does: marks first, then little by little.
fn read(store: &mut Store, watcher: &mut Watcher, id: i64) -> Vec<String> {
    let mut seen = Vec::new();
    let Some(mut from) = store.hub_mut().take_marked(STREAM).remove(&id) else { return seen };
    loop {
        match store.pull(watcher, from, 3, 1_000_000) {
            Pull::Events(events) => {
                seen.extend(events.events.iter().map(said));
                if events.rest == Rest::None {
                    return seen;
                }
                from = events.revision + 1;
            }
            Pull::Idle(_) => return seen,
            Pull::Unreadable => panic!("every value is in memory"),
            Pull::Compacted(at) => {
                seen.push(format!("compacted {at}"));
                return seen;
            }
        }
    }
}

#[test]
fn a_watcher_sees_changes_of_its_key_only_from_now_on() {
    let mut store = Store::new();
    put(&mut store, "a", "before");
    let mut watcher = store.watch(STREAM, 5, spec("a", "", 0)).expect("watch");
    put(&mut store, "b", "other");
    put(&mut store, "a", "1");
    delete(&mut store, "a");
    assert_eq!(store.hub_mut().take_woken(), [STREAM]);
    assert_eq!(read(&mut store, &mut watcher, 5), ["a=1@4", "a-@5"]);
    assert_eq!(read(&mut store, &mut watcher, 5), Vec::<String>::new());
}

#[test]
fn a_slow_watcher_never_loses_repeats_or_reorders_an_event() {
    let mut store = Store::new();
    let mut watcher = store.watch(STREAM, 0, spec("k", "l", 0)).expect("watch");
    let mut seen = Vec::new();
    let mut expected = Vec::new();
    for n in 0..500 {
        let key = format!("k{}", n % 7);
        let revision = put(&mut store, &key, &n.to_string());
        expected.push(format!("{key}={n}@{revision}"));
        put(&mut store, "unwatched", "x");
        if n % 50 == 49 {
            seen.extend(read(&mut store, &mut watcher, 0));
        }
    }
    assert_eq!(seen, expected);
}

#[test]
fn a_watcher_from_an_old_revision_reads_the_history_first() {
    let mut store = Store::new();
    for n in 0..20 {
        put(&mut store, "a", &n.to_string());
    }
    let mut watcher = store.watch(STREAM, 0, spec("a", "b", 10)).expect("watch");
    let mut seen = Vec::new();
    while let Pull::Events(events) = store.pull(&mut watcher, 10, 4, 1_000_000) {
        seen.extend(events.events.iter().map(|event| event.kv.as_ref().expect("pair").mod_revision));
    }
    assert_eq!(seen, (10..=21).collect::<Vec<_>>());
}

#[test]
fn a_watcher_from_before_the_first_revision_hears_everything_or_that_it_is_gone() {
    let mut store = Store::new();
    put(&mut store, "k", "1");
    let mut early = store.watch(STREAM, 1, spec("k", "", -5)).expect("watch");
    let from = early.next_revision();
    let Pull::Events(events) = store.pull(&mut early, from, 10, 1000) else { panic!("events") };
    assert_eq!(events.events.iter().map(said).collect::<Vec<_>>(), ["k=1@2"]);
    put(&mut store, "k", "2");
    compact(&mut store, 3).expect("compact");
    let mut late = store.watch(STREAM, 2, spec("k", "", -5)).expect("watch");
    let from = late.next_revision();
    assert!(matches!(store.pull(&mut late, from, 10, 1000), Pull::Compacted(3)));
}

#[test]
fn a_watcher_of_the_future_hears_nothing_before_it() {
    let mut store = Store::new();
    let mut watcher = store.watch(STREAM, 0, spec("a", "", 4)).expect("watch");
    put(&mut store, "a", "2");
    put(&mut store, "a", "3");
    assert_eq!(read(&mut store, &mut watcher, 0), Vec::<String>::new());
    put(&mut store, "a", "4");
    assert_eq!(read(&mut store, &mut watcher, 0), ["a=4@4"]);
}

#[test]
fn events_of_one_revision_are_never_split() {
    let mut store = Store::new();
    let mut watcher = store.watch(STREAM, 0, spec("k", "l", 0)).expect("watch");
    let ops = (0..10).map(|n| op(Request::RequestPut(put_request(&format!("k{n}"), "v")))).collect();
    txn(&mut store, TxnRequest { success: ops, ..TxnRequest::default() }).expect("txn");
    put(&mut store, "k0", "next");
    let Pull::Events(events) = store.pull(&mut watcher, 0, 3, 1) else { panic!("events were expected") };
    assert_eq!((events.events.len(), events.revision, events.rest), (10, 2, Rest::Some));
}

#[test]
fn compaction_ends_a_watcher_that_is_behind_and_spares_one_that_is_not() {
    let mut store = Store::new();
    let mut behind = store.watch(STREAM, 0, spec("a", "", 0)).expect("watch");
    let mut idle = store.watch(STREAM, 1, spec("z", "", 0)).expect("watch");
    for n in 0..10 {
        put(&mut store, "a", &n.to_string());
    }
    compact(&mut store, 9).expect("compact");
    scrub(&mut store);
    put(&mut store, "z", "late");
    let marks = store.hub_mut().take_marked(STREAM);
    assert_eq!(store.pull(&mut behind, marks[&0], 100, 100), Pull::Compacted(9));
    let Pull::Events(events) = store.pull(&mut idle, marks[&1], 100, 100) else { panic!("events were expected") };
    assert_eq!(events.events.iter().map(said).collect::<Vec<_>>(), ["z=late@12"]);
}

#[test]
fn a_watcher_from_the_compacted_revision_still_sees_the_deletion_there() {
    let mut store = Store::new();
    put(&mut store, "a", "1");
    delete(&mut store, "a");
    compact(&mut store, 3).expect("compact");
    scrub(&mut store);
    let mut watcher = store.watch(STREAM, 0, spec("a", "", 3)).expect("watch");
    let Pull::Events(events) = store.pull(&mut watcher, 3, 100, 100) else { panic!("events were expected") };
    assert_eq!(events.events.iter().map(said).collect::<Vec<_>>(), ["a-@3"]);
}

#[test]
fn filters_and_previous_values_are_per_watcher() {
    let mut store = Store::new();
    let mut deletions = store
        .watch(STREAM, 0, WatchSpec { filters: vec![Filter::NoPut], previous: Previous::Include, ..spec("a", "", 0) })
        .expect("watch");
    put(&mut store, "a", "gone");
    delete(&mut store, "a");
    let Pull::Events(events) = store.pull(&mut deletions, 0, 100, 100) else { panic!("events were expected") };
    assert_eq!(events.events.len(), 1);
    let previous = events.events[0].prev_kv.as_ref().expect("previous");
    assert_eq!(support::value(previous), "gone");
}

#[test]
fn a_range_without_keys_is_refused_and_an_unregistered_watcher_is_not_marked() {
    let mut store = Store::new();
    assert_eq!(store.watch(STREAM, 0, spec("b", "a", 0)).err(), Some(WatchRefused::EmptyRange));
    let watcher = store.watch(STREAM, 0, spec("a", "", 0)).expect("watch");
    store.hub_mut().unregister(STREAM, 0, &watcher);
    put(&mut store, "a", "1");
    assert!(store.hub_mut().take_woken().is_empty() && store.hub_mut().is_empty());
}

#[test]
fn very_many_watchers_of_one_stream_come_and_go() {
    const WATCHERS: i64 = 100_000;
    let mut store = Store::new();
    let mut watchers: Vec<Watcher> = Vec::new();
    for id in 0..WATCHERS {
        let spec =
            if id % 2 == 0 { spec("one", "", 0) } else { spec(&format!("p/{id:06}/"), &format!("p/{id:06}0"), 0) };
        watchers.push(store.watch(STREAM, id, spec).expect("watch"));
    }
    assert_eq!(store.hub_mut().len(), WATCHERS as usize);
    put(&mut store, "p/012345/key", "1");
    assert_eq!(store.hub_mut().take_marked(STREAM).into_keys().collect::<Vec<_>>(), [12_345]);
    put(&mut store, "one", "1");
    assert_eq!(store.hub_mut().take_marked(STREAM).len(), WATCHERS as usize / 2);
    for (id, watcher) in (0..).zip(&watchers) {
        store.hub_mut().unregister(STREAM, id, watcher);
        store.hub_mut().unregister(STREAM, id, watcher);
    }
    assert!(store.hub_mut().is_empty());
    assert_eq!(store.hub_mut().len(), 0);
}
