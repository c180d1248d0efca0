//! What the running initramfs says of itself: its manifest and the keys it trusts.

use std::fs;
use std::path::{Path, PathBuf};

use hull_init_core::manifest::Manifest;
use hull_init_core::release::Trust;

use super::trouble::Trouble;

/// Where the initramfs has them, and where they are once the root was switched.
const FOLDERS: [&str; 2] = ["/run/hull/boot", "/hull"];

const REMEDY: &str = "build the initramfs again";

/// The root image of a diskless build.
pub(crate) const EMBEDDED_ROOT: &str = "/hull/root.erofs";

/// Reads `/hull/manifest`.
pub(crate) fn manifest() -> Result<Manifest, Trouble> {
    let path = find("manifest");
    let text = fs::read_to_string(&path).map_err(|error| Trouble::new("read", path.display(), error, REMEDY))?;
    Manifest::parse(&text).map_err(|error| Trouble::new("parse", path.display(), error, REMEDY))
}

/// Reads `/hull/root.json`.
pub(crate) fn trust() -> Result<Trust, Trouble> {
    let path = find("root.json");
    let bytes = fs::read(&path).map_err(|error| Trouble::new("read", path.display(), error, REMEDY))?;
    Trust::from_root(&bytes).map_err(|error| Trouble::new("trust", path.display(), error, REMEDY))
}

fn find(name: &str) -> PathBuf {
    let paths = FOLDERS.map(|folder| Path::new(folder).join(name));
    paths.iter().find(|path| path.exists()).unwrap_or(&paths[1]).clone()
}
