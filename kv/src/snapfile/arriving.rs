//! A snapshot that another member sends: onto the disk as it comes, then, checked, into a run.
use std::{fmt, io, sync::Arc};

use hull_kv_core::{Restore, RestoreError, Store};
use hull_kv_proto::hullpb::SnapshotPart;

use super::{
    ARRIVED, INCOMING, MAGIC, SnapshotError, Written,
    blocks::Blocks,
    run::{RunFile, Writer, index_name, values_name},
    runs::{Reserved, Table, file_bytes, named},
    write::{finish, manifest_blocks, write_manifest},
};
use crate::{
    disk::{Append, Disk, Growth},
    shared::Shared,
};

/// A snapshot that another member sends, on its way to the disk.
pub struct Arriving {
    disk: Arc<dyn Disk>,
    file: Box<dyn Append>,
    reserved: Reserved,
    shared: Arc<Shared>,
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").finish_non_exhaustive()
    }
}

/// A whole snapshot of another member: durable, checked, and not yet this member's.
#[derive(Debug)]
pub struct Arrived {
    /// What it says.
    pub store: Store,
    run: Option<Arc<RunFile>>,
    reserved: Reserved,
    bytes: u64,
}

impl Arriving {
    /// Begins; only one arrives at a time.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(disk: Arc<dyn Disk>, shared: &Arc<Shared>) -> io::Result<Self> {
        let file = disk.create(INCOMING, Growth::Exact)?;
        Ok(Self { disk, file, reserved: Reserved::new(shared), shared: Arc::clone(shared) })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write(bytes)
    }

    /// Reads all of it back, every checksum included, and makes it a run. Memory is needed for what the store keeps
    /// there, and for one block.
    ///
    /// # Errors
    /// Damage, or the disk's; the files are gone then.
    pub fn finish(self) -> Result<Arrived, SnapshotError> {
        let Self { disk, file, reserved, shared } = self;
        drop(file);
        let doing = |what: &str| format!("{what} {}", disk.display(INCOMING));
        let taken = take(&*disk, &shared, reserved.number);
        // The run has it all.
        let removed = disk.remove(INCOMING);
        let taken = taken.and_then(|taken| match removed {
            Ok(()) => Ok(taken),
            Err(source) => Err(SnapshotError::Io { doing: doing("remove"), source }),
        });
        match taken {
            Ok((store, run, bytes)) => Ok(Arrived { store, run, reserved, bytes }),
            Err(error) => {
                drop_arrived(&*disk, &reserved);
                Err(error)
            }
        }
    }

    /// The sender stopped before the end.
    pub fn abandon(self) {
        drop_arrived(&*self.disk, &self.reserved);
    }
}

type Taken = (Store, Option<Arc<RunFile>>, u64);

/// Turns the file that came into a run and the file that names it.
fn take(disk: &dyn Disk, shared: &Shared, number: u32) -> Result<Taken, SnapshotError> {
    let written = |source| SnapshotError::Io { doing: format!("write {}", disk.display(&values_name(number))), source };
    let mut blocks = Blocks::open(disk, INCOMING, *MAGIC)?;
    let mut restore = Restore::default();
    let mut small = SnapshotPart::default();
    let mut writer: Option<Writer> = None;
    while let Some((offset, mut part)) = blocks.next()? {
        let damaged = |error: RestoreError| blocks.damaged_at(offset, error.to_string());
        if !part.runs.is_empty() {
            return Err(blocks.damaged_at(offset, "it names files of another member"));
        }
        let records = std::mem::take(&mut part.records);
        small.head = small.head.or_else(|| part.head.clone());
        small.leases.extend_from_slice(&part.leases);
        restore.part(part).map_err(damaged)?;
        for mut record in records {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(Writer::create(disk, number).map_err(written)?),
            };
            let place = writer.add(&mut record).map_err(written)?;
            restore.placed(record, place).map_err(damaged)?;
        }
    }
    let mut store = restore.finish().map_err(|error| blocks.damaged(error.to_string()))?;
    let run = writer.map(Writer::finish).transpose().map_err(written)?;
    let run = run.map(|run| RunFile::open(disk, run)).transpose()?;
    store.set_values(Arc::new(Table::new(run.clone(), &shared.runs.damage)));
    store.set_settled(store.revision(), store.appended());
    let runs: Vec<Arc<RunFile>> = run.iter().cloned().collect();
    small.runs = named(&runs);
    let mut manifest = MAGIC.to_vec();
    manifest.extend(manifest_blocks(small));
    write_manifest(disk, ARRIVED, &manifest).map_err(written)?;
    Ok((store, run, manifest.len() as u64 + file_bytes(&runs)))
}

impl Arrived {
    /// Makes it what this member starts from. The store becomes this one with [`Installed::take_over`].
    ///
    /// # Errors
    /// The disk's.
    pub fn install(self, disk: &dyn Disk, shared: &Shared) -> io::Result<Installed> {
        let applied = self.store.applied();
        let runs: Vec<Arc<RunFile>> = self.run.into_iter().collect();
        finish(disk, &shared.runs.on_disk(), ARRIVED, applied, &runs)?;
        let written = Written { applied, bytes: self.bytes };
        Ok(Installed { store: self.store, runs, written, _reserved: self.reserved })
    }

    /// It is not wanted.
    pub fn discard(self, disk: &dyn Disk) {
        drop_arrived(disk, &self.reserved);
    }
}

/// A snapshot that a start begins with from now on.
#[derive(Debug)]
pub struct Installed {
    store: Store,
    runs: Vec<Arc<RunFile>>,
    /// What there is.
    pub written: Written,
    _reserved: Reserved,
}

impl Installed {
    /// The store becomes this one, and its runs those that there are.
    pub fn take_over(self, shared: &Shared) {
        let mut on_disk = shared.runs.on_disk();
        let settled = self.store.revision();
        shared.replace_store(self.store);
        shared.runs.set(&mut on_disk, self.runs, settled);
    }
}

fn drop_arrived(disk: &dyn Disk, reserved: &Reserved) {
    for name in [INCOMING, ARRIVED, &values_name(reserved.number), &index_name(reserved.number)] {
        // What stays goes at the next start.
        let _ = disk.remove(name);
    }
}
