//! One simulated member: its driver while it runs, its disk always, its own idea of the time, and a watcher.
use std::{collections::BTreeMap, sync::Arc};

use hull_kv::{
    disk::{Disk, MemoryDisk},
    driver::{Birth, Driver, Identity, Outlet, Sending, SnapshotOut, Start, Timing},
    peer::Word,
};
use hull_kv_core::{Instant, KeyRange, Members, Previous, Pull, WatchSpec, Watcher};
use raft::eraftpb::Message;

use crate::disk::FailingDisk;

/// The stream of the node's one watcher.
const STREAM: u64 = 1;

/// A key and what it became.
pub(crate) type Change = (Vec<u8>, Vec<u8>);

/// An event that a watcher delivered.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) revision: i64,
    pub(crate) change: Change,
}

/// What a node wants sent.
#[derive(Debug)]
pub(crate) enum Sent {
    Word(u64, Word),
    Snapshot(u64, Message, Vec<u8>),
}

/// Gathers what a driver says.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) sent: Vec<Sent>,
    /// Snapshots that could not even be read.
    pub(crate) failed: Vec<u64>,
    shared: Option<Arc<hull_kv::shared::Shared>>,
}

impl Outlet for Outbox {
    fn send(&mut self, to: u64, word: Word) -> Sending {
        self.sent.push(Sent::Word(to, word));
        Sending::OnItsWay
    }

    fn send_snapshot(&mut self, snapshot: SnapshotOut) {
        let SnapshotOut { to, message, mut encoder } = snapshot;
        let Some(shared) = &self.shared else { return self.failed.push(to) };
        let mut bytes = Vec::new();
        loop {
            match encoder.next(shared) {
                Ok(Some(piece)) => bytes.extend(piece),
                Ok(None) => break self.sent.push(Sent::Snapshot(to, message, bytes)),
                Err(_) => break self.failed.push(to),
            }
        }
    }

    fn members_changed(&mut self, _members: &Members) {}
}

/// A running member.
pub(crate) struct Life {
    pub(crate) driver: Driver,
    pub(crate) outbox: Outbox,
    started: u64,
    watcher: Watcher,
    /// The last revision that the watcher delivered.
    pub(crate) watched: i64,
}

/// A member, running or not.
pub(crate) struct Node {
    pub(crate) disk: FailingDisk,
    pub(crate) life: Option<Life>,
    birth: Birth,
    /// How fast its clock runs, in thousandths.
    rate: u64,
    /// It does nothing until then.
    pub(crate) frozen_until: u64,
    /// It was removed from the cluster: it never starts again.
    pub(crate) retired: bool,
}

impl Node {
    pub(crate) fn new(birth: Birth, rate: u64) -> Self {
        let disk = FailingDisk::new(MemoryDisk::default());
        Self { disk, life: None, birth, rate, frozen_until: 0, retired: false }
    }

    /// Starts the member at true time `now`. Its clock starts at zero, as a process' does.
    pub(crate) fn start(&mut self, now: u64, life: u64) -> Result<(), String> {
        let start = Start {
            identity: Identity { name: format!("n{:x}", self.birth.member()), client_urls: Vec::new() },
            birth: self.birth.clone(),
            timing: Timing::default(),
            life,
            catch_up_bytes: 4 * 1024,
            quota_bytes: u64::MAX,
            burst_bytes: 0,
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let driver = Driver::open(disk, start).map_err(|error| error.to_string())?;
        let shared = Arc::clone(driver.shared());
        let spec = WatchSpec {
            range: KeyRange::new(b"\0", b"\0"),
            start_revision: 0,
            filters: Vec::new(),
            previous: Previous::Omit,
        };
        let (watcher, watched) = {
            let mut store = shared.store.write().map_err(|error| error.to_string())?;
            (store.watch(STREAM, 1, spec).map_err(|why| why.message().to_owned())?, store.revision())
        };
        let outbox = Outbox { shared: Some(shared), ..Outbox::default() };
        self.life = Some(Life { driver, outbox, started: now, watcher, watched });
        Ok(())
    }

    /// The member's own clock.
    pub(crate) fn clock(&self, now: u64) -> Instant {
        let started = self.life.as_ref().map_or(now, |life| life.started);
        Instant((now - started) * self.rate / 1000)
    }
}

impl Life {
    /// What the watcher has to deliver, in order.
    pub(crate) fn events(&mut self) -> Result<Vec<Seen>, String> {
        let shared = Arc::clone(self.driver.shared());
        let mut store = shared.store.write().map_err(|error| error.to_string())?;
        let marked: BTreeMap<i64, i64> = store.hub_mut().take_marked(STREAM);
        let Some(mut from) = marked.get(&1).copied() else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        loop {
            match store.pull(&mut self.watcher, from, 16, 4096) {
                Pull::Idle(_) => return Ok(events),
                Pull::Events(pulled) => {
                    for event in pulled.events {
                        let pair = event.kv.unwrap_or_default();
                        let change = (pair.key.to_vec(), pair.value.to_vec());
                        events.push(Seen { revision: pair.mod_revision, change });
                    }
                    from = pulled.revision + 1;
                    if pulled.rest == hull_kv_core::Rest::None {
                        return Ok(events);
                    }
                }
                Pull::Unreadable => return Err("a value on the disk is damaged".into()),
                // Compaction overtook it (by a snapshot): the watcher would be told so; it goes on from there.
                Pull::Compacted(at) => {
                    self.watched = at - 1;
                    from = at;
                }
            }
        }
    }
}
