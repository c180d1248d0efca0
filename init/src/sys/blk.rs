//! Block devices: sizes, partitions, caches. Linux `include/uapi/linux/fs.h`, `include/uapi/linux/blkpg.h`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const BLKROSET: libc::c_ulong = 0x125d;
const BLKRRPART: libc::c_ulong = 0x125f;
const BLKFLSBUF: libc::c_ulong = 0x1261;
const BLKSSZGET: libc::c_ulong = 0x1268;
const BLKPG: libc::c_ulong = 0x1269;
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
const BLKPG_RESIZE_PARTITION: i32 = 3;

/// `struct blkpg_partition`.
#[repr(C)]
struct PartitionArgument {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct PartitionCommand {
    operation: i32,
    flags: i32,
    length: i32,
    data: *mut PartitionArgument,
}

/// Bytes of the device.
pub(crate) fn bytes(device: &File) -> io::Result<u64> {
    let mut size = 0_u64;
    // SAFETY: BLKGETSIZE64 writes one u64.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, &raw mut size) })?;
    Ok(size)
}

/// Bytes of a logical sector.
pub(crate) fn sector_bytes(device: &File) -> io::Result<u32> {
    let mut size = 0_i32;
    // SAFETY: BLKSSZGET writes one int.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKSSZGET, &raw mut size) })?;
    u32::try_from(size).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Lets the kernel read the partition table again. EBUSY while a partition is in use.
pub(crate) fn read_partitions_again(disk: &File) -> io::Result<()> {
    // SAFETY: BLKRRPART has no argument.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), BLKRRPART) })
}

/// Writes out and forgets everything cached of the device, so that the next read comes from it.
pub(crate) fn forget_cache(device: &File) -> io::Result<()> {
    // SAFETY: BLKFLSBUF has no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKFLSBUF, 0) })
}

/// Lets nobody write to the device through its own node until it is set again.
pub(crate) fn set_read_only(device: &File) -> io::Result<()> {
    let read_only = 1_i32;
    // SAFETY: BLKROSET reads one int.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKROSET, &raw const read_only) })
}

/// Tells the kernel a partition's new length; works while it is mounted. Start and length in bytes.
pub(crate) fn resize_partition(disk: &File, number: u32, start: u64, length: u64) -> io::Result<()> {
    let mut partition =
        PartitionArgument { start: start as i64, length: length as i64, number: number as i32, names: [0; 128] };
    let mut command = PartitionCommand {
        operation: BLKPG_RESIZE_PARTITION,
        flags: 0,
        length: size_of::<PartitionArgument>() as i32,
        data: &raw mut partition,
    };
    // SAFETY: the command points to a partition that lives until the call returns.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG, &raw mut command) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
