//! Writes what a member starts from, and lets go of the values that are on the disk then.
//!
//! What is new since the last snapshot becomes a run; older runs stay as they are. Once enough of them is gone from the
//! store, everything that is left becomes one run in place of all. The store goes on meanwhile.
use std::{io, sync::Arc};

use hull_kv_core::{Applied, Revision, SnapshotCursor, Store};
use hull_kv_proto::hullpb::SnapshotPart;

use super::{
    MAGIC, PREFIX, SnapshotError, UNFINISHED, Written,
    blocks::{put_block, put_end},
    encoder::Broken,
    file_name, list,
    run::{Layout, RunFile, Writer, index_name, number_of, values_name},
    runs::{OnDisk, Reserved, Table, file_bytes, named},
};
use crate::{
    disk::{Disk, Growth},
    limits::{RUNS_MOST, SNAPSHOT_AFTER_BYTES},
    lock::{read, write as lock_write},
    shared::Shared,
};

/// How small the data shall become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Old runs stay as long as most of them is in use.
    Usual,
    /// What is not in use goes, unless it is next to nothing.
    Shrink,
}

/// Bytes of the runs that are in use no more, beyond which they are written anew, when `live` are: a store that changes
/// all the time is then written four times over for what changes, and takes a quarter more than it needs.
fn garbage_allowed(effort: Effort, live: u64) -> u64 {
    match effort {
        Effort::Usual => (live / 4).max(SNAPSHOT_AFTER_BYTES),
        Effort::Shrink => live / 16,
    }
}

/// Whether so much of the runs, of which `held` bytes hold the store's, is in use no more that all of them are written anew.
pub(crate) fn is_mostly_garbage(effort: Effort, held: u64, store: &Store) -> bool {
    let used = store.usage().bytes;
    let live = match effort {
        // What is in no run yet counts as if it were, since nobody knows how much of it is gone again: the next snapshot
        // knows, and is worth less than a run of everything.
        Effort::Usual => used,
        Effort::Shrink => used.saturating_sub(store.unsettled()),
    };
    held.saturating_sub(live) > garbage_allowed(effort, live)
}

/// Writes a snapshot of the store as it is now and removes older ones; the values in it leave memory.
///
/// # Errors
/// The disk's; older snapshots stay then, and what was begun is removed, since it may be space that was lacking.
pub fn write(disk: &dyn Disk, shared: &Arc<Shared>, effort: Effort) -> io::Result<Written> {
    let reserved = Reserved::new(shared);
    let mut plan = Plan::new(shared, effort)?;
    let new = write_run(disk, shared, &mut plan, reserved.number).inspect_err(|_| {
        // What cannot even be removed now goes with the next snapshot, or at the next start.
        for name in [UNFINISHED, &values_name(reserved.number), &index_name(reserved.number)] {
            let _ = disk.remove(name);
        }
    })?;
    let applied = plan.cursor.applied();
    let runs: Vec<Arc<RunFile>> = plan.kept.iter().cloned().chain(new.clone()).collect();
    let bytes = plan.manifest.len() as u64 + file_bytes(&runs);
    let finished = finish(disk, &shared.runs.on_disk(), UNFINISHED, applied, &runs)?;
    // An older one than that which came from elsewhere is nothing to go by.
    if finished == Finished::Newest && settle(shared, &plan, new.as_deref(), &runs).is_err() {
        eprintln!("hull-kv: {}: nothing is lost", Broken::Replaced);
    }
    Ok(Written { applied, bytes })
}

/// What goes into a snapshot.
struct Plan {
    cursor: SnapshotCursor,
    generation: u64,
    /// Where the new run begins.
    from: Revision,
    kept: Vec<Arc<RunFile>>,
    /// Bytes ever appended to the store when it began.
    appended: u64,
    /// The snapshot's own file.
    manifest: Vec<u8>,
}

impl Plan {
    fn new(shared: &Shared, effort: Effort) -> io::Result<Self> {
        let on_disk = shared.runs.on_disk();
        let store = read(&shared.store);
        let anew = is_mostly_garbage(effort, shared.runs.data_bytes(), &store) || on_disk.runs.len() >= RUNS_MOST;
        let (from, kept) = if anew {
            (Revision::default(), Vec::new())
        } else {
            (Revision { main: on_disk.settled + 1, sub: 0 }, on_disk.runs.clone())
        };
        let cursor = SnapshotCursor::since(&store, from).map_err(io::Error::other)?;
        let (generation, appended) = (shared.generation(), store.appended());
        Ok(Self { cursor, generation, from, kept, appended, manifest: MAGIC.to_vec() })
    }
}

/// Writes the new run, if there is anything new, and the file that names all runs, under its first name.
fn write_run(disk: &dyn Disk, shared: &Shared, plan: &mut Plan, number: u32) -> io::Result<Option<Arc<RunFile>>> {
    let mut small = SnapshotPart::default();
    let mut writer: Option<Writer> = None;
    loop {
        let part = {
            let store = read(&shared.store);
            if shared.generation() != plan.generation {
                return Err(io::Error::other(Broken::Replaced));
            }
            plan.cursor.next_part(&store)
        };
        let Some(part) = part else { break };
        let mut part = part.read().map_err(io::Error::other)?;
        for mut record in std::mem::take(&mut part.records) {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(Writer::create(disk, number)?),
            };
            writer.add(&mut record)?;
        }
        small.head = part.head.or(small.head);
        small.leases.append(&mut part.leases);
    }
    let new = writer.map(Writer::finish).transpose()?;
    let new = new.map(|run| RunFile::open(disk, run).map_err(io::Error::other)).transpose()?;
    small.runs = named(&plan.kept);
    small.runs.extend(new.as_ref().map(|file| file.run));
    if let Some(head) = &mut small.head {
        // Of runs that stay, those are counted, too, that compaction has removed since.
        head.records = small.runs.iter().map(|run| run.records).sum();
    }
    plan.manifest.extend(manifest_blocks(small));
    write_manifest(disk, UNFINISHED, &plan.manifest)?;
    Ok(new)
}

/// Leases in one block.
const LEASES_A_BLOCK: usize = 1024;

/// The blocks of a snapshot's own file.
pub(super) fn manifest_blocks(small: SnapshotPart) -> Vec<u8> {
    let mut parts = vec![SnapshotPart { head: small.head, ..SnapshotPart::default() }];
    let leases = small.leases.chunks(LEASES_A_BLOCK);
    parts.extend(leases.map(|leases| SnapshotPart { leases: leases.to_vec(), ..SnapshotPart::default() }));
    parts.push(SnapshotPart { runs: small.runs, ..SnapshotPart::default() });
    let mut blocks = Vec::new();
    let mut number = 0;
    for part in &parts {
        put_block(&mut blocks, number, part);
        number += 1;
    }
    put_end(&mut blocks, number);
    blocks
}

pub(super) fn write_manifest(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.create(name, Growth::Exact)?;
    file.write(bytes)?;
    file.sync()
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finished {
    /// A start begins with it.
    Newest,
    /// A newer one was there: this one is gone.
    Overtaken,
}

/// Gives a whole, durable snapshot its final name; older ones go, and so do runs that it does not name.
///
/// An error means that nothing was removed: whether the new name is durable is unknown, and every file of the older
/// snapshot is there.
pub(super) fn finish(
    disk: &dyn Disk,
    on_disk: &OnDisk,
    from: &str,
    applied: Applied,
    runs: &[Arc<RunFile>],
) -> io::Result<Finished> {
    let name = file_name(applied);
    if list(disk)?.last().is_some_and(|newest| *newest > name) {
        disk.remove(from)?;
        return Ok(Finished::Overtaken);
    }
    disk.rename(from, &name)?;
    disk.sync_names()?;
    let named = |number| on_disk.underway.contains(&number) || runs.iter().any(|file| file.run.number == number);
    for other in disk.list().unwrap_or_default() {
        let leftover = match number_of(&other) {
            Some(number) => !named(number),
            None => other.starts_with(PREFIX) && other != name,
        };
        if leftover {
            // One that stays goes with the next snapshot.
            let _ = disk.remove(&other);
        }
    }
    Ok(Finished::Newest)
}

/// Lets values go that are in the new run. Each step holds the store's lock for one chunk of records.
fn settle(shared: &Shared, plan: &Plan, new: Option<&RunFile>, runs: &[Arc<RunFile>]) -> Result<(), Broken> {
    let table = |runs: &[Arc<RunFile>]| Arc::new(Table::new(runs.iter().cloned(), &shared.runs.damage));
    let with_store = |act: &mut dyn FnMut(&mut hull_kv_core::Store)| {
        let mut store = lock_write(&shared.store);
        if shared.generation() != plan.generation {
            return Err(Broken::Replaced);
        }
        act(&mut store);
        Ok(())
    };
    if let Some(new) = new {
        // Old and new places are both known until there are only new ones.
        let all: Vec<Arc<RunFile>> = shared.runs.on_disk().runs.iter().chain(runs).cloned().collect();
        with_store(&mut |store| store.set_values(table(&all)))?;
        let mut layout = Layout::new(new.run.number);
        let mut from = Some(plan.from);
        while let Some(revision) = from {
            with_store(&mut |store| {
                from = store.place_values(revision, plan.cursor.revision(), &mut |length| layout.place(length));
            })?;
        }
        debug_assert!(layout.end() == new.run.values_bytes, "values lie where they were written");
    }
    let mut on_disk = shared.runs.on_disk();
    with_store(&mut |store| {
        store.set_values(table(runs));
        store.set_settled(plan.cursor.revision(), plan.appended);
    })?;
    shared.runs.set(&mut on_disk, runs.to_vec(), plan.cursor.revision());
    Ok(())
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        Self::other(error)
    }
}
