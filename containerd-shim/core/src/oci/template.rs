//! What `spec` writes: a bundle's `config.json` to begin with, the same as other runtimes'.

use serde_json::{Value, json};

use super::cgroup::Hierarchy;

/// Who will run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Root.
    Root,
    /// Somebody else.
    User {
        /// Their user id.
        uid: u32,
        /// Their group id.
        gid: u32,
    },
}

/// Masked paths of a container that asks for nothing.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];

/// Read-only paths of a container that asks for nothing.
const SEALED: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The template. With control groups of version 1 a namespace of them would show the host's names anyway.
pub fn template(who: For, hierarchy: &Hierarchy) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut mounts = mounts();
    let mut namespaces = vec![json!({"type": "pid"}), json!({"type": "network"}), json!({"type": "ipc"})];
    namespaces.extend([json!({"type": "uts"}), json!({"type": "mount"})]);
    if matches!(hierarchy, Hierarchy::V2 { .. }) {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let mut linux = json!({"maskedPaths": MASKED, "readonlyPaths": SEALED});
    match who {
        For::Root => linux["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]}),
        For::User { uid, gid } => {
            linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
            linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
            namespaces.push(json!({"type": "user"}));
            // One group is mapped: files of the group tty cannot be had.
            mounts[2]["options"] = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
        }
    }
    linux["namespaces"] = Value::Array(namespaces);
    json!({
        "ociVersion": super::features::NEWEST,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "hull",
        "mounts": mounts,
        "linux": linux
    })
}

fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
    ])
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::facts;
    use super::*;

    #[test]
    fn the_template_is_a_bundle_that_can_be_planned() {
        for who in [For::Root, For::User { uid: 1000, gid: 1000 }] {
            let text = template(who, &facts().hierarchy).to_string();
            let spec = crate::oci::read::spec(text.as_bytes()).unwrap();
            let plan = crate::oci::plan::plan(&spec, &facts()).unwrap();
            assert_eq!(plan.uid_map.len(), usize::from(who != For::Root));
        }
    }
}
