//! The write-ahead log: raft's entries and hard states, in files that only grow, one fdatasync a batch.
//!
//! On opening, a torn tail (the last batch of the last file, never acknowledged) is cut. Anything else that cannot be
//! read stops the member: serving on could serve wrong data.
//!
//! Invariant: a batch is acknowledged ([`Persisted`]) only after its fdatasync came back.
//! Invariant: after a failed fdatasync nothing more is written; what the disk holds is unknown then.
use std::{io, sync::Arc};

use raft::eraftpb::{Entry, HardState};

use crate::{
    disk::{Append, Disk, Growth, LOG_PREFIX},
    limits::WAL_SEGMENT_BYTES,
};

mod open;
mod record;

pub use open::{Replay, WalError, owner};
use record::{FILE_HEADER, FileHeader};

/// Proof that everything appended so far is on stable storage.
#[derive(Debug)]
#[must_use = "what a batch promised may go out only now"]
pub struct Persisted(());

/// Whether what is on the disk is what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiskState {
    Known,
    /// A sync or a cut failed.
    Unknown,
}

/// An error after which nothing more may be written, whatever the disk calls it.
fn unknown(error: io::Error) -> io::Error {
    io::Error::other(error)
}

/// What a batch with one entry has besides its command, at most (bytes): two records' headers, a hard state, an entry's numbers.
const BATCH_OVERHEAD: u64 = 256;

fn file_name(seq: u64) -> String {
    format!("{LOG_PREFIX}{seq:016x}")
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    seq: u64,
    first_index: u64,
    length: u64,
}

/// The log, open for appending.
pub struct Wal {
    disk: Arc<dyn Disk>,
    member: u64,
    /// Oldest first; the last is written to.
    segments: Vec<Segment>,
    file: Box<dyn Append>,
    /// Where the next batch starts in the last file: everything before is durable.
    durable: u64,
    buffer: Vec<u8>,
    state: HardState,
    disk_state: DiskState,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal").field("segments", &self.segments).field("durable", &self.durable).finish_non_exhaustive()
    }
}

impl Wal {
    /// Starts a log for `member` whose first entry will be `first_index`.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(disk: Arc<dyn Disk>, member: u64, first_index: u64, state: HardState) -> io::Result<Self> {
        let (file, segment) = new_file(&*disk, 1, member, first_index, &state)?;
        Ok(Self {
            disk,
            member,
            durable: segment.length,
            segments: vec![segment],
            file,
            buffer: Vec::new(),
            state,
            disk_state: DiskState::Known,
        })
    }

    /// Appends entries and a hard state and makes them durable: one write, one fdatasync.
    ///
    /// # Errors
    /// A write that does not fit leaves the log as it was ([`io::ErrorKind::StorageFull`]) and can be tried again; after
    /// any other error the member must stop.
    pub fn append(&mut self, entries: &[Entry], state: Option<&HardState>) -> io::Result<Persisted> {
        if self.disk_state == DiskState::Unknown {
            return Err(io::Error::other("an earlier write failed, and what the disk holds is unknown"));
        }
        self.disk_state = DiskState::Unknown;
        let appended = self.append_batch(entries, state);
        let known = match &appended {
            Ok(_) => true,
            // Cut off again.
            Err(error) => error.kind() == io::ErrorKind::StorageFull,
        };
        if known {
            self.disk_state = DiskState::Known;
        }
        appended
    }

    /// Whether a batch with so many bytes of commands needs no space that the file does not have already.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.durable < WAL_SEGMENT_BYTES && self.file.ahead() >= bytes.saturating_add(BATCH_OVERHEAD)
    }

    fn append_batch(&mut self, entries: &[Entry], state: Option<&HardState>) -> io::Result<Persisted> {
        if self.durable >= WAL_SEGMENT_BYTES {
            self.rotate(entries.first().map(|entry| entry.index))?;
        }
        let Some(segment) = self.segments.last_mut() else { return Ok(Persisted(())) };
        let batch = self.durable;
        self.buffer.clear();
        for entry in entries {
            record::put_entry(&mut self.buffer, segment.seq, batch, batch, entry);
        }
        if let Some(state) = state {
            record::put_hard_state(&mut self.buffer, segment.seq, batch, batch, state);
        }
        if let Err(error) = self.file.write(&self.buffer) {
            self.file.cut(batch).map_err(unknown)?;
            return Err(error);
        }
        self.file.sync().map_err(unknown)?;
        self.durable += self.buffer.len() as u64;
        segment.length = self.durable;
        if let Some(state) = state {
            self.state = state.clone();
        }
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new();
        }
        Ok(Persisted(()))
    }

    /// Goes on after a snapshot that came from elsewhere and is durable: what the log held before is not part of this
    /// history any more.
    ///
    /// # Errors
    /// The disk's; the member must stop. Opening drops what was left behind.
    pub fn restart(&mut self, first_index: u64, state: &HardState) -> io::Result<Persisted> {
        let Some(last) = self.segments.last() else { return Ok(Persisted(())) };
        self.file.cut(self.durable)?;
        let (file, segment) = new_file(&*self.disk, last.seq + 1, self.member, first_index, state)?;
        (self.file, self.durable, self.state) = (file, segment.length, state.clone());
        for older in std::mem::replace(&mut self.segments, vec![segment]) {
            self.disk.remove(&file_name(older.seq))?;
        }
        self.disk.sync_names()?;
        Ok(Persisted(()))
    }

    /// Goes on in a new file if that can make the old one superfluous soon. `next_index` is the index of the next entry.
    ///
    /// # Errors
    /// The disk's; the log is as it was.
    pub fn renew(&mut self, next_index: u64) -> io::Result<()> {
        if self.durable > WORTH_RENEWING { self.rotate(Some(next_index)) } else { Ok(()) }
    }

    /// Nothing to write: what was promised before stands.
    pub fn nothing(&self) -> Persisted {
        Persisted(())
    }

    /// Goes on in a new file. `next_index` is the index of the next entry, if there is one.
    fn rotate(&mut self, next_index: Option<u64>) -> io::Result<()> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        // Only the last file may have zeros behind its records: elsewhere they would hide what is missing.
        self.file.cut(self.durable)?;
        let first_index = next_index.unwrap_or(last.first_index);
        let (file, segment) = new_file(&*self.disk, last.seq + 1, self.member, first_index, &self.state)?;
        self.file = file;
        self.durable = segment.length;
        self.segments.push(segment);
        Ok(())
    }

    /// Removes files that hold only entries up to `index`, which a durable snapshot covers.
    ///
    /// # Errors
    /// The disk's; what could not be removed is tried again next time.
    pub fn truncate_front(&mut self, index: u64) -> io::Result<()> {
        let mut removed = 0;
        while let [_, second, ..] = &self.segments[removed..]
            && second.first_index <= index + 1
        {
            self.disk.remove(&file_name(self.segments[removed].seq))?;
            removed += 1;
        }
        self.segments.drain(..removed);
        if removed > 0 { self.disk.sync_names() } else { Ok(()) }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }
}

/// A file that holds no more than this (bytes) need not become superfluous.
const WORTH_RENEWING: u64 = 512 * 1024;

/// A write buffer larger than this (bytes) is given back after the batch.
const BUFFER_KEPT: usize = 1024 * 1024;

/// A new file, durable with its name, that starts with the hard state, so that older files can go.
fn new_file(
    disk: &dyn Disk,
    seq: u64,
    member: u64,
    first_index: u64,
    state: &HardState,
) -> io::Result<(Box<dyn Append>, Segment)> {
    let name = file_name(seq);
    let mut file = disk.create(&name, Growth::Ahead)?;
    let mut bytes = FileHeader { seq, member, first_index }.encode().to_vec();
    let start = FILE_HEADER as u64;
    let mut records = Vec::new();
    record::put_hard_state(&mut records, seq, start, start, state);
    bytes.extend_from_slice(&records);
    let filled = file.write(&bytes).and_then(|()| file.sync()).and_then(|()| disk.sync_names());
    if let Err(error) = filled {
        // Best effort: a later try creates the file anew, and opening drops an incomplete last file.
        let _ = disk.remove(&name);
        return Err(error);
    }
    Ok((file, Segment { seq, first_index, length: bytes.len() as u64 }))
}
