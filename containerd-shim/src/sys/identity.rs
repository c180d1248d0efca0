//! The ids that a process touches files with, setfsuid(2).

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Runs `what` while files are touched as user and group `id`, with every capability that this process may have. For a process with one
/// thread, which is root before and after.
///
/// # Errors
/// Those of `what`, or this process is not root.
pub(crate) fn as_owner<T>(id: u32, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    set_file_ids(id);
    let result = hold_all().and_then(|()| what());
    // Back to root the kernel raises again what it has lowered on the way out.
    set_file_ids(0);
    result
}

fn set_file_ids(id: u32) {
    // SAFETY: changes only the file system ids of this thread, which is the only one. They report no errors; a refusal shows in what
    // follows.
    unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
    }
}

/// Leaving root has lowered what concerns files (capabilities(7)).
fn hold_all() -> io::Result<()> {
    let CapabilitySets { permitted, inheritable, .. } = rustix::thread::capabilities(None)?;
    let effective: CapabilitySet = permitted;
    Ok(rustix::thread::set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?)
}
