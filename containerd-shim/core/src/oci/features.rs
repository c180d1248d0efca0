//! What `features` says: what this runtime knows (runtime specification, features.md and features-linux.md).

use serde_json::{Value, json};

use super::{capability, memory_policy, mounts, namespaces, seccomp};

/// Newest version of the specification that is honoured.
pub const NEWEST: &str = "1.2.0";

/// The features.
pub fn features(version: &str) -> Value {
    let kinds: Vec<&str> = {
        let mut kinds = namespaces::Kind::ALL.map(namespaces::Kind::name);
        kinds.sort_unstable();
        kinds.to_vec()
    };
    let capabilities: Vec<String> = capability::NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    let flags: Vec<&str> = seccomp::FLAGS.iter().map(|(name, _)| *name).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": NEWEST,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mounts::OPTIONS,
        "linux": {
            "namespaces": kinds,
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": seccomp::ACTIONS,
                "operators": seccomp::OPERATORS,
                "archs": seccomp::ARCHITECTURES,
                "knownFlags": flags,
                "supportedFlags": flags
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "memoryPolicy": {"modes": memory_policy::modes(), "flags": memory_policy::flags()},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true}
        },
        "annotations": {"org.hull.version": version},
        "potentiallyUnsafeConfigAnnotations": []
    })
}
