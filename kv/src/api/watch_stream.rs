//! The watchers of one client stream: registers them, remembers who has something to read, reads for one at a time.
use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use hull_kv_core::{KeyRange, Previous, Pull, StreamId, WatchRefused, WatchSpec, Watcher};
use tokio::{runtime::Handle, sync::Notify};

use super::Api;
use crate::{
    limits::{WATCH_BYTES, WATCH_LOOK, WATCHERS_A_BATCH, WATCHERS_GAP},
    lock::{read, write},
    shared::Shared,
};

/// The watchers of one stream; dropping it unregisters them.
#[derive(Debug)]
pub(super) struct Watchers {
    shared: Arc<Shared>,
    stream: StreamId,
    notify: Arc<Notify>,
    watchers: BTreeMap<i64, Watcher>,
    /// Who has something to read, and from which revision on.
    pending: BTreeMap<i64, i64>,
    /// Whose turn was last: the next one with a higher number follows, so that each gets its turn.
    last_turn: i64,
    next_id: i64,
}

/// Whether every watcher has read everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Synced {
    /// All have, up to this revision.
    At(i64),
    /// Somebody has not.
    No,
}

impl Watchers {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (stream, notify) = shared.open_stream();
        Self { shared, stream, notify, watchers: BTreeMap::new(), pending: BTreeMap::new(), last_turn: -1, next_id: 0 }
    }

    /// Adds a watcher; answers its number and the revision at that moment. Number 0 asks for a free one.
    pub(super) fn add(&mut self, wanted: i64, spec: WatchSpec) -> (i64, Result<i64, WatchRefused>) {
        let mut store = write(&self.shared.store);
        let revision = store.revision();
        if spec.range.is_empty() {
            return (revision, Err(WatchRefused::EmptyRange));
        }
        let id = if wanted == 0 { free_id(&self.watchers, &mut self.next_id) } else { wanted };
        if self.watchers.contains_key(&id) {
            return (revision, Err(WatchRefused::DuplicateId));
        }
        let result = store.watch(self.stream, id, spec).map(|watcher| {
            if watcher.next_revision() <= revision {
                self.pending.insert(id, watcher.next_revision());
            }
            self.watchers.insert(id, watcher);
            id
        });
        (revision, result)
    }

    /// Removes a watcher; answers the revision, or `None` if there is none of this number.
    pub(super) fn remove(&mut self, id: i64) -> Option<i64> {
        let watcher = self.watchers.remove(&id)?;
        self.pending.remove(&id);
        let mut store = write(&self.shared.store);
        store.hub_mut().unregister(self.stream, id, &watcher);
        Some(store.revision())
    }

    /// Waits until some watcher may have something to read.
    pub(super) fn notified(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }

    /// Takes the registry's marks.
    pub(super) fn gather(&mut self) -> Synced {
        let (marks, revision) = {
            let mut store = write(&self.shared.store);
            (store.hub_mut().take_marked(self.stream), store.revision())
        };
        for (id, from) in marks {
            if self.watchers.contains_key(&id) {
                self.pending.entry(id).or_insert(from);
            }
        }
        if self.pending.is_empty() { Synced::At(revision) } else { Synced::No }
    }

    /// Whether some watcher has something to read.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reads for the watcher whose turn it is. A watcher whose revisions are gone is removed.
    pub(super) fn read_next(&mut self) -> Option<(i64, Pull)> {
        let after = self.pending.range(self.last_turn + 1..).next().or_else(|| self.pending.iter().next());
        let (id, from) = after.map(|(id, from)| (*id, *from))?;
        self.last_turn = id;
        let pull = {
            let watcher = self.watchers.get_mut(&id)?;
            let store = read(&self.shared.store);
            store.pull(watcher, from, WATCH_LOOK, WATCH_BYTES)
        };
        match &pull {
            Pull::Events(events) if events.rest == hull_kv_core::Rest::Some => {
                self.pending.insert(id, events.revision + 1);
            }
            Pull::Compacted(_) | Pull::Unreadable => {
                self.remove(id);
            }
            Pull::Events(_) | Pull::Idle(_) => {
                self.pending.remove(&id);
            }
        }
        Some((id, pull))
    }
}

/// The next number that no watcher of the stream has.
fn free_id(taken: &BTreeMap<i64, Watcher>, next: &mut i64) -> i64 {
    while taken.contains_key(next) {
        *next += 1;
    }
    *next += 1;
    *next - 1
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.shared.close_stream(self.stream);
        let (shared, stream) = (Arc::clone(&self.shared), self.stream);
        let mut watchers = std::mem::take(&mut self.watchers).into_iter();
        unregister_batch(&shared, stream, &mut watchers);
        // Of a runtime that ends nobody waits for the rest.
        if watchers.len() > 0
            && let Ok(runtime) = Handle::try_current()
        {
            // All at once would hold up whoever waits for the store, and this event loop.
            runtime.spawn(async move {
                while watchers.len() > 0 {
                    tokio::time::sleep(WATCHERS_GAP).await;
                    unregister_batch(&shared, stream, &mut watchers);
                }
            });
        }
    }
}

/// Unregisters some watchers of a stream, and with the last one the stream.
fn unregister_batch(shared: &Shared, stream: StreamId, watchers: &mut btree_map::IntoIter<i64, Watcher>) {
    let mut store = write(&shared.store);
    for (id, watcher) in watchers.by_ref().take(WATCHERS_A_BATCH) {
        store.hub_mut().unregister(stream, id, &watcher);
    }
    if watchers.len() == 0 {
        store.hub_mut().close(stream);
    }
}

/// How waiting for a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The key changed.
    Changed,
    /// Compaction removed what would tell whether it did; carries the compacted revision.
    Compacted(i64),
}

impl Api {
    /// Waits until `key` changes after `revision`; at once if it has.
    pub(crate) async fn wait(&self, key: &[u8], revision: i64) -> Wait {
        self.wait_range(KeyRange::Single(key.into()), revision).await
    }

    /// Waits until a key of the range changes after `revision`; at once if one has.
    pub(super) async fn wait_range(&self, range: KeyRange, revision: i64) -> Wait {
        let mut watchers = Watchers::new(Arc::clone(&self.shared));
        let spec = WatchSpec { range, start_revision: revision + 1, filters: Vec::new(), previous: Previous::Omit };
        // Neither one key nor a prefix is an empty range, and this stream has no other watcher.
        let _ = watchers.add(0, spec);
        let notify = watchers.notified();
        loop {
            let notified = notify.notified();
            watchers.gather();
            while let Some((_, pull)) = watchers.read_next() {
                match pull {
                    Pull::Events(events) if !events.events.is_empty() => return Wait::Changed,
                    Pull::Compacted(at) => return Wait::Compacted(at),
                    Pull::Events(_) | Pull::Idle(_) | Pull::Unreadable => {}
                }
            }
            notified.await;
        }
    }
}
