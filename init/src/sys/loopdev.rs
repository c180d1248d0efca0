//! Loop devices: loop(4), Linux `include/uapi/linux/loop.h`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const READ_ONLY: u32 = 1;

/// `struct loop_config`: descriptor, block size, `struct loop_info64`, reserved.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info_head: [u64; 5],
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names_and_key: [u8; 64 + 64 + 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Config>() == 304);

/// Makes a read-only block device of a file.
pub(crate) fn attach(file: &Path) -> io::Result<PathBuf> {
    let backing = File::open(file)?;
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    // SAFETY: LOOP_CTL_GET_FREE has no argument and returns a number.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = File::open(&path)?;
    let config = Config {
        fd: backing.as_raw_fd() as u32,
        block_size: 0,
        info_head: [0; 5],
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: READ_ONLY,
        names_and_key: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`; the descriptor in it is open.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(path),
    }
}
