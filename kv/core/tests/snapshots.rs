//! Snapshots: what is taken is what comes back, even when it is taken while the store goes on.
mod support;

use hull_kv_core::{Restore, RestoreError, SnapshotCursor, Store};
use hull_kv_proto::hullpb::{DowngradeChange, SnapshotPart, command::Op};
use support::{compact, delete, get, get_at, grant, put, put_leased, revoke, scrub};

fn restore(parts: Vec<SnapshotPart>) -> Result<Store, RestoreError> {
    let mut restore = Restore::default();
    for part in parts {
        restore.part(part)?;
    }
    restore.finish()
}

fn take(store: &Store) -> Vec<SnapshotPart> {
    let mut cursor = SnapshotCursor::new(store).expect("whole");
    std::iter::from_fn(|| cursor.next_part(store)).map(|part| part.read().expect("in memory")).collect()
}

fn filled() -> Store {
    let mut store = Store::new();
    grant(&mut store, 9, 60).expect("grant");
    for n in 0..3000 {
        put(&mut store, &format!("k{:04}", n % 1500), &"v".repeat(100));
    }
    put_leased(&mut store, "leased", 9).expect("put");
    delete(&mut store, "k0003");
    store
}

#[test]
fn a_restored_store_is_the_store() {
    let mut store = filled();
    let mut copy = restore(take(&store)).expect("restore");
    assert_eq!(copy.hash_kv(0), store.hash_kv(0));
    assert_eq!((copy.revision(), copy.applied(), copy.usage()), (store.revision(), store.applied(), store.usage()));
    assert_eq!(get_at(&copy, "k0003", 10), get_at(&store, "k0003", 10));
    for one in [&mut copy, &mut store] {
        revoke(one, 9).expect("revoke");
        put(one, "k0001", "after");
    }
    assert_eq!(get(&copy, "leased"), None, "the lease still had its key");
    assert_eq!(copy.hash_kv(0), store.hash_kv(0));
}

#[test]
fn a_snapshot_carries_that_a_downgrade_is_announced() {
    let mut store = Store::new();
    let announce = |store: &mut Store, target: &str| {
        support::apply(store, Op::DowngradeChange(DowngradeChange { target: target.to_owned() })).expect("announce")
    };
    announce(&mut store, "3.4.0");
    assert_eq!(restore(take(&store)).expect("restore").downgrade(), Some("3.4.0"));
    announce(&mut store, "");
    assert_eq!(restore(take(&store)).expect("restore").downgrade(), None);
}

#[test]
fn a_lease_has_after_a_restore_the_keys_that_it_had_and_no_others() {
    let mut store = Store::new();
    for lease in [7, 8] {
        grant(&mut store, lease, 60).expect("grant");
    }
    for key in ["kept", "let go", "moved", "deleted", "deleted and again"] {
        put_leased(&mut store, key, 7).expect("put");
    }
    put(&mut store, "let go", "v");
    put_leased(&mut store, "moved", 8).expect("put");
    delete(&mut store, "deleted");
    delete(&mut store, "deleted and again");
    put(&mut store, "deleted and again", "v");
    let mut copy = restore(take(&store)).expect("restore");
    for one in [&mut store, &mut copy] {
        revoke(one, 7).expect("revoke");
    }
    assert_eq!(copy.hash_kv(0), store.hash_kv(0));
    let left = ["kept", "let go", "moved", "deleted", "deleted and again"].map(|key| get(&copy, key).is_some());
    assert_eq!(left, [false, true, true, false, true]);
}

#[test]
fn parts_are_small() {
    let parts = take(&filled());
    let largest = parts.iter().map(prost::Message::encoded_len).max().expect("parts");
    assert!(parts.len() > 4 && largest < 256 * 1024, "{} parts, largest {largest}", parts.len());
}

#[test]
fn writes_during_a_snapshot_are_not_in_it() {
    let mut store = filled();
    let expected = store.hash_kv(0);
    let mut cursor = SnapshotCursor::new(&store).expect("whole");
    let mut parts = Vec::new();
    while let Some(part) = cursor.next_part(&store) {
        parts.push(part.read().expect("in memory"));
        put(&mut store, "k0001", "during");
        delete(&mut store, "k0001");
    }
    assert_eq!(restore(parts).expect("restore").hash_kv(0), expected);
}

#[test]
fn a_compaction_under_way_is_finished_after_a_restore() {
    let mut store = filled();
    let at = store.revision() - 10;
    compact(&mut store, at).expect("compact");
    let mut copy = restore(take(&store)).expect("restore");
    scrub(&mut copy);
    scrub(&mut store);
    assert_eq!(copy.usage(), store.usage());
    assert_eq!(copy.hash_kv(0), store.hash_kv(0));
}

#[test]
fn missing_or_reordered_parts_are_no_snapshot() {
    let parts = take(&filled());
    let whole = parts.len();
    assert_eq!(restore(parts[1..].to_vec()).err(), Some(RestoreError::NoHead));
    assert!(matches!(restore(parts[..whole - 1].to_vec()).err(), Some(RestoreError::WrongCount { .. })));
    let mut swapped = parts.clone();
    swapped.swap(whole - 1, whole - 2);
    assert_eq!(restore(swapped).err(), Some(RestoreError::OutOfOrder));
    let mut twice = parts.clone();
    twice.push(parts[0].clone());
    assert_eq!(restore(twice).err(), Some(RestoreError::SecondHead));
}
