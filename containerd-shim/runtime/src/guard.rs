//! The runtime's own program, out of reach of what it runs (CVE-2019-5736): a process in a container may be led to the file through
//! `/proc/<pid>/exe` of a process of the runtime, and write to it once that has ended.
//!
//! So what enters a container is executed from a read-only view of the file, which no path leads to: a detached mount, or where that is not
//! allowed a sealed copy in memory.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::failure::{Failure, failed};
use crate::sys::mount::{self, Reach};
use crate::sys::program;
use hull_oci_core::oci::mounts::attribute::RDONLY;

const SELF: &str = "/proc/self/exe";

/// Goes on from a protected file. Returns when it already runs from one.
///
/// # Errors
/// There is no way to protect it: nothing of the container exists yet.
pub fn protect() -> Result<(), Failure> {
    let file = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open /proc/self/exe"))?;
    if is_protected(&file) {
        return Ok(());
    }
    Err(execute(&file, std::env::args_os().collect()))
}

/// Becomes the runtime's program with these words on its command line, from a protected file. Comes back only when it fails.
pub fn become_program(words: Vec<OsString>) -> Failure {
    match rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => execute(&file, words),
        Err(error) => Failure(format!("open {SELF}: {error}")),
    }
}

fn execute(file: &OwnedFd, arguments: Vec<OsString>) -> Failure {
    let view = match read_only_view(file).or_else(|_| sealed_copy(file)) {
        Ok(view) => view,
        Err(error) => return Failure(format!("copy the runtime's program into sealed memory: {error}")),
    };
    let words = |texts: Vec<OsString>| -> Vec<CString> {
        // From the kernel, as they came: no zero byte is in them.
        texts.into_iter().filter_map(|text| CString::new(text.into_vec()).ok()).collect()
    };
    let environment = std::env::vars_os().map(|(mut key, value)| {
        key.push("=");
        key.push(value);
        key
    });
    let error = program::execute_file(view.as_fd(), &words(arguments), &words(environment.collect()));
    Failure(format!("execute the protected copy of the runtime's program: {error}"))
}

fn is_protected(file: &OwnedFd) -> bool {
    let read_only = rustix::fs::fstatvfs(file).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    let sealed = rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    read_only || sealed
}

fn read_only_view(file: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let view = rustix::mount::open_tree(file, "", flags)?;
    mount::change(view.as_fd(), RDONLY, 0, Reach::One)?;
    Ok(view)
}

fn sealed_copy(file: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = rustix::fs::memfd_create("hull-oci", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut offset = 0;
    while rustix::fs::sendfile(&copy, file, Some(&mut offset), 1 << 30)? > 0 {}
    rustix::fs::fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // Opened again to be read only: a program that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}
