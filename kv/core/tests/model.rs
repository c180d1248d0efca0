//! Random histories against a model that keeps every state whole, and against members that compact at other times.
mod support;

use std::collections::BTreeMap;

use hull_kv_core::{Refused, Store};
use hull_kv_proto::hullpb::command::Op;
use proptest::prelude::*;
use support::{apply, compact, delete_request, keys, put, range_request, scrub, value};

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    Compact(u8),
    Scrub,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..12_u8, 0..12_u8).prop_map(|(from, to)| Step::Delete(from, to)),
        1 => any::<u8>().prop_map(Step::Compact),
        1 => Just(Step::Scrub),
    ];
    prop::collection::vec(step, 1..120)
}

fn key(n: u8) -> String {
    format!("k{n:02}")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_readable_revision_is_what_the_model_was_then(steps in steps()) {
        let mut store = Store::new();
        let mut states = vec![BTreeMap::<String, String>::new(), BTreeMap::new()];
        for step in steps {
            let mut state = states.last().cloned().unwrap_or_default();
            let before = store.revision();
            match step {
                Step::Put(k, v) => {
                    put(&mut store, &key(k), &v.to_string());
                    state.insert(key(k), v.to_string());
                }
                Step::Delete(from, to) => {
                    apply(&mut store, Op::DeleteRange(delete_request(&key(from), &key(to)))).expect("delete");
                    state.retain(|k, _| !(key(from) <= *k && *k < key(to)));
                }
                Step::Compact(back) => {
                    let at = store.revision() - i64::from(back % 20);
                    let possible = at > store.compacted();
                    prop_assert_eq!(compact(&mut store, at).is_ok(), possible);
                }
                Step::Scrub => scrub(&mut store),
            }
            if store.revision() > before {
                states.push(state);
            }
            prop_assert_eq!(states.len() as i64, store.revision() + 1);
        }
        for (revision, state) in states.iter().enumerate().skip(1) {
            let mut request = range_request("\0", "\0");
            request.revision = revision as i64;
            match store.range(&request) {
                Ok(response) => {
                    prop_assert!(revision as i64 >= store.compacted());
                    prop_assert_eq!(keys(&response.kvs), state.keys().cloned().collect::<Vec<_>>());
                    prop_assert_eq!(response.kvs.iter().map(value).collect::<Vec<_>>(), state.values().cloned().collect::<Vec<_>>());
                }
                Err(why) => {
                    prop_assert_eq!(why, Refused::Compacted);
                    prop_assert!((revision as i64) < store.compacted());
                }
            }
        }
    }

    #[test]
    fn when_space_comes_back_makes_no_difference_to_the_checksum(steps in steps()) {
        let (mut eager, mut lazy) = (Store::new(), Store::new());
        for step in steps {
            for (store, often) in [(&mut eager, true), (&mut lazy, false)] {
                match step {
                    Step::Put(k, v) => { put(store, &key(k), &v.to_string()); }
                    Step::Delete(from, to) => { let _ = apply(store, Op::DeleteRange(delete_request(&key(from), &key(to)))); }
                    Step::Compact(back) => { let at = store.revision() - i64::from(back % 20); let _ = compact(store, at); }
                    Step::Scrub => {}
                }
                if often { scrub(store); }
            }
            prop_assert_eq!(eager.hash_kv(0), lazy.hash_kv(0));
        }
    }
}
