//! Snapshots on disk: what a member starts from, before it reads its log.
//!
//! A snapshot is a small file (`snapshot-<index>-<term>`, see [`blocks`]) with everything but the revisions, and the
//! runs (see [`run`]) that hold those: files that never change, shared by one snapshot and the next. Indexes of runs are
//! read at a start; values stay where they are, and are checked when somebody asks for them.
//!
//! The file is written under another name, made durable, then renamed: one with its final name is whole or damaged. What
//! goes to another member, and what older versions wrote, has all revisions in the blocks of one file.
mod arriving;
mod blocks;
mod encoder;
mod run;
mod runs;
mod write;

use std::{fmt, io, sync::Arc};

pub use arriving::{Arrived, Arriving, Installed};
use blocks::Blocks;
pub use encoder::{Broken, Encoder};
use hull_kv_core::{Applied, Restore, Store};
use run::{RunFile, number_of};
pub use runs::Runs;
use runs::{Damage, Table, file_bytes};
pub(crate) use write::is_mostly_garbage;
pub use write::{Effort, write};

use crate::disk::Disk;

/// First bytes of every snapshot; the digit is the format's version.
const MAGIC: &[u8; 8] = b"HULLSNP1";
const PREFIX: &str = "snapshot-";
const UNFINISHED: &str = "snapshot.new";
const INCOMING: &str = "snapshot.in";
const ARRIVED: &str = "snapshot.arrived";
/// Bytes gathered before they are written or sent.
const WRITE_BYTES: usize = 256 * 1024;

/// Why there is no snapshot to start from.
#[derive(Debug)]
pub enum SnapshotError {
    /// The disk refused.
    Io {
        /// What was being done to which file.
        doing: String,
        /// The disk's reason.
        source: io::Error,
    },
    /// The file is not what was written.
    Damaged {
        /// The file.
        file: String,
        /// Where in it (bytes).
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Damaged { file, offset, what } => write!(
                f,
                "{file}: damaged at byte {offset}: {what}; the member stops rather than serve wrong data. Restore the \
                 data folder from a backup of this member, or remove it and let the member join again"
            ),
        }
    }
}

impl std::error::Error for SnapshotError {}

fn file_name(applied: Applied) -> String {
    format!("{PREFIX}{:016x}-{:016x}", applied.index, applied.term)
}

/// A finished snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Where in the log it stands.
    pub applied: Applied,
    /// Its size, runs included (bytes).
    pub bytes: u64,
}

/// What a member starts from.
#[derive(Debug)]
pub struct Loaded {
    /// The state machine.
    pub store: Store,
    /// Where its values are.
    pub runs: Runs,
    /// Size on the disk (bytes).
    pub bytes: u64,
}

/// Names of finished snapshots, oldest first.
fn list(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let mut names: Vec<_> = disk.list()?.into_iter().filter(|name| name.starts_with(PREFIX)).collect();
    names.sort_unstable();
    Ok(names)
}

/// Reads the newest snapshot; `None` if there is none.
///
/// # Errors
/// Damage, or the disk's. An older snapshot is no way out: the log between them may be gone.
pub fn load(disk: &dyn Disk) -> Result<Option<Loaded>, SnapshotError> {
    let listing = |source| SnapshotError::Io { doing: format!("list {}", disk.display("")), source };
    let names = list(disk).map_err(listing)?;
    // What a power cut left unfinished is no snapshot, only space.
    for unfinished in [UNFINISHED, INCOMING, ARRIVED] {
        let _ = disk.remove(unfinished);
    }
    let Some(name) = names.last() else { return Ok(None) };
    let (store, files, damage, bytes) = read_file(disk, name)?;
    let mut last = 0;
    for other in disk.list().map_err(listing)? {
        let Some(number) = number_of(&other) else { continue };
        last = last.max(number);
        if !files.iter().any(|file| file.run.number == number) {
            let _ = disk.remove(&other);
        }
    }
    let settled = if files.is_empty() { 0 } else { store.revision() };
    let bytes = bytes + file_bytes(&files);
    Ok(Some(Loaded { store, runs: Runs::new(files, settled, last, damage), bytes }))
}

type Read = (Store, Vec<Arc<RunFile>>, Damage, u64);

/// Reads a snapshot and the indexes of its runs; answers its own size last.
fn read_file(disk: &dyn Disk, name: &str) -> Result<Read, SnapshotError> {
    let mut blocks = Blocks::open(disk, name, *MAGIC)?;
    let mut restore = Restore::default();
    let mut files = Vec::new();
    while let Some((offset, mut part)) = blocks.next()? {
        let runs = std::mem::take(&mut part.runs);
        restore.part(part).map_err(|error| blocks.damaged_at(offset, error.to_string()))?;
        for run in runs {
            run::load(disk, &run, &mut restore)?;
            files.push(RunFile::open(disk, run)?);
        }
    }
    let mut store = restore.finish().map_err(|error| blocks.damaged(error.to_string()))?;
    let damage = Damage::default();
    if files.is_empty() {
        // An older version's, or one without revisions: whatever there is, is in memory.
        store.set_settled(0, 0);
    } else {
        store.set_values(Arc::new(Table::new(files.iter().cloned(), &damage)));
        store.set_settled(store.revision(), store.appended());
    }
    Ok((store, files, damage, blocks.offset()))
}
