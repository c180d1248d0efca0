//! Device nodes: made where this process may, else what the runtime has opened is bound.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hull_oci_core::oci::devices::{Kind, Node, Origin};
use hull_oci_core::oci::mounts::{Depth, Links, propagation};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, fstat};
use rustix::io::Errno;

use super::mounts::open_bind;
use super::tree::{Shape, Tree, put};
use crate::sys::mount::{self, Reach};

/// Makes one. `source` is a mount of a node, where the runtime knows that none can be made.
pub(super) fn make(tree: &mut Tree, node: &Node, source: Option<OwnedFd>) -> io::Result<()> {
    match (node.origin, make_or_bind(tree, node, source)) {
        // A root that is not to be written to keeps what it has of what every container has.
        (Origin::Default, Err(error)) if Errno::from_io_error(&error) == Some(Errno::ROFS) => Ok(()),
        (Origin::Declared(index), Err(error)) => Err(io::Error::other(format!("linux.devices[{index}]: {error}"))),
        (_, made) => made,
    }
}

fn make_or_bind(tree: &mut Tree, node: &Node, source: Option<OwnedFd>) -> io::Result<()> {
    if let Some(source) = source {
        return bind(tree, node, &source);
    }
    let path = Path::new(&node.path);
    let parent = tree.folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
    let name = path.file_name().unwrap_or_default();
    let kind = file_type(node.kind);
    let device = rustix::fs::makedev(node.major, node.minor);
    match rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(node.mode), device) {
        Err(Errno::PERM | Errno::ACCESS) => return bind(tree, node, &open_bind(&node.path, Depth::One)?),
        // What is there already is that device, or nobody's business.
        Err(Errno::EXIST) => return check(tree, node),
        made => made?,
    }
    if (node.uid, node.gid) == (0, 0) {
        return Ok(());
    }
    // By the folder and the name, not followed: a link put there meanwhile is given to nobody.
    let (uid, gid) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
    Ok(rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The kind as a type of file.
pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Character => FileType::CharacterDevice,
        Kind::Block => FileType::BlockDevice,
        Kind::Pipe => FileType::Fifo,
    }
}

fn check(tree: &Tree, node: &Node) -> io::Result<()> {
    let stat = fstat(tree.open(&node.path)?)?;
    let same = FileType::from_raw_mode(stat.st_mode) == file_type(node.kind)
        && (node.kind == Kind::Pipe || stat.st_rdev == rustix::fs::makedev(node.major, node.minor));
    match same {
        true => Ok(()),
        false => Err(io::Error::other("another file is in its place")),
    }
}

fn bind(tree: &Tree, node: &Node, source: &OwnedFd) -> io::Result<()> {
    let place = tree.make(&node.path, Shape::File, Links::Followed)?;
    // It comes from the host, whose peer it is not to be.
    mount::propagate(source.as_fd(), propagation::PRIVATE, Reach::One)?;
    put(source.as_fd(), place.as_fd())
}
