//! Processes: clone3(2) into a control group and namespaces with a pidfd, unshare(2), and the end of a child.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// linux/sched.h; wider than the 32 bits that libc gives it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process that was just made.
pub(crate) enum Cloned {
    /// This is the parent.
    Parent(Child),
    /// This is the child, a copy of the parent: it must end in exec or [`leave`].
    Child,
}

/// The parent's view of a child.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id, valid until it is waited for.
    pub(crate) pid: Pid,
    /// Its pidfd: a signal sent through it never meets another process.
    pub(crate) pidfd: OwnedFd,
}

/// Copies this process as fork(2) does, the child in `cgroup` and in new `namespaces` (flags `CLONE_NEW*`) from its first instruction on.
///
/// # Errors
/// The kernel refuses: EPERM, ENOSPC (too many namespaces), EBUSY (the group has controllers and cannot hold processes), ENOMEM.
pub(crate) fn clone_into(cgroup: BorrowedFd<'_>, namespaces: u64) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain integers, for which zero means "not used".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (libc::CLONE_PIDFD as u64) | CLONE_INTO_CGROUP | namespaces;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup.as_raw_fd() as u64;
    // SAFETY: no CLONE_VM, so the child has its own copy of everything, as after fork(2). Callers have one thread, or only call what is
    // safe in a signal handler before exec, as `spawn` does.
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

/// Starts a program in `cgroup` and in a session of its own, with `input` as its standard input, the other two on `/dev/null`, no
/// environment and no blocked signals. Works in a process with threads, too.
///
/// # Errors
/// As [`clone_into`]; a program that cannot be executed ends with 127.
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
    match clone_into(cgroup, 0)? {
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

/// Makes `from` the descriptors 1 and 2 and `input` the descriptor 0 of this process, which is about to become another program.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn set_stdio(input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<()> {
    for (from, to) in [(input, 0), (output, 1), (output, 2)] {
        // SAFETY: dup2(2) on numbers; nothing in this process owns 0 to 2.
        if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Marks every descriptor from 3 on to be closed when this process becomes another program (close_range(2)).
///
/// # Errors
/// The kernel is older than 5.11.
pub(crate) fn close_on_exec_from_3() -> io::Result<()> {
    // SAFETY: the flag closes nothing now, so nobody's descriptor is pulled away.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Leaves namespaces for new ones, unshare(2). For a process with one thread.
///
/// # Errors
/// EPERM, ENOSPC.
pub(crate) fn unshare(namespaces: u64) -> io::Result<()> {
    // SAFETY: flags `CLONE_NEW*` only: no memory, descriptor table or signal handler is unshared.
    let result = unsafe { libc::unshare(namespaces as libc::c_int) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends this process at once, without destructors: for a child of [`clone_into`].
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
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

/// Unblocks every signal and gives SIGPIPE, which the standard library ignores, its default action back: what a program expects.
pub(crate) fn reset_signals() {
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
pub(crate) fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no siginfo is passed; the number goes to the kernel as it is, which refuses one that is none.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
