//! Control groups of containers, version 2.
//!
//! ```text
//! hull.containers/            made by PID 1; everything below survives the launcher and is stopped by PID 1 at the node's end
//!     .monitors               the monitors of all containers, without limits
//!     <name>                  the container itself, with its limits
//! ```

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_oci_core::spec::CGROUP;
use hull_runtime::cgroup::{Groups, Hierarchies, Mounted, Version};
use rustix::fs::{Mode, OFlags};

/// Where version 2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Group of the monitors. No container can have this name: names begin with a letter or digit.
const MONITORS: &str = "/sys/fs/cgroup/hull.containers/.monitors";

/// The node's control groups, as far as containers have them: the controllers are those that PID 1 hands down to their parent.
pub(crate) fn hierarchies() -> Hierarchies {
    let parent = format!("{ROOT}{CGROUP}cgroup.subtree_control");
    let text = fs::read_to_string(parent).unwrap_or_default();
    let controllers = text.split_ascii_whitespace().map(str::to_owned).collect();
    Hierarchies { version: Version::Two, mounted: vec![Mounted { controllers, folder: PathBuf::from(ROOT) }] }
}

/// The group of a container, whether it exists or not.
pub(crate) fn of_container(name: &str) -> Groups {
    Groups::at(&hierarchies(), &format!("{CGROUP}{name}"))
}

/// Makes the group of the monitors, parents included, and opens it for clone3(2).
///
/// # Errors
/// `/sys/fs/cgroup` is not version 2, or too many groups exist.
pub(crate) fn of_monitors() -> io::Result<OwnedFd> {
    fs::create_dir_all(Path::new(MONITORS))?;
    Ok(rustix::fs::open(MONITORS, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
