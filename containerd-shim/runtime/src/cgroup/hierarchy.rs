//! Which control groups this host has mounted, and where.

use std::fs;
use std::path::PathBuf;

use hull_oci_core::oci::cgroup::Hierarchy;

/// Where version 2 is mounted, and below it version 1.
const ROOT: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC`, linux/magic.h.
const CGROUP2: u64 = 0x6367_7270;

/// Version of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy a controller.
    One,
    /// One for all.
    Two,
}

/// A hierarchy that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Its controllers; a version 1 hierarchy without any has its name, `name=systemd`.
    pub controllers: Vec<String>,
    /// Where.
    pub folder: PathBuf,
}

/// All that are mounted.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    /// Their version.
    pub version: Version,
    /// One of version 2, any number of version 1.
    pub mounted: Vec<Mounted>,
}

impl Hierarchies {
    /// Looks at what is mounted.
    pub fn find() -> Hierarchies {
        if rustix::fs::statfs(ROOT).is_ok_and(|stat| stat.f_type as u64 == CGROUP2) {
            let text = fs::read_to_string(format!("{ROOT}/cgroup.controllers")).unwrap_or_default();
            let controllers = text.split_ascii_whitespace().map(str::to_owned).collect();
            let mounted = vec![Mounted { controllers, folder: PathBuf::from(ROOT) }];
            return Hierarchies { version: Version::Two, mounted };
        }
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut mounted: Vec<Mounted> = Vec::new();
        for hierarchy in text.lines().filter_map(version_1) {
            // Mounted twice is one hierarchy.
            if !mounted.iter().any(|known| known.controllers == hierarchy.controllers) {
                mounted.push(hierarchy);
            }
        }
        Hierarchies { version: Version::One, mounted }
    }

    /// As the plan needs to know it.
    pub fn facts(&self) -> Hierarchy {
        let controllers = self.mounted.iter().flat_map(|one| one.controllers.clone()).collect();
        match self.version {
            _ if self.mounted.is_empty() => Hierarchy::Absent,
            Version::One => Hierarchy::V1 { controllers },
            Version::Two => Hierarchy::V2 { controllers },
        }
    }
}

/// A line of mountinfo (proc_pid_mountinfo(5)) that is a version 1 hierarchy.
fn version_1(line: &str) -> Option<Mounted> {
    let (mount, system) = line.split_once(" - ")?;
    let mut system = system.split(' ');
    if system.next()? != "cgroup" {
        return None;
    }
    let options = system.nth(1)?;
    let flags = ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "relatime"];
    let known = |option: &&str| !flags.contains(option) && !option.starts_with("release_agent=");
    let controllers: Vec<String> = options.split(',').filter(known).map(str::to_owned).collect();
    let folder = mount.split(' ').nth(4)?.replace("\\040", " ");
    Some(Mounted { controllers, folder: PathBuf::from(folder) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hierarchy_is_read_from_its_mount() {
        let line = "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct";
        let read = version_1(line).unwrap();
        assert_eq!(read.controllers, ["cpu", "cpuacct"]);
        assert_eq!(read.folder, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        let named = version_1("3 2 0:2 / /c/systemd rw - cgroup cgroup rw,xattr,name=systemd").unwrap();
        assert_eq!(named.controllers, ["name=systemd"]);
        assert_eq!(version_1("3 2 0:2 / /proc rw - proc proc rw"), None);
        assert_eq!(version_1("3 2 0:2 / /c rw - cgroup2 cgroup rw"), None);
    }
}
