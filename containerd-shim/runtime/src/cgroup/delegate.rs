//! A group given to a container that may make groups below it (runtime specification, config-linux.md, cgroup ownership).

use std::fs;
use std::os::unix::fs::chown;

use hull_oci_core::oci::config::IdMapping;
use hull_oci_core::oci::mounts::{Source, attribute};
use hull_oci_core::oci::namespaces::Kind;
use hull_oci_core::oci::plan::{Plan, Step};

use super::{Groups, Version};
use crate::failure::{Failure, failing};

/// Files that may be written to by whoever a group is given to; a list of the kernel's (cgroup-v2.rst, delegation).
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// The list of kernels before 4.15.
const OLD: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads";

impl Groups {
    /// Gives the group to the container's user, where it has a view of its own that it may write to. Limits stay the host's: their files
    /// are not among those that are given.
    ///
    /// # Errors
    /// The runtime may not change owners.
    pub fn delegate(&self, plan: &Plan) -> Result<(), Failure> {
        let folder = match self.folder("") {
            Some(folder) if self.version == Version::Two && wants(plan) => folder,
            _ => return Ok(()),
        };
        let user = plan.identity.as_ref().map_or(0, |identity| identity.user.uid);
        let Some(owner) = outside(user, &plan.uid_map) else { return Ok(()) };
        if owner == 0 {
            return Ok(());
        }
        let list = fs::read_to_string(LIST).unwrap_or_else(|_| OLD.to_owned());
        let told =
            |path: &std::path::Path| format!("give the control group to the container: chown {}", path.display());
        chown(folder, Some(owner), None).map_err(failing(|| told(folder)))?;
        for path in list.lines().map(|name| folder.join(name)).filter(|path| path.exists()) {
            chown(&path, Some(owner), None).map_err(failing(|| told(&path)))?;
        }
        Ok(())
    }
}

fn wants(plan: &Plan) -> bool {
    let writable = |step: &Step| match step {
        Step::Mount(mount) => mount.source == Source::ControlGroup && mount.attributes.set & attribute::RDONLY == 0,
        _ => false,
    };
    plan.namespaces.is_new(Kind::Cgroup) && plan.steps.iter().any(writable)
}

/// The host's id for one of the container's.
fn outside(id: u32, map: &[IdMapping]) -> Option<u32> {
    if map.is_empty() {
        return Some(id);
    }
    let of = |ids: &IdMapping| {
        id.checked_sub(ids.container_id).filter(|offset| *offset < ids.size).map(|offset| ids.host_id + offset)
    };
    map.iter().find_map(of)
}
