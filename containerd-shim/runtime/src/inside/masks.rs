//! What a container must not see or change: hidden and read-only parts of its tree.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use hull_oci_core::oci::mounts::attribute::RDONLY;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::mounts;
use super::tree::{Tree, clone_of, is_folder, put};
use crate::sys::mount::{self, Reach};

/// Device number of `/dev/null`: what masks a file must be that and nothing else (CVE-2025-31133).
const NULL: (u32, u32) = (1, 3);

fn if_there(tree: &Tree, path: &str) -> io::Result<Option<OwnedFd>> {
    match tree.open(path) {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Hides a file behind `/dev/null` and a folder behind an empty one.
pub(super) fn mask(tree: &mut Tree, path: &str) -> io::Result<()> {
    let Some(target) = if_there(tree, path)? else { return Ok(()) };
    if is_folder(target.as_fd())? {
        let cover = mounts::empty(tree)?;
        put(cover.as_fd(), target.as_fd())?;
        tree.empty.get_or_insert(cover);
        return Ok(());
    }
    let null = tree.open("/dev/null")?;
    let stat = fstat(&null)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != NULL {
        return Err(io::Error::other("/dev/null of the container is another file"));
    }
    put(clone_of(null.as_fd(), Reach::One)?.as_fd(), target.as_fd())
}

/// Puts a read-only view of a file or folder over itself.
pub(super) fn seal(tree: &mut Tree, path: &str) -> io::Result<()> {
    let Some(target) = if_there(tree, path)? else { return Ok(()) };
    let view = clone_of(target.as_fd(), Reach::Tree)?;
    mount::change(view.as_fd(), RDONLY, 0, Reach::Tree)?;
    put(view.as_fd(), target.as_fd())
}

/// Makes a mount read-only that is furnished now.
pub(super) fn finish(tree: &mut Tree, path: &str) -> io::Result<()> {
    mount::change(tree.open(path)?.as_fd(), RDONLY, 0, Reach::One)
}

/// Makes the root file system read-only, and not what is mounted in it.
pub(super) fn seal_root(tree: &mut Tree) -> io::Result<()> {
    mount::change(tree.root(), RDONLY, 0, Reach::One)
}
