//! Processes: clone3(2) into a cgroup with a pidfd, and the end of a child that could not become its program.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

// linux/sched.h; libc has them as i32, where they overflow to 0.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process that was just made.
pub(crate) enum Cloned {
    /// This is the parent.
    Parent(Child),
    /// This is the child, a copy of the parent: it must end in exec or [`leave`].
    Child,
}

/// The parent's view of a child.
pub(crate) struct Child {
    /// Its process id, valid until it is waited for.
    pub(crate) pid: Pid,
    /// Its pidfd: a signal sent through it never meets another process.
    pub(crate) pidfd: OwnedFd,
}

/// Copies this process as fork(2) does, the child in `cgroup` from its first instruction on and with default signal handlers.
pub(crate) fn clone_into(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain integers, for which zero means "not used".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (libc::CLONE_PIDFD as u64) | CLONE_CLEAR_SIGHAND;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(fd) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so the child has its own copy of everything, as after fork(2). PID 1 has one thread, so no lock is held
    // by a thread that does not exist in the child.
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

/// Ends this process at once, without destructors: for a child of [`clone_into`].
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
}

/// SIGKILL to every process but this one: kill(2) with -1.
pub(crate) fn kill_all() {
    // SAFETY: kill(2) has no memory preconditions; PID 1 itself is spared by definition of -1.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Makes `from` the descriptor `to`, open across exec.
pub(crate) fn move_fd(from: BorrowedFd<'_>, to: i32) -> io::Result<()> {
    // SAFETY: dup2(2) on numbers; `to` is 0 to 9 in a child that is about to exec, where nothing owns those numbers. If both are the
    // same, dup2 would leave close-on-exec set, so it is cleared.
    let result = unsafe {
        if from.as_raw_fd() == to { libc::fcntl(to, libc::F_SETFD, 0) } else { libc::dup2(from.as_raw_fd(), to) }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Becomes another program, execve(2). Comes back only with the reason why not.
pub(crate) fn exec(arguments: &[std::ffi::CString], environment: &[std::ffi::CString]) -> io::Error {
    let pointers = |words: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    if argv[0].is_null() {
        return io::ErrorKind::InvalidInput.into();
    }
    // SAFETY: both arrays end with a null pointer and point to C strings that live until the call returns.
    unsafe { libc::execve(argv[0], argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Descriptor 3, if this process was started with one. Only child modes have it, and they never close it.
pub(crate) fn third_descriptor() -> Option<BorrowedFd<'static>> {
    const THIRD: libc::c_int = 3;
    // SAFETY: F_GETFD only looks.
    let open = unsafe { libc::fcntl(THIRD, libc::F_GETFD) } != -1;
    // SAFETY: it is open, was there before this process opened anything, and nobody closes it.
    open.then(|| unsafe { BorrowedFd::borrow_raw(THIRD) })
}
