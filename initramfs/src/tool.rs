//! Runs the ordinary tools (mkfs.erofs, veritysetup, …) and says which package brings a missing one.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Seconds since the epoch that every file system of an image carries: 2026-01-01, so that two builds give the same bytes.
pub(crate) const EPOCH: &str = "1767225600";

/// A tool and the Debian package that brings it.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    package: &'static str,
}

pub(crate) const MKFS_EROFS: Tool = Tool { name: "mkfs.erofs", package: "erofs-utils" };
pub(crate) const VERITYSETUP: Tool = Tool { name: "veritysetup", package: "cryptsetup-bin" };
pub(crate) const MKE2FS: Tool = Tool { name: "mke2fs", package: "e2fsprogs" };
pub(crate) const SGDISK: Tool = Tool { name: "sgdisk", package: "gdisk" };
pub(crate) const OBJCOPY: Tool = Tool { name: "objcopy", package: "binutils" };

impl Tool {
    /// Runs the tool to its end and returns what it printed.
    ///
    /// # Errors
    /// The tool is missing (names the package), or it failed (with its own words).
    pub(crate) fn run<S: AsRef<OsStr>>(self, arguments: &[S]) -> Result<String> {
        let path = self.locate()?;
        let output = Command::new(&path)
            .args(arguments)
            .env("SOURCE_DATE_EPOCH", EPOCH)
            .env("E2FSPROGS_FAKE_TIME", EPOCH)
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .output()
            .with_context(|| format!("run {path}"))?;
        if !output.status.success() {
            bail!(
                "{}: {}\n{}{}",
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Debian keeps some of these in `/sbin`, which is not on everybody's PATH.
    fn locate(self) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        path.split(':')
            .chain(["/usr/sbin", "/sbin"])
            .map(|folder| format!("{folder}/{}", self.name))
            .find(|candidate| Path::new(candidate).is_file())
            .with_context(|| format!("{}: not found; install the package {}", self.name, self.package))
    }
}
