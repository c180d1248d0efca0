//! Performs the mounts of a plan: file systems are made and files of the host are bound away from the tree, and attached when they are
//! as they shall be.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_oci_core::oci::mounts::{COUNTED, Change, Content, Depth, Links, Mount, Source, attribute, propagation};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
};

use super::tree::{Shape, Tree, clone_of, is_folder, put};
use crate::sys::mount::{self, Reach};

/// `PROC_SUPER_MAGIC`, linux/magic.h.
const PROC: u64 = 0x9fa0;

/// Files of /proc that may be covered: those that show the host's load and memory, which others show as the container's.
const COVERABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Mounts one. `source` is what the runtime has opened for it already.
pub(super) fn mount(
    tree: &mut Tree,
    mount: &Mount,
    source: Option<OwnedFd>,
    groups: &[(String, PathBuf)],
    own_cgroup_namespace: bool,
) -> io::Result<()> {
    match (&mount.source, source) {
        (Source::Again { options }, _) => again(tree, mount, options),
        (Source::ControlGroup, _) => control_groups(tree, mount, groups, own_cgroup_namespace),
        (Source::Bind { .. }, Some(detached)) => attach(tree, mount, detached),
        (Source::Bind { path, depth }, None) => attach(tree, mount, open_bind(path, *depth)?),
        (Source::New { kind, name, options, content }, _) => {
            let made = match new_mount(kind, name, options, mount.attributes.set) {
                // Only its owner mounts the network's sysfs, and a shared message queue; what the host shows must do.
                Err(error) if refused(&error) && ["sysfs", "mqueue"].contains(&kind.as_str()) => {
                    let path = if kind == "sysfs" { "/sys" } else { "/dev/mqueue" };
                    open_bind(path, Depth::Tree)?
                }
                made => made?,
            };
            let place = match kind.as_str() {
                // What the kernel shows there must be what it is: no link may lead it elsewhere (CVE-2019-19921).
                "proc" | "sysfs" => own_place(tree, &mount.target)?,
                _ => tree.make(&mount.target, Shape::Folder, mount.links)?,
            };
            if *content == Content::Copied {
                copy_up(place.as_fd(), made.as_fd())?;
            }
            let counted = options.iter().any(|(word, _)| word == COUNTED);
            let copy = if counted { Some(made.try_clone()?) } else { None };
            finish(tree, mount, made, place)?;
            copy.map_or(Ok(()), |made| count_versions(&made, options, mount.attributes))
        }
    }
}

/// Has a mounted file system count the versions of its files. Only mount(2) knows the word, and only of what is mounted (fsopen(2) does
/// not); it takes all other flags away that are not said again.
fn count_versions(made: &OwnedFd, options: &[(String, Option<String>)], attributes: Change) -> io::Result<()> {
    const FLAGS: [(&str, MountFlags); 4] = [
        (COUNTED, MountFlags::from_bits_retain(1 << 23)),
        ("sync", MountFlags::SYNCHRONOUS),
        ("lazytime", MountFlags::LAZYTIME),
        ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ];
    let (mut flags, mut data) = (MountFlags::empty(), Vec::new());
    for (word, value) in options {
        match (FLAGS.iter().find(|(known, _)| known == word), value) {
            (Some((_, flag)), _) => flags |= *flag,
            (None, Some(value)) => data.push(format!("{word}={value}")),
            (None, None) => data.push(word.clone()),
        }
    }
    data.retain(|word| !["async", "dirsync", "nolazytime", "nomand"].contains(&word.as_str()));
    let data = std::ffi::CString::new(data.join(","))?;
    rustix::mount::mount_remount(format!("/proc/self/fd/{}", made.as_raw_fd()), flags, &data)?;
    change(made.as_fd(), attributes, Reach::One)
}

fn refused(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::BUSY | Errno::NODEV))
}

/// A folder that no link leads to.
fn own_place(tree: &Tree, target: &str) -> io::Result<OwnedFd> {
    let place = tree.make(target, Shape::Folder, Links::Covered)?;
    if !is_folder(place.as_fd())? {
        return Err(io::Error::other(format!(
            "{target} must be mounted on ordinary directory, and no link is followed there"
        )));
    }
    Ok(place)
}

/// Opens a file or folder of the host for a mount.
pub(crate) fn open_bind(path: &str, depth: Depth) -> io::Result<OwnedFd> {
    let recursive = match depth {
        Depth::One => OpenTreeFlags::empty(),
        Depth::Tree => OpenTreeFlags::AT_RECURSIVE,
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursive;
    Ok(rustix::mount::open_tree(rustix::fs::CWD, path, flags)?)
}

fn attach(tree: &mut Tree, mount: &Mount, detached: OwnedFd) -> io::Result<()> {
    let shape = if is_folder(detached.as_fd())? { Shape::Folder } else { Shape::File };
    change(detached.as_fd(), mount.attributes, Reach::One)?;
    let place = tree.make(&mount.target, shape, mount.links)?;
    if rustix::fs::fstatfs(&place)?.f_type as u64 == PROC
        && mount.target != "/proc"
        && !COVERABLE.contains(&mount.target.as_str())
    {
        return Err(io::Error::other(format!("{} would cover a part of /proc", mount.target)));
    }
    finish(tree, mount, detached, place)
}

fn finish(tree: &mut Tree, mount: &Mount, made: OwnedFd, place: OwnedFd) -> io::Result<()> {
    // What is bound is no peer of the host's, unless that is asked for.
    if mount.propagation.is_empty() {
        mount::propagate(made.as_fd(), propagation::PRIVATE, Reach::Tree)?;
    }
    change(made.as_fd(), mount.recursive, Reach::Tree)?;
    put(made.as_fd(), place.as_fd())?;
    for flags in &mount.propagation {
        let reach = if flags & propagation::REC != 0 { Reach::Tree } else { Reach::One };
        mount::propagate(made.as_fd(), flags & !propagation::REC, reach)?;
    }
    let _ = tree;
    Ok(())
}

fn change(mount: BorrowedFd<'_>, change: Change, reach: Reach) -> io::Result<()> {
    // Access times are one field of two bits: the kernel wants all of it cleared before a value is set.
    let times = if change.set & attribute::ATIME != 0 { attribute::ATIME } else { 0 };
    match (change.set, change.clear | times) {
        (0, 0) => Ok(()),
        (set, clear) => mount::change(mount, set, clear, reach),
    }
}

/// Changes what is mounted there: its file system, where there are options of that (fspick(2)), and the mount.
fn again(tree: &Tree, mount: &Mount, options: &[(String, Option<String>)]) -> io::Result<()> {
    let place = tree.open(&mount.target)?;
    if !options.is_empty() {
        let context = fspick(&place, "", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)?;
        set(&context, options)?;
        fsconfig_reconfigure(&context).map_err(|error| io::Error::other(explained(&context, error)))?;
    }
    change(place.as_fd(), mount.attributes, Reach::One)?;
    change(place.as_fd(), mount.recursive, Reach::Tree)
}

/// Makes a file system and a mount of it that is attached nowhere (fsopen(2), fsmount(2)).
pub(super) fn new_mount(
    kind: &str,
    name: &str,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Some have none.
    match fsconfig_set_string(&context, "source", name) {
        Err(Errno::INVAL) => {}
        set => set?,
    }
    let own: Vec<_> = options.iter().filter(|(key, _)| key != COUNTED).cloned().collect();
    set(&context, &own)?;
    fsconfig_create(&context).map_err(|error| match error {
        Errno::PERM | Errno::BUSY | Errno::NODEV => io::Error::from(error),
        error => io::Error::other(explained(&context, error)),
    })?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attributes as u32))?)
}

fn set(context: &OwnedFd, options: &[(String, Option<String>)]) -> io::Result<()> {
    options.iter().try_for_each(|(key, value)| {
        let set = match value {
            Some(value) => fsconfig_set_string(context, key.as_str(), value.as_str()),
            None => fsconfig_set_flag(context, key.as_str()),
        };
        set.map_err(|error| {
            let value = value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
            io::Error::other(format!("option {key}{value}: {}", explained(context, error)))
        })
    })
}

/// What the kernel says about it, fsopen(2).
fn explained(context: &OwnedFd, error: Errno) -> String {
    let mut bytes = [0; 256];
    match rustix::io::read(context, &mut bytes) {
        Ok(length) if length > 2 => format!("{error}: {}", String::from_utf8_lossy(&bytes[2..length]).trim()),
        _ => error.to_string(),
    }
}

/// Fills a new file system with what it will cover. Names are resolved by the kernel below the two folders, and no link is followed.
fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let entries = fs::read_dir(format!("/proc/self/fd/{}", from.as_raw_fd()))?;
    for entry in entries {
        let name = entry?.file_name();
        let stat = rustix::fs::statat(from, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let open =
            |flags: OFlags| rustix::fs::openat(from, &name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Directory => {
                rustix::fs::mkdirat(to, &name, mode)?;
                let inner = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                copy_up(
                    open(OFlags::DIRECTORY)?.as_fd(),
                    rustix::fs::openat(to, &name, inner, Mode::empty())?.as_fd(),
                )?;
            }
            rustix::fs::FileType::Symlink => {
                rustix::fs::symlinkat(rustix::fs::readlinkat(from, &name, Vec::new())?, to, &name)?;
            }
            rustix::fs::FileType::RegularFile => {
                let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let (source, target) = (open(OFlags::RDONLY)?, rustix::fs::openat(to, &name, create, mode)?);
                while rustix::fs::sendfile(&target, &source, None, 1 << 30)? > 0 {}
            }
            _ => continue,
        }
        let owner = (Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)));
        rustix::fs::chownat(to, &name, owner.0, owner.1, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Shows a container its own control group.
fn control_groups(tree: &mut Tree, mount: &Mount, groups: &[(String, PathBuf)], own_namespace: bool) -> io::Result<()> {
    match groups {
        // A user who may make none sees the host's.
        [] => {
            let bound = open_bind("/sys/fs/cgroup", Depth::Tree)?;
            change(bound.as_fd(), mount.attributes, Reach::Tree)?;
            let place = tree.make(&mount.target, Shape::Folder, mount.links)?;
            finish(tree, mount, bound, place)
        }
        [(controller, folder)] if controller.is_empty() => {
            let made = match own_namespace {
                true => new_mount("cgroup2", "cgroup", &[], mount.attributes.set),
                false => Err(Errno::PERM.into()),
            };
            let made = match made {
                Err(error) if refused(&error) => {
                    let bound = open_bind(&folder.to_string_lossy(), Depth::One)?;
                    change(bound.as_fd(), mount.attributes, Reach::One)?;
                    bound
                }
                made => made?,
            };
            let place = tree.make(&mount.target, Shape::Folder, mount.links)?;
            finish(tree, mount, made, place)
        }
        groups => version_1(tree, mount, groups),
    }
}

/// A folder in memory with one view a hierarchy, and a link where several controllers share one.
fn version_1(tree: &mut Tree, mount: &Mount, groups: &[(String, PathBuf)]) -> io::Result<()> {
    let mode = [("mode".to_owned(), Some("755".to_owned()))];
    let top = new_mount("tmpfs", "cgroup", &mode, mount.attributes.set & !attribute::RDONLY)?;
    let place = tree.make(&mount.target, Shape::Folder, mount.links)?;
    put(top.as_fd(), place.as_fd())?;
    let mut seen: Vec<(&PathBuf, &str)> = Vec::new();
    for (controller, folder) in groups {
        let name = controller.trim_start_matches("name=");
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == folder) {
            rustix::fs::symlinkat(*first, &top, name)?;
            continue;
        }
        // Its hierarchy is there, and its group was not to be made.
        let Ok(view) = open_bind(&folder.to_string_lossy(), Depth::One) else { continue };
        mount::propagate(view.as_fd(), propagation::PRIVATE, Reach::One)?;
        change(view.as_fd(), mount.attributes, Reach::One)?;
        rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        put(view.as_fd(), rustix::fs::openat(&top, Path::new(name), flags, Mode::empty())?.as_fd())?;
        seen.push((folder, name));
    }
    change(top.as_fd(), mount.attributes, Reach::One)?;
    for flags in &mount.propagation {
        mount::propagate(top.as_fd(), flags & !propagation::REC, Reach::Tree)?;
    }
    Ok(())
}

/// For masks: an empty folder that shows nothing and does nothing.
pub(super) fn empty(tree: &mut Tree) -> io::Result<OwnedFd> {
    if let Some(empty) = &tree.empty {
        return clone_of(empty.as_fd(), Reach::One);
    }
    let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    new_mount("tmpfs", "mask", &[("nr_blocks".to_owned(), Some("1".to_owned()))], attributes)
}
