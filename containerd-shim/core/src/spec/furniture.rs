//! What a container finds in its tree beside its image: kernel file systems, memory, volumes, name servers and the store's socket.

use super::{RESOLV_CONF, STORE_SOCKET, VOLUMES};
use crate::declaration::{Access, Declaration};
use crate::oci::config::Mount;

/// Memory of `/run` and `/tmp` in a container whose root cannot be written to; a declared one takes their place.
const SCRATCH: [(&str, &str); 2] = [("/run", "mode=755"), ("/tmp", "mode=1777")];

fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

pub(super) fn mounts(declaration: &Declaration) -> Vec<Mount> {
    let mut mounts = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
        mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        // The node's network namespace is kept, and only its owner may mount a fresh sysfs.
        mount("bind", "/sys", "/sys", &["bind", "ro", "nosuid", "noexec", "nodev"]),
        mount("cgroup2", "cgroup", "/sys/fs/cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ];
    if declaration.read_only {
        let scratch = SCRATCH.iter().filter(|(folder, _)| !declaration.tmpfs.contains_key(*folder));
        mounts.extend(
            scratch.map(|(folder, mode)| mount("tmpfs", "tmpfs", folder, &["nosuid", "nodev", mode, "size=64m"])),
        );
    }
    mounts.extend(declared(declaration));
    mounts.push(mount("bind", RESOLV_CONF, "/etc/resolv.conf", &["bind", "ro", "nosuid", "noexec", "nodev"]));
    mounts.push(mount("bind", STORE_SOCKET, STORE_SOCKET, &["bind", "ro", "nosuid", "noexec", "nodev"]));
    mounts
}

/// What is declared, in the order of the paths: what lies inside another comes after it.
fn declared(declaration: &Declaration) -> Vec<Mount> {
    let memory = declaration.tmpfs_bytes().map(|(path, bytes)| {
        let size = format!("size={bytes}");
        mount("tmpfs", "tmpfs", path, &["nosuid", "nodev", "mode=1777", &size])
    });
    let volumes = declaration.volumes().map(|(path, volume)| {
        let access = if volume.access == Access::ReadOnly { "ro" } else { "rw" };
        // Files of a volume belong to ids of the container: whichever range of the node's it has today.
        mount("bind", &format!("{VOLUMES}/{}", volume.name), path, &["bind", "idmap", access, "nosuid", "nodev"])
    });
    let mut all: Vec<Mount> = memory.chain(volumes).collect();
    all.sort_by(|one, other| one.destination.cmp(&other.destination));
    all
}
