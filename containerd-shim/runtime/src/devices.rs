//! Device nodes for a container with users of its own, which may make none: made by the runtime, bound by the container.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use hull_oci_core::oci::config::IdMapping;
use hull_oci_core::oci::devices::Node;
use hull_oci_core::oci::mounts::Depth;
use hull_oci_core::oci::plan::Plan;
use rustix::fs::{CWD, Gid, Mode, Uid};

use crate::failure::{Failure, failing};
use crate::inside;
use crate::state::Folder;
use crate::sys::mount::{self, Reach};

/// linux/mount.h
const MOUNT_ATTR_NODEV: u64 = 4;

/// A detached mount of the node: one of its own, in the container's folder, with the owner that it shall have; where that is not to be made,
/// the host's.
pub(crate) fn open(node: &Node, plan: &Plan, folder: &Folder) -> Result<OwnedFd, Failure> {
    let told = failing(|| format!("linux.devices: open {}", node.path));
    make(node, plan, folder).or_else(|_| inside::open_bind(&node.path, Depth::One)).map_err(told)
}

fn make(node: &Node, plan: &Plan, folder: &Folder) -> io::Result<OwnedFd> {
    let nodes = folder.path.join("devices");
    fs::create_dir_all(&nodes)?;
    let path = nodes.join(node.path.replace('/', "-"));
    let device = rustix::fs::makedev(node.major, node.minor);
    rustix::fs::mknodat(CWD, &path, inside::file_type(node.kind), Mode::from_raw_mode(node.mode), device)?;
    // Past the mask of whoever calls.
    rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(node.mode), rustix::fs::AtFlags::empty())?;
    let (uid, gid) = (on_host(&plan.uid_map, node.uid), on_host(&plan.gid_map, node.gid));
    rustix::fs::chownat(
        CWD,
        &path,
        uid.map(Uid::from_raw),
        gid.map(Gid::from_raw),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )?;
    let bind = inside::open_bind(&path.to_string_lossy(), Depth::One)?;
    mount::change(bind.as_fd(), 0, MOUNT_ATTR_NODEV, Reach::One)?;
    Ok(bind)
}

/// The host's number for a user or group of the container.
fn on_host(map: &[IdMapping], id: u32) -> Option<u32> {
    let of = |ids: &&IdMapping| id.checked_sub(ids.container_id).is_some_and(|offset| offset < ids.size);
    map.iter().find(of).map(|ids| ids.host_id + (id - ids.container_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_container_is_one_of_the_host_where_it_is_mapped() {
        let map = [
            IdMapping { container_id: 0, host_id: 1000, size: 1 },
            IdMapping { container_id: 1, host_id: 100_000, size: 10 },
        ];
        assert_eq!(on_host(&map, 0), Some(1000));
        assert_eq!(on_host(&map, 10), Some(100_009));
        assert_eq!(on_host(&map, 11), None);
    }
}
