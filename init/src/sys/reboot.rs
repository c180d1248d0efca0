//! The ends of a machine: reboot(2), and what Ctrl-Alt-Del and the kernel's panics lead to.

use std::io;

use rustix::system::{RebootCommand, reboot};

/// Flushes, then ends the system. Comes back only if the kernel refuses.
pub(crate) fn end(how: RebootCommand) -> io::Error {
    rustix::fs::sync();
    match reboot(how) {
        Ok(()) => io::Error::from_raw_os_error(libc::EAGAIN),
        Err(error) => error.into(),
    }
}

/// Ctrl-Alt-Del sends SIGINT to PID 1 instead of resetting the machine.
pub(crate) fn ctrl_alt_del_asks() -> io::Result<()> {
    Ok(reboot(RebootCommand::CadOff)?)
}
