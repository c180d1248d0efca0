//! Processes of the launcher's: one that executes a program, and signals as a descriptor.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use hull_runtime::sys::clone::{self, Child, Cloned, Parent};

/// Starts a program in `cgroup` and in a session of its own, with `input` as its standard input, the other two on `/dev/null`, no
/// environment and no blocked signals. Works in a process with threads, too.
///
/// # Errors
/// The kernel refuses: EAGAIN, ENOMEM; a program that cannot be executed ends with 127.
pub(crate) fn spawn(
    cgroup: BorrowedFd<'_>,
    program: &CStr,
    arguments: &[CString],
    input: &OwnedFd,
    null: &OwnedFd,
) -> io::Result<Child> {
    let pointers: Vec<*const libc::c_char> =
        arguments.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
    let environment = [std::ptr::null()];
    match clone::clone(Some(cgroup), 0, Parent::Caller)? {
        Cloned::Parent(child) => Ok(child),
        Cloned::Child => {
            // SAFETY: only calls that are safe in a signal handler: no lock is taken and nothing allocated. The arrays end with a null
            // pointer and, like the signal set, live until execve, in the child's own copy of the memory. dup2 onto 0 to 2 leaves
            // descriptors open over exec; the others have close-on-exec.
            unsafe {
                let mut none: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut none);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
                libc::setsid();
                libc::dup2(input.as_raw_fd(), 0);
                libc::dup2(null.as_raw_fd(), 1);
                libc::dup2(null.as_raw_fd(), 2);
                libc::execve(program.as_ptr(), pointers.as_ptr(), environment.as_ptr());
                libc::_exit(127)
            }
        }
    }
}

/// Blocks the signals, so that they only arrive through the returned descriptor (signalfd(2)). For a process with one thread.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn signals(numbers: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: a zeroed set is emptied before use; the calls only read and write the set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for number in numbers {
            libc::sigaddset(&raw mut set, *number);
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
