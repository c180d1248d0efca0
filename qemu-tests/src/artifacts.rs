//! Where the build products lie: `HULL_OUT`, or `out` at the top of the workspace.

use std::path::{Path, PathBuf};

/// The directory of build products.
#[derive(Clone, Debug)]
pub struct Artifacts {
    out: PathBuf,
}

impl Artifacts {
    /// The directory named by `HULL_OUT`, else the workspace's `out`.
    pub fn find() -> Self {
        let out = std::env::var_os("HULL_OUT")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../out"), PathBuf::from);
        Self { out }
    }

    /// The directory itself.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// The kernel for virtual machines.
    pub fn kernel(&self) -> PathBuf {
        self.must("kernel/virt/bzImage")
    }

    /// The initramfs that belongs to the disk as shipped.
    pub fn initramfs(&self) -> PathBuf {
        self.must("initramfs.cpio.zst")
    }

    /// The initramfs that carries its own root image.
    pub fn initramfs_diskless(&self) -> PathBuf {
        self.must("initramfs-diskless.cpio.zst")
    }

    /// The disk as shipped, raw.
    pub fn disk(&self) -> PathBuf {
        self.must("disk.img")
    }

    /// One product by its name below the directory.
    ///
    /// # Panics
    /// When it is missing: with the command that makes it.
    pub fn must(&self, name: &str) -> PathBuf {
        let path = self.out.join(name);
        assert!(path.exists(), "{}: missing; build it with `make image`", path.display());
        path
    }
}
