//! The images of a node: those of the root image, those that were loaded, and their unpacked layers.
//!
//! ```text
//! /usr/share/hull/images/<name>/            OCI layouts in the verified root
//! /var/lib/hull/images/blobs/sha256/<hex>   blobs of loaded images, each checked against its name when it was written
//!                      names/<name>         digest of the manifest that the name stands for
//!                      layers/<hex>/        unpacked layers, by the digest of the unpacked tar
//!                      incoming/            half-made things; emptied at start
//! ```

mod load;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use hull_oci_core::api::{self, Origin, Refusal};
use hull_oci_core::image::{self, DOCUMENT_MAX, Defaults, Digest, Manifest};

pub use load::Progress;
pub use unpack::fill;

/// Where the root image keeps its images.
pub const SHIPPED: &str = "/usr/share/hull/images";

/// Where loaded images and unpacked layers are kept.
pub const KEPT: &str = "/var/lib/hull/images";

/// All images of the node.
pub struct Images {
    shipped: PathBuf,
    kept: PathBuf,
    /// Held while layers are unpacked: containers of one image that start together must not unpack into the same folder.
    unpacking: Mutex<()>,
    /// Archives taken in so far: each has a folder of its own, since two may come at once.
    loads: AtomicU64,
}

/// One image, ready to make containers of.
pub struct Image {
    /// Its name on this node.
    pub name: String,
    /// What its containers run unless they are declared otherwise.
    pub defaults: Defaults,
    digest: Digest,
    manifest: Manifest,
    origin: Origin,
    /// The folder with `blobs/`.
    layout: PathBuf,
}

impl Images {
    /// Opens the node's images and removes what an earlier life left half-made.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn open(shipped: &Path, kept: &Path) -> Result<Images, Refusal> {
        let images = Images {
            shipped: shipped.to_owned(),
            kept: kept.to_owned(),
            unpacking: Mutex::new(()),
            loads: AtomicU64::new(0),
        };
        let incoming = images.incoming();
        let _ = fs::remove_dir_all(&incoming);
        for folder in [incoming, kept.join("blobs/sha256"), kept.join("names"), kept.join("layers")] {
            fs::create_dir_all(&folder).map_err(|error| failed("create", &folder, &error))?;
        }
        Ok(images)
    }

    fn incoming(&self) -> PathBuf {
        self.kept.join("incoming")
    }

    /// Finds an image by its name; a loaded one goes before one of the root image.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn find(&self, name: &str) -> Result<Image, Refusal> {
        let kept = self.kept.join("names").join(name);
        if let Ok(text) = fs::read_to_string(&kept) {
            let digest = Digest::parse(text.trim()).map_err(|refused| refuse("read", name, &refused))?;
            return self.read(name, Origin::Loaded, self.kept.clone(), digest);
        }
        let layout = self.shipped.join(name);
        if !layout.join("index.json").is_file() {
            return Err(Refusal {
                object: format!("image {name}"),
                operation: "find".into(),
                cause: "the node has no image of this name".into(),
                remedy: "load it with `hullctl image load`; `hullctl image ls` shows what there is".into(),
            });
        }
        let digest = manifest_of(&layout).map_err(|refused| refuse("read", name, &refused))?;
        self.read(name, Origin::Root, layout, digest)
    }

    fn read(&self, name: &str, origin: Origin, layout: PathBuf, digest: Digest) -> Result<Image, Refusal> {
        let manifest =
            image::parse_manifest(&blob(&layout, &digest)?).map_err(|refused| refuse("read", name, &refused))?;
        let configuration = blob(&layout, &manifest.config)?;
        let defaults =
            image::parse_configuration(&configuration, &manifest).map_err(|refused| refuse("read", name, &refused))?;
        Ok(Image { name: name.to_owned(), defaults, digest, manifest, origin, layout })
    }

    /// Every image that can be read, sorted by name.
    pub fn list(&self) -> Vec<api::Image> {
        let mut names: Vec<String> = [self.kept.join("names"), self.shipped.clone()]
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flat_map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()))
            .collect();
        names.sort();
        names.dedup();
        names.iter().filter_map(|name| self.find(name).ok()).map(|image| image.describe()).collect()
    }

    /// The unpacked layers of an image, topmost first, unpacking what is not there yet. Takes long: not for an event loop.
    ///
    /// # Errors
    /// A layer is damaged, too large, or does not fit on the disk; nothing half-made stays.
    pub fn layers(&self, image: &Image) -> Result<Vec<PathBuf>, Refusal> {
        let mut folders = Vec::new();
        for (layer, diff_id) in image.manifest.layers.iter().zip(&image.defaults.diff_ids) {
            let folder = self.kept.join("layers").join(diff_id.hex());
            if !folder.is_dir() {
                // A thread that panicked here has left an unfinished folder in `incoming`, which is removed before it is used.
                let _one_at_a_time = self.unpacking.lock().unwrap_or_else(PoisonError::into_inner);
                if !folder.is_dir() {
                    let packed = image.layout.join(layer.digest.path());
                    unpack::layer(&packed, layer, diff_id, &self.incoming(), &folder)?;
                }
            }
            folders.push(folder);
        }
        folders.reverse();
        Ok(folders)
    }
}

impl Image {
    /// As `hullctl image ls` shows it.
    pub fn describe(&self) -> api::Image {
        let layers: u64 = self.manifest.layers.iter().map(|layer| layer.size).sum();
        api::Image {
            name: self.name.clone(),
            digest: self.digest.to_string(),
            bytes: layers + self.manifest.config_size,
            origin: self.origin,
        }
    }
}

/// A small text file of an unpacked layer; links are followed inside the layer only.
pub fn read_inside(layer: &Path, name: &str) -> Option<String> {
    let mut text = String::new();
    let file = tree::Tree::open(layer).and_then(|tree| tree.read(Path::new(name))).ok()?;
    file.take(DOCUMENT_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whose a folder is, and what others may do in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderLike {
    /// Owner, as a user of the container.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
}

/// The folder that a container of these layers, topmost first, would see at a path without links.
pub fn folder_inside(layers: &[PathBuf], path: &Path) -> Option<FolderLike> {
    let stat = layers.iter().find_map(|layer| tree::Tree::open(layer).and_then(|tree| tree.stat(path)).ok())?;
    let folder = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
    folder.then_some(FolderLike { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 })
}

/// The digest of the manifest for this machine, through at most one nested index.
fn manifest_of(layout: &Path) -> Result<Digest, image::Refused> {
    let document = |path: PathBuf| {
        read_document(&path).map_err(|error| image::Refused::Document { which: "index.json", cause: error.to_string() })
    };
    let mut descriptor = image::select_manifest(&document(layout.join("index.json"))?)?;
    if image::is_index(&descriptor) {
        let digest = Digest::parse(&descriptor.digest)?;
        descriptor = image::select_manifest(&document(layout.join(digest.path()))?)?;
    }
    Digest::parse(&descriptor.digest)
}

/// Reads a small blob and checks it.
fn blob(layout: &Path, digest: &Digest) -> Result<Vec<u8>, Refusal> {
    let path = layout.join(digest.path());
    let bytes = read_document(&path).map_err(|error| failed("read", &path, &error))?;
    let found = Digest::of(&bytes);
    if found != *digest {
        let refused = image::Refused::Mismatch { expected: digest.clone(), found };
        return Err(refuse("read", &path.display().to_string(), &refused));
    }
    Ok(bytes)
}

fn read_document(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {DOCUMENT_MAX} bytes")));
    }
    Ok(bytes)
}

/// An image that is not what it should be.
fn refuse(operation: &str, name: &str, refused: &image::Refused) -> Refusal {
    Refusal {
        object: format!("image {name}"),
        operation: operation.into(),
        cause: refused.to_string(),
        remedy: "save it again as an OCI archive and load it again".into(),
    }
}

/// A file operation that failed.
fn failed(operation: &str, path: &Path, error: &io::Error) -> Refusal {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull => "make room on the state partition",
        io::ErrorKind::ReadOnlyFilesystem => "the state partition is read-only: see `hullctl status`",
        _ => "see `hullctl status` for the state partition",
    };
    Refusal {
        object: path.display().to_string(),
        operation: operation.into(),
        cause: error.to_string(),
        remedy: remedy.into(),
    }
}
