//! Checksums in pieces: what is applied between two of them makes no difference.
mod support;

use hull_kv_core::{KeyHash, KeyHasher, Refused, Store};
use support::{compact, delete, put, scrub};

/// Enough for several pieces; some keys are deleted, some superseded.
fn filled() -> Store {
    let mut store = Store::new();
    for n in 0..6000 {
        put(&mut store, &format!("k{:04}", n % 2500), &format!("value {n}"));
        if n % 7 == 0 {
            delete(&mut store, &format!("k{:04}", n % 2500));
        }
    }
    store
}

/// The checksum at a revision, with `between` called after each piece, and how many pieces there were.
fn in_pieces(store: &mut Store, at: i64, mut between: impl FnMut(&mut Store)) -> (KeyHash, usize) {
    let mut hasher = KeyHasher::new(store, at).expect("a revision that can be read");
    let mut pieces = 0;
    while let Some(piece) = hasher.next_piece(store) {
        between(store);
        hasher.update(&piece).expect("in memory");
        pieces += 1;
    }
    (hasher.finish(), pieces)
}

#[test]
fn writes_and_a_compaction_during_a_checksum_are_not_in_it() {
    for compacted in [None, Some(1000), Some(6500)] {
        for back in [None, Some(10), Some(300)] {
            let mut store = filled();
            if let Some(at) = compacted {
                compact(&mut store, at).expect("compact");
            }
            let at = back.map_or(0, |back| store.revision() - back);
            let before = store.hash_kv(at).expect("hash");
            let begun = store.revision();
            let (hash, pieces) = in_pieces(&mut store, at, |store| {
                put(store, "k0001", "during");
                put(store, "new", "during");
                delete(store, "k0002");
                let newest = store.revision();
                compact(store, newest).expect("compact");
            });
            assert_eq!(hash, before, "compacted at {compacted:?}, at {at}");
            assert!(pieces > 4, "{pieces}");
            assert!(store.revision() >= begun + 2 * pieces as i64, "what came between was applied");
            scrub(&mut store);
            assert_ne!(store.hash_kv(0).expect("hash").hash, hash.hash);
        }
    }
}

#[test]
fn a_checksum_of_what_was_compacted_before_does_not_depend_on_when_it_is_scrubbed() {
    let mut store = filled();
    compact(&mut store, 3000).expect("compact");
    let before = store.hash_kv(0).expect("hash");
    let (hash, _) = in_pieces(&mut store, 0, scrub);
    assert_eq!(hash, before);
}

#[test]
fn an_empty_store_has_a_checksum_and_a_revision_that_is_not_there_has_none() {
    let mut store = Store::new();
    assert_eq!(in_pieces(&mut store, 0, |_| ()), (store.hash_kv(0).expect("hash"), 0));
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    compact(&mut store, 2).expect("compact");
    assert_eq!(KeyHasher::new(&store, 2).err(), Some(Refused::Compacted));
    assert_eq!(KeyHasher::new(&store, 4).err(), Some(Refused::FutureRevision));
}
