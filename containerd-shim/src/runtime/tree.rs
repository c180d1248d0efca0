//! The container's root file system while it is furnished: every path is resolved by the kernel with the tree as root (openat2(2),
//! RESOLVE_IN_ROOT), and everything is mounted by descriptor, so that no link leads out and no race moves a target (CVE-2021-30465).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use hull_oci_core::plan::Attribute;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, symlinkat};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::attach;
use super::sources::{Bind, Shape, flags};
use crate::sys::mount::{self, Reach};

/// Device number of `/dev/null`: what masks a file must be that and nothing else (CVE-2025-31133).
const NULL: (u32, u32) = (1, 3);

/// A mask shows nothing and does nothing.
const MASK: [Attribute; 4] = [Attribute::ReadOnly, Attribute::NoSetId, Attribute::NoDevices, Attribute::NoPrograms];

/// A root file system that is attached, and not the root yet.
pub(super) struct Tree {
    root: OwnedFd,
    /// An empty read-only folder that is attached already: other masks are clones of it.
    empty: Option<OwnedFd>,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Tree {
        Tree { root, empty: None }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Mounts a new file system, which belongs to the namespaces of this process.
    pub(super) fn mount_new(
        &mut self,
        target: &str,
        kind: &str,
        name: &str,
        options: &[(String, Option<String>)],
        attributes: &[Attribute],
    ) -> Result<()> {
        let mount = new_mount(kind, name, options, flags(attributes))?;
        attach(mount.as_fd(), self.make(target, Shape::Folder)?.as_fd())
    }

    /// Attaches something of the node.
    pub(super) fn bind(&mut self, target: &str, bind: &Bind) -> Result<()> {
        attach(bind.mount.as_fd(), self.make(target, bind.shape)?.as_fd())
    }

    /// Makes a symbolic link where there is nothing.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let path = Path::new(path);
        let parent = self.folder(path.parent().unwrap_or(Path::new("/")))?;
        match symlinkat(target, &parent, path.file_name().unwrap_or_default()) {
            Err(Errno::EXIST) => Ok(()),
            made => made,
        }
    }

    /// Hides a file behind `/dev/null` and a folder behind an empty one.
    pub(super) fn mask(&mut self, path: &str) -> Result<()> {
        let target = match self.open(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            target => target?,
        };
        if is_folder(&target)? {
            let cover = match &self.empty {
                Some(empty) => clone_of(empty.as_fd(), OpenTreeFlags::empty())?,
                None => new_mount("tmpfs", "mask", &[("size".to_owned(), Some("0".to_owned()))], flags(&MASK))?,
            };
            attach(cover.as_fd(), target.as_fd())?;
            self.empty.get_or_insert(cover);
            return Ok(());
        }
        let null = self.open("/dev/null")?;
        let stat = fstat(&null)?;
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != NULL {
            return Err(Errno::NODEV);
        }
        attach(clone_of(null.as_fd(), OpenTreeFlags::empty())?.as_fd(), target.as_fd())
    }

    /// Puts a read-only view of a file or folder over itself.
    pub(super) fn seal(&mut self, path: &str) -> Result<()> {
        let target = match self.open(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            target => target?,
        };
        let view = clone_of(target.as_fd(), OpenTreeFlags::AT_RECURSIVE)?;
        mount::set(view.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, Reach::Tree).map_err(errno)?;
        attach(view.as_fd(), target.as_fd())
    }

    fn open(&self, path: &str) -> Result<OwnedFd> {
        self.resolve(Path::new(path), OFlags::PATH)
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Opens a place to mount on, making it where it is missing.
    fn make(&self, path: &str, shape: Shape) -> Result<OwnedFd> {
        match (self.open(path), shape) {
            (Err(Errno::NOENT), Shape::Folder) => {
                self.folder(Path::new(path))?;
                self.open(path)
            }
            (Err(Errno::NOENT), Shape::File) => {
                let path = Path::new(path);
                let parent = self.folder(path.parent().unwrap_or(Path::new("/")))?;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(&parent, path.file_name().unwrap_or_default(), flags, Mode::from_raw_mode(0o644))?;
                self.resolve(path, OFlags::PATH)
            }
            (opened, _) => opened,
        }
    }

    /// Opens a folder, making what is missing of it.
    fn folder(&self, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut sofar = PathBuf::from("/");
        let mut folder = self.resolve(&sofar, flags)?;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            sofar.push(name);
            folder = match self.resolve(&sofar, flags) {
                Err(Errno::NOENT) => {
                    mkdirat(&folder, name, Mode::from_raw_mode(0o755))?;
                    self.resolve(&sofar, flags)?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }
}

fn is_folder(file: &OwnedFd) -> Result<bool> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Directory)
}

/// A detached copy of what is mounted there.
fn clone_of(place: BorrowedFd<'_>, recursive: OpenTreeFlags) -> Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH | recursive;
    rustix::mount::open_tree(place, "", flags)
}

/// Makes a file system and a mount of it that is attached nowhere (fsopen(2), fsmount(2)).
fn new_mount(
    kind: &str,
    name: &str,
    options: &[(String, Option<String>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", name)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str())?,
            None => fsconfig_set_flag(&context, key.as_str())?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
