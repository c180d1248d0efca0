//! mount_setattr(2): attributes of a mount that is not attached yet, id mapping among them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::mount::MountAttrFlags;

/// linux/mount.h
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// How far a change reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This mount.
    One,
    /// It and everything below.
    Tree,
}

/// Sets attributes on the mount `mount`.
///
/// # Errors
/// EPERM when a locked attribute would be cleared, EINVAL.
pub(crate) fn set(mount: BorrowedFd<'_>, attributes: MountAttrFlags, reach: Reach) -> io::Result<()> {
    // Access times are one field of two bits: the kernel wants all of it cleared before a value is set.
    let times = MountAttrFlags::MOUNT_ATTR_NOATIME | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let clear = if attributes.intersects(times) { MountAttrFlags::MOUNT_ATTR__ATIME.bits() } else { 0 };
    change(mount, (u64::from(attributes.bits()), u64::from(clear)), 0, reach)
}

/// Shows the files of a detached mount with the ids of a user namespace: what belongs to 0 on the disk belongs to its root.
///
/// # Errors
/// EINVAL: the file system cannot, or the mount is attached already.
pub(crate) fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    change(mount, (MOUNT_ATTR_IDMAP, 0), user_namespace.as_raw_fd() as u64, Reach::One)
}

fn change(mount: BorrowedFd<'_>, (attr_set, attr_clr): (u64, u64), userns_fd: u64, reach: Reach) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set, attr_clr, propagation: 0, userns_fd };
    let recursive = if reach == Reach::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, the structure lives over the call and its size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
