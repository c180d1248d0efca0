//! The runs that a member's data consists of, and how the state machine reads values in them.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use hull_kv_core::{Place, Unreadable, Values};
use hull_kv_proto::hullpb::Run;

use super::run::RunFile;
use crate::lock::lock;

/// Why a value could not be read; the first such is kept, and ends the member.
pub(super) type Damage = Arc<OnceLock<String>>;

/// Runs by their numbers. It never changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) files: BTreeMap<u32, Arc<RunFile>>,
    damage: Damage,
}

impl Table {
    pub(super) fn new(files: impl IntoIterator<Item = Arc<RunFile>>, damage: &Damage) -> Self {
        let files = files.into_iter().map(|file| (file.run.number, file)).collect();
        Self { files, damage: Arc::clone(damage) }
    }
}

impl Values for Table {
    fn read(&self, place: Place) -> Result<Bytes, Unreadable> {
        let read = match self.files.get(&place.file) {
            Some(file) => file.read(place).map_err(|error| error.to_string()),
            None => Err(format!("run {} is not among those that are open; please report this", place.file)),
        };
        read.map_err(|why| {
            // The first one counts.
            let _ = self.damage.set(why);
            Unreadable
        })
    }
}

/// What is on the disk.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    /// In the order of their revisions.
    pub(super) runs: Vec<Arc<RunFile>>,
    /// Every record up to this revision is in a run.
    pub(super) settled: i64,
    next: u32,
    /// Runs that are being written: their files are not leftovers.
    pub(super) underway: BTreeSet<u32>,
}

/// The runs of one member.
#[derive(Debug, Default)]
pub struct Runs {
    on_disk: Mutex<OnDisk>,
    data_bytes: AtomicU64,
    pub(super) damage: Damage,
}

/// The number of a run that is being written.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) number: u32,
    shared: Arc<crate::shared::Shared>,
}

impl Runs {
    /// Those that a snapshot names; no number up to `last` is given again.
    pub(super) fn new(runs: Vec<Arc<RunFile>>, settled: i64, last: u32, damage: Damage) -> Self {
        let this = Self { on_disk: Mutex::default(), data_bytes: AtomicU64::new(0), damage };
        {
            let mut on_disk = this.on_disk();
            on_disk.next = last;
            this.set(&mut on_disk, runs, settled);
        }
        this
    }

    /// Locks what is on the disk: before the store, if both are needed.
    pub(super) fn on_disk(&self) -> MutexGuard<'_, OnDisk> {
        lock(&self.on_disk)
    }

    /// These are the runs from now on.
    pub(super) fn set(&self, on_disk: &mut OnDisk, runs: Vec<Arc<RunFile>>, settled: i64) {
        let bytes = runs.iter().map(|file| file.run.data_bytes).sum();
        self.data_bytes.store(bytes, Ordering::Relaxed);
        on_disk.runs = runs;
        on_disk.settled = settled;
    }

    /// Bytes of keys and values in all runs, with what each record is charged for: also of those that compaction removed.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes.load(Ordering::Relaxed)
    }

    /// Why the member must stop: a value that it needed is damaged, or could not be read.
    pub fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }
}

impl Reserved {
    /// A number for a new run.
    pub(super) fn new(shared: &Arc<crate::shared::Shared>) -> Self {
        let mut on_disk = shared.runs.on_disk();
        on_disk.next += 1;
        let number = on_disk.next;
        on_disk.underway.insert(number);
        drop(on_disk);
        Self { number, shared: Arc::clone(shared) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.runs.on_disk().underway.remove(&self.number);
    }
}

/// Bytes on the disk.
pub(super) fn file_bytes(runs: &[Arc<RunFile>]) -> u64 {
    runs.iter().map(|file| file.run.values_bytes + file.run.index_bytes).sum()
}

/// As a snapshot names them.
pub(super) fn named(runs: &[Arc<RunFile>]) -> Vec<Run> {
    runs.iter().map(|file| file.run).collect()
}
