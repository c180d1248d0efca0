//! Writes the runtime specification of a declared container: what its image says, what the declaration changes, and Hull's own
//! defaults, which are unprivileged (OCI runtime specification 1.2, config.md and config-linux.md).

mod filter;
mod furniture;
mod process;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use crate::declaration::Declaration;
use crate::image::Defaults;
use crate::oci::config::{Cpu, DeviceRule, IdMapping, Linux, Memory, Namespace, Pids, Resources, Root, Spec};
use crate::oci::features::NEWEST;

pub use process::{names_user, resolve_user, stop_signal};

/// Control groups of containers are made below this one.
pub const CGROUP: &str = "/hull.containers/";

/// Ids in a container's user namespace: all that 16 bits hold, which covers `nobody` (65534).
pub const IDS: u32 = 1 << 16;

/// Processes and threads of a container that declares no number: one that forks without end must not take the node along.
const PIDS: i64 = 1024;

/// Period of the processor limit in microseconds, the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;

/// Where the store listens when the node does not say.
pub const STORE_ADDRESS: &str = "127.0.0.1:2379";

/// The store's socket, on the node and in each container.
pub const STORE_SOCKET: &str = "/run/hull/kv.sock";

/// The list of name servers that containers share: one file for good, while the node's own is replaced.
pub const RESOLV_CONF: &str = "/run/hull/containers/.shared/resolv.conf";

/// Where volumes are kept: they outlive the containers that use them.
pub const VOLUMES: &str = "/var/lib/hull/volumes";

/// Parts of `/proc` and `/sys` that tell of the machine or change it.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/pstore",
];

/// Parts of `/proc` that can only be read.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Why no specification can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Neither the image nor the declaration names a program.
    NoProgram,
    /// The image's stop signal is none.
    StopSignal {
        /// As in the image.
        text: String,
    },
    /// The user of image or declaration is not in the image's `/etc/passwd` or `/etc/group`.
    User {
        /// As written there.
        text: String,
    },
    /// The image's working directory is not absolute.
    WorkingDirectory {
        /// As in the image.
        path: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram => f.write_str("neither the image nor the declaration names a program (`command`)"),
            Self::StopSignal { text } => write!(f, "the image's stop signal {text:?} is not a signal"),
            Self::User { text } => write!(f, "the user {text:?} is not in the image's /etc/passwd and /etc/group"),
            Self::WorkingDirectory { path } => write!(f, "the image's working directory {path:?} is not absolute"),
        }
    }
}

impl std::error::Error for Refused {}

/// Where a container finds the store that listens on `listen`: on every address means on this node's own, too.
pub fn endpoint(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        Ok(address) => format!("http://{address}"),
        Err(_) => format!("http://{STORE_ADDRESS}"),
    }
}

/// Writes the specification of a container that finds the store at `store`, see [`endpoint`]. The ids of its user namespace are left open,
/// see [`map_ids`]; a user by name is, too, see [`resolve_user`].
///
/// # Errors
/// The image or the declaration does not say what is needed.
pub fn build(name: &str, image: &Defaults, declaration: &Declaration, store: &str) -> Result<Spec, Refused> {
    let capabilities = declaration.held();
    let linux = Linux {
        cgroups_path: Some(format!("{CGROUP}{name}")),
        namespaces: namespaces(),
        resources: Some(resources(declaration)),
        masked_paths: MASKED.map(str::to_owned).to_vec(),
        readonly_paths: READ_ONLY.map(str::to_owned).to_vec(),
        seccomp: Some(filter::profile(&capabilities)),
        ..Linux::default()
    };
    Ok(Spec {
        oci_version: NEWEST.to_owned(),
        root: Some(Root { path: "rootfs".to_owned(), readonly: declaration.read_only }),
        hostname: Some(name.to_owned()),
        process: Some(process::process(name, image, declaration, store, capabilities)?),
        mounts: furniture::mounts(declaration),
        annotations: BTreeMap::from([("org.opencontainers.image.ref.name".to_owned(), declaration.image.clone())]),
        linux: Some(linux),
        ..Spec::default()
    })
}

/// Gives the container's user namespace the ids from `first` on: the container's root is that id on the node.
pub fn map_ids(spec: &mut Spec, first: u32) {
    if let Some(linux) = &mut spec.linux {
        let mapping = IdMapping { container_id: 0, host_id: first, size: IDS };
        (linux.uid_mappings, linux.gid_mappings) = (vec![mapping], vec![mapping]);
    }
}

/// All but the network's: a container shares the node's until networks come.
fn namespaces() -> Vec<Namespace> {
    let all = ["user", "mount", "pid", "ipc", "uts", "cgroup", "time"];
    all.map(|kind| Namespace { kind: kind.to_owned(), path: None }).to_vec()
}

fn resources(declaration: &Declaration) -> Resources {
    // The sum of memory and swap is the same: no swap beside it.
    let memory = |bytes| Memory { limit: Some(bytes), swap: Some(bytes), ..Memory::default() };
    let cpu = |cpus: f64| Cpu {
        // Between 0.01 and 1024 by the declaration's own check.
        quota: Some((cpus * CPU_PERIOD_US as f64) as i64),
        period: Some(CPU_PERIOD_US),
        ..Cpu::default()
    };
    Resources {
        pids: Some(Pids { limit: Some(declaration.pids.unwrap_or(PIDS)) }),
        memory: declaration.memory_bytes().map(memory),
        cpu: declaration.cpu.map(cpu),
        // None but those that every container has.
        devices: vec![DeviceRule { access: Some("rwm".to_owned()), ..DeviceRule::default() }],
        ..Resources::default()
    }
}
