//! The GUID partition table: reading, checking, editing. Bytes come in, sector writes go out in an order that a power cut cannot hurt.
//!
//! Layout and checks: UEFI specification 2.10, chapter 5.3. A table is stored twice, each copy a header and an array of entries.
//!
//! Invariant: a commit rewrites one copy, flushes, then the other, and starts with the copy that was not the one read. So at every
//! instant the one that counts is whole: it is the old table until the first copy is flushed, and old or new after that.

use std::collections::BTreeMap;
use std::fmt;

use bytemuck::{bytes_of, pod_read_unaligned};
use gpt_disk_types::{Crc32, GptHeader, GptPartitionEntry, Guid, Lba, MasterBootRecord, U32Le, U64Le};

use crate::verity::PartitionId;

/// Labels of the partitions that Hull looks for.
pub const LABEL_ESP: &str = "esp";
/// See [`LABEL_ESP`].
pub const LABEL_STATE: &str = "hull-state";

/// Bytes of the header that version 1.0 defines; every known tool writes exactly these.
const HEADER_BYTES: u32 = 92;

/// More entries than this is not a table that anybody made on purpose (the usual number is 128).
const MAX_ENTRIES: u32 = 1024;

/// Bytes to which a grown partition's end is aligned: what partition tools align to, and a multiple of every flash block.
const ALIGNMENT_BYTES: u64 = 1 << 20;

/// What ends sector 0, and the type of partition there that stands for a GPT.
const MBR_SIGNATURE: [u8; 2] = [0x55, 0xaa];
const MBR_TYPE_GPT: u8 = 0xee;

/// Size of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a logical sector: 512 or 4096.
    pub sector_bytes: u32,
    /// Sectors of the disk.
    pub sectors: u64,
}

/// One of the two copies of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// At sector 1.
    Primary,
    /// At the end of the disk.
    Backup,
}

/// Why a copy of the table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the sentence of a variant explains its fields")]
pub enum CopyError {
    /// The disk did not give the sectors.
    Unreadable { reason: String },
    /// No `EFI PART`: never written, or overwritten.
    NoSignature,
    /// A header whose checksum does not fit, or with fields that cannot be.
    BadHeader { what: &'static str },
    /// The entries do not fit the checksum in the header.
    BadEntries,
    /// Describes more sectors than the disk has.
    Shrunk { described: u64, sectors: u64 },
    /// A partition outside of the usable sectors, or over another one.
    BadPartition { number: u32 },
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { reason } => f.write_str(reason),
            Self::NoSignature => f.write_str("no partition table"),
            Self::BadHeader { what } => write!(f, "damaged header ({what})"),
            Self::BadEntries => f.write_str("damaged entries (checksum)"),
            Self::Shrunk { described, sectors } => {
                write!(f, "describes {described} sectors, but the disk has {sectors}: it was made smaller")
            }
            Self::BadPartition { number } => {
                write!(f, "partition {number} lies outside of the disk or over another one")
            }
        }
    }
}

/// Neither copy can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoTable {
    /// What is wrong with the first copy.
    pub primary: CopyError,
    /// What is wrong with the second.
    pub backup: CopyError,
}

impl fmt::Display for NoTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "primary table: {}; backup table: {}", self.primary, self.backup)
    }
}

impl std::error::Error for NoTable {}

/// What to do to the disk, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these sectors.
    Write {
        /// First sector.
        lba: u64,
        /// A whole number of sectors.
        bytes: Vec<u8>,
    },
    /// Nothing after this may reach the disk before everything above it.
    Flush,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// As the kernel counts: from 1.
    pub number: u32,
    /// First sector.
    pub first: u64,
    /// Last sector, inclusive.
    pub last: u64,
    /// Unique GUID (PARTUUID).
    pub id: PartitionId,
    /// Attribute bits.
    pub attributes: u64,
}

/// A checked table.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpt {
    geometry: Geometry,
    header: GptHeader,
    entries: Vec<u8>,
    source: Source,
}

/// Which copy was read, and what is known of the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the primary; the backup was not looked at.
    Primary,
    /// From the backup, because of what is wrong with the primary.
    Backup {
        /// What.
        primary: CopyError,
    },
}

/// What growing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The partition already reaches the end of the disk.
    Whole,
    /// The partition is larger now; commit the table and tell the kernel.
    Grown {
        /// Sectors before.
        from: u64,
        /// Sectors now.
        to: u64,
    },
    /// Another partition lies behind it.
    NotLast {
        /// That one.
        behind: u32,
    },
}

impl Gpt {
    /// Reads the table: the primary copy, and only when that is not whole the backup. `read` gives `count` sectors from `lba`.
    ///
    /// # Errors
    /// Neither copy is whole.
    pub fn read(
        geometry: Geometry,
        mut read: impl FnMut(u64, u64) -> Result<Vec<u8>, String>,
    ) -> Result<Self, NoTable> {
        let primary = match read_copy(geometry, 1, &mut read) {
            Ok((header, entries)) => return Ok(Self { geometry, header, entries, source: Source::Primary }),
            Err(error) => error,
        };
        match read_copy(geometry, geometry.sectors.saturating_sub(1), &mut read) {
            Ok((header, entries)) => Ok(Self { geometry, header, entries, source: Source::Backup { primary } }),
            Err(backup) => Err(NoTable { primary, backup }),
        }
    }

    /// Which copy was read.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The size of the disk it was read from.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// As it stands after a [`commit`](Self::commit) was performed: both copies are whole.
    #[must_use]
    pub fn repaired(mut self) -> Self {
        if matches!(self.source, Source::Backup { .. }) {
            self.header.partition_entry_lba = Lba(self.primary_entries()).into();
            self.source = Source::Primary;
        }
        self
    }

    /// The first partition with this label.
    pub fn partition(&self, label: &str) -> Option<Partition> {
        let (index, entry) = self.find(label)?;
        Some(Partition {
            number: index + 1,
            first: entry.starting_lba.to_u64(),
            last: entry.ending_lba.to_u64(),
            id: PartitionId::from_disk({ entry.unique_partition_guid }.to_bytes()),
            attributes: { entry.attributes }.0.to_u64(),
        })
    }

    /// Gives a partition a new identity and new attribute bits. Without such a label nothing changes.
    pub fn set(&mut self, label: &str, id: PartitionId, attributes: u64) {
        if let Some((index, mut entry)) = self.find(label) {
            entry.unique_partition_guid = Guid::from_bytes(id.on_disk());
            entry.attributes.0 = U64Le::from_u64(attributes);
            self.put(index, &entry);
        }
    }

    /// Moves the backup copy to the end of the disk and stretches the partition with this label to it.
    pub fn grow(&mut self, label: &str) -> Growth {
        let Some((index, mut entry)) = self.find(label) else { return Growth::Whole };
        let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        if let Some((behind, _)) = self.used().find(|(_, other)| other.starting_lba.to_u64() > last) {
            return Growth::NotLast { behind: behind + 1 };
        }
        let last_usable = self.last_usable();
        let alignment = ALIGNMENT_BYTES / u64::from(self.geometry.sector_bytes);
        let aligned = (last_usable + 1) / alignment * alignment;
        if aligned <= last + 1 {
            return Growth::Whole;
        }
        entry.ending_lba = Lba(aligned - 1).into();
        self.put(index, &entry);
        self.header.last_usable_lba = Lba(last_usable).into();
        Growth::Grown { from: last + 1 - first, to: aligned - first }
    }

    /// The write that is missing when sector 0 does not say that this disk has a GPT: without it the kernel looks no further.
    pub fn protect(&self, sector_0: &[u8]) -> Option<Step> {
        let signed = sector_0.get(510..512) == Some(&MBR_SIGNATURE);
        let protective = (0..4).any(|index| sector_0.get(450 + 16 * index) == Some(&MBR_TYPE_GPT));
        if signed && protective {
            return None;
        }
        let mut bytes = bytes_of(&MasterBootRecord::protective_mbr(self.geometry.sectors)).to_vec();
        bytes.resize(self.geometry.sector_bytes as usize, 0);
        Some(Step::Write { lba: 0, bytes })
    }

    /// Both copies as they must be written now. Sectors between a flush and the next may reach the disk in any order, or not at all.
    pub fn commit(&self) -> Vec<Step> {
        let order = match self.source {
            Source::Primary => [Copy::Backup, Copy::Primary],
            Source::Backup { .. } => [Copy::Primary, Copy::Backup],
        };
        order.into_iter().flat_map(|copy| self.write_copy(copy)).collect()
    }

    /// The entry array of a copy, then its header: the header's checksum makes them count.
    fn write_copy(&self, copy: Copy) -> [Step; 3] {
        let end = self.geometry.sectors - 1;
        let array = self.array_sectors();
        let (mine, other, entries) = match copy {
            Copy::Primary => (1, end, self.primary_entries()),
            Copy::Backup => (end, 1, end - array),
        };
        let mut header = self.header;
        header.my_lba = Lba(mine).into();
        header.alternate_lba = Lba(other).into();
        header.partition_entry_lba = Lba(entries).into();
        header.partition_entry_array_crc32 = crc32(&self.entries);
        header.update_header_crc32();
        let mut sector = bytes_of(&header).to_vec();
        sector.resize(self.geometry.sector_bytes as usize, 0);
        let mut padded = self.entries.clone();
        padded.resize(array as usize * self.geometry.sector_bytes as usize, 0);
        [Step::Write { lba: entries, bytes: padded }, Step::Write { lba: mine, bytes: sector }, Step::Flush]
    }

    /// Where the primary's entries are. When only the backup was read that is not known, and the usual place is right after the header.
    fn primary_entries(&self) -> u64 {
        match self.source {
            Source::Primary => self.header.partition_entry_lba.to_u64(),
            Source::Backup { .. } => 2,
        }
    }

    fn array_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.geometry.sector_bytes.into())
    }

    /// The last sector before the backup copy, on this disk.
    fn last_usable(&self) -> u64 {
        self.geometry.sectors - 2 - self.array_sectors()
    }

    fn find(&self, label: &str) -> Option<(u32, GptPartitionEntry)> {
        self.used().find(|(_, entry)| { entry.name }.chars().eq(label.chars()))
    }

    fn used(&self) -> impl Iterator<Item = (u32, GptPartitionEntry)> + '_ {
        used(&self.entries, self.header.size_of_partition_entry.to_u32())
    }

    fn put(&mut self, index: u32, entry: &GptPartitionEntry) {
        let at = index as usize * self.header.size_of_partition_entry.to_u32() as usize;
        let bytes = bytes_of(entry);
        self.entries[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn used(entries: &[u8], size: u32) -> impl Iterator<Item = (u32, GptPartitionEntry)> + '_ {
    entries
        .chunks_exact(size as usize)
        .map(|bytes| pod_read_unaligned::<GptPartitionEntry>(&bytes[..size_of::<GptPartitionEntry>()]))
        .zip(0..)
        .filter_map(|(entry, index)| entry.is_used().then_some((index, entry)))
}

fn crc32(bytes: &[u8]) -> Crc32 {
    Crc32(U32Le::from_u32(crc::Crc::<u32>::new(&Crc32::ALGORITHM).checksum(bytes)))
}

type Table = (GptHeader, Vec<u8>);

fn read_copy(
    geometry: Geometry,
    lba: u64,
    read: &mut impl FnMut(u64, u64) -> Result<Vec<u8>, String>,
) -> Result<Table, CopyError> {
    let mut sectors = |lba, count: u64| {
        let bytes = read(lba, count).map_err(|reason| CopyError::Unreadable { reason })?;
        let wanted = count as usize * geometry.sector_bytes as usize;
        (bytes.len() == wanted).then_some(bytes).ok_or(CopyError::Unreadable { reason: "short read".to_owned() })
    };
    let header = check_header(geometry, lba, &sectors(lba, 1)?)?;
    let size = header.size_of_partition_entry.to_u32();
    let exact = u64::from(size) * u64::from(header.number_of_partition_entries.to_u32());
    let count = exact.div_ceil(geometry.sector_bytes.into());
    let start = header.partition_entry_lba.to_u64();
    if start < 2 || start.checked_add(count).is_none_or(|end| end > geometry.sectors) {
        return Err(CopyError::BadHeader { what: "entries outside of the disk" });
    }
    let mut entries = sectors(start, count)?;
    entries.truncate(exact as usize);
    if crc32(&entries) != header.partition_entry_array_crc32 {
        return Err(CopyError::BadEntries);
    }
    check_partitions(&header, &entries)?;
    Ok((header, entries))
}

fn check_header(geometry: Geometry, lba: u64, sector: &[u8]) -> Result<GptHeader, CopyError> {
    let bad = |what| Err(CopyError::BadHeader { what });
    let Some(bytes) = sector.get(..size_of::<GptHeader>()) else { return bad("cut short") };
    let header: GptHeader = pod_read_unaligned(bytes);
    if !header.is_signature_valid() {
        return Err(CopyError::NoSignature);
    }
    if header.header_size.to_u32() != HEADER_BYTES || header.calculate_header_crc32() != header.header_crc32 {
        return bad("checksum");
    }
    if header.my_lba.to_u64() != lba {
        return bad("position");
    }
    let size = header.size_of_partition_entry.to_u32();
    let count = header.number_of_partition_entries.to_u32();
    if !size.is_power_of_two() || !(128..=4096).contains(&size) || !(1..=MAX_ENTRIES).contains(&count) {
        return bad("size of the entries");
    }
    let last_usable = header.last_usable_lba.to_u64();
    if last_usable >= geometry.sectors {
        let described = header.alternate_lba.to_u64().max(header.my_lba.to_u64()).max(last_usable).saturating_add(1);
        return Err(CopyError::Shrunk { described, sectors: geometry.sectors });
    }
    if header.first_usable_lba.to_u64() > last_usable || header.first_usable_lba.to_u64() < 2 {
        return bad("usable sectors");
    }
    Ok(header)
}

fn check_partitions(header: &GptHeader, entries: &[u8]) -> Result<(), CopyError> {
    let usable = header.first_usable_lba.to_u64()..=header.last_usable_lba.to_u64();
    let mut taken: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
    for (index, entry) in used(entries, header.size_of_partition_entry.to_u32()) {
        let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        let number = index + 1;
        if first > last || !usable.contains(&first) || !usable.contains(&last) {
            return Err(CopyError::BadPartition { number });
        }
        if taken.range(..=last).next_back().is_some_and(|(_, (other_last, _))| *other_last >= first) {
            return Err(CopyError::BadPartition { number });
        }
        taken.insert(first, (last, number));
    }
    Ok(())
}
