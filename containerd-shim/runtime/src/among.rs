//! Mounts of a container that has no mount namespace of its own: they are the runtime's, all of them in one view of the root file system
//! that is attached to itself, and go with it.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::mount::UnmountFlags;

use crate::state::Record;

/// The mount that a path leads to: another one when something was attached there.
pub(crate) fn mount_of(path: &Path) -> Option<u64> {
    statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok().map(|stat| stat.stx_mnt_id)
}

/// Takes the view of a container away that did not become whole, if it had been attached.
pub(crate) fn detach_new(record: &Record) {
    let path = Path::new(&record.rootfs);
    if record.mount_before.is_some() && mount_of(path) != record.mount_before {
        detach(path);
    }
}

/// Takes the view away, with everything that was mounted in it.
pub(crate) fn detach(path: &Path) {
    // One that is gone already, for instance with the machine that it was on, is no failure.
    let _ = rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
}
