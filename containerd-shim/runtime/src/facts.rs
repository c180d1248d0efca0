//! What a plan must know of this host.

use std::fs;
use std::path::Path;

use hull_oci_core::oci::plan::{Facts, Leave, Owner};
use hull_oci_core::oci::process::{Host, Module};

use crate::cgroup::Hierarchies;

/// CAP_CHECKPOINT_RESTORE, the last one since Linux 5.9.
const LAST_CAPABILITY: u8 = 40;

/// Looks at the host.
pub fn facts(hierarchies: &Hierarchies, leave: Leave) -> Facts {
    let text = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    let last_capability = text.trim().parse().unwrap_or(LAST_CAPABILITY);
    Facts {
        hierarchy: hierarchies.facts(),
        host: Host {
            last_capability,
            held: rustix::thread::capabilities(None).map_or(u64::MAX, |sets| sets.permitted.bits()),
            apparmor: module("/sys/module/apparmor"),
            selinux: module("/sys/fs/selinux/enforce"),
        },
        owner: owner(),
        leave,
    }
}

fn module(sign: &str) -> Module {
    if Path::new(sign).exists() { Module::Present } else { Module::Absent }
}

/// Root of the host is who is root and maps all ids there are.
pub fn owner() -> Owner {
    if !rustix::process::geteuid().is_root() {
        return Owner::Rootless;
    }
    let text = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let all = text.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    if all { Owner::Root } else { Owner::Rootless }
}
