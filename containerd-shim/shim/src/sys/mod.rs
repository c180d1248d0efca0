//! Descriptors by number: the one that `start` hands over, and those that a performer keeps. And memory.

pub(crate) mod memory;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes the descriptor that this program was started with. To be called once a number.
///
/// # Errors
/// None of this number is open.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl(2) on a number only looks, then sets the flag of what is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and was handed over by exec: nothing in this program owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from 3 on but `kept`. For a copy of this process that ends without destructors: what it closes is never
/// closed again.
///
/// # Errors
/// The kernel is older than 5.9.
pub(crate) fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|number| u32::try_from(*number).ok()).filter(|n| *n > 2).collect();
    kept.sort_unstable();
    let ends = kept.iter().map(|number| number - 1).chain([u32::MAX]);
    let begins = [3].into_iter().chain(kept.iter().map(|number| number + 1));
    for (first, last) in begins.zip(ends).filter(|(first, last)| first <= last) {
        // SAFETY: the caller's copy of this process uses none of these any more and runs no destructor.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
