//! What the driver's thread and the API share: the store, where raft stands, and who waits for changes.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant as SystemInstant,
};

use hull_kv_core::{Instant, Store, StreamId};
use tokio::sync::Notify;

use crate::{lock::lock, metrics::Metrics};

/// Raft's standing, as the driver last saw it. Each number alone is right; together they may be of two moments.
#[derive(Debug, Default)]
pub struct Standing {
    /// Current term.
    pub term: AtomicU64,
    /// The leader's id; 0 without one.
    pub leader: AtomicU64,
    /// Highest index that a majority holds.
    pub committed: AtomicU64,
    /// Bytes of log and snapshot on disk.
    pub disk_bytes: AtomicU64,
    /// Commands that wait to be applied.
    pub pending: AtomicUsize,
}

/// Shared by all parts of one member.
#[derive(Debug)]
pub struct Shared {
    /// This member's id.
    pub member: u64,
    /// The state machine.
    pub store: RwLock<Store>,
    /// Raft's standing.
    pub standing: Standing,
    /// Counters for `/metrics`.
    pub metrics: Metrics,
    streams: Mutex<HashMap<StreamId, Arc<Notify>>>,
    next_stream: AtomicU64,
    started: SystemInstant,
}

impl Shared {
    /// For a store that was just opened.
    pub fn new(member: u64, store: Store) -> Self {
        Self {
            member,
            store: RwLock::new(store),
            standing: Standing::default(),
            metrics: Metrics::default(),
            streams: Mutex::default(),
            next_stream: AtomicU64::new(1),
            started: SystemInstant::now(),
        }
    }

    /// The member's monotonic clock.
    pub fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether this member leads.
    pub fn leads(&self) -> bool {
        self.standing.leader.load(Ordering::Acquire) == self.member
    }

    /// Registers a watch stream; it is notified when one of its watchers has something to read.
    pub fn open_stream(&self) -> (StreamId, Arc<Notify>) {
        let id = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let notify = Arc::new(Notify::new());
        lock(&self.streams).insert(id, Arc::clone(&notify));
        (id, notify)
    }

    /// Forgets a watch stream.
    pub fn close_stream(&self, id: StreamId) {
        lock(&self.streams).remove(&id);
    }

    /// Notifies streams.
    pub fn wake(&self, woken: &[StreamId]) {
        if woken.is_empty() {
            return;
        }
        let streams = lock(&self.streams);
        for id in woken {
            if let Some(notify) = streams.get(id) {
                notify.notify_one();
            }
        }
    }
}
