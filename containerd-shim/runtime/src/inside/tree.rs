//! The container's root file system while it is furnished: every path is resolved by the kernel with the tree as root (openat2(2),
//! RESOLVE_IN_ROOT), and everything is mounted by descriptor, so that no link leads out and no race moves a target (CVE-2021-30465).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use hull_oci_core::again::while_unsure;
use hull_oci_core::oci::mounts::Links;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::sys::mount::{self, Reach};

/// A root file system that is attached, and not the root yet.
pub(super) struct Tree {
    root: OwnedFd,
    /// An empty read-only folder that is attached already: other masks are clones of it.
    pub(super) empty: Option<OwnedFd>,
}

/// What a mount needs below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A file, device or socket.
    File,
    /// A folder.
    Folder,
}

impl Tree {
    /// Attaches a view of a folder to itself. It is nobody's peer, nor is what is mounted below: what is mounted in it stays in this
    /// namespace. `propagation` is private, or inwards only.
    pub(super) fn attach(folder: &Path, propagation: u64) -> io::Result<Tree> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::open(folder, flags, Mode::empty())?;
        let root = clone_of(place.as_fd(), Reach::Tree)?;
        mount::propagate(root.as_fd(), propagation, Reach::Tree)?;
        put(root.as_fd(), place.as_fd())?;
        Ok(Tree { root, empty: None })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Makes a symbolic link where there is nothing.
    pub(super) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let path = Path::new(path);
        let parent = self.folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
        match symlinkat(target, &parent, path.file_name().unwrap_or_default()) {
            // A root that cannot be written to has no room for it.
            Err(Errno::EXIST | Errno::ROFS) => Ok(()),
            made => Ok(made?),
        }
    }

    /// Makes the working directory. One that cannot be made is missed when it is entered, by name.
    pub(super) fn working_folder(&mut self, path: &str) {
        let _ = self.folder(Path::new(path), 0o755);
    }

    /// Opens what is there, links inside the root followed.
    pub(super) fn open(&self, path: &str) -> io::Result<OwnedFd> {
        self.resolve(Path::new(path), OFlags::PATH)
    }

    pub(super) fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), how)?)
    }

    /// Opens a place to mount on, making it where it is missing.
    pub(super) fn make(&self, path: &str, shape: Shape, links: Links) -> io::Result<OwnedFd> {
        let flags = match links {
            Links::Followed => OFlags::PATH,
            Links::Covered => OFlags::PATH | OFlags::NOFOLLOW,
        };
        match self.resolve(Path::new(path), flags) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {}
            opened => return opened,
        }
        match shape {
            Shape::Folder => self.folder(Path::new(path), 0o755),
            Shape::File => {
                let path = Path::new(path);
                let parent = self.folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
                let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let name = path.file_name().unwrap_or_default();
                match openat(&parent, name, create, Mode::from_raw_mode(0o644)) {
                    // A link that leads nowhere: what it names is made, inside the root.
                    Err(Errno::EXIST) => self.behind(&parent, name)?,
                    made => drop(made?),
                }
                self.resolve(path, OFlags::PATH)
            }
        }
    }

    /// Makes the file that a link names which leads nowhere.
    fn behind(&self, parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<()> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
        let target = target.to_str().map_err(|_| Errno::INVAL)?;
        // Only an absolute one has the same meaning from here.
        let true = target.starts_with('/') else { return Err(Errno::LOOP.into()) };
        let path = Path::new(target);
        let folder = self.folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
        let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat2(&folder, path.file_name().unwrap_or_default(), create, Mode::from_raw_mode(0o644), how)?;
        Ok(())
    }

    /// Opens a folder, making what is missing of it.
    pub(super) fn folder(&self, path: &Path, mode: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if let Ok(folder) = self.resolve(path, flags) {
            return Ok(folder);
        }
        let mut sofar = PathBuf::from("/");
        let mut folder = self.resolve(&sofar, flags)?;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            sofar.push(name);
            folder = match self.resolve(&sofar, flags) {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {
                    match mkdirat(&folder, name, Mode::from_raw_mode(mode)) {
                        // A link that leads nowhere: the folder that it names is made, inside the root.
                        Err(Errno::EXIST) => self.folder_behind(&folder, name, mode)?,
                        made => made?,
                    }
                    self.resolve(&sofar, flags)?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }

    fn folder_behind(&self, parent: &OwnedFd, name: &std::ffi::OsStr, mode: u32) -> io::Result<()> {
        let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
        let target = target.to_str().map_err(|_| Errno::INVAL)?;
        if !target.starts_with('/') || target.split('/').any(|part| part == "..") {
            return Err(Errno::LOOP.into());
        }
        self.folder(Path::new(target), mode).map(|_| ())
    }
}

pub(super) fn is_folder(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Directory)
}

/// A detached copy of what is mounted there.
pub(super) fn clone_of(place: BorrowedFd<'_>, reach: Reach) -> io::Result<OwnedFd> {
    let recursive = match reach {
        Reach::One => OpenTreeFlags::empty(),
        Reach::Tree => OpenTreeFlags::AT_RECURSIVE,
    };
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH | recursive;
    Ok(rustix::mount::open_tree(place, "", flags)?)
}

/// Attaches a mount to an open file or folder.
pub(super) fn put(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// openat2(2), asked again where the kernel wants it.
fn openat2(
    folder: &OwnedFd,
    path: impl AsRef<Path>,
    flags: OFlags,
    mode: Mode,
    how: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    while_unsure(&Errno::AGAIN, || rustix::fs::openat2(folder, path.as_ref(), flags, mode, how))
}
