//! The root file system: the mounts that a snapshotter asks for, into the bundle's `rootfs`, and out again.

use std::path::{Path, PathBuf};

use hull_runtime::Failure;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::messages::task::Mount;

/// Bytes that mount(2) takes as data: a page, its last byte a zero.
const DATA_MAX: usize = 4095;

/// Options that are flags, set or cleared (mount(8)).
const FLAGS: &[(&str, MountFlags)] = &[
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
];

/// And their opposites.
const CLEARED: &[(&str, MountFlags)] = &[
    ("rw", MountFlags::RDONLY),
    ("suid", MountFlags::NOSUID),
    ("dev", MountFlags::NODEV),
    ("exec", MountFlags::NOEXEC),
    ("async", MountFlags::SYNCHRONOUS),
    ("atime", MountFlags::NOATIME),
    ("diratime", MountFlags::NODIRATIME),
    ("norelatime", MountFlags::RELATIME),
];

/// A mount's options, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    flags: MountFlags,
    bind: Bind,
    data: Vec<String>,
}

/// Whether it shows a folder that is mounted already.
#[derive(Debug, PartialEq, Eq)]
enum Bind {
    /// It is a file system of its own.
    No,
    /// The folder.
    One,
    /// And what is mounted below it.
    Tree,
}

fn options(mount: &Mount) -> Result<Options, Failure> {
    let mut read = Options { flags: MountFlags::empty(), bind: Bind::No, data: Vec::new() };
    if mount.kind == "bind" {
        read.bind = Bind::One;
    }
    for option in &mount.options {
        let find = |table: &[(&str, MountFlags)]| table.iter().find(|(name, _)| name == option).map(|(_, flag)| *flag);
        match option.as_str() {
            "bind" => read.bind = Bind::One,
            "rbind" => read.bind = Bind::Tree,
            "loop" => {
                return Err(Failure(format!(
                    "rootfs: mount {}: option loop: attach the image to a device first",
                    mount.source
                )));
            }
            "defaults" => {}
            _ => match (find(FLAGS), find(CLEARED)) {
                (Some(flag), _) => read.flags |= flag,
                (_, Some(flag)) => read.flags &= !flag,
                _ => read.data.push(option.clone()),
            },
        }
    }
    Ok(read)
}

/// A folder that all lower ones are below, when their names are too long for a page: the mount is made from there. Then the data.
fn shortened(data: &[String]) -> (Option<PathBuf>, String) {
    let whole = data.join(",");
    let lower = data.iter().find_map(|option| option.strip_prefix("lowerdir="));
    let Some(lower) = lower.filter(|_| whole.len() > DATA_MAX) else { return (None, whole) };
    let folders: Vec<&Path> = lower.split(':').map(Path::new).collect();
    let mut common = folders[0].parent().unwrap_or(Path::new("/")).to_path_buf();
    while !folders.iter().all(|folder| folder.starts_with(&common)) {
        if !common.pop() {
            return (None, whole);
        }
    }
    let inner: Vec<String> = folders
        .iter()
        .filter_map(|folder| folder.strip_prefix(&common).ok())
        .map(|folder| folder.to_string_lossy().into_owned())
        .collect();
    let shorter: Vec<String> = data
        .iter()
        .map(
            |option| {
                if option.starts_with("lowerdir=") { format!("lowerdir={}", inner.join(":")) } else { option.clone() }
            },
        )
        .collect();
    (Some(common), shorter.join(","))
}

/// Makes the mounts, in their order. What was mounted when one fails is unmounted. Changes the working directory: for a performer.
///
/// # Errors
/// Names the mount that failed.
pub(crate) fn mount(mounts: &[Mount], rootfs: &Path) -> Result<(), Failure> {
    if mounts.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(rootfs).map_err(|error| Failure(format!("create {}: {error}", rootfs.display())))?;
    let made = mounts.iter().try_for_each(|mount| one(mount, rootfs));
    if made.is_err() {
        let _ = unmount(rootfs);
    }
    made
}

fn one(mount: &Mount, rootfs: &Path) -> Result<(), Failure> {
    let options = options(mount)?;
    let inner = mount.target.trim_start_matches('/');
    if Path::new(inner).components().any(|part| part == std::path::Component::ParentDir) {
        return Err(Failure(format!("rootfs: mount target {}: leads out of the root", mount.target)));
    }
    let target = if inner.is_empty() { rootfs.to_path_buf() } else { rootfs.join(inner) };
    let told = |error: Errno| {
        let text = options.data.join(",");
        Failure(format!("rootfs: mount {} {} on {} ({text}): {error}", mount.kind, mount.source, target.display()))
    };
    if options.bind == Bind::No {
        let (folder, data) = shortened(&options.data);
        if let Some(folder) = folder {
            rustix::process::chdir(&folder).map_err(told)?;
        }
        let data = std::ffi::CString::new(data).map_err(|_| told(Errno::INVAL))?;
        return rustix::mount::mount(
            mount.source.as_str(),
            &target,
            mount.kind.as_str(),
            options.flags,
            data.as_c_str(),
        )
        .map_err(told);
    }
    if options.bind == Bind::Tree {
        rustix::mount::mount_bind_recursive(mount.source.as_str(), &target).map_err(told)?;
    } else {
        rustix::mount::mount_bind(mount.source.as_str(), &target).map_err(told)?;
    }
    match options.flags.is_empty() {
        true => Ok(()),
        // The first call takes no other flags.
        false => rustix::mount::mount_remount(&target, MountFlags::BIND | options.flags, "").map_err(told),
    }
}

/// Unmounts everything there and below. Nothing mounted is nothing to do.
///
/// # Errors
/// The kernel keeps a mount.
pub(crate) fn unmount(rootfs: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| point.replace("\\040", " "));
    let mut points: Vec<PathBuf> = points.map(PathBuf::from).filter(|point| point.starts_with(rootfs)).collect();
    // What was mounted last is on top.
    points.reverse();
    for point in points {
        let flags = UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&point, flags) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(_) => rustix::mount::unmount(&point, flags | UnmountFlags::DETACH)
                .map_err(|error| Failure(format!("unmount {}: {error}", point.display())))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Mount { kind: kind.into(), source: "overlay".into(), target: String::new(), options }
    }

    #[test]
    fn options_are_flags_binds_or_data() {
        let read = options(&mount("overlay", &["index=off", "lowerdir=/a:/b", "ro"])).unwrap();
        assert_eq!((read.flags, read.bind), (MountFlags::RDONLY, Bind::No));
        assert_eq!(read.data, ["index=off", "lowerdir=/a:/b"]);
        let read = options(&mount("bind", &["rbind", "ro", "rw"])).unwrap();
        assert_eq!((read.flags, read.bind, read.data.len()), (MountFlags::empty(), Bind::Tree, 0));
        assert!(options(&mount("ext4", &["loop"])).unwrap_err().0.contains("option loop"));
    }

    #[test]
    fn many_layers_still_fit_into_a_page() {
        let lower: Vec<String> = (0..120).map(|n| format!("/var/lib/containerd/snapshots/{n:04}/fs")).collect();
        let data = [format!("lowerdir={}", lower.join(":")), "upperdir=/u".to_owned(), "workdir=/w".to_owned()];
        let (folder, short) = shortened(&data);
        assert_eq!(folder.unwrap(), Path::new("/var/lib/containerd/snapshots"));
        assert!(short.len() <= DATA_MAX && short.starts_with("lowerdir=0000/fs:0001/fs:"), "{short}");
        assert_eq!(shortened(&["lowerdir=/a:/b".to_owned()]), (None, "lowerdir=/a:/b".to_owned()));
    }

    #[test]
    fn a_target_that_leads_out_is_refused() {
        let out = Mount { target: "/../etc".into(), ..mount("tmpfs", &[]) };
        assert!(one(&out, Path::new("/nowhere")).unwrap_err().0.contains("leads out of the root"));
    }
}
