//! Revisions, versions, compaction: what a key was when.
mod support;

use hull_kv_core::{Refused, Store};
use hull_kv_proto::{
    etcdserverpb::{
        RangeRequest,
        range_request::{SortOrder, SortTarget},
    },
    hullpb::command::Op,
};
use support::{apply, compact, delete, delete_request, get, get_at, keys, put, put_request, range_request, scrub};

#[test]
fn a_new_store_is_at_revision_one() {
    assert_eq!(Store::new().revision(), 1);
    assert_eq!(Store::new().compacted(), -1);
}

#[test]
fn every_write_is_one_revision_and_old_ones_stay_readable() {
    let mut store = Store::new();
    let first = put(&mut store, "a", "1");
    let second = put(&mut store, "a", "2");
    assert_eq!((first, second), (2, 3));
    assert_eq!(get_at(&store, "a", first), Ok(Some("1".into())));
    assert_eq!(get_at(&store, "a", second), Ok(Some("2".into())));
    assert_eq!(get_at(&store, "a", 1), Ok(None));
}

#[test]
fn a_key_that_comes_back_starts_at_version_one() {
    let mut store = Store::new();
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    delete(&mut store, "a");
    let born = put(&mut store, "a", "3");
    let pair = store.range(&range_request("a", "")).expect("range").kvs.remove(0);
    assert_eq!((pair.version, pair.create_revision, pair.mod_revision), (1, born, born));
}

#[test]
fn deleting_nothing_is_no_revision() {
    let mut store = Store::new();
    assert_eq!(delete(&mut store, "nothing"), 0);
    assert_eq!(store.revision(), 1);
}

#[test]
fn a_range_delete_is_one_revision() {
    let mut store = Store::new();
    for key in ["a", "b", "c", "d"] {
        put(&mut store, key, "v");
    }
    let before = store.revision();
    apply(&mut store, Op::DeleteRange(delete_request("a", "d"))).expect("delete");
    assert_eq!(store.revision(), before + 1);
    assert_eq!(keys(&store.range(&range_request("\0", "\0")).expect("range").kvs), ["d"]);
}

#[test]
fn a_future_revision_is_refused() {
    let mut store = Store::new();
    put(&mut store, "a", "1");
    assert_eq!(get_at(&store, "a", 3), Err(Refused::FutureRevision));
}

#[test]
fn compaction_refuses_older_reads_at_once_and_removes_them_later() {
    let mut store = Store::new();
    for n in 0..10 {
        put(&mut store, "a", &n.to_string());
    }
    compact(&mut store, 8).expect("compact");
    assert_eq!(get_at(&store, "a", 7), Err(Refused::Compacted));
    assert_eq!(get_at(&store, "a", 8), Ok(Some("6".into())));
    assert_eq!(store.usage().revisions, 10);
    scrub(&mut store);
    assert_eq!(store.usage().revisions, 4);
    assert_eq!(get_at(&store, "a", 8), Ok(Some("6".into())));
    assert_eq!(get(&store, "a"), Some("9".into()));
}

#[test]
fn compaction_forgets_deleted_keys_whole() {
    let mut store = Store::new();
    for n in 0..2000 {
        put(&mut store, &format!("k{n}"), "v");
        delete(&mut store, &format!("k{n}"));
    }
    put(&mut store, "last", "v");
    let revision = store.revision();
    compact(&mut store, revision).expect("compact");
    scrub(&mut store);
    assert_eq!((store.usage().revisions, store.usage().keys), (1, 1));
}

#[test]
fn compacting_twice_or_ahead_is_refused() {
    let mut store = Store::new();
    put(&mut store, "a", "1");
    assert_eq!(compact(&mut store, 9), Err(Refused::FutureRevision));
    compact(&mut store, 2).expect("compact");
    assert_eq!(compact(&mut store, 2), Err(Refused::Compacted));
}

#[test]
fn ignore_value_keeps_the_value_and_needs_a_key() {
    let mut store = Store::new();
    let mut request = put_request("a", "");
    request.ignore_value = true;
    assert_eq!(apply(&mut store, Op::Put(request.clone())), Err(Refused::KeyNotFound));
    put(&mut store, "a", "kept");
    apply(&mut store, Op::Put(request)).expect("put");
    assert_eq!(get(&store, "a"), Some("kept".into()));
    assert_eq!(store.range(&range_request("a", "")).expect("range").kvs[0].version, 2);
}

#[test]
fn a_range_is_sorted_filtered_and_limited_in_that_order() {
    let mut store = Store::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("d", "0")] {
        put(&mut store, key, value);
    }
    let all = range_request("a", "z");
    let mut request = RangeRequest { limit: 2, min_mod_revision: 2, max_mod_revision: 4, ..all.clone() };
    request.set_sort_target(SortTarget::Value);
    request.set_sort_order(SortOrder::Ascend);
    let response = store.range(&request).expect("range");
    assert_eq!(keys(&response.kvs), ["b", "c"]);
    assert!(response.more);
    assert_eq!(response.count, 4, "the count is of the range, not of what filters and limit leave");
    request.set_sort_order(SortOrder::Descend);
    assert_eq!(keys(&store.range(&request).expect("range").kvs), ["a", "c"]);
    let counted = store.range(&RangeRequest { count_only: true, ..all }).expect("range");
    assert_eq!((counted.count, counted.kvs.len()), (4, 0));
}

#[test]
fn an_order_that_nobody_knows_is_none() {
    let mut store = Store::new();
    for key in ["b", "a"] {
        put(&mut store, key, "v");
    }
    let by_revision = SortTarget::Mod as i32;
    let listed = |sort_order| {
        let request = RangeRequest { sort_order, sort_target: by_revision, ..range_request("a", "z") };
        keys(&store.range(&request).expect("range").kvs)
    };
    assert_eq!((listed(0), listed(7)), (vec!["b".into(), "a".into()], vec!["a".into(), "b".into()]));
}

#[test]
fn an_end_below_the_start_is_an_empty_range() {
    let mut store = Store::new();
    put(&mut store, "b", "v");
    assert_eq!(store.range(&range_request("z", "a")).expect("range").count, 0);
}
