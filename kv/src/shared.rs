//! What the driver's thread and the API share: the store, where raft stands, and who waits for changes.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant as SystemInstant,
};

use hull_kv_core::{Enforced, Instant, Store, StreamId, Vote};
use tokio::sync::Notify;

use crate::{
    lock::{lock, write},
    metrics::Metrics,
    snapfile::Runs,
};

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
    /// The cluster's number.
    pub cluster: AtomicU64,
    voice: AtomicU8,
    enforces_users: AtomicBool,
}

/// What a member is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Not asked, or no member (yet, or any more).
    Learner,
    /// One of several that are asked.
    OneOfSeveral,
    /// All there is.
    Alone,
}

impl Standing {
    /// What this member is, without the store's lock.
    pub fn voice(&self) -> Voice {
        match self.voice.load(Ordering::Acquire) {
            0 => Voice::Learner,
            1 => Voice::OneOfSeveral,
            _ => Voice::Alone,
        }
    }

    /// Whether users count, as of the last command that was applied, without the store's lock.
    pub fn enforces_users(&self) -> bool {
        self.enforces_users.load(Ordering::Acquire)
    }

    /// Commands were applied, or it is another store.
    pub fn follow_users(&self, store: &Store) {
        self.enforces_users.store(store.auth().enforced() == Enforced::Yes, Ordering::Release);
    }

    /// The store's members are others now, or it is another store.
    pub fn follow(&self, store: &Store, member: u64) {
        let members = store.members();
        let voice = match members.get(member).map(|member| member.vote) {
            Some(Vote::Voter) if members.only(member) => Voice::Alone,
            Some(Vote::Voter) => Voice::OneOfSeveral,
            Some(Vote::Learner) | None => Voice::Learner,
        };
        self.voice.store(voice as u8, Ordering::Release);
        self.cluster.store(store.cluster_id(), Ordering::Release);
    }
}

/// Shared by all parts of one member.
#[derive(Debug)]
pub struct Shared {
    /// This member's id.
    pub member: u64,
    /// The state machine.
    pub store: RwLock<Store>,
    /// Where values are that lie outside memory.
    pub runs: Runs,
    /// Raft's standing.
    pub standing: Standing,
    /// Counters for `/metrics`.
    pub metrics: Metrics,
    /// How often a snapshot from elsewhere replaced the store. Changes under the store's lock only.
    generation: AtomicU64,
    /// Snapshots for other members that are being read off the store.
    readers: Arc<()>,
    streams: Mutex<HashMap<StreamId, Arc<Notify>>>,
    next_stream: AtomicU64,
    started: SystemInstant,
}

impl Shared {
    /// For a store that was just opened, or begins.
    pub fn new(member: u64, store: Store, runs: Runs) -> Self {
        let standing = Standing::default();
        standing.follow(&store, member);
        standing.follow_users(&store);
        Self {
            runs,
            member,
            store: RwLock::new(store),
            standing,
            metrics: Metrics::default(),
            generation: AtomicU64::new(0),
            readers: Arc::default(),
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

    /// Whether there is a leader, here or elsewhere.
    pub fn has_leader(&self) -> bool {
        self.standing.leader.load(Ordering::Acquire) != 0
    }

    /// Tells one store from the next: they are the same store only while this number stays.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Keeps compaction from removing anything while it is held: a snapshot for another member, a range or a checksum is being read.
    pub fn hold_for_reader(&self) -> Arc<()> {
        Arc::clone(&self.readers)
    }

    /// Whether somebody holds compaction up ([`Self::hold_for_reader`]).
    pub fn is_read_for_others(&self) -> bool {
        Arc::strong_count(&self.readers) > 1
    }

    /// The store becomes what a snapshot from elsewhere says; everybody who watches is woken.
    pub fn replace_store(&self, restored: Store) {
        let woken = {
            let mut store = write(&self.store);
            self.generation.fetch_add(1, Ordering::AcqRel);
            store.become_restored(restored);
            self.standing.follow_users(&store);
            store.hub_mut().take_woken()
        };
        self.wake(&woken);
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
