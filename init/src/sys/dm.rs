//! Device mapper: Linux `include/uapi/linux/dm-ioctl.h`, Documentation/admin-guide/device-mapper/verity.rst.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const CONTROL: &str = "/dev/mapper/control";
const DM_DEV_CREATE: libc::c_ulong = 0xc138_fd03;
const DM_DEV_REMOVE: libc::c_ulong = 0xc138_fd04;
const DM_DEV_SUSPEND: libc::c_ulong = 0xc138_fd06;
const DM_TABLE_LOAD: libc::c_ulong = 0xc138_fd09;
const READ_ONLY: u32 = 1;
const SECTOR: u64 = 512;

/// `struct dm_ioctl` with one target and its parameters behind it, as one buffer.
#[repr(C)]
struct Message {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
    target: Target,
    parameters: [u8; PARAMETERS],
}

/// `struct dm_target_spec`.
#[repr(C)]
struct Target {
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    kind: [u8; 16],
}

/// Room for a verity table: two digests of 64 digits, two device numbers, six numbers, a salt of 256 bytes in hexadecimal.
const PARAMETERS: usize = 1024;
/// Size of `struct dm_ioctl`: what the ioctl numbers above carry.
const HEADER: usize = 312;

const _: () = assert!(std::mem::offset_of!(Message, target) == HEADER);

/// A read-only verity device.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// N of `/dev/dm-N`.
    pub(crate) minor: u32,
}

/// Creates, fills and starts a read-only verity device of `sectors` 512-byte sectors. A block that does not match its hash is an I/O
/// error for whoever reads it.
pub(crate) fn create_verity(name: &str, parameters: &str, sectors: u64) -> io::Result<Mapped> {
    if parameters.len() >= PARAMETERS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let control = File::options().read(true).write(true).open(CONTROL)?;
    let mut message = Message::new(name);
    ioctl(&control, DM_DEV_CREATE, &mut message)?;
    let started = load_and_start(&control, name, parameters, sectors);
    if started.is_err() {
        let _ = ioctl(&control, DM_DEV_REMOVE, &mut Message::new(name)); // the first error is the one to tell
    }
    started
}

fn load_and_start(control: &File, name: &str, parameters: &str, sectors: u64) -> io::Result<Mapped> {
    let mut table = Message::new(name);
    table.flags = READ_ONLY;
    table.target_count = 1;
    table.target.length = sectors;
    table.target.kind[..6].copy_from_slice(b"verity");
    table.parameters[..parameters.len()].copy_from_slice(parameters.as_bytes());
    ioctl(control, DM_TABLE_LOAD, &mut table)?;
    let mut resume = Message::new(name);
    ioctl(control, DM_DEV_SUSPEND, &mut resume)?;
    Ok(Mapped { minor: minor(resume.dev) })
}

/// Removes a device that nobody uses any more.
pub(crate) fn remove(name: &str) -> io::Result<()> {
    let control = File::options().read(true).write(true).open(CONTROL)?;
    ioctl(&control, DM_DEV_REMOVE, &mut Message::new(name))
}

/// 512-byte sectors of `blocks` blocks of 4096 bytes.
pub(crate) const fn sectors_of(blocks: u64) -> u64 {
    blocks * (4096 / SECTOR)
}

/// The kernel's `huge_encode_dev`: 12 bits of major in the middle.
fn minor(dev: u64) -> u32 {
    (dev & 0xff | dev >> 12 & 0xf_ff00) as u32
}

impl Message {
    fn new(name: &str) -> Self {
        let mut message = Self {
            version: [4, 0, 0],
            data_size: size_of::<Self>() as u32,
            data_start: HEADER as u32,
            target_count: 0,
            open_count: 0,
            flags: 0,
            event_nr: 0,
            padding: 0,
            dev: 0,
            name: [0; 128],
            uuid: [0; 129],
            data: [0; 7],
            target: Target { sector_start: 0, length: 0, status: 0, next: 0, kind: [0; 16] },
            parameters: [0; PARAMETERS],
        };
        let length = name.len().min(127);
        message.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        message
    }
}

fn ioctl(control: &File, request: libc::c_ulong, message: &mut Message) -> io::Result<()> {
    // SAFETY: the kernel reads and writes at most `data_size` bytes, which is the size of the message.
    match unsafe { libc::ioctl(control.as_raw_fd(), request, std::ptr::from_mut(message)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
