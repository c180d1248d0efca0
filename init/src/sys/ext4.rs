//! Growing a mounted ext4: `EXT4_IOC_RESIZE_FS`, Linux `fs/ext4/ext4.h`; what resize2fs(8) does for a mounted file system.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;

/// Grows the file system that `mount_point` is the root of to so many of its own blocks.
pub(crate) fn grow(mount_point: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64.
    match unsafe { libc::ioctl(mount_point.as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const blocks) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
