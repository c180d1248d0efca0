//! Snapshots on disk: the state machine's parts in blocks, each with its checksum, and an end that counts them.
//! ```text
//! magic 8 | block... | end
//! block: length u32 | crc u32 | payload        the crc starts from the block's number
//! end:   0xffff_ffff u32 | crc u32             the crc is over the number of blocks
//! ```
//! A snapshot is written under another name, made durable, then renamed: one with its final name is whole or damaged.
use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

use hull_kv_core::{Applied, Restore, RestoreError, SnapshotCursor, Store};
use hull_kv_proto::hullpb::SnapshotPart;
use prost::Message as _;

use crate::{
    disk::{Append, Disk, Growth},
    lock::read,
    shared::Shared,
};

/// First bytes of every snapshot; the digit is the format's version.
const MAGIC: &[u8; 8] = b"HULLSNP1";
const PREFIX: &str = "snapshot-";
const UNFINISHED: &str = "snapshot.new";
const INCOMING: &str = "snapshot.in";
const END: u32 = u32::MAX;
/// No block is larger (bytes): one holds a single revision at least, and those have at most a request's size.
const MAX_BLOCK: usize = 64 * 1024 * 1024;
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
    /// Its size (bytes).
    pub bytes: u64,
}

/// A snapshot of the store in pieces of the file's format: for a file, and for a member that lags behind.
#[derive(Debug)]
pub struct Encoder {
    cursor: SnapshotCursor,
    generation: u64,
    number: u32,
    state: Encoding,
    /// Compaction waits as long as this lives.
    _hold: Arc<()>,
}

/// What an encoder gives next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Magic,
    Blocks,
    Done,
}

/// The store became another one while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced;

impl Encoder {
    /// Begins a snapshot of the store as it is now. Until it ends, compaction removes nothing.
    pub fn new(shared: &Shared) -> Self {
        let store = read(&shared.store);
        let generation = shared.generation();
        Self {
            cursor: SnapshotCursor::new(&store),
            generation,
            number: 0,
            state: Encoding::Magic,
            _hold: shared.hold_for_reader(),
        }
    }

    /// Where in the log the snapshot stands.
    pub fn applied(&self) -> Applied {
        self.cursor.applied()
    }

    /// The next piece, some [`WRITE_BYTES`] long; `None` after the last. Holds the store's lock for one part at a time.
    ///
    /// # Errors
    /// A snapshot from another member replaced the store meanwhile.
    pub fn next(&mut self, shared: &Shared) -> Result<Option<Vec<u8>>, Replaced> {
        let mut piece = match self.state {
            Encoding::Magic => MAGIC.to_vec(),
            Encoding::Blocks => Vec::new(),
            Encoding::Done => return Ok(None),
        };
        self.state = Encoding::Blocks;
        while piece.len() < WRITE_BYTES {
            let part = {
                let store = read(&shared.store);
                if shared.generation() != self.generation {
                    return Err(Replaced);
                }
                self.cursor.next_part(&store)
            };
            let Some(part) = part else {
                piece.extend_from_slice(&END.to_le_bytes());
                piece.extend_from_slice(&crc32c::crc32c(&self.number.to_le_bytes()).to_le_bytes());
                self.state = Encoding::Done;
                break;
            };
            put_block(&mut piece, self.number, &part.encode_to_vec());
            self.number += 1;
        }
        Ok(Some(piece))
    }
}

/// Writes a snapshot of the store as it is now and removes older ones.
///
/// # Errors
/// The disk's; older snapshots stay then, and what was begun is removed, since it may be space that was lacking.
pub fn write(disk: &dyn Disk, shared: &Shared) -> io::Result<Written> {
    write_new(disk, shared).inspect_err(|_| {
        // If it cannot even be removed, the next snapshot overwrites it.
        let _ = disk.remove(UNFINISHED);
    })
}

fn write_new(disk: &dyn Disk, shared: &Shared) -> io::Result<Written> {
    let mut encoder = Encoder::new(shared);
    let mut file = disk.create(UNFINISHED, Growth::Exact)?;
    let mut bytes = 0;
    let replaced = |Replaced| io::Error::other("another member's snapshot replaced what was being written");
    while let Some(piece) = encoder.next(shared).map_err(replaced)? {
        file.write(&piece)?;
        bytes += piece.len() as u64;
    }
    file.sync()?;
    finish(disk, UNFINISHED, encoder.applied())?;
    Ok(Written { applied: encoder.applied(), bytes })
}

/// Gives a whole, durable file its final name; older snapshots go.
fn finish(disk: &dyn Disk, from: &str, applied: Applied) -> io::Result<()> {
    let name = file_name(applied);
    // A slow writer may end after a newer snapshot came from elsewhere.
    if list(disk)?.last().is_some_and(|newest| *newest > name) {
        return disk.remove(from);
    }
    disk.rename(from, &name)?;
    disk.sync_names()?;
    for older in list(disk)?.into_iter().filter(|other| *other != name) {
        disk.remove(&older)?;
    }
    Ok(())
}

/// A snapshot that another member sends, on its way to the disk.
pub struct Arriving {
    disk: Arc<dyn Disk>,
    file: Box<dyn Append>,
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
    bytes: u64,
}

impl Arriving {
    /// Begins; only one arrives at a time.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let file = disk.create(INCOMING, Growth::Exact)?;
        Ok(Self { disk, file })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write(bytes)
    }

    /// Makes the file durable and reads all of it back, every checksum included.
    ///
    /// # Errors
    /// Damage, or the disk's; the file is gone then.
    pub fn finish(mut self) -> Result<Arrived, SnapshotError> {
        let shown = self.disk.display(INCOMING);
        let synced = self.file.sync().map_err(|source| SnapshotError::Io { doing: format!("sync {shown}"), source });
        let read = synced.and_then(|()| read_file(&*self.disk, INCOMING));
        match read {
            Ok((store, bytes)) => Ok(Arrived { store, bytes }),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    /// The sender stopped before the end.
    pub fn abandon(self) {
        drop_arrived(&*self.disk);
    }
}

impl Arrived {
    /// Makes it the snapshot that this member starts from.
    ///
    /// # Errors
    /// The disk's.
    pub fn install(self, disk: &dyn Disk) -> io::Result<(Store, Written)> {
        let applied = self.store.applied();
        finish(disk, INCOMING, applied)?;
        Ok((self.store, Written { applied, bytes: self.bytes }))
    }
}

/// Removes a snapshot from elsewhere that is not wanted.
pub fn drop_arrived(disk: &dyn Disk) {
    // If it stays, the next one overwrites it, and so does a start.
    let _ = disk.remove(INCOMING);
}

fn put_block(to: &mut Vec<u8>, number: u32, payload: &[u8]) {
    to.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    to.extend_from_slice(&block_crc(number, payload).to_le_bytes());
    to.extend_from_slice(payload);
}

fn block_crc(number: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), payload)
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
pub fn load(disk: &dyn Disk) -> Result<Option<(Store, u64)>, SnapshotError> {
    let names =
        list(disk).map_err(|source| SnapshotError::Io { doing: format!("list {}", disk.display("")), source })?;
    // What a power cut left unfinished is no snapshot, only space.
    let _ = disk.remove(UNFINISHED);
    drop_arrived(disk);
    names.last().map(|name| read_file(disk, name)).transpose()
}

/// Reads a whole snapshot; answers what it says and its size.
fn read_file(disk: &dyn Disk, name: &str) -> Result<(Store, u64), SnapshotError> {
    let shown = disk.display(name);
    let reader = disk.reader(name).map_err(|source| SnapshotError::Io { doing: format!("open {shown}"), source })?;
    let mut blocks = Blocks { reader, offset: 0, number: 0, file: shown };
    blocks.magic()?;
    let mut restore = Restore::default();
    while let Some((offset, payload)) = blocks.next()? {
        let damaged = |what: String| SnapshotError::Damaged { file: blocks.file.clone(), offset, what };
        let part = SnapshotPart::decode(&*payload).map_err(|error| damaged(error.to_string()))?;
        restore.part(part).map_err(|error| damaged(error.to_string()))?;
    }
    let store = restore.finish().map_err(|error: RestoreError| blocks.damaged(error.to_string()))?;
    Ok((store, blocks.offset))
}

struct Blocks {
    reader: Box<dyn Read + Send>,
    offset: u64,
    number: u32,
    file: String,
}

impl Blocks {
    fn damaged(&self, what: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged { file: self.file.clone(), offset: self.offset, what: what.into() }
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

    fn magic(&mut self) -> Result<(), SnapshotError> {
        let mut magic = [0; 8];
        self.fill(&mut magic)?;
        if magic == *MAGIC { Ok(()) } else { Err(self.damaged("this is no snapshot of a version known here")) }
    }

    fn word(&mut self) -> Result<u32, SnapshotError> {
        let mut word = [0; 4];
        self.fill(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    /// The next block with its offset; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, SnapshotError> {
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
            return Err(SnapshotError::Damaged {
                file: self.file.clone(),
                offset: start,
                what: "the checksum of a block is wrong".into(),
            });
        }
        self.number += 1;
        Ok(Some((start, payload)))
    }
}
