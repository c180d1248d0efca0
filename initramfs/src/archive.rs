//! The initramfs: a newc cpio archive, zstd-compressed, with `/init`, the manifest and the keys, nothing else.

use anyhow::Result;
use cpio::newc;

/// zstd level: the archive is made once and read at every boot, and decompression costs the same at every level.
const ZSTD_LEVEL: i32 = 19;

/// One file of the initramfs.
pub(crate) struct Entry<'a> {
    /// Path without a leading slash.
    pub(crate) path: &'a str,
    /// Type and permission bits, as in stat(2).
    pub(crate) mode: u32,
    /// Content; empty for a folder.
    pub(crate) content: &'a [u8],
}

impl<'a> Entry<'a> {
    /// A folder.
    pub(crate) fn folder(path: &'a str) -> Entry<'a> {
        Entry { path, mode: 0o040_755, content: b"" }
    }

    /// A regular file.
    pub(crate) fn file(path: &'a str, permissions: u32, content: &'a [u8]) -> Entry<'a> {
        Entry { path, mode: 0o100_000 | permissions, content }
    }
}

/// A newc archive: owner 0, time 0, inodes in order, so that the same entries give the same bytes.
pub(crate) fn cpio(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let header = newc::Builder::new(entry.path).ino(index as u32 + 1).mode(entry.mode).nlink(1);
        let mut writer = header.write(&mut archive, entry.content.len() as u32);
        std::io::Write::write_all(&mut writer, entry.content)?;
        writer.finish()?;
    }
    newc::trailer(&mut archive)?;
    Ok(archive)
}

/// Compresses an archive and pads it to 4 bytes, where the kernel lets another archive begin
/// (Documentation/driver-api/early-userspace/buffer-format.rst).
pub(crate) fn compress(archive: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = zstd::bulk::compress(archive, ZSTD_LEVEL)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_entries_give_the_same_bytes_and_can_be_read_back() {
        let entries = [Entry::folder("hull"), Entry::file("hull/manifest", 0o644, b"version=1\n")];
        let archive = cpio(&entries).unwrap();
        assert_eq!(archive, cpio(&entries).unwrap());
        let reader = newc::Reader::new(&archive[..]).unwrap();
        assert_eq!((reader.entry().name(), reader.entry().mode()), ("hull", 0o040_755));
    }

    #[test]
    fn a_compressed_archive_ends_where_another_may_begin() {
        for length in 0..9 {
            assert_eq!(compress(&vec![7; length]).unwrap().len() % 4, 0);
        }
    }
}
