//! A run: records of a stretch of revisions in two files that never change, values in one, whose they are in the other.
//! ```text
//! values: magic 8 | number u32 | crc u32 | value...      value: crc u32 | bytes
//! index:  blocks; the first says the run's number, the others have the records without their values
//! ```
//! A value's checksum starts from the run's number and the value's offset. An index has its values' lengths; where each
//! lies follows, since they lie one behind the other.
use std::{io, sync::Arc};

use bytes::Bytes;
use hull_kv_core::{Place, Restore};
use hull_kv_proto::hullpb::{RevisionRecord, Run, SnapshotPart};
use prost::Message as _;

use super::{
    SnapshotError, WRITE_BYTES,
    blocks::{Blocks, put_block, put_end},
};
use crate::disk::{Append, Disk, Growth, ReadAt};

/// First bytes of a file of values; the digit is the format's version.
const VALUES_MAGIC: &[u8; 8] = b"HULLVAL1";
/// First bytes of an index.
const INDEX_MAGIC: &[u8; 8] = b"HULLIDX1";
pub(super) const VALUES_PREFIX: &str = "values-";
pub(super) const INDEX_PREFIX: &str = "index-";
/// Bytes of the header of a file of values.
const VALUES_HEADER: u64 = 16;
/// Bytes before each value: its checksum.
const VALUE_HEAD: u64 = 4;
/// Bytes of a block of an index, about: its checksum covers little, and a part of the state machine's size fits.
const INDEX_BLOCK: usize = 64 * 1024;
/// What a record is charged for beyond key and value (bytes): as much as in [`hull_kv_core::Usage`].
const RECORD_OVERHEAD: u64 = 64;

pub(super) fn values_name(number: u32) -> String {
    format!("{VALUES_PREFIX}{number:08x}")
}

pub(super) fn index_name(number: u32) -> String {
    format!("{INDEX_PREFIX}{number:08x}")
}

/// The run that a file belongs to, if it belongs to one.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_prefix(VALUES_PREFIX).or_else(|| name.strip_prefix(INDEX_PREFIX))?;
    u32::from_str_radix(number, 16).ok()
}

/// Where values lie: one behind the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    file: u32,
    end: u64,
}

impl Layout {
    pub(super) fn new(file: u32) -> Self {
        Self { file, end: VALUES_HEADER }
    }

    /// Where the last value ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The place of the next value.
    pub(super) fn place(&mut self, length: u32) -> Place {
        let offset = self.end + VALUE_HEAD;
        self.end = offset + u64::from(length);
        Place { file: self.file, offset, length }
    }
}

fn header(number: u32) -> [u8; VALUES_HEADER as usize] {
    let mut header = [0; VALUES_HEADER as usize];
    header[..8].copy_from_slice(VALUES_MAGIC);
    header[8..12].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn value_crc(number: u32, offset: u64, value: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(seed, value)
}

/// A file, what is to be appended to it, and how long it is with that.
struct Growing {
    file: Box<dyn Append>,
    buffer: Vec<u8>,
    length: u64,
}

impl Growing {
    fn new(disk: &dyn Disk, name: &str, start: &[u8]) -> io::Result<Self> {
        let file = disk.create(name, Growth::Exact)?;
        Ok(Self { file, buffer: start.to_vec(), length: 0 })
    }

    fn flush(&mut self, at_least: usize) -> io::Result<()> {
        if self.buffer.len() >= at_least {
            self.file.write(&self.buffer)?;
            self.length += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.flush(0)?;
        self.file.sync()?;
        Ok(self.length)
    }
}

/// Writes a run, record by record.
pub(super) struct Writer {
    values: Growing,
    index: Growing,
    layout: Layout,
    part: SnapshotPart,
    part_bytes: usize,
    blocks: u32,
    run: Run,
}

impl Writer {
    pub(super) fn create(disk: &dyn Disk, number: u32) -> io::Result<Self> {
        let values = Growing::new(disk, &values_name(number), &header(number))?;
        let mut index = Growing::new(disk, &index_name(number), INDEX_MAGIC)?;
        let run = Run { number, ..Run::default() };
        put_block(&mut index.buffer, 0, &SnapshotPart { runs: vec![run], ..SnapshotPart::default() });
        let layout = Layout::new(number);
        Ok(Self { values, index, layout, part: SnapshotPart::default(), part_bytes: 0, blocks: 1, run })
    }

    /// Takes the next record; answers where its value lies, if it has one. What is left of the record goes into the
    /// index.
    pub(super) fn add(&mut self, record: &mut RevisionRecord) -> io::Result<Option<Place>> {
        let mut place = None;
        let (mut key_bytes, mut length) = (0, 0);
        if let Some(pair) = &mut record.kv {
            let value = std::mem::take(&mut pair.value);
            key_bytes = pair.key.len();
            length = u32::try_from(value.len()).map_err(io::Error::other)?;
            if length > 0 {
                let at = self.layout.place(length);
                let crc = value_crc(self.run.number, at.offset, &value);
                self.values.buffer.extend_from_slice(&crc.to_le_bytes());
                self.values.buffer.extend_from_slice(&value);
                self.values.flush(WRITE_BYTES)?;
                place = Some(at);
            }
        }
        record.value_length = length;
        self.run.records += 1;
        self.run.data_bytes += key_bytes as u64 + u64::from(length) + RECORD_OVERHEAD;
        self.part_bytes += record.encoded_len();
        self.part.records.push(record.clone());
        if self.part_bytes >= INDEX_BLOCK {
            self.end_block()?;
        }
        Ok(place)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        self.part_bytes = 0;
        put_block(&mut self.index.buffer, self.blocks, &part);
        self.blocks += 1;
        self.index.flush(WRITE_BYTES)
    }

    /// Makes both files durable.
    pub(super) fn finish(mut self) -> io::Result<Run> {
        if !self.part.records.is_empty() {
            self.end_block()?;
        }
        put_end(&mut self.index.buffer, self.blocks);
        self.run.index_bytes = self.index.finish()?;
        self.run.values_bytes = self.values.finish()?;
        Ok(self.run)
    }
}

/// Gives a store that is being restored the records of a run.
pub(super) fn load(disk: &dyn Disk, run: &Run, restore: &mut Restore) -> Result<(), SnapshotError> {
    let mut blocks = Blocks::open(disk, &index_name(run.number), *INDEX_MAGIC)?;
    let mut layout = Layout::new(run.number);
    let mut records = 0;
    match blocks.next()? {
        Some((_, part)) if part.runs.first().is_some_and(|found| found.number == run.number) => {}
        _ => return Err(blocks.damaged_at(0, "it is the index of other values")),
    }
    while let Some((offset, part)) = blocks.next()? {
        for record in part.records {
            let place = (record.value_length > 0).then(|| layout.place(record.value_length));
            restore.placed(record, place).map_err(|error| blocks.damaged_at(offset, error.to_string()))?;
            records += 1;
        }
    }
    if (records, layout.end, blocks.offset()) != (run.records, run.values_bytes, run.index_bytes) {
        return Err(blocks.damaged("it is not as long as the snapshot says"));
    }
    Ok(())
}

/// A run's values, to be read here and there.
#[derive(Debug)]
pub(super) struct RunFile {
    pub(super) run: Run,
    file: Box<dyn ReadAt>,
    shown: String,
}

impl RunFile {
    /// Opens the values of a run; looks at no value yet.
    pub(super) fn open(disk: &dyn Disk, run: Run) -> Result<Arc<Self>, SnapshotError> {
        let name = values_name(run.number);
        let shown = disk.display(&name);
        let damaged = |what: &str| SnapshotError::Damaged { file: shown.clone(), offset: 0, what: what.into() };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => damaged("it is gone"),
            io::ErrorKind::UnexpectedEof => damaged("the file ends early"),
            _ => SnapshotError::Io { doing: format!("open {shown}"), source },
        };
        let file = disk.read_at(&name).map_err(failed)?;
        let mut found = [0; VALUES_HEADER as usize];
        file.read_at(&mut found, 0).map_err(failed)?;
        if found != header(run.number) {
            return Err(damaged("the file's header is wrong"));
        }
        if file.length().map_err(failed)? != run.values_bytes {
            return Err(damaged("it is not as long as the snapshot says"));
        }
        Ok(Arc::new(Self { run, file, shown }))
    }

    /// The value at a place, if it is what was written there.
    pub(super) fn read(&self, place: Place) -> Result<Bytes, SnapshotError> {
        let mut bytes = vec![0; VALUE_HEAD as usize + place.length as usize];
        let start = place.offset - VALUE_HEAD;
        let damaged =
            |what: &str| SnapshotError::Damaged { file: self.shown.clone(), offset: start, what: what.into() };
        self.file.read_at(&mut bytes, start).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => damaged("the file ends early"),
            _ => SnapshotError::Io { doing: format!("read {} at byte {start}", self.shown), source },
        })?;
        let (crc, value) = bytes.split_at(VALUE_HEAD as usize);
        if crc != value_crc(place.file, place.offset, value).to_le_bytes() {
            return Err(damaged("the checksum of a value is wrong"));
        }
        Ok(Bytes::from(bytes).slice(VALUE_HEAD as usize..))
    }
}
