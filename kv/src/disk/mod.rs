//! What the log and the snapshots need of a file system, so that tests can put a faulty one in its place.
use std::{fmt::Debug, io};

mod memory;
mod real;

pub use memory::MemoryDisk;
pub use real::RealDisk;

/// What the names of the log's files begin with.
pub const LOG_PREFIX: &str = "wal-";

/// A file that only takes space, for the day when the log has none.
pub const RESERVE: &str = "reserve";

/// One folder of files; or two, of which one has the log and its reserve.
pub trait Disk: Send + Sync {
    /// Names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// The whole content of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Opens a file for reading piece by piece.
    fn reader(&self, name: &str) -> io::Result<Box<dyn io::Read + Send>>;
    /// Opens a file for reading here and there.
    fn read_at(&self, name: &str) -> io::Result<Box<dyn ReadAt>>;
    /// Creates an empty file for appending; an older one of that name is gone.
    fn create(&self, name: &str, growth: Growth) -> io::Result<Box<dyn Append>>;
    /// Opens a log file for appending after its first `length` bytes.
    fn append(&self, name: &str, length: u64, rest: Rest) -> io::Result<Box<dyn Append>>;
    /// Creates a file of so many bytes that really take space, to be removed when nothing else is left.
    fn reserve(&self, name: &str, bytes: u64) -> io::Result<()>;
    /// Gives a file another name, atomically; an older one of that name is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals survive a power cut.
    fn sync_names(&self) -> io::Result<()>;
    /// Bytes that this process can still write.
    fn free_bytes(&self) -> io::Result<u64>;
    /// What a person calls this file.
    fn display(&self, name: &str) -> String;
}

/// How a file takes its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// As much as is written.
    Exact,
    /// Zeros ahead of what is written, so that a sync need not make a new length durable as well: that halves its time
    /// on a journaling file system.
    Ahead,
}

/// What follows the bytes after which a log file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing but zeros, which may stay.
    Zeros,
    /// Something that must go.
    Cut,
}

/// A file that is read here and there. It stays what it is even when its name goes.
pub trait ReadAt: Debug + Send + Sync {
    /// Fills `bytes` from `offset` on; a file that ends before is [`io::ErrorKind::UnexpectedEof`].
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Its length (bytes).
    fn length(&self) -> io::Result<u64>;
}

/// A file that grows at its end.
pub trait Append: Send {
    /// Writes all of `bytes` at the end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far survive a power cut (fdatasync(2)).
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to its first `length` bytes and goes on from there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// So many bytes can be written without taking space that the file does not have already.
    fn ahead(&self) -> u64 {
        0
    }
}
