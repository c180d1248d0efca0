//! The root file system: unpacked layers under an overlay (Documentation/filesystems/overlayfs.rst), shown with the ids of the container.
//!
//! On top of the layers lies a skeleton with whatever the container's mounts are mounted on: an image need not have it, an image in
//! which `/dev` is a link leads nowhere else, and a read-only root needs no writable layer to make it in.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_oci_core::plan::{Access, Mount, Step};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::sources::{Shape, Sources};
use super::{Failure, attach, failed, open_tree};
use crate::sys::{identity, mount};

/// What a root is made of.
pub(crate) struct Layers {
    /// The container's folder; mount points of the layers are made in it.
    pub(crate) folder: PathBuf,
    /// Unpacked layers, topmost first.
    pub(crate) lower: Vec<PathBuf>,
    /// Folder with `upper` and `work`, where the root can be written to.
    pub(crate) written: Option<PathBuf>,
    /// Files that every container gets its own of: path without a leading slash, content.
    pub(crate) files: Vec<(&'static str, String)>,
}

impl Layers {
    /// Makes the topmost layer.
    pub(super) fn skeleton(&self, steps: &[Step], sources: &Sources) -> Result<(), Failure> {
        let skeleton = self.folder.join("skeleton");
        let make = || -> io::Result<()> {
            let _ = fs::remove_dir_all(&skeleton);
            fs::create_dir_all(&skeleton)?;
            for (index, mount) in outermost(steps) {
                let target = inside(&skeleton, &mount.target);
                match sources.shape(index) {
                    Some(Shape::File) => file(&target, "")?,
                    Some(Shape::Folder) | None => fs::create_dir_all(target)?,
                }
            }
            self.files.iter().try_for_each(|(path, content)| file(&inside(&skeleton, path), content))
        };
        make().map_err(failed(format!("make {}", skeleton.display())))
    }

    /// Mounts the overlay, attached nowhere. With `ids`, the files of every layer belong to the ids of that user namespace, whose root is
    /// the user `owner` on the node.
    pub(super) fn mount(&self, access: Access, ids: Option<BorrowedFd<'_>>, owner: u32) -> Result<OwnedFd, Failure> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open a new overlay"))?;
        let set = |key: &str, path: &Path| {
            fsconfig_set_string(&context, key, path)
                .map_err(failed(format!("set {key} of the overlay to {}", path.display())))
        };
        let skeleton = self.folder.join("skeleton");
        for (number, layer) in std::iter::once(&skeleton).chain(&self.lower).enumerate() {
            set("lowerdir+", &self.show(layer, &number.to_string(), ids)?)?;
        }
        let mut flags = MountAttrFlags::MOUNT_ATTR_NODEV;
        match (access, &self.written) {
            (Access::ReadWrite, Some(folder)) => {
                let shown = self.show(folder, "written", ids)?;
                set("upperdir", &shown.join("upper"))?;
                set("workdir", &shown.join("work"))?;
            }
            _ => flags |= MountAttrFlags::MOUNT_ATTR_RDONLY,
        }
        // Whoever makes an overlay also makes what is in its working folder, later on, too: the node's root has no id in there.
        identity::as_owner(owner, || Ok(fsconfig_create(&context)?))
            .map_err(failed(format!("make the overlay of {} layers", self.lower.len())))?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed("mount the overlay"))
    }

    /// Attaches a clone of a layer below the container's folder, with the ids mapped: an overlay takes only what is attached.
    fn show(&self, layer: &Path, name: &str, ids: Option<BorrowedFd<'_>>) -> Result<PathBuf, Failure> {
        let Some(ids) = ids else { return Ok(layer.to_owned()) };
        let at = self.folder.join("layers").join(name);
        fs::create_dir_all(&at).map_err(failed(format!("create {}", at.display())))?;
        let tree = open_tree(layer, OpenTreeFlags::empty())?;
        mount::map_ids(tree.as_fd(), ids).map_err(failed(format!("map the ids of {}", layer.display())))?;
        let target = fs::File::open(&at).map_err(failed(format!("open {}", at.display())))?;
        attach(tree.as_fd(), target.as_fd()).map_err(failed(format!(
            "attach {} on {}",
            layer.display(),
            at.display()
        )))?;
        Ok(at)
    }
}

/// The mounts that do not lie on an earlier one.
fn outermost(steps: &[Step]) -> impl Iterator<Item = (usize, &Mount)> {
    let mounts = steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| if let Step::Mount(mount) = step { Some((index, mount)) } else { None });
    let mut seen: Vec<&Path> = Vec::new();
    mounts.filter(move |(_, mount)| {
        let target = Path::new(&mount.target);
        let covered = seen.iter().any(|earlier| target.starts_with(earlier));
        seen.push(target);
        !covered
    })
}

/// Targets are absolute and have no `..`, by the plan.
fn inside(skeleton: &Path, target: &str) -> PathBuf {
    skeleton.join(target.trim_start_matches('/'))
}

fn file(path: &Path, content: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content)
}
