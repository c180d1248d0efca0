//! What a container gets of the node, files and devices, opened before it exists: the node's paths mean nothing to it, and its own
//! namespaces have no right to take a mount of the node apart.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hull_oci_core::plan::{Attribute, Depth, Source, Step};
use rustix::fs::{FileType, fstat};
use rustix::mount::{MountAttrFlags, OpenTreeFlags};

use super::{Failure, failed, open_tree};
use crate::sys::mount::{self, Reach};

/// A detached mount for each step that binds one, in the order of the steps.
pub(super) struct Sources(Vec<Option<Bind>>);

/// A detached mount of something on the node.
pub(super) struct Bind {
    pub(super) mount: OwnedFd,
    pub(super) shape: Shape,
}

/// What a mount needs below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A file, device or socket.
    File,
    /// A folder.
    Folder,
}

impl Sources {
    /// The mount for the step at `index`.
    pub(super) fn take(&mut self, index: usize) -> Option<Bind> {
        self.0.get_mut(index)?.take()
    }

    /// What the step at `index` is mounted on.
    pub(super) fn shape(&self, index: usize) -> Option<Shape> {
        self.0.get(index)?.as_ref().map(|bind| bind.shape)
    }
}

/// Opens them all.
pub(super) fn open(steps: &[Step]) -> Result<Sources, Failure> {
    steps.iter().map(open_one).collect::<Result<_, _>>().map(Sources)
}

fn open_one(step: &Step) -> Result<Option<Bind>, Failure> {
    match step {
        Step::Device(path) => bind(path, Depth::One, &[Attribute::NoSetId, Attribute::NoPrograms]).map(Some),
        Step::Mount(mount) => match &mount.source {
            Source::Bind { path, depth } => bind(path, *depth, &mount.attributes).map(Some),
            Source::New { .. } => Ok(None),
        },
        _ => Ok(None),
    }
}

fn bind(path: &str, depth: Depth, attributes: &[Attribute]) -> Result<Bind, Failure> {
    let recursive = match depth {
        Depth::One => OpenTreeFlags::empty(),
        Depth::Tree => OpenTreeFlags::AT_RECURSIVE,
    };
    let tree = open_tree(Path::new(path), recursive)?;
    let flags = flags(attributes);
    if !flags.is_empty() {
        mount::set(tree.as_fd(), flags, Reach::One).map_err(failed(format!("set the attributes of {path}")))?;
    }
    let stat = fstat(&tree).map_err(failed(format!("stat {path}")))?;
    let shape = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory { Shape::Folder } else { Shape::File };
    Ok(Bind { mount: tree, shape })
}

/// The kernel's bits for the attributes.
pub(super) fn flags(attributes: &[Attribute]) -> MountAttrFlags {
    let flag = |attribute: &Attribute| match attribute {
        Attribute::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
        Attribute::NoSetId => MountAttrFlags::MOUNT_ATTR_NOSUID,
        Attribute::NoDevices => MountAttrFlags::MOUNT_ATTR_NODEV,
        Attribute::NoPrograms => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        Attribute::NoAccessTime => MountAttrFlags::MOUNT_ATTR_NOATIME,
        Attribute::StrictAccessTime => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        Attribute::NoFolderAccessTime => MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        Attribute::NoLinks => MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW,
    };
    attributes.iter().map(flag).collect()
}
