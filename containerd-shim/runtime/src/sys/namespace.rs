//! Of which kind a namespace is: ioctl_ns(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// linux/nsfs.h, `_IO(NSIO, 0x3)`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// The `CLONE_NEW*` of a namespace's file.
///
/// # Errors
/// ENOTTY: it is no namespace.
pub fn kind(namespace: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: the call takes no argument and answers with a number.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) } {
        -1 => Err(io::Error::last_os_error()),
        flag => Ok(u64::from(flag.cast_unsigned())),
    }
}
