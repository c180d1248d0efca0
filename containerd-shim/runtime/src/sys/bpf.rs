//! bpf(2): the program that a version 2 control group runs on each access to a device.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use hull_oci_core::oci::devices::Instruction;

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const PROG_QUERY: i32 = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of groups below run, too.
const ALLOW_MULTI: u32 = 2;

/// Most programs that are looked for in one group.
const MOST: usize = 64;

#[repr(C, align(8))]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 12],
}

#[repr(C, align(8))]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    rest: [u64; 14],
}

#[repr(C, align(8))]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    pad: u32,
    rest: [u64; 12],
}

#[repr(C, align(8))]
struct ById {
    id: u32,
    pad: u32,
    rest: [u64; 15],
}

fn call<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are a structure of integers as the command expects it, zero where it has no meaning, and its size is passed;
    // pointers in it lead to memory that lives over the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Makes `program` the only device program of a group.
///
/// # Errors
/// EPERM, or the kernel has no such programs.
pub fn limit_devices(group: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let license = c"Apache-2.0";
    let mut load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        rest: [0; 12],
    };
    // SAFETY: on success the result is a new descriptor that nobody else owns.
    let new = call(PROG_LOAD, &mut load).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })?;
    // Those before go after the new one is in force: at no instant is there none.
    let old = attached(group)?;
    let target = group.as_raw_fd() as u32;
    let mut attach = Attach {
        target,
        program: new.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        rest: [0; 14],
    };
    call(PROG_ATTACH, &mut attach)?;
    for program in old {
        let program = program.as_raw_fd() as u32;
        call(PROG_DETACH, &mut Attach { target, program, kind: ATTACH_CGROUP_DEVICE, flags: 0, rest: [0; 14] })?;
    }
    Ok(())
}

/// The programs that are attached to this very group.
fn attached(group: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; MOST];
    let mut query = Query {
        target: group.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        pad: 0,
        rest: [0; 12],
    };
    call(PROG_QUERY, &mut query)?;
    let ids = &ids[..(query.count as usize).min(MOST)];
    ids.iter().map(|id| by_id(*id)).collect()
}

fn by_id(id: u32) -> io::Result<OwnedFd> {
    let fd = call(PROG_GET_FD_BY_ID, &mut ById { id, pad: 0, rest: [0; 15] })?;
    // SAFETY: on success the result is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
