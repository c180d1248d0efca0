//! Small files of the kernel: one write, one read, no heap.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Result;

/// Writes a kernel file in one go.
pub(crate) fn write(path: &str, bytes: &[u8]) -> Result<()> {
    let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, bytes).map(drop)
}

/// Reads a file's first bytes into `buffer`.
pub(crate) fn read<'b>(path: &str, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut length = 0;
    while length < buffer.len() {
        match rustix::io::read(&file, &mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(&buffer[..length])
}

/// A path from pieces, without a heap.
pub(crate) type Path = heapless::String<160>;

/// Joins pieces to a path; one that is too long is empty, and opening it says so.
pub(crate) fn path(pieces: &[&str]) -> Path {
    let mut out = Path::new();
    for piece in pieces {
        if out.push_str(piece).is_err() {
            return Path::new();
        }
    }
    out
}
