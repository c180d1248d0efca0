//! The partition table of the open disk: the thin shell around `hull_init_core::{gpt, slots}`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hull_init_core::gpt::{Geometry, Gpt, Growth, LABEL_STATE, Partition, Source, Step};
use hull_init_core::slots::{Attributes, Slot, SlotName, Slots};

use super::find::partition_device;
use super::trouble::Trouble;
use crate::sys::blk;

/// A disk with Hull's partitions.
pub(crate) struct Disk {
    path: PathBuf,
    file: File,
    gpt: Gpt,
    slots: Slots,
}

impl Disk {
    /// Opens a disk and reads its table.
    pub(crate) fn open(path: &Path) -> Result<Self, Trouble> {
        let say = |operation, cause: String, remedy| Trouble::new(operation, path.display(), cause, remedy);
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .or_else(|_| File::open(path)) // a write-protected disk boots, too
            .map_err(|error| say("open", error.to_string(), "check the disk"))?;
        let geometry = geometry(&file).map_err(|error| say("size", error.to_string(), "check the disk"))?;
        let read = |lba: u64, count: u64| read_sectors(&file, geometry, lba, count);
        let gpt = Gpt::read(geometry, read).map_err(|error| {
            if written_for_other_sectors(&file, geometry) {
                let cause = "the disk has sectors of 4096 bytes, its partition table was written for 512".into();
                return say(
                    "read the partition table of",
                    cause,
                    "let the disk or its controller show sectors of 512 bytes (512e)",
                );
            }
            say("read the partition table of", error.to_string(), "write Hull's disk image again")
        })?;
        let slots = slots_of(&gpt).ok_or_else(|| {
            say("look for slots on", "no partition hull-a or hull-b".into(), "write Hull's disk image")
        })?;
        Ok(Self { path: path.to_owned(), file, gpt, slots })
    }

    /// Its device.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the table says of the slots.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// A partition by its label.
    pub(crate) fn partition(&self, label: &'static str) -> Result<Partition, Trouble> {
        self.gpt.partition(label).ok_or_else(|| {
            Trouble::new(
                "find",
                format_args!("{label} on {}", self.path.display()),
                "no such partition",
                "write Hull's disk image again",
            )
        })
    }

    /// The device of a partition.
    pub(crate) fn device(&self, label: &'static str) -> Result<PathBuf, Trouble> {
        partition_device(&self.path, self.partition(label)?.number)
    }

    /// Bytes of a partition.
    pub(crate) fn bytes(&self, partition: &Partition) -> u64 {
        (partition.last + 1 - partition.first) * u64::from(self.gpt.geometry().sector_bytes)
    }

    /// Writes a changed table, in the order that a power cut cannot hurt.
    pub(crate) fn change_slots(&mut self, change: impl FnOnce(Slots) -> Slots) -> Result<(), Trouble> {
        let slots = change(self.slots);
        if slots == self.slots && matches!(self.gpt.source(), Source::Primary) {
            return Ok(());
        }
        let mut gpt = self.gpt.clone();
        for slot in slots.iter() {
            gpt.set(slot.name.label(), slot.id, slot.attributes.0);
        }
        self.commit(gpt)?;
        self.slots = slots;
        Ok(())
    }

    /// Stretches the state partition to the end of the disk, in the table and in the kernel.
    pub(crate) fn grow_state(&mut self) -> Result<Growth, Trouble> {
        let mut gpt = self.gpt.clone();
        let growth = gpt.grow(LABEL_STATE);
        if matches!(growth, Growth::Grown { .. }) {
            self.commit(gpt)?;
        }
        let state = self.partition(LABEL_STATE)?;
        let (start, length) = (state.first * u64::from(self.gpt.geometry().sector_bytes), self.bytes(&state));
        if self.kernel_bytes(&state)? < length {
            blk::resize_partition(&self.file, state.number, start, length).map_err(|error| {
                self.say("tell the kernel the new size of hull-state on", error, "restart the node")
            })?;
        }
        Ok(growth)
    }

    fn kernel_bytes(&self, partition: &Partition) -> Result<u64, Trouble> {
        let device = partition_device(&self.path, partition.number)?;
        let file =
            File::open(&device).map_err(|error| Trouble::new("open", device.display(), error, "check the disk"))?;
        blk::bytes(&file).map_err(|error| Trouble::new("size", device.display(), error, "check the disk"))
    }

    /// Repairs what keeps the kernel from seeing the table, and lets it look again.
    pub(crate) fn make_visible(&self) -> Result<(), Trouble> {
        let first = read_sectors(&self.file, self.gpt.geometry(), 0, 1).unwrap_or_default();
        if let Some(step) = self.gpt.protect(&first) {
            self.perform(&[step, Step::Flush])?;
        }
        if matches!(self.gpt.source(), Source::Backup { .. }) {
            self.perform(&self.gpt.commit())?;
        }
        blk::read_partitions_again(&self.file)
            .map_err(|error| self.say("read again the partitions of", error, "restart the machine"))
    }

    fn commit(&mut self, gpt: Gpt) -> Result<(), Trouble> {
        self.perform(&gpt.commit())?;
        self.gpt = gpt.repaired();
        Ok(())
    }

    fn perform(&self, steps: &[Step]) -> Result<(), Trouble> {
        let sector = u64::from(self.gpt.geometry().sector_bytes);
        for step in steps {
            match step {
                Step::Write { lba, bytes } => self.file.write_all_at(bytes, lba * sector),
                Step::Flush => self.file.sync_data(),
            }
            .map_err(|error| self.say("write the partition table of", error, "check the disk"))?;
        }
        Ok(())
    }

    fn say(&self, operation: &'static str, cause: impl std::fmt::Display, remedy: &'static str) -> Trouble {
        Trouble::new(operation, self.path.display(), cause, remedy)
    }
}

fn geometry(file: &File) -> std::io::Result<Geometry> {
    let sector_bytes = blk::sector_bytes(file)?;
    Ok(Geometry { sector_bytes, sectors: blk::bytes(file)? / u64::from(sector_bytes) })
}

fn read_sectors(file: &File, geometry: Geometry, lba: u64, count: u64) -> Result<Vec<u8>, String> {
    let sector = u64::from(geometry.sector_bytes);
    let mut bytes = vec![0; (count * sector) as usize];
    file.read_exact_at(&mut bytes, lba * sector).map_err(|error| format!("sector {lba}: {error}"))?;
    Ok(bytes)
}

/// Whether a table is where disks with sectors of 512 bytes have it, on a disk with larger ones.
fn written_for_other_sectors(file: &File, geometry: Geometry) -> bool {
    const SIGNATURE: &[u8; 8] = b"EFI PART";
    const SMALL_SECTOR: u64 = 512;
    let mut start = [0; SIGNATURE.len()];
    u64::from(geometry.sector_bytes) > SMALL_SECTOR
        && file.read_exact_at(&mut start, SMALL_SECTOR).is_ok()
        && start == *SIGNATURE
}

fn slots_of(gpt: &Gpt) -> Option<Slots> {
    let slot = |name: SlotName| {
        let partition = gpt.partition(name.label())?;
        Some(Slot { name, id: partition.id, attributes: Attributes(partition.attributes) })
    };
    Slots::new(slot(SlotName::A), slot(SlotName::B))
}
