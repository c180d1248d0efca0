//! A machine's disk: a private sparse copy of an image, its partitions, and the faults that tests put on it.

use crate::tool::run;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Bytes of a logical block of the images.
const BLOCK: u64 = 512;

/// One raw disk, removed when dropped. It outlives the machines that it is put into.
pub struct Disk {
    dir: TempDir,
}

/// Where a partition lies on a disk, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Length.
    pub length: u64,
    /// GPT attribute bits.
    pub attributes: u64,
}

impl Disk {
    /// A private copy of `image`, holes kept.
    pub fn copy_of(image: &Path) -> Self {
        let disk = Self { dir: temp_dir() };
        run("cp", &["--sparse=always".as_ref(), "--reflink=auto".as_ref(), image.as_os_str(), disk.path().as_os_str()]);
        disk
    }

    /// A disk of `length` bytes without a partition table.
    pub fn blank(length: u64) -> Self {
        let disk = Self { dir: temp_dir() };
        let file = File::create(disk.path()).expect("create a blank disk");
        file.set_len(length).expect("size a blank disk");
        disk
    }

    /// A second copy as this disk is now, firmware variables included.
    pub fn duplicate(&self) -> Self {
        let copy = Self::copy_of(&self.path());
        if self.variables().exists() {
            std::fs::copy(self.variables(), copy.variables()).expect("copy firmware variables");
        }
        copy
    }

    /// The raw image.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    /// The firmware's variables that belong to this machine; made on the first firmware boot.
    pub fn variables(&self) -> PathBuf {
        self.dir.path().join("vars.fd")
    }

    /// Makes the disk longer, as a larger medium would be.
    pub fn grow_to(&self, length: u64) {
        self.open().set_len(length).expect("grow a disk to its new length");
    }

    /// Where the partition named `name` lies; `None` when there is no such partition or no table.
    pub fn partition(&self, name: &str) -> Option<Extent> {
        let table = gpt::GptConfig::new().writable(false).open(self.path()).ok()?;
        table.partitions().values().find(|partition| partition.name == name).map(|partition| Extent {
            start: partition.first_lba * BLOCK,
            length: (partition.last_lba + 1 - partition.first_lba) * BLOCK,
            attributes: partition.flags,
        })
    }

    /// Flips all bits of the byte at `offset` of partition `name`.
    pub fn flip_byte(&self, name: &str, offset: u64) {
        let extent = self.must_have(name);
        assert!(offset < extent.length, "byte {offset} lies behind partition {name}");
        let file = self.open();
        let mut byte = [0_u8];
        file.read_exact_at(&mut byte, extent.start + offset).expect("read a byte of the disk");
        file.write_all_at(&[!byte[0]], extent.start + offset).expect("write a byte of the disk");
    }

    /// Fills partition `name` with zeros.
    pub fn zero(&self, name: &str) {
        let extent = self.must_have(name);
        let (file, zeros) = (self.open(), vec![0_u8; 1 << 20]);
        let mut done = 0;
        while done < extent.length {
            let part = (extent.length - done).min(zeros.len() as u64) as usize;
            file.write_all_at(&zeros[..part], extent.start + done).expect("zero a partition");
            done += part as u64;
        }
    }

    /// Offset within partition `name` of the first place where `needle` stands.
    pub fn find(&self, name: &str, needle: &[u8]) -> Option<u64> {
        let extent = self.must_have(name);
        let mut bytes = vec![0_u8; usize::try_from(extent.length).ok()?];
        self.open().read_exact_at(&mut bytes, extent.start).ok()?;
        bytes.windows(needle.len()).position(|window| window == needle).map(|at| at as u64)
    }

    /// Overwrites the primary partition table (protective record kept), so that only the backup is left.
    pub fn zero_primary_table(&self) {
        self.open().write_all_at(&[0_u8; 33 * BLOCK as usize], BLOCK).expect("zero the primary table");
    }

    fn must_have(&self, name: &str) -> Extent {
        self.partition(name).unwrap_or_else(|| panic!("{}: no partition {name}", self.path().display()))
    }

    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(self.path()).expect("open a disk image")
    }
}

/// Temporary disks lie beside the build products: `/tmp` may be memory, and images are large.
fn temp_dir() -> TempDir {
    TempDir::with_prefix("hull-disk-").expect("make a directory for a disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitioned() -> Disk {
        let disk = Disk::blank(8 << 20);
        let mut table = gpt::GptConfig::new().writable(true).create(disk.path()).expect("create a partition table");
        table.add_partition("hull-a", 1 << 20, gpt::partition_types::LINUX_FS, 5, None).expect("add a partition");
        table.write().expect("write a partition table");
        disk
    }

    #[test]
    fn a_partition_is_found_by_its_name() {
        let disk = partitioned();
        let extent = disk.partition("hull-a").expect("the partition just made");
        assert_eq!((extent.length, extent.attributes), (1 << 20, 5));
        assert_eq!(disk.partition("hull-b"), None);
    }

    #[test]
    fn a_flipped_byte_is_the_only_change() {
        let disk = partitioned();
        let extent = disk.partition("hull-a").expect("the partition just made");
        let before = std::fs::read(disk.path()).expect("read the disk");
        disk.flip_byte("hull-a", 4097);
        let after = std::fs::read(disk.path()).expect("read the disk");
        let changed: Vec<_> = (0..before.len()).filter(|&at| before[at] != after[at]).collect();
        assert_eq!(changed, [(extent.start + 4097) as usize]);
    }

    #[test]
    fn a_lost_primary_table_is_read_from_the_backup() {
        let disk = partitioned();
        disk.zero_primary_table();
        assert!(disk.partition("hull-a").is_some());
    }
}
