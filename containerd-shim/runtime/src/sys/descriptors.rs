//! Descriptors by number: standard streams, close-on-exec, and those that a caller has left open for the container.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Makes `from` the descriptor `to` of this process, which is about to become another program.
///
/// # Errors
/// No descriptor is left.
pub fn place(from: BorrowedFd<'_>, to: i32) -> io::Result<()> {
    // SAFETY: dup2(2) on numbers; callers replace the standard streams, which nothing in this process owns.
    if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Marks every descriptor from `first` on to be closed when this process becomes another program (close_range(2)).
///
/// # Errors
/// The kernel is older than 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: the flag closes nothing now, so nobody's descriptor is pulled away.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor from `first` on: those that a caller has left open and nobody asked for. For a program that has opened none yet.
pub fn close_from(first: u32) {
    // SAFETY: callers own no descriptor of these numbers; a range without any is no error.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Whether a descriptor of this number is open.
pub fn is_open(number: i32) -> bool {
    // SAFETY: only asks for flags.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// The open descriptors from 3 to before `end` that another program would get: those of whoever has called this one, since what this one
/// opens itself is closed at exec.
pub fn inherited(end: i32) -> Vec<i32> {
    // SAFETY: only asks for flags.
    (3..end).filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } == 0).collect()
}

/// A copy of the descriptor of this number.
///
/// # Errors
/// None is open.
pub fn copy(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: only makes a copy.
    match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) } {
        // SAFETY: a new descriptor that nobody else owns.
        fd if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Owns the descriptor of this number, which another process has put into the table that both share and has left.
///
/// # Errors
/// None is open.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    match is_open(number) {
        // SAFETY: it is open, and who has opened it has ended.
        true => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        false => Err(io::Error::from_raw_os_error(libc::EBADF)),
    }
}

/// Leaves a descriptor open when this process becomes another program.
///
/// # Errors
/// None of this number is open.
pub fn keep_open(number: i32) -> io::Result<()> {
    // SAFETY: only the flag changes, of a descriptor that the caller of this program has opened.
    if unsafe { libc::fcntl(number, libc::F_SETFD, 0) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
