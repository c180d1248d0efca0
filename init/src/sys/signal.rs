//! Signals as a file descriptor: signalfd(2), and the mask around it.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Blocks every signal and gives those of `wanted` as a descriptor. Non-blocking, closed on exec.
pub(crate) fn open(wanted: &[i32]) -> io::Result<OwnedFd> {
    let (mut all, mut set) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
    // SAFETY: sigfillset(3), sigemptyset(3) and sigaddset(3) initialise and change the sets they are given; the mask is this
    // thread's, and there is only one.
    let fd = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigemptyset(set.as_mut_ptr());
        for signal in wanted {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        if libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd(2) gave a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal's number, `None` if there is none.
pub(crate) fn next(signals: BorrowedFd<'_>) -> Option<i32> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer has room for `size` bytes; only a full read is taken as initialised.
    let read = unsafe { libc::read(signals.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if read != size as isize {
        return None;
    }
    // SAFETY: the kernel wrote the whole structure, which is plain integers.
    Some(unsafe { info.assume_init() }.ssi_signo as i32)
}

/// Unblocks every signal: for a child, before it becomes another program.
pub(crate) fn unblock_all() {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset(3) initialises the set; the mask is this thread's.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}
