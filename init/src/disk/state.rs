//! The state partition: stretched to the end of its disk, and its file system after it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use hull_init_core::gpt::{Growth, LABEL_STATE};
use rustix::fs::statvfs;

use super::table::Disk;
use super::trouble::Trouble;
use super::{Grown, StateDevice, boot_files, controllers, find};
use crate::sys::{blk, ext4};

/// Where ext4 keeps its superblock, and the fields read from it (Documentation/filesystems/ext4/super.rst).
const SUPER_OFFSET: u64 = 1024;
const BLOCKS_LOW: usize = 0x4;
const LOG_BLOCK_SIZE: usize = 0x18;
const MAGIC: usize = 0x38;
const BLOCKS_HIGH: usize = 0x150;

/// See [`super::grow_and_find_state`].
pub(super) fn grow_and_find(system: Option<Disk>) -> Result<StateDevice, Trouble> {
    let mut disk = match system {
        Some(disk) => disk,
        None => find::find(boot_files::manifest()?.root.partition_id(), Duration::ZERO)?.disk,
    };
    if controllers::is_read_only(disk.path()) {
        let (disk, remedy) = (disk.path().display(), "take away its write protection, or boot with hull.state=memory");
        return Err(Trouble::new("keep the state on", disk, "the disk is read-only", remedy));
    }
    let mut notes = Vec::new();
    match disk.grow_state() {
        Ok(Growth::Whole) => {}
        Ok(Growth::Grown { from, to }) => {
            notes.push(format!("hull-state on {} grown from {from} to {to} sectors", disk.path().display()));
        }
        Ok(Growth::NotLast { behind }) => {
            notes.push(format!(
                "hull-state on {} stays small: partition {behind} lies behind it",
                disk.path().display()
            ));
        }
        Err(trouble) => notes.push(trouble.to_string()),
    }
    let device = disk.device(LABEL_STATE)?;
    let file = File::open(&device).map_err(|error| Trouble::new("open", device.display(), error, "check the disk"))?;
    let partition =
        blk::bytes(&file).map_err(|error| Trouble::new("size", device.display(), error, "check the disk"))?;
    let content = file_system_bytes(&file).map_err(|cause| {
        Trouble::new(
            "read",
            format_args!("state partition {}", device.display()),
            cause,
            "write the disk image again, or restore a backup",
        )
    })?;
    let grown = if content + u64::from(u16::MAX) < partition { Grown::Resize } else { Grown::No };
    Ok(StateDevice { device, grown, notes })
}

/// Bytes of the ext4 on a device.
fn file_system_bytes(device: &File) -> Result<u64, String> {
    let mut block = [0; 1024];
    device.read_exact_at(&mut block, SUPER_OFFSET).map_err(|error| error.to_string())?;
    if block[MAGIC..MAGIC + 2] != [0x53, 0xef] {
        return Err("there is no ext4 on it".to_owned());
    }
    let field = |at: usize| u64::from(u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]));
    let shift = field(LOG_BLOCK_SIZE);
    if shift > 6 {
        return Err("its ext4 superblock is damaged".to_owned());
    }
    Ok((field(BLOCKS_HIGH) << 32 | field(BLOCKS_LOW)) << (10 + shift))
}

/// See [`super::resize_state`].
pub(super) fn resize(mount_point: &str) -> Result<(), Trouble> {
    let say = |error: std::io::Error| {
        Trouble::new(
            "grow the file system on",
            mount_point,
            error,
            "the node works with the room it has; restart to try again",
        )
    };
    let folder = File::open(mount_point).map_err(say)?;
    let statistics = statvfs(mount_point).map_err(|error| say(error.into()))?;
    let device = state_device(mount_point).ok_or_else(|| say(std::io::ErrorKind::NotFound.into()))?;
    let partition = blk::bytes(&device).map_err(say)?;
    ext4::grow(&folder, partition / statistics.f_frsize).map_err(say)
}

/// The block device below a mount point, by its number.
fn state_device(mount_point: &str) -> Option<File> {
    let number = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(mount_point).ok()?);
    let folder = format!("/sys/dev/block/{}:{}/uevent", rustix::fs::major(number), rustix::fs::minor(number));
    let uevent = std::fs::read_to_string(folder).ok()?;
    let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    File::open(format!("/dev/{name}")).ok()
}
