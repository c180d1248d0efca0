//! The root file system: unpacked layers under an overlay (Documentation/filesystems/overlayfs.rst), shown with the ids of the container.
//!
//! On top of the layers lies a skeleton with whatever the container's mounts are mounted on: an image need not have it, an image in
//! which `/dev` is a link leads nowhere else, and a read-only root needs no writable layer to make it in.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use hull_oci_core::oci::mounts::{Mount, Source};
use hull_oci_core::oci::plan::{Plan, Step};
use hull_runtime::Failure;
use hull_runtime::create::user_namespace;
use hull_runtime::failure::{failed, failing};
use hull_runtime::sys::mount::{Reach, map_ids};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, move_mount, open_tree,
};

use crate::sys::identity;
use hull_images as images;

/// Where the root is attached, in the container's folder.
const ROOTFS: &str = "rootfs";

/// What a root is made of.
pub(crate) struct Layers<'a> {
    /// The container's folder; mount points of the layers are made in it.
    pub(crate) folder: &'a Path,
    /// Unpacked layers, topmost first.
    pub(crate) lower: &'a [PathBuf],
    /// Folder with `upper` and `work`, where the root can be written to.
    pub(crate) written: Option<&'a Path>,
    /// Files that every container gets its own of: path without a leading slash, content.
    pub(crate) files: Vec<(&'static str, String)>,
}

impl Layers<'_> {
    /// Makes the root of a planned container and attaches it to `rootfs` in its folder, where only this process's mount namespace has it.
    pub(crate) fn attach(&self, plan: &Plan) -> Result<(), Failure> {
        self.skeleton(plan)?;
        let ids = user_namespace("linux", &plan.uid_map, &plan.gid_map)?;
        let owner = plan.uid_map.first().map_or(0, |ids| ids.host_id);
        let root = self.mount(ids.as_fd(), owner)?;
        let place = self.folder.join(ROOTFS);
        fs::create_dir_all(&place).map_err(failing(|| format!("create {}", place.display())))?;
        put(&root, &place)
    }

    /// Makes the topmost layer. A folder that a lower layer has, too, keeps that one's owner and mode.
    fn skeleton(&self, plan: &Plan) -> Result<(), Failure> {
        let skeleton = self.folder.join("skeleton");
        let make = || -> io::Result<()> {
            let _ = fs::remove_dir_all(&skeleton);
            fs::create_dir_all(&skeleton)?;
            for mount in outermost(&plan.steps) {
                let folder = match &mount.source {
                    Source::Bind { path, .. } => fs::metadata(path)?.is_dir(),
                    _ => true,
                };
                let path = Path::new(mount.target.trim_start_matches('/'));
                if folder { self.folders(&skeleton, path)? } else { self.file(&skeleton, path, "")? }
            }
            self.files.iter().try_for_each(|(path, content)| self.file(&skeleton, Path::new(path), content))
        };
        make().map_err(failing(|| format!("make {}", skeleton.display())))
    }

    fn file(&self, skeleton: &Path, path: &Path, content: &str) -> io::Result<()> {
        self.folders(skeleton, path.parent().unwrap_or(Path::new("")))?;
        fs::write(skeleton.join(path), content)
    }

    fn folders(&self, skeleton: &Path, path: &Path) -> io::Result<()> {
        let mut inner = PathBuf::new();
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            inner.push(name);
            let folder = skeleton.join(&inner);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            if let Some(like) = images::folder_inside(self.lower, &inner) {
                chown(&folder, Some(like.uid), Some(like.gid))?;
                fs::set_permissions(&folder, fs::Permissions::from_mode(like.mode))?;
            }
        }
        Ok(())
    }

    /// Mounts the overlay, attached nowhere. The files of every layer belong to the ids of that user namespace, whose root is the user
    /// `owner` on the node.
    fn mount(&self, ids: BorrowedFd<'_>, owner: u32) -> Result<OwnedFd, Failure> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open a new overlay"))?;
        let set = |key: &str, path: &Path| {
            fsconfig_set_string(&context, key, path)
                .map_err(failing(|| format!("set {key} of the overlay to {}", path.display())))
        };
        let skeleton = self.folder.join("skeleton");
        for (number, layer) in std::iter::once(&skeleton).chain(self.lower).enumerate() {
            set("lowerdir+", &self.show(layer, &number.to_string(), ids)?)?;
        }
        let mut flags = MountAttrFlags::MOUNT_ATTR_NODEV;
        match self.written {
            Some(folder) => {
                let shown = self.show(folder, "written", ids)?;
                set("upperdir", &shown.join("upper"))?;
                set("workdir", &shown.join("work"))?;
            }
            None => flags |= MountAttrFlags::MOUNT_ATTR_RDONLY,
        }
        // Whoever makes an overlay also makes what is in its working folder, later on, too: the node's root has no id in there.
        identity::as_owner(owner, || Ok(fsconfig_create(&context)?))
            .map_err(failing(|| format!("make the overlay of {} layers", self.lower.len())))?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed("mount the overlay"))
    }

    /// Attaches a clone of a layer below the container's folder, with the ids mapped: an overlay takes only what is attached.
    fn show(&self, layer: &Path, name: &str, ids: BorrowedFd<'_>) -> Result<PathBuf, Failure> {
        let at = self.folder.join("layers").join(name);
        fs::create_dir_all(&at).map_err(failing(|| format!("create {}", at.display())))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(rustix::fs::CWD, layer, flags)
            .map_err(failing(|| format!("open the tree {}", layer.display())))?;
        map_ids(tree.as_fd(), ids, Reach::One).map_err(failing(|| format!("map the ids of {}", layer.display())))?;
        put(&tree, &at)?;
        Ok(at)
    }
}

/// Attaches a mount to a folder of this process's own mount namespace.
fn put(mount: &OwnedFd, at: &Path) -> Result<(), Failure> {
    move_mount(mount, "", rustix::fs::CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failing(|| format!("attach a mount to {}", at.display())))
}

/// The mounts that do not lie on an earlier one.
fn outermost(steps: &[Step]) -> impl Iterator<Item = &Mount> {
    let mounts = steps.iter().filter_map(|step| if let Step::Mount(mount) = step { Some(&**mount) } else { None });
    let mut seen: Vec<&Path> = Vec::new();
    mounts.filter(move |mount| {
        let target = Path::new(&mount.target);
        let covered = seen.iter().any(|earlier| target.starts_with(earlier));
        seen.push(target);
        !covered
    })
}
