//! Reads as much of an etcd's own log as tells whether its database file has all that was acknowledged.
//!
//! A file is a row of frames. A frame is a word (8 bytes, little-endian: the record's length in the lower 56 bits; if the highest bit is
//! set, how many zeros follow the record in the three lowest bits of the highest byte), the record, and those zeros. Zeros behind the
//! last frame are room for more. A record is a protocol buffer: its kind, a checksum, and data. The checksum is CRC32C over all data
//! since the file's first record, which says where it starts from.
//! Source: <https://pkg.go.dev/go.etcd.io/etcd/server/v3/storage/wal> (`decoder.go`, `wal.go`), `raftpb`, `etcdserverpb`.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use prost::{
    Message,
    encoding::{DecodeContext, decode_key, skip_field},
};

const METADATA: i64 = 1;
const ENTRY: i64 = 2;
const CHECKSUM: i64 = 4;
const SNAPSHOT: i64 = 5;

/// `raftpb.EntryNormal`.
const NORMAL: i32 = 0;

/// An entry that changes members (`raftpb.EntryConfChange`).
const CONF_CHANGE: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(uint32, tag = "2")]
    checksum: u32,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    member: u64,
    #[prost(uint64, tag = "2")]
    cluster: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

/// Where a snapshot stands that another member sent.
#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(uint64, tag = "1")]
    index: u64,
}

/// The header of what a normal entry asks for (`InternalRaftRequest`). What the API of version 2 asks for has none.
const HEADER: u32 = 100;

/// What it asks for that changes keys (put, delete, transaction, compaction), leases (grant, revoke), and users and roles.
const CHANGES: [u32; 17] = [4, 5, 6, 7, 8, 9, 1000, 1011, 1100, 1101, 1103, 1104, 1105, 1200, 1201, 1203, 1204];

/// Whether a normal entry changes data. What cannot be read is no request of version 3.
fn changes_data(mut request: &[u8]) -> bool {
    let (mut has_header, mut changes) = (false, false);
    while !request.is_empty() {
        let Ok((tag, wire_type)) = decode_key(&mut request) else { return false };
        has_header |= tag == HEADER;
        changes |= CHANGES.contains(&tag);
        if skip_field(wire_type, tag, &mut request, DecodeContext::default()).is_err() {
            return false;
        }
    }
    has_header && changes
}

/// What a log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EtcdLog {
    /// Whose it is.
    pub member: u64,
    /// Of which cluster.
    pub cluster: u64,
    /// Whether it has entries besides the first members': that etcd has run.
    pub has_run: bool,
    /// The index of the last entry that asks for a change of data, or of a snapshot behind it; 0: there is none.
    pub last_change: u64,
    /// Whether it can be read to its end.
    pub is_whole: bool,
}

impl EtcdLog {
    /// Reads the files of a folder (`member/wal`).
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "wal") {
                files.push(path);
            }
        }
        // Their names start with their numbers, all of one length; none is left out.
        files.sort();
        let number = |path: &PathBuf| u64::from_str_radix(path.file_name()?.to_str()?.get(..16)?, 16).ok();
        let numbers: Option<Vec<u64>> = files.iter().map(number).collect();
        let in_row =
            numbers.is_some_and(|numbers| numbers.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1])));
        let mut log = Self::of(files.iter().map(fs::read))?;
        log.is_whole &= in_row;
        Ok(log)
    }

    /// What files say, in their order.
    ///
    /// # Errors
    /// One of theirs.
    pub fn of<T: AsRef<[u8]>>(files: impl IntoIterator<Item = io::Result<T>>) -> io::Result<Self> {
        let mut files = files.into_iter().peekable();
        let (mut log, mut checksum) = (Self { is_whole: files.peek().is_some(), ..Self::default() }, 0);
        for file in files {
            log.is_whole &= log.take_file(file?.as_ref(), &mut checksum).is_some();
        }
        Ok(log)
    }

    /// Takes a file's records; `None` at the first that cannot be read.
    fn take_file(&mut self, mut bytes: &[u8], checksum: &mut u32) -> Option<()> {
        while let Some((word, rest)) = bytes.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            if word == 0 {
                break;
            }
            let length = usize::try_from(word & ((1 << 56) - 1)).ok()?;
            let zeros = if word >> 63 == 1 { (word >> 56 & 7) as usize } else { 0 };
            let (record, rest) = rest.split_at_checked(length)?;
            bytes = rest.get(zeros..)?;
            self.take(&Record::decode(record).ok()?, checksum)?;
        }
        bytes.iter().all(|byte| *byte == 0).then_some(())
    }

    fn take(&mut self, record: &Record, checksum: &mut u32) -> Option<()> {
        if record.kind == CHECKSUM {
            *checksum = record.checksum;
            return Some(());
        }
        *checksum = crc32c::crc32c_append(*checksum, &record.data);
        if *checksum != record.checksum {
            return None;
        }
        match record.kind {
            METADATA => {
                let Metadata { member, cluster } = Metadata::decode(&*record.data).ok()?;
                (self.member, self.cluster) = (member, cluster);
            }
            ENTRY => {
                let entry = Entry::decode(&*record.data).ok()?;
                self.has_run |= entry.kind != CONF_CHANGE;
                if entry.kind == NORMAL && changes_data(&entry.data) {
                    self.last_change = self.last_change.max(entry.index);
                }
            }
            SNAPSHOT => {
                self.last_change = self.last_change.max(Snapshot::decode(&*record.data).ok()?.index);
            }
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as etcd writes it, with room behind it.
    fn file(records: &[(i64, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut checksum = 0;
        for (kind, data) in records {
            checksum = crc32c::crc32c_append(checksum, data);
            let record = Record { kind: *kind, checksum, data: data.clone() }.encode_to_vec();
            let zeros = record.len().next_multiple_of(8) - record.len();
            let flags = if zeros > 0 { 0x80 | zeros as u64 } else { 0 };
            bytes.extend_from_slice(&(record.len() as u64 | flags << 56).to_le_bytes());
            bytes.extend_from_slice(&record);
            bytes.resize(bytes.len() + zeros, 0);
        }
        bytes.resize(bytes.len() + 512, 0);
        bytes
    }

    fn entry(kind: i32, index: u64, data: Vec<u8>) -> (i64, Vec<u8>) {
        (ENTRY, Entry { kind, index, data }.encode_to_vec())
    }

    /// A request of version 3 for what has this number.
    fn request(tag: u32) -> Vec<u8> {
        let mut request = Vec::new();
        prost::encoding::bytes::encode(tag, &b"\n\x01k".to_vec(), &mut request);
        prost::encoding::bytes::encode(HEADER, &vec![8, 1], &mut request);
        request
    }

    fn read(bytes: &[u8]) -> EtcdLog {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("0000000000000000-0000000000000000.wal"), bytes).expect("write");
        fs::write(folder.path().join("0.tmp"), b"not a log").expect("write");
        EtcdLog::read(folder.path()).expect("read")
    }

    #[test]
    fn what_was_restored_has_only_its_first_members() {
        let head = (METADATA, Metadata { member: 7, cluster: 9 }.encode_to_vec());
        let restored = [(CHECKSUM, Vec::new()), head, entry(1, 1, vec![1]), entry(1, 2, vec![2]), (3, vec![8, 1])];
        let whole = EtcdLog { member: 7, cluster: 9, has_run: false, last_change: 0, is_whole: true };
        assert_eq!(read(&file(&restored)), whole);
        // A leader's first entry, a member's address as in version 2, then a change of keys.
        let mut ran = restored.to_vec();
        ran.push(entry(0, 3, Vec::new()));
        ran.push(entry(0, 4, b"\x08\x01\x12\x03PUT\x1a\x02/0\"\x01v".to_vec()));
        assert_eq!(read(&file(&ran)), EtcdLog { has_run: true, ..whole });
        ran.push(entry(0, 5, request(4)));
        assert_eq!(read(&file(&ran)), EtcdLog { has_run: true, last_change: 5, ..whole });
        // A user goes; then everything comes from another member.
        ran.push(entry(0, 6, request(1101)));
        assert_eq!(read(&file(&ran)).last_change, 6);
        ran.push((SNAPSHOT, Snapshot { index: 100 }.encode_to_vec()));
        assert_eq!(read(&file(&ran)).last_change, 100);
    }

    #[test]
    fn what_is_damaged_or_torn_is_not_whole() {
        let bytes = file(&[entry(1, 1, vec![1]), entry(0, 2, request(4))]);
        assert!(read(&bytes).is_whole);
        for (at, flipped) in [(12, 1), (40, 4), (bytes.len() - 1, 1)] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flipped;
            assert!(!read(&bytes).is_whole, "byte {at}");
        }
        assert!(!read(&bytes[..20]).is_whole);
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!EtcdLog::read(folder.path()).expect("read").is_whole, "no file");
        for (number, whole) in [(0, true), (2, false), (1, true)] {
            let name = format!("{number:016x}-0000000000000000.wal");
            fs::write(folder.path().join(name), file(&[(CHECKSUM, Vec::new())])).expect("write");
            assert_eq!(EtcdLog::read(folder.path()).expect("read").is_whole, whole, "with file {number}");
        }
    }
}
