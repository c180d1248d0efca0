//! How the log looks on disk.
//!
//! A file starts with a header, then come records, each at a multiple of 8 bytes:
//! ```text
//! length u32 | kind u32 | batch u64 | payload crc u32 | header crc u32 | payload | zeros up to a multiple of 8
//! ```
//! Numbers are little-endian, checksums CRC32C. `batch` is the offset at which the record's batch starts; a batch is what
//! one fdatasync made durable. The header's checksum starts from the file's number and the record's offset, so that a
//! record at the wrong place is no record.
use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, HardState};

/// Bytes of a record's header.
pub(super) const RECORD_HEADER: usize = 24;
/// Bytes of a file's header: magic, file number, member, first index, checksum.
pub(super) const FILE_HEADER: usize = 40;
/// Records start at multiples of this.
const ALIGN: usize = 8;
/// First bytes of every log file; the digit is the format's version.
const MAGIC: &[u8; 8] = b"HULLWAL1";
/// A sector is written whole or not at all; what was never written reads as zeros or is beyond the end.
const SECTOR: usize = 512;

/// What a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// Number of the file.
    pub(super) seq: u64,
    /// Member that wrote it.
    pub(super) member: u64,
    /// Index of the first entry in it, if it has any.
    pub(super) first_index: u64,
}

impl FileHeader {
    pub(super) fn encode(self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.member.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_index.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..FILE_HEADER)?;
        (header[..8] == *MAGIC && crc32c::crc32c(&header[..32]) == u32_at(header, 32)).then(|| Self {
            seq: u64_at(header, 8),
            member: u64_at(header, 16),
            first_index: u64_at(header, 24),
        })
    }
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// A raft entry.
    Entry(Entry),
    /// Term, vote and commit index.
    HardState(HardState),
}

const KIND_ENTRY: u32 = 1;
const KIND_HARD_STATE: u32 = 2;

/// Appends a raft entry to `to`, which starts at `base` of file `seq`.
pub(super) fn put_entry(to: &mut Vec<u8>, seq: u64, base: u64, batch: u64, entry: &Entry) {
    put(to, seq, base, batch, KIND_ENTRY, |payload| {
        payload.extend_from_slice(&entry.index.to_le_bytes());
        payload.extend_from_slice(&entry.term.to_le_bytes());
        payload.push(entry.entry_type as u8);
        payload.extend_from_slice(&(entry.context.len() as u32).to_le_bytes());
        payload.extend_from_slice(&entry.context);
        payload.extend_from_slice(&entry.data);
    });
}

/// Appends a hard state.
pub(super) fn put_hard_state(to: &mut Vec<u8>, seq: u64, base: u64, batch: u64, state: &HardState) {
    put(to, seq, base, batch, KIND_HARD_STATE, |payload| {
        for number in [state.term, state.vote, state.commit] {
            payload.extend_from_slice(&number.to_le_bytes());
        }
    });
}

fn put(to: &mut Vec<u8>, seq: u64, base: u64, batch: u64, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    let offset = base + start as u64;
    to.resize(start + RECORD_HEADER, 0);
    fill(to);
    let payload = start + RECORD_HEADER;
    let length = (to.len() - payload) as u32;
    let crc = crc32c::crc32c(&to[payload..]);
    to.resize(to.len().next_multiple_of(ALIGN), 0);
    let header = &mut to[start..payload];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..8].copy_from_slice(&kind.to_le_bytes());
    header[8..16].copy_from_slice(&batch.to_le_bytes());
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    let crc = header_crc(seq, offset, &header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
}

/// The checksum of the file's number, the record's offset and its header without the checksum itself, one behind the other.
fn header_crc(seq: u64, offset: u64, header: &[u8]) -> u32 {
    let mut bytes = [0; 16 + RECORD_HEADER - 4];
    bytes[..8].copy_from_slice(&seq.to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    bytes[16..].copy_from_slice(header);
    crc32c::crc32c(&bytes)
}

/// What is at an offset.
#[derive(Debug)]
pub(super) enum Found {
    /// A record, and where the next one starts.
    Record(Record, usize),
    /// The end of the file's content: the file ends here or only zeros follow.
    End,
    /// Something unreadable that an interrupted write explains.
    Torn,
    /// Something unreadable that nothing explains but damage.
    Damaged(&'static str),
}

/// Reads the record at `offset` of a file's content.
pub(super) fn read(file: &[u8], seq: u64, offset: usize) -> Found {
    let rest = file.get(offset..).unwrap_or_default();
    if rest.iter().all(|byte| *byte == 0) {
        return Found::End;
    }
    let Some(header) = Header::read(file, seq, offset) else {
        return torn_or(file, offset, RECORD_HEADER, "the checksum of a record's header is wrong");
    };
    let next = (offset + RECORD_HEADER + header.length).next_multiple_of(ALIGN);
    if next > file.len() {
        return Found::Torn;
    }
    let payload = &rest[RECORD_HEADER..RECORD_HEADER + header.length];
    if crc32c::crc32c(payload) != header.crc {
        return torn_or(file, offset, RECORD_HEADER + header.length, "the checksum of a record is wrong");
    }
    match decode(header.kind, payload) {
        Some(record) => Found::Record(record, next),
        None => Found::Damaged("a record of this kind or shape is unknown to this version"),
    }
}

struct Header {
    length: usize,
    kind: u32,
    batch: u64,
    crc: u32,
}

impl Header {
    fn read(file: &[u8], seq: u64, offset: usize) -> Option<Self> {
        let header = file.get(offset..offset + RECORD_HEADER)?;
        (header_crc(seq, offset as u64, &header[..20]) == u32_at(header, 20)).then(|| Self {
            length: u32_at(header, 0) as usize,
            kind: u32_at(header, 4),
            batch: u64_at(header, 8),
            crc: u32_at(header, 16),
        })
    }
}

/// An interrupted write leaves the file short or whole sectors unwritten; anything else is damage.
fn torn_or(file: &[u8], offset: usize, length: usize, what: &'static str) -> Found {
    let end = offset + length;
    if end > file.len() {
        return Found::Torn;
    }
    let mut at = offset;
    while at < end {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        if file[at..next].iter().all(|byte| *byte == 0) {
            return Found::Torn;
        }
        at = next;
    }
    Found::Damaged(what)
}

/// Whether a record of a later batch follows `offset`: then what is at `offset` had been synced, and is no torn tail.
pub(super) fn later_batch_follows(file: &[u8], seq: u64, offset: usize) -> bool {
    let first = (offset + ALIGN).next_multiple_of(ALIGN);
    (first..file.len()).step_by(ALIGN).any(|at| {
        Header::read(file, seq, at).is_some_and(|header| header.batch > offset as u64 && header.batch <= at as u64)
    })
}

fn decode(kind: u32, payload: &[u8]) -> Option<Record> {
    match kind {
        KIND_ENTRY => decode_entry(payload).map(Record::Entry),
        KIND_HARD_STATE if payload.len() == 24 => {
            let (term, vote, commit) = (u64_at(payload, 0), u64_at(payload, 8), u64_at(payload, 16));
            Some(Record::HardState(HardState { term, vote, commit, ..HardState::default() }))
        }
        _ => None,
    }
}

fn decode_entry(payload: &[u8]) -> Option<Entry> {
    let (head, rest) = payload.split_at_checked(21)?;
    let (context, data) = rest.split_at_checked(u32_at(head, 17) as usize)?;
    let entry_type = match head[16] {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return None,
    };
    Some(Entry {
        index: u64_at(head, 0),
        term: u64_at(head, 8),
        entry_type,
        context: Bytes::copy_from_slice(context),
        data: Bytes::copy_from_slice(data),
        ..Entry::default()
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
