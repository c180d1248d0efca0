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

    /// The same products with a shell in the root image, for tests that look from inside.
    pub fn with_shell(&self) -> Self {
        Self { out: self.out.join("test") }
    }

    /// One product by its name below the directory.
    ///
    /// # Panics
    /// When it is missing: with the command that makes it.
    pub fn must(&self, name: &str) -> PathBuf {
        let path = self.out.join(name);
        // The test image shares the kernel of the shipped one.
        let shared = self.out.join("..").join(name);
        if !path.exists() && name.starts_with("kernel/") && shared.exists() {
            return shared;
        }
        assert!(path.exists(), "{}: missing; build it with `make test-images`", path.display());
        path
    }
}
