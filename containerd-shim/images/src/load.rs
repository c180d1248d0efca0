//! Takes in an OCI archive: a tar of an image layout, every blob checked against its name while it is written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::Ordering;

use hull_oci_core::api::{self, Origin, Refusal};
use hull_oci_core::declaration::check_name;
use hull_oci_core::image::{self, DOCUMENT_MAX, Digest, Refused};
use sha2::{Digest as _, Sha256};

use super::tree::Tree;
use super::{Images, failed, manifest_of, refuse};

/// Longest cause that is passed on, in characters.
const CAUSE_MAX: usize = 200;

/// Is told how many bytes of the archive were read.
pub trait Progress {
    /// So many bytes are done.
    fn done(&mut self, bytes: u64);
}

/// Counts what was read.
struct Counting<'a, R> {
    inner: R,
    read: u64,
    progress: &'a mut dyn Progress,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read += length as u64;
        self.progress.done(self.read);
        Ok(length)
    }
}

impl Images {
    /// Loads an archive under `name`, or under the name it gives itself. Takes long: not for an event loop.
    ///
    /// # Errors
    /// Names what is wrong with the archive or the disk; nothing half-made stays, and an image of the same name stays as it was.
    pub fn load(&self, archive: impl Read, name: &str, progress: &mut dyn Progress) -> Result<api::Image, Refusal> {
        let work = self.incoming().join(format!("archive-{}", self.loads.fetch_add(1, Ordering::Relaxed)));
        let _ = fs::remove_dir_all(&work);
        let loaded = self.take_in(archive, name, &work, progress);
        let _ = fs::remove_dir_all(&work);
        loaded
    }

    fn take_in(
        &self,
        archive: impl Read,
        name: &str,
        work: &Path,
        progress: &mut dyn Progress,
    ) -> Result<api::Image, Refusal> {
        fs::create_dir_all(work.join("blobs/sha256")).map_err(|error| failed("create", work, &error))?;
        extract(Counting { inner: archive, read: 0, progress }, work)?;
        let shown = if name.is_empty() { "archive" } else { name };
        let digest = manifest_of(work).map_err(|refused| refuse("load", shown, &refused))?;
        let name = self.name_of(name, work)?;
        let image = self.read(&name, Origin::Loaded, work.to_owned(), digest.clone())?;
        // Unpacked now, so that what is wrong with a layer shows now and not when a container starts.
        self.layers(&image)?;
        self.keep(work, &name, &digest)?;
        Ok(image.describe())
    }

    fn name_of(&self, name: &str, work: &Path) -> Result<String, Refusal> {
        let own = || {
            let index = fs::read(work.join("index.json")).ok()?;
            image::reference_name(&image::select_manifest(&index).ok()?)
        };
        let name = if name.is_empty() { own().unwrap_or_default() } else { name.to_owned() };
        check_name(&name).map_err(|refused| Refusal {
            object: "archive".into(),
            operation: "load".into(),
            cause: if name.is_empty() { "it does not name its image".into() } else { refused.to_string() },
            remedy: "give the name: `hullctl image load --name NAME ARCHIVE`".into(),
        })?;
        Ok(name)
    }

    /// Blobs first, the name last: a name that is there leads to a whole image, after a power cut, too.
    fn keep(&self, work: &Path, name: &str, digest: &Digest) -> Result<(), Refusal> {
        let from = work.join("blobs/sha256");
        let to = self.kept.join("blobs/sha256");
        for entry in fs::read_dir(&from).map_err(|error| failed("read", &from, &error))? {
            let entry = entry.map_err(|error| failed("read", &from, &error))?;
            let target = to.join(entry.file_name());
            fs::rename(entry.path(), &target).map_err(|error| failed("rename", &target, &error))?;
        }
        let sync =
            |path: &Path| Tree::open(path).and_then(|tree| tree.sync()).map_err(|error| failed("sync", path, &error));
        sync(&self.kept)?;
        let (beside, path) = (work.join("name"), self.kept.join("names").join(name));
        fs::write(&beside, format!("{digest}\n")).map_err(|error| failed("write", &beside, &error))?;
        sync(&self.kept)?;
        fs::rename(&beside, &path).map_err(|error| failed("rename", &path, &error))?;
        sync(&self.kept)
    }
}

/// Writes the layout's files; anything else in the archive is passed over.
fn extract(archive: impl Read, work: &Path) -> Result<(), Refusal> {
    let damaged = |error: io::Error| Refusal {
        object: "archive".into(),
        operation: "load".into(),
        // What a damaged archive says of itself can hold anything, and people read this on a terminal.
        cause: format!(
            "it is no tar archive, or a damaged one: {}",
            error.to_string().chars().take(CAUSE_MAX).flat_map(char::escape_default).collect::<String>()
        ),
        remedy: "save it again as an OCI archive, uncompressed tar: `skopeo copy SOURCE oci-archive:FILE`".into(),
    };
    let mut archive = tar::Archive::new(archive);
    let mut docker = false;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if let Some(name) = path.strip_prefix("blobs/sha256").ok().and_then(Path::to_str) {
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let digest =
                Digest::parse(&format!("sha256:{name}")).map_err(|refused| refuse("load", "archive", &refused))?;
            let size = entry.size();
            write_blob(&mut entry, size, &work.join(digest.path()), &digest)?;
        } else if path == Path::new("index.json") {
            let target = work.join("index.json");
            let mut bytes = Vec::new();
            entry.take(DOCUMENT_MAX).read_to_end(&mut bytes).map_err(damaged)?;
            fs::write(&target, bytes).map_err(|error| failed("write", &target, &error))?;
        } else if path == Path::new("manifest.json") {
            docker = true;
        }
    }
    // What follows the end of the archive belongs to it (padding) and must be read, too.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    if work.join("index.json").is_file() {
        return Ok(());
    }
    let cause = if docker { "this is a docker-archive, without index.json" } else { "it has no index.json" };
    Err(damaged(io::Error::new(io::ErrorKind::InvalidData, cause)))
}

fn write_blob(from: &mut impl Read, size: u64, path: &Path, digest: &Digest) -> Result<(), Refusal> {
    let problem = |error: io::Error| failed("write", path, &error);
    let mut file = File::create(path).map_err(problem)?;
    let (mut hash, mut buffer, mut read) = (Sha256::new(), vec![0; 64 << 10], 0);
    loop {
        let length = from.read(&mut buffer).map_err(problem)?;
        if length == 0 {
            break;
        }
        read += length as u64;
        hash.update(&buffer[..length]);
        file.write_all(&buffer[..length]).map_err(problem)?;
    }
    if read < size {
        return Err(problem(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of it")));
    }
    let found = Digest::from_hash(hash.finalize().into());
    if found == *digest {
        return Ok(());
    }
    let refused = Refused::Mismatch { expected: digest.clone(), found };
    Err(refuse("load", "archive", &refused))
}
