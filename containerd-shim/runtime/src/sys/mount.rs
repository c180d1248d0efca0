//! mount_setattr(2): attributes, propagation and ids of a mount, attached or not.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// linux/mount.h
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// How far a change reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This mount.
    One,
    /// It and everything below.
    Tree,
}

/// Sets and clears attributes (`MOUNT_ATTR_*`) of a mount.
///
/// # Errors
/// EPERM when a locked attribute would be cleared, EINVAL.
pub fn change(mount: BorrowedFd<'_>, set: u64, clear: u64, reach: Reach) -> io::Result<()> {
    apply(mount, libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 }, reach)
}

/// Sets the propagation of a mount: one of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE.
///
/// # Errors
/// EINVAL.
pub fn propagate(mount: BorrowedFd<'_>, propagation: u64, reach: Reach) -> io::Result<()> {
    apply(mount, libc::mount_attr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 }, reach)
}

/// Shows the files of a detached mount with the ids of a user namespace.
///
/// # Errors
/// EINVAL: the file system cannot, or the mount is attached already.
pub fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, reach: Reach) -> io::Result<()> {
    let userns_fd = user_namespace.as_raw_fd() as u64;
    apply(mount, libc::mount_attr { attr_set: MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd }, reach)
}

fn apply(mount: BorrowedFd<'_>, attributes: libc::mount_attr, reach: Reach) -> io::Result<()> {
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
