//! seccomp(2): the filter of system calls, and the memory in which its notification descriptor is handed over.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use hull_oci_core::oci::bpf::Instruction;
use rustix::process::Pid;

const NEW_LISTENER: u32 = 1 << 3;

/// With TSYNC a failure would be a thread's id, where a listener's descriptor is: the kernel wants errors instead.
const TSYNC: u32 = 1;
const TSYNC_ESRCH: u32 = 1 << 4;

/// Filters this thread's system calls from here on.
///
/// # Errors
/// EACCES without `no_new_privs` and CAP_SYS_ADMIN; EINVAL for a program or flag that the kernel does not accept.
pub fn filter(program: &[Instruction], flags: u32) -> io::Result<()> {
    load(program, flags).map(|_| ())
}

/// Filters this thread's system calls, with a descriptor on which calls are reported.
///
/// # Errors
/// As [`filter`], and EBUSY: there is a listener already.
pub fn filter_with_listener(program: &[Instruction], flags: u32) -> io::Result<OwnedFd> {
    let extra = if flags & TSYNC != 0 { TSYNC_ESRCH } else { 0 };
    // SAFETY: with this flag the result is a new descriptor that nobody else owns.
    load(program, flags | NEW_LISTENER | extra).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn load(program: &[Instruction], flags: u32) -> io::Result<i32> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel reads `len` instructions through the pointer and writes none; both structures are C's `struct sock_filter`.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// A number that two processes see: 0 until it is set.
pub struct SharedNumber(*mut AtomicI32);

impl SharedNumber {
    /// Makes one that children share from then on. It is never unmapped: it ends with its processes.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new() -> io::Result<SharedNumber> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice, zeroed and page-aligned.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<AtomicI32>(), protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(SharedNumber(memory.cast())) }
    }

    /// Sets it.
    pub fn set(&self, number: i32) {
        // SAFETY: points to a zeroed, aligned mapping that lives as long as the process; other processes only touch it atomically, too.
        unsafe { (*self.0).store(number, Ordering::SeqCst) }
    }

    /// What it is.
    pub fn get(&self) -> i32 {
        // SAFETY: as above.
        unsafe { (*self.0).load(Ordering::SeqCst) }
    }
}

/// Waits for the end of a child, if the filter lets this process.
pub fn reap(pid: Pid) {
    // SAFETY: the status is not asked for.
    unsafe { libc::waitpid(pid.as_raw_nonzero().get(), std::ptr::null_mut(), 0) };
}
