//! The API file systems, and the move from the initramfs into the root.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};

use crate::disk::trouble::Trouble;

/// What the boot does without a file system.
#[derive(Clone, Copy)]
enum Without {
    /// Says so: much will not work.
    Report,
    /// Nothing: the kernel or the machine does not have it.
    GoOn,
}

struct Api {
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: &'static str,
    without: Without,
}

const fn api(kind: &'static str, target: &'static str, flags: MountFlags, data: &'static str, without: Without) -> Api {
    Api { kind, target, flags, data, without }
}

const STRICT: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const DATA: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// In mount order.
const API: &[Api] = &[
    api("proc", "/proc", STRICT, "", Without::Report),
    api("sysfs", "/sys", STRICT, "", Without::Report),
    api("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755", Without::Report),
    api("tmpfs", "/run", DATA, "mode=0755", Without::Report),
    api("tmpfs", "/tmp", DATA, "mode=1777", Without::Report),
    api("devpts", "/dev/pts", MountFlags::NOSUID.union(MountFlags::NOEXEC), "mode=0620,ptmxmode=0666", Without::Report),
    api("tmpfs", "/dev/shm", DATA, "mode=1777", Without::Report),
    api("mqueue", "/dev/mqueue", STRICT, "", Without::GoOn),
    api("cgroup2", "/sys/fs/cgroup", STRICT, "nsdelegate,memory_recursiveprot", Without::Report),
    api("bpf", "/sys/fs/bpf", STRICT, "mode=0700", Without::GoOn),
    api("securityfs", "/sys/kernel/security", STRICT, "", Without::GoOn),
    api("efivarfs", "/sys/firmware/efi/efivars", STRICT, "", Without::GoOn),
    api("pstore", "/sys/fs/pstore", STRICT, "", Without::GoOn),
];

/// Mount points that move into the root; the others are below them.
const MOVED: &[&str] = &["/proc", "/sys", "/dev", "/run", "/tmp", "/var"];

/// Where the root is mounted before it becomes `/`.
pub(crate) const SYSROOT: &str = "/sysroot";

/// Mounts every API file system; gives what did not work.
pub(crate) fn mount_api() -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for api in API {
        if !api.target.starts_with("/sys/") {
            // It exists already, or the mount below says that it does not.
            let _ = fs::create_dir(api.target);
        }
        let data = std::ffi::CString::new(api.data).unwrap_or_default();
        match (mount(api.kind, api.target, api.kind, api.flags, data.as_c_str()), api.without) {
            (Ok(()), _) | (Err(_), Without::GoOn) => {}
            (Err(error), Without::Report) => troubles.push(refused("mount", api.kind, api.target, error)),
        }
    }
    troubles
}

fn refused(operation: &'static str, what: &str, target: &str, error: Errno) -> Trouble {
    let remedy = match error {
        Errno::NODEV => "the kernel lacks this file system: build it in",
        Errno::NOENT => "the mount point or device is missing: check the image",
        _ => "see the kernel's messages above",
    };
    Trouble::new(operation, format_args!("{what} on {target}"), error, remedy)
}

/// Mounts a file system on a directory, which is made if missing.
pub(crate) fn mount_on(source: &str, target: &str, kind: &str, flags: MountFlags, data: &str) -> Result<(), Trouble> {
    let _ = fs::create_dir_all(target); // the mount says what is wrong
    let data = std::ffi::CString::new(data).unwrap_or_default();
    mount(source, target, kind, flags, data.as_c_str()).map_err(|error| refused("mount", source, target, error))
}

/// Mounts an erofs at [`SYSROOT`], read-only, and checks that it is a Hull root before anything moves.
pub(crate) fn mount_root(device: &Path) -> Result<(), Trouble> {
    let device = device.to_string_lossy();
    mount_on(&device, SYSROOT, "erofs", MountFlags::RDONLY | MountFlags::NODEV, "")?;
    for target in MOVED.iter().copied().chain(["/usr/lib/hull/services.bin"]) {
        if !Path::new(&format!("{SYSROOT}{target}")).exists() {
            let _ = unmount(SYSROOT, UnmountFlags::DETACH); // nothing uses it yet
            let remedy = "this is not a Hull root image: stage another release";
            return Err(Trouble::new(
                "enter",
                format_args!("root image on {device}"),
                format_args!("it has no {target}"),
                remedy,
            ));
        }
    }
    Ok(())
}

/// Moves every mount and this process into [`SYSROOT`] and empties the initramfs, whose memory comes back.
pub(crate) fn enter_root() -> Result<(), Trouble> {
    let moved = |target: &str, error| refused("move", target, SYSROOT, error);
    let initramfs: Vec<_> = fs::read_dir("/").map(|entries| entries.flatten().collect()).unwrap_or_default();
    for target in MOVED {
        mount_move(*target, format!("{SYSROOT}{target}")).map_err(|error| moved(target, error))?;
    }
    for entry in initramfs {
        let path = entry.path();
        if path != Path::new(SYSROOT)
            && path != Path::new("/hull")
            && !MOVED.iter().any(|target| path == Path::new(target))
        {
            remove(&path);
        }
    }
    // A root image of a diskless node is in use; its keys and hash were copied to /run/hull/boot.
    for name in ["/hull/manifest", "/hull/root.json"] {
        let _ = fs::remove_file(name);
    }
    rustix::process::chdir(SYSROOT).map_err(|error| moved("/", error))?;
    mount_move(".", "/").map_err(|error| moved("/", error))?;
    rustix::process::chroot(".").map_err(|error| moved("/", error))?;
    rustix::process::chdir("/").map_err(|error| moved("/", error))
}

/// Removes a file or folder of the initramfs. What stays only costs memory.
fn remove(path: &Path) {
    let _ = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// Unmounts everything that holds data, newest first; what is busy is made read-only. Gives the first thing that could be neither.
pub(crate) fn unmount_all() -> Result<(), Trouble> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut trouble = Ok(());
    for line in table.lines().rev() {
        let words: Vec<&str> = line.split(' ').collect();
        let Some(target) = words.get(4).map(|word| unescape(word)) else { continue };
        let kind = line.split_once(" - ").and_then(|(_, after)| after.split(' ').next()).unwrap_or("");
        let keep = [
            "proc",
            "sysfs",
            "devtmpfs",
            "devpts",
            "cgroup2",
            "rootfs",
            "efivarfs",
            "pstore",
            "bpf",
            "securityfs",
            "mqueue",
        ];
        if target == "/" || target == "/run" || target == "/tmp" || keep.contains(&kind) {
            continue;
        }
        if unmount(target.as_str(), UnmountFlags::NOFOLLOW).is_ok() {
            continue;
        }
        if let Err(error) = rustix::mount::mount_remount(target.as_str(), MountFlags::RDONLY, c"") {
            trouble = trouble.and(Err(refused("unmount", kind, &target, error)));
        }
    }
    trouble
}

/// Undoes the octal escapes of mountinfo, proc_pid_mountinfo(5).
fn unescape(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mount_point_with_a_blank_is_read_back() {
        assert_eq!(super::unescape("/run/a\\040b\\134c"), "/run/a b\\c");
    }
}
