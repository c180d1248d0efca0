//! A disk in memory for the tests of the partition table: sparse, with the table that `sgdisk` wrote.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeMap;

use hull_init_core::gpt::{Geometry, Gpt, NoTable, Step};
use hull_init_core::slots::{Attributes, Slot, SlotName, Slots};

pub(crate) const SECTOR: usize = 512;
pub(crate) const MIB: u64 = (1 << 20) / SECTOR as u64;

/// Sector 1, sector 2 and the last sector of a 386 MiB disk as `sgdisk` laid it out:
/// esp 64 MiB, hull-a and hull-b 128 MiB each, hull-state 64 MiB.
const SGDISK: &[u8] = include_bytes!("../data/sgdisk-386MiB.bin");
pub(crate) const SECTORS: u64 = 386 * MIB;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Disk {
    pub(crate) sectors: u64,
    content: BTreeMap<u64, Vec<u8>>,
}

impl Disk {
    pub(crate) fn blank(sectors: u64) -> Self {
        Self { sectors, content: BTreeMap::new() }
    }

    /// As the tool left it.
    pub(crate) fn by_sgdisk() -> Self {
        let mut disk = Self::blank(SECTORS);
        let parts: Vec<&[u8]> = SGDISK.chunks(SECTOR).collect();
        disk.write(1, parts[0]);
        disk.write(2, parts[1]);
        disk.write(SECTORS - 33, parts[1]);
        disk.write(SECTORS - 1, parts[2]);
        disk
    }

    pub(crate) fn write(&mut self, lba: u64, bytes: &[u8]) {
        for (sector, lba) in bytes.chunks(SECTOR).zip(lba..) {
            assert!(lba < self.sectors, "write behind the end of the disk");
            self.content.insert(lba, sector.to_vec());
        }
    }

    pub(crate) fn read(&self, lba: u64, count: u64) -> Result<Vec<u8>, String> {
        if lba.checked_add(count).is_none_or(|end| end > self.sectors) {
            return Err("behind the end".to_owned());
        }
        let zeros = vec![0; SECTOR];
        Ok((lba..lba + count).flat_map(|lba| self.content.get(&lba).unwrap_or(&zeros).clone()).collect())
    }

    pub(crate) fn geometry(&self) -> Geometry {
        Geometry { sector_bytes: SECTOR as u32, sectors: self.sectors }
    }

    pub(crate) fn gpt(&self) -> Result<Gpt, NoTable> {
        Gpt::read(self.geometry(), |lba, count| self.read(lba, count))
    }

    pub(crate) fn perform(&mut self, steps: &[Step]) {
        for step in steps {
            if let Step::Write { lba, bytes } = step {
                self.write(*lba, bytes);
            }
        }
    }
}

/// What the table says about the slots.
pub(crate) fn slots(gpt: &Gpt) -> Slots {
    let slot = |name: SlotName| {
        let partition = gpt.partition(name.label())?;
        Some(Slot { name, id: partition.id, attributes: Attributes(partition.attributes) })
    };
    Slots::new(slot(SlotName::A), slot(SlotName::B)).expect("the table has slots")
}

/// Puts slots into the table.
pub(crate) fn put(gpt: &mut Gpt, slots: &Slots) {
    for slot in slots.iter() {
        gpt.set(slot.name.label(), slot.id, slot.attributes.0);
    }
}
