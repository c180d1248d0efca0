//! A folder that a layer's entries are written into and cannot leave: every path is resolved by the kernel with the folder as root.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use hull_oci_core::again::while_unsure;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, fstatvfs, futimens, linkat, mkdirat, mknodat, openat, symlinkat, syncfs, unlinkat, utimensat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

/// Prefix of a whiteout: the file behind it is absent from this layer on (OCI image specification, layers).
const WHITEOUT: &[u8] = b".wh.";

/// Marks a folder whose content in lower layers is absent.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What overlayfs reads for an opaque folder (Documentation/filesystems/overlayfs.rst).
const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";

/// A PAX record of an extended attribute begins with this.
const XATTR: &str = "SCHILY.xattr.";

/// An open folder.
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// Opens an existing folder.
    pub(super) fn open(path: &Path) -> io::Result<Tree> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Tree { root: openat(rustix::fs::CWD, path, flags, Mode::empty())? })
    }

    /// Bytes that an unprivileged writer could still write.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let stat = fstatvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Opens a file inside for reading.
    pub(super) fn read(&self, path: &Path) -> io::Result<std::fs::File> {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty(), inside)?
            .into())
    }

    /// Owner and mode of what lies at a path without links.
    pub(super) fn stat(&self, path: &Path) -> io::Result<rustix::fs::Stat> {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = openat2(&self.root, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), inside)?;
        Ok(rustix::fs::fstat(file)?)
    }

    /// Writes everything out to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(syncfs(&self.root)?)
    }

    /// Unpacks an archive. Times of folders are set at the end, since what is put in them changes them.
    pub(super) fn fill<R: Read>(&self, archive: &mut Archive<R>) -> io::Result<()> {
        let mut folders = HashMap::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            self.place(&mut entry, &path, &mut folders)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        }
        for (path, time) in folders {
            let folder = self.folder(&path)?;
            futimens(&folder, &times(time))?;
        }
        Ok(())
    }

    fn place<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        path: &Path,
        folders: &mut HashMap<PathBuf, u64>,
    ) -> io::Result<()> {
        let path = inside(path)?;
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = self.folder(path.parent().unwrap_or(Path::new("")))?;
        if name.as_bytes() == OPAQUE {
            return Ok(fsetxattr(&parent, OVERLAY_OPAQUE, b"y", XattrFlags::empty())?);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return hide(&parent, &plain_name(OsStr::from_bytes(hidden))?);
        }
        let name = plain_name(name)?;
        match entry.header().entry_type() {
            EntryType::Directory => {
                make_folder(&parent, &name)?;
                let folder = open_in(&parent, &name, OFlags::DIRECTORY)?;
                finish(&folder, entry)?;
                folders.insert(path.clone(), entry.header().mtime()?);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                remove(&parent, &name)?;
                let mut file =
                    std::fs::File::from(open_in(&parent, &name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY)?);
                io::copy(entry, &mut file)?;
                let file = OwnedFd::from(file);
                finish(&file, entry)?;
                futimens(&file, &times(entry.header().mtime()?))?;
            }
            EntryType::Symlink => {
                remove(&parent, &name)?;
                symlinkat(&*link_target(entry)?, &parent, &name)?;
                own(&parent, &name, entry)?;
            }
            EntryType::Link => {
                let target = inside(Path::new(&link_target(entry)?))?;
                let from = self.folder(target.parent().unwrap_or(Path::new("")))?;
                let target = plain_name(target.file_name().unwrap_or_default())?;
                remove(&parent, &name)?;
                linkat(&from, &target, &parent, &name, AtFlags::empty())?;
            }
            EntryType::Fifo => {
                remove(&parent, &name)?;
                mknodat(&parent, &name, FileType::Fifo, Mode::from_raw_mode(entry.header().mode()? & 0o7777), 0)?;
                own(&parent, &name, entry)?;
            }
            // Devices: a container gets those it may use from the runtime and cannot use others. The rest is metadata of tar itself.
            _ => {}
        }
        Ok(())
    }

    /// Opens a folder inside, making what is missing. The kernel resolves links as if the tree were the root (openat2(2), RESOLVE_IN_ROOT).
    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
        };
        match open(path) {
            Err(Errno::NOENT) if path.file_name().is_some() => {
                let parent = self.folder(path.parent().unwrap_or(Path::new("")))?;
                make_folder(&parent, &plain_name(path.file_name().unwrap_or_default())?)?;
                Ok(open(path)?)
            }
            opened => Ok(opened?),
        }
    }
}

/// The path without leading slashes and dots; one that leaves the tree is refused.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the path leaves the layer"));
            }
        }
    }
    Ok(clean)
}

/// A file name that is one: `*at` calls must not walk.
fn plain_name(name: &OsStr) -> io::Result<OsString> {
    if name.is_empty() || name == "." || name == ".." || name.as_bytes().contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the name of a file"));
    }
    Ok(name.to_owned())
}

fn open_in(parent: &OwnedFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?)
}

/// Hides a name of lower layers. What this layer itself has of that name stays, and a folder shows nothing from below: a whiteout is about
/// lower layers only, wherever in the archive it stands.
fn hide(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match open_in(parent, name, OFlags::DIRECTORY) {
        Ok(folder) => Ok(fsetxattr(&folder, OVERLAY_OPAQUE, b"y", XattrFlags::empty())?),
        Err(_) => match mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Err(Errno::EXIST) => Ok(()),
            made => Ok(made?),
        },
    }
}

/// A folder stays when it is there already; anything else of its name goes. In the place of a whiteout it shows nothing from below.
fn make_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) if open_in(parent, name, OFlags::DIRECTORY).is_ok() => Ok(()),
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let hidden = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
            unlinkat(parent, name, AtFlags::empty())?;
            mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
            if hidden { hide(parent, name) } else { Ok(()) }
        }
        made => Ok(made?),
    }
}

/// Removes what an earlier entry of the same layer put there; an empty folder, too.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?),
        Err(error) => Err(error.into()),
    }
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> io::Result<OsString> {
    let target =
        entry.link_name_bytes().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a link without a target"))?;
    Ok(OsStr::from_bytes(&target).to_owned())
}

fn ids<R: Read>(entry: &Entry<'_, R>) -> io::Result<(Option<Uid>, Option<Gid>)> {
    let id = |value: u64| {
        u32::try_from(value).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an owner beyond 32 bits"))
    };
    Ok((Some(Uid::from_raw(id(entry.header().uid()?)?)), Some(Gid::from_raw(id(entry.header().gid()?)?))))
}

/// Owner, then mode (a change of owner clears set-id bits), then attributes.
fn finish<R: Read>(file: &OwnedFd, entry: &mut Entry<'_, R>) -> io::Result<()> {
    let (uid, gid) = ids(entry)?;
    fchown(file, uid, gid)?;
    fchmod(file, Mode::from_raw_mode(entry.header().mode()? & 0o7777))?;
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR)) else { continue };
        if name.starts_with("user.") || name == "security.capability" {
            fsetxattr(file, name, extension.value_bytes(), XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn own<R: Read>(parent: &OwnedFd, name: &OsStr, entry: &Entry<'_, R>) -> io::Result<()> {
    let (uid, gid) = ids(entry)?;
    chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(parent, name, &times(entry.header().mtime()?), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(seconds: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
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
