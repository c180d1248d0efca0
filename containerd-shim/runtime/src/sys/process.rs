//! What a process is to the scheduler and to its limits: sched_setattr(2), ioprio_set(2), set_mempolicy(2), personality(2), prlimit(2),
//! keyctl(2).

use std::ffi::CString;
use std::io;

use hull_oci_core::oci::memory_policy::MemoryPolicy;
use hull_oci_core::oci::process::{Limit, Scheduling};

fn result(value: libc::c_long) -> io::Result<()> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a limit of the process `pid`, 0 for this one.
///
/// # Errors
/// EPERM: the hard limit would rise and the caller may not.
pub fn set_limit(pid: i32, limit: &Limit) -> io::Result<()> {
    let value = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: the kernel reads one structure; the old value is not asked for.
    result(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, limit.number, &raw const value, std::ptr::null_mut::<libc::rlimit64>())
    })
}

/// Sets the scheduling of this thread.
///
/// # Errors
/// EPERM, EINVAL, EBUSY (not enough time for a deadline).
pub fn schedule(wanted: &Scheduling) -> io::Result<()> {
    /// C's `struct sched_attr`, its first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = *wanted;
    let size = size_of::<Attributes>() as u32;
    let attributes = Attributes { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads `size` bytes of the structure.
    result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Sets class and priority of this thread's I/O.
///
/// # Errors
/// EPERM, EINVAL.
pub fn set_io_priority(value: u32) -> io::Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: plain numbers.
    result(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) })
}

/// Sets from which nodes memory comes.
///
/// # Errors
/// EINVAL: the kernel has no such nodes, or the policy takes none; ENOSYS: it knows no nodes.
pub fn set_memory_policy(wanted: &MemoryPolicy) -> io::Result<()> {
    // One more than there are bits: the kernel looks at one less (set_mempolicy(2), BUGS).
    let (nodes, bits) = match &wanted.nodes {
        Some(nodes) => (nodes.as_ptr(), nodes.len() * u64::BITS as usize + 1),
        None => (std::ptr::null(), 0),
    };
    // SAFETY: the kernel reads at most `bits - 1` bits, which live over the call.
    result(unsafe { libc::syscall(libc::SYS_set_mempolicy, wanted.mode, nodes, bits) })
}

/// Sets the execution domain.
///
/// # Errors
/// EINVAL.
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: plain numbers.
    result(unsafe { libc::syscall(libc::SYS_personality, domain) })
}

/// Joins a new session keyring of this name.
///
/// # Errors
/// ENOSYS: the kernel has no keys; EDQUOT: too many.
pub fn join_session_keyring(name: &str) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    let name = CString::new(name).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the name is a C string that lives over the call.
    result(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr(), 0, 0, 0) })
}

/// Sends any signal to a process id.
///
/// # Errors
/// ESRCH: it has ended.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    result(libc::c_long::from(unsafe { libc::kill(pid, signal) }))
}
