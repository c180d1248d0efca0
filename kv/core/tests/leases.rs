//! Leases: what the cluster agrees on, and what only the leader's clock decides.
mod support;

use hull_kv_core::{Instant, Refused, Store};
use support::{NOW, delete, get, grant, put, put_leased, revoke};

#[test]
fn a_lease_takes_its_keys_with_it_in_one_revision() {
    let mut store = Store::new();
    grant(&mut store, 7, 10).expect("grant");
    for key in ["c", "a", "b"] {
        put_leased(&mut store, key, 7).expect("put");
    }
    let before = store.revision();
    revoke(&mut store, 7).expect("revoke");
    assert_eq!(store.revision(), before + 1);
    assert_eq!(store.usage().keys, 0);
    assert_eq!(revoke(&mut store, 7), Err(Refused::LeaseNotFound));
}

#[test]
fn a_key_belongs_to_the_lease_of_its_last_write() {
    let mut store = Store::new();
    grant(&mut store, 1, 10).expect("grant");
    grant(&mut store, 2, 10).expect("grant");
    put_leased(&mut store, "a", 1).expect("put");
    put_leased(&mut store, "a", 2).expect("put");
    put_leased(&mut store, "b", 1).expect("put");
    put(&mut store, "b", "free");
    revoke(&mut store, 1).expect("revoke");
    assert!(get(&store, "a").is_some() && get(&store, "b").is_some());
    revoke(&mut store, 2).expect("revoke");
    assert_eq!(get(&store, "a"), None);
}

#[test]
fn a_deleted_key_that_comes_back_without_a_lease_outlives_the_old_one() {
    let mut store = Store::new();
    grant(&mut store, 1, 10).expect("grant");
    put_leased(&mut store, "a", 1).expect("put");
    delete(&mut store, "a");
    put(&mut store, "a", "again");
    revoke(&mut store, 1).expect("revoke");
    assert_eq!(get(&store, "a"), Some("again".into()));
}

#[test]
fn grants_are_refused_as_etcd_refuses_them() {
    let mut store = Store::new();
    assert_eq!(grant(&mut store, 1, 1), Ok(2), "the shortest time to live");
    assert_eq!(grant(&mut store, 1, 10), Err(Refused::LeaseExists));
    assert_eq!(grant(&mut store, 2, 9_000_000_001), Err(Refused::LeaseTtlTooLarge));
    assert_eq!(put_leased(&mut store, "a", 99).map(drop), Err(Refused::LeaseNotFound));
}

#[test]
fn only_a_leader_ends_leases_and_a_new_one_gives_them_their_whole_time() {
    let mut store = Store::new();
    grant(&mut store, 1, 10).expect("grant");
    let much_later = NOW.plus_seconds(1_000);
    assert!(store.lessor().overdue(much_later, 9).is_empty(), "a follower has no deadlines");
    store.lessor_mut().lead(much_later, 1);
    assert!(store.lessor().overdue(much_later.plus_seconds(10), 9).is_empty());
    assert_eq!(store.lessor().overdue(much_later.plus_seconds(11), 9), [1]);
    store.lessor_mut().follow();
    assert!(store.lessor().overdue(much_later.plus_seconds(11), 9).is_empty());
}

#[test]
fn a_renewed_lease_starts_afresh_but_an_overdue_one_is_lost() {
    let mut store = Store::new();
    store.lessor_mut().lead(NOW, 0);
    grant(&mut store, 1, 10).expect("grant");
    let later = Instant(NOW.0 + 9_000);
    assert_eq!(store.lessor_mut().renew(1, later), Some(10));
    assert!(store.lessor().overdue(later.plus_seconds(9), 9).is_empty());
    assert_eq!(store.lessor_mut().renew(1, later.plus_seconds(10)), None);
    assert_eq!(store.lessor_mut().renew(2, later), None);
    let (left, granted, _) = store.lessor().time_to_live(1, later.plus_seconds(4)).expect("lease");
    assert_eq!((left, granted), (6, 10));
}

#[test]
fn leases_that_are_over_together_end_in_rounds_the_longest_overdue_first() {
    let mut store = Store::new();
    store.lessor_mut().lead(NOW, 0);
    for id in 1..=10 {
        grant(&mut store, id, 20 - id).expect("grant");
    }
    let later = NOW.plus_seconds(1_000);
    let mut rounds = Vec::new();
    loop {
        let round = store.lessor().overdue(later, 4);
        if round.is_empty() {
            break;
        }
        round.iter().for_each(|id| revoke(&mut store, *id).expect("revoke"));
        rounds.push(round);
    }
    assert_eq!(rounds, [vec![10, 9, 8, 7], vec![6, 5, 4, 3], vec![2, 1]]);
}
