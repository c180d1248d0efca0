//! What must hold after every step, each under its name.
use std::collections::BTreeMap;

use hull_kv_core::Store;

use crate::{
    node::{Change, Life},
    world::Violation,
};

/// What is known to be true of the whole cluster.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Who led each term.
    leaders: BTreeMap<u64, u64>,
    /// What changed at each revision, as the first watcher saw it.
    revisions: BTreeMap<i64, Vec<Change>>,
    /// Checksum and revision of the store at each applied index, where it was looked at.
    states: BTreeMap<u64, (u32, i64)>,
    /// Events that watchers delivered.
    pub(crate) events: u64,
}

impl Truth {
    /// One leader a term.
    pub(crate) fn invariant_one_leader_a_term(&mut self, node: u64, life: &Life) -> Result<(), Violation> {
        let (term, leader, _) = life.driver.standing();
        if leader != node {
            return Ok(());
        }
        let first = *self.leaders.entry(term).or_insert(node);
        if first == node {
            Ok(())
        } else {
            Err(Violation(format!("one leader a term: {first:x} and {node:x} both led term {term}")))
        }
    }

    /// A watcher sees every change, once, in order, and all watchers see the same.
    pub(crate) fn invariant_watchers_miss_nothing(&mut self, node: u64, life: &mut Life) -> Result<(), Violation> {
        let events = life.events().map_err(Violation)?;
        let mut at = 0;
        while at < events.len() {
            let revision = events[at].revision;
            let end = at + events[at..].iter().take_while(|event| event.revision == revision).count();
            let changes: Vec<_> = events[at..end].iter().map(|event| event.change.clone()).collect();
            self.events += changes.len() as u64;
            let last = life.watched;
            if revision <= last {
                return Err(Violation(format!("watch order: {node:x} delivered revision {revision} after {last}")));
            }
            if let Some((missed, _)) = self.revisions.range(last + 1..revision).next() {
                return Err(Violation(format!(
                    "watch gap: {node:x} delivered revision {revision} after {last}, without {missed}"
                )));
            }
            let known = self.revisions.entry(revision).or_insert_with(|| changes.clone());
            if *known != changes {
                return Err(Violation(format!("watch content: {node:x} delivered something else at {revision}")));
            }
            life.watched = revision;
            at = end;
        }
        Ok(())
    }

    /// Whoever applied the same entries has the same keys.
    pub(crate) fn invariant_same_log_same_state(&mut self, node: u64, store: &Store) -> Result<(), Violation> {
        let Ok(hash) = store.hash_kv(0) else { return Ok(()) };
        let found = (hash.hash, hash.revision);
        let index = store.applied().index;
        let known = *self.states.entry(index).or_insert(found);
        if known == found {
            Ok(())
        } else {
            Err(Violation(format!("same state: {node:x} has {found:x?} at index {index}, another had {known:x?}")))
        }
    }
}

/// A lease that somebody keeps alive, as its keeper knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) id: i64,
    /// Until then (true time) it must be there.
    pub(crate) safe_until: u64,
}

/// A lease that was kept alive does not end.
pub(crate) fn invariant_kept_lease_lives(now: u64, kept: Kept, node: u64, store: &Store) -> Result<(), Violation> {
    // What is gone from one store was ended by the log; a store that has not seen it yet is no witness.
    let ended = store.revision() > 0 && !store.lessor().exists(kept.id);
    if ended && now < kept.safe_until {
        return Err(Violation(format!(
            "kept lease: {node:x} ended lease {} at {now} ms, kept alive until {} ms",
            kept.id, kept.safe_until
        )));
    }
    Ok(())
}
