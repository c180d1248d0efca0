//! kexec_file_load(2): loads a kernel whose signature the kernel itself checks.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Loads kernel and initramfs for the next `reboot(LINUX_REBOOT_CMD_KEXEC)`. Nobody may have the files open for writing (ETXTBSY).
pub(crate) fn load(kernel: &File, initramfs: &File, command_line: &str) -> io::Result<()> {
    let line = CString::new(command_line)?;
    let bytes = line.as_bytes_with_nul().len();
    // SAFETY: both descriptors are open, and the kernel reads `bytes` bytes of the line, its final zero included.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs.as_raw_fd(),
            bytes,
            line.as_ptr(),
            0_usize,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
