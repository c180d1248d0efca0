//! Applies committed entries in order, a bounded number under one hold of the store's lock, and answers who asked.
use std::sync::atomic::Ordering;

use hull_kv_core::{Applied, Instant, Outcome, Store};
use hull_kv_proto::hullpb::Command;
use prost::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeV2, Entry, EntryType};

use super::{Driver, Failed};
use crate::{limits::APPLY_UNDER_LOCK, lock::write};

impl Driver {
    /// Applies entries and answers those of them that were proposed here.
    pub(super) fn apply(&mut self, committed: Vec<Entry>, now: Instant) {
        let Some(last) = committed.last().map(|entry| entry.index) else { return };
        let count = committed.len() as u64;
        let mut entries = committed.into_iter().peekable();
        while entries.peek().is_some() {
            let batch: Vec<Entry> = entries.by_ref().take(APPLY_UNDER_LOCK).collect();
            let changes: Vec<Entry> =
                batch.iter().filter(|entry| entry.entry_type != EntryType::EntryNormal).cloned().collect();
            let (outcomes, woken) = {
                let mut store = write(&self.shared.store);
                let outcomes: Vec<Outcome> =
                    batch.into_iter().filter_map(|entry| apply_entry(&mut store, entry, now)).collect();
                (outcomes, store.hub_mut().take_woken())
            };
            self.shared.wake(&woken);
            changes.iter().for_each(|entry| self.change_members(entry));
            outcomes.into_iter().for_each(|outcome| self.answer(outcome));
        }
        self.raft.mut_store().forget(last);
        let metrics = &self.shared.metrics;
        metrics.applied.fetch_add(count, Ordering::Relaxed);
        metrics.committed.fetch_add(count, Ordering::Relaxed);
    }

    fn answer(&mut self, outcome: Outcome) {
        if outcome.member != self.shared.member {
            return;
        }
        if let Some(reply) = self.waiting.remove(&outcome.id) {
            // Whoever asked may have gone.
            let _ = reply.send(outcome.result.map_err(Failed::Refused));
        }
    }

    /// Takes a configuration change that is committed.
    fn change_members(&mut self, entry: &Entry) {
        let conf = match entry.entry_type {
            EntryType::EntryConfChange => {
                let Ok(change) = protobuf::Message::parse_from_bytes(&entry.data) else { return };
                let change: ConfChange = change;
                self.raft.apply_conf_change(&change)
            }
            _ => {
                let Ok(change) = protobuf::Message::parse_from_bytes(&entry.data) else { return };
                let change: ConfChangeV2 = change;
                self.raft.apply_conf_change(&change)
            }
        };
        if let Ok(conf) = conf {
            self.raft.mut_store().set_conf(conf);
        }
    }
}

/// Applies one entry. An entry that is no command (a leader's first, a configuration change) only takes its place.
fn apply_entry(store: &mut Store, entry: Entry, now: Instant) -> Option<Outcome> {
    let applied = Applied { index: entry.index, term: entry.term };
    if entry.entry_type != EntryType::EntryNormal || entry.data.is_empty() {
        store.skip(applied);
        return None;
    }
    match Command::decode(&*entry.data) {
        Ok(command) => Some(store.apply(applied, command, now)),
        // Every member reads the same bytes, so every member skips it alike.
        Err(_) => {
            store.skip(applied);
            None
        }
    }
}
