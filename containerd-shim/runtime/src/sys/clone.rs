//! Processes: clone3(2) into a control group and namespaces with a pidfd, unshare(2), and the end of a child.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// linux/sched.h; wider than the 32 bits that libc gives it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process that was just made.
pub enum Cloned {
    /// This is the parent.
    Parent(Child),
    /// This is the child, a copy of the parent: it must end in exec or [`leave`].
    Child,
}

/// The parent's view of a child.
#[derive(Debug)]
pub struct Child {
    /// Its process id, valid until it is waited for.
    pub pid: Pid,
    /// Its pidfd: a signal sent through it never meets another process.
    pub pidfd: OwnedFd,
}

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The caller's.
    Caller,
    /// That of the caller's parent.
    Grandparent,
}

/// Copies this process as fork(2) does, the child in `cgroup` and in new `namespaces` (flags `CLONE_NEW*`) from its first instruction on.
///
/// # Errors
/// The kernel refuses: EPERM, ENOSPC (too many namespaces), EBUSY (the group has controllers and cannot hold processes), ENOMEM.
pub fn clone(cgroup: Option<BorrowedFd<'_>>, namespaces: u64, parent: Parent) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain integers, for which zero means "not used".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (libc::CLONE_PIDFD as u64) | namespaces;
    arguments.pidfd = (&raw mut pidfd) as u64;
    match parent {
        Parent::Caller => arguments.exit_signal = libc::SIGCHLD as u64,
        Parent::Grandparent => arguments.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so the child has its own copy of everything, as after fork(2). Callers have one thread.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match result {
        0 => Ok(Cloned::Child),
        pid if pid > 0 => {
            let pid = Pid::from_raw(pid as i32).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
            // SAFETY: CLONE_PIDFD stored a new descriptor that nobody else owns.
            Ok(Cloned::Parent(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Copies this process, the child sharing the table of descriptors. For a process with one thread.
///
/// # Errors
/// The kernel refuses: EAGAIN, ENOMEM.
pub fn clone_with_descriptors() -> io::Result<Option<Pid>> {
    // SAFETY: no CLONE_VM: the child has its own memory. Both sides keep owning the same descriptors; the child only uses them and ends
    // in `leave`, which runs no destructor.
    let result = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_FILES | libc::SIGCHLD, 0, 0, 0, 0) };
    match result {
        0 => Ok(None),
        pid if pid > 0 => Ok(Pid::from_raw(pid as i32)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves namespaces for new ones, unshare(2). For a process with one thread.
///
/// # Errors
/// EPERM, ENOSPC.
pub fn unshare(namespaces: u64) -> io::Result<()> {
    // SAFETY: flags `CLONE_NEW*` only: no memory, descriptor table or signal handler is unshared.
    let result = unsafe { libc::unshare(namespaces as libc::c_int) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends this process at once, without destructors: for a child of [`clone`].
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
}
