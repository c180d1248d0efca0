//! Mounts of a container that has no mount namespace of its own: they are the runtime's, all of them in one view of the root file system
//! that is attached to itself, and go with it.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::mount::UnmountFlags;

/// The mount that a path leads to: another one when something was attached there.
pub(crate) fn mount_of(path: &Path) -> Option<u64> {
    statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok().map(|stat| stat.stx_mnt_id)
}

/// Takes the view away, with everything that was mounted in it.
pub(crate) fn detach(path: &Path) {
    // One that is gone already, for instance with the machine that it was on, is no failure.
    let _ = rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
}
