//! Signals: as descriptors, and back to what a program expects.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Blocks every signal but those that a fault makes, so that they only arrive through the returned descriptor (signalfd(2)). For a process
/// with one thread.
///
/// # Errors
/// No descriptor is left.
pub fn all() -> io::Result<OwnedFd> {
    // SAFETY: a zeroed set is filled before use; the calls only read and write the set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
            libc::sigdelset(&raw mut set, fault);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Takes the next signal out of a descriptor of [`all`].
pub fn next(signals: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: plain integers, for which zero is a value; the kernel writes one whole structure or nothing.
    unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        let read = libc::read(signals.as_raw_fd(), (&raw mut info).cast(), size);
        (read == size as isize).then_some(info.ssi_signo as i32)
    }
}

/// Unblocks every signal and gives SIGPIPE, which the standard library ignores, its default action back: what a program expects.
pub fn reset() {
    // SAFETY: the set is emptied before use; this process is about to become another program.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Sends any signal, real-time ones included (pidfd_send_signal(2)).
///
/// # Errors
/// ESRCH: it has ended.
pub fn send(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no siginfo is passed; the number goes to the kernel as it is, which refuses one that is none.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
