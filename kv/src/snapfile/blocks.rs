//! Files of blocks, each with its checksum, and an end that counts them.
//! ```text
//! magic 8 | block... | end
//! block: length u32 | crc u32 | payload        the crc starts from the block's number
//! end:   0xffff_ffff u32 | crc u32             the crc is over the number of blocks
//! ```
use std::io::{self, Read};

use hull_kv_proto::hullpb::SnapshotPart;
use prost::Message as _;

use super::SnapshotError;
use crate::disk::Disk;

const END: u32 = u32::MAX;
/// No block is larger (bytes): one holds a single revision at least, and those have at most a request's size.
const MAX_BLOCK: usize = 64 * 1024 * 1024;

/// Appends block `number`.
pub(super) fn put_block(to: &mut Vec<u8>, number: u32, part: &SnapshotPart) {
    let length = part.encoded_len();
    to.reserve(8 + length);
    to.extend_from_slice(&(length as u32).to_le_bytes());
    let crc_at = to.len();
    to.extend_from_slice(&[0; 4]);
    let start = to.len();
    // A Vec grows as needed, so that encoding into it cannot fail.
    let _ = part.encode(to);
    let crc = block_crc(number, &to[start..]);
    to[crc_at..start].copy_from_slice(&crc.to_le_bytes());
}

/// Appends the end after so many blocks.
pub(super) fn put_end(to: &mut Vec<u8>, blocks: u32) {
    to.extend_from_slice(&END.to_le_bytes());
    to.extend_from_slice(&crc32c::crc32c(&blocks.to_le_bytes()).to_le_bytes());
}

fn block_crc(number: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), payload)
}

/// Reads a file of blocks.
pub(super) struct Blocks {
    reader: Box<dyn Read + Send>,
    offset: u64,
    number: u32,
    file: String,
}

impl Blocks {
    /// Opens a file that begins with `magic`.
    pub(super) fn open(disk: &dyn Disk, name: &str, magic: [u8; 8]) -> Result<Self, SnapshotError> {
        let file = disk.display(name);
        let reader = disk.reader(name).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                SnapshotError::Damaged { file: file.clone(), offset: 0, what: "it is gone".into() }
            }
            _ => SnapshotError::Io { doing: format!("open {file}"), source },
        })?;
        let mut blocks = Self { reader, offset: 0, number: 0, file };
        let mut found = [0; 8];
        blocks.fill(&mut found)?;
        if found == magic { Ok(blocks) } else { Err(blocks.damaged("this is no file of a version known here")) }
    }

    /// Bytes read so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Damage where the reading stands.
    pub(super) fn damaged(&self, what: impl Into<String>) -> SnapshotError {
        self.damaged_at(self.offset, what)
    }

    /// Damage at an offset.
    pub(super) fn damaged_at(&self, offset: u64, what: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged { file: self.file.clone(), offset, what: what.into() }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        match self.reader.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("the file ends early")),
            Err(source) => Err(SnapshotError::Io { doing: format!("read {}", self.file), source }),
        }
    }

    fn word(&mut self) -> Result<u32, SnapshotError> {
        let mut word = [0; 4];
        self.fill(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    /// The next part with its offset; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, SnapshotPart)>, SnapshotError> {
        let start = self.offset;
        let (length, crc) = (self.word()?, self.word()?);
        if length == END {
            let whole = crc == crc32c::crc32c(&self.number.to_le_bytes());
            return if whole { Ok(None) } else { Err(self.damaged("the number of blocks is wrong")) };
        }
        if length as usize > MAX_BLOCK {
            return Err(self.damaged("the length of a block is impossible"));
        }
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        if block_crc(self.number, &payload) != crc {
            return Err(self.damaged_at(start, "the checksum of a block is wrong"));
        }
        self.number += 1;
        let part = SnapshotPart::decode(bytes::Bytes::from(payload));
        part.map(|part| Some((start, part))).map_err(|error| self.damaged_at(start, error.to_string()))
    }
}
