//! Unpacks a layer: checked against both of its digests, bounded in size, complete or not there at all.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use hull_oci_core::api::Refusal;
use hull_oci_core::image::{Digest, Layer, Packing, Refused};
use sha2::{Digest as _, Sha256};

use super::tree::Tree;
use super::{failed, refuse};

/// Largest unpacked layer, in bytes. Beyond it a small archive is a bomb and not a layer.
const LAYER_MAX: u64 = 8 << 30;

/// The part of a file system that unpacking leaves free: a full state partition hurts the store, too.
const LEFT_FREE: u64 = 16;

/// Reads through and keeps the digest of what was read.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Hashing { inner, hash: Sha256::new() }
    }

    /// Reads what is left, so that the digest is that of everything.
    fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Digest::from_hash(self.hash.finalize().into()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

/// Refuses to go on after so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "unpacks to more than the node takes for one layer")
        })?;
        Ok(length)
    }
}

/// Unpacks the file `packed` into the folder `to`, by way of a folder in `incoming`.
///
/// # Errors
/// A digest differs, the layer is too large, or the disk is full. Nothing half-made stays.
pub(super) fn layer(packed: &Path, layer: &Layer, diff_id: &Digest, incoming: &Path, to: &Path) -> Result<(), Refusal> {
    let work = incoming.join(format!("layer-{}", diff_id.hex()));
    let _ = fs::remove_dir_all(&work);
    let done = unpack(packed, layer, diff_id, &work).and_then(|()| {
        // A folder that appears under its name is whole, after a power cut, too.
        Tree::open(&work).and_then(|tree| tree.sync()).map_err(|error| failed("sync", &work, &error))?;
        fs::rename(&work, to).map_err(|error| failed("rename", to, &error))
    });
    if done.is_err() {
        let _ = fs::remove_dir_all(&work);
    }
    done
}

fn unpack(packed: &Path, layer: &Layer, diff_id: &Digest, work: &Path) -> Result<(), Refusal> {
    let problem = |error: io::Error| failed("unpack", packed, &error);
    fs::create_dir(work).map_err(|error| failed("create", work, &error))?;
    let tree = Tree::open(work).map_err(|error| failed("open", work, &error))?;
    let limit = LAYER_MAX.min(tree.free_bytes().map_err(problem)? / LEFT_FREE * (LEFT_FREE - 1));
    let file = File::open(packed).map_err(problem)?;
    if layer.packing == Packing::Plain {
        // Packed and unpacked bytes are the same: they are hashed once. Headers are read in small pieces, so through a buffer.
        let inner = BufReader::with_capacity(64 << 10, file);
        let mut unpacked = Hashing::new(Bounded { inner, left: limit });
        tree.fill(&mut tar::Archive::new(&mut unpacked)).map_err(problem)?;
        let found = unpacked.finish().map_err(problem)?;
        check(packed, &layer.digest, found.clone())?;
        return check(packed, diff_id, found);
    }
    let mut file = Hashing::new(file);
    let found = {
        let plain = plain(layer.packing, &mut file).map_err(problem)?;
        let mut unpacked = Hashing::new(Bounded { inner: plain, left: limit });
        tree.fill(&mut tar::Archive::new(&mut unpacked)).map_err(problem)?;
        unpacked.finish().map_err(problem)?
    };
    check(packed, &layer.digest, file.finish().map_err(problem)?)?;
    check(packed, diff_id, found)
}

/// The layer's tar out of its packing. Headers are read in small pieces, so through a buffer.
fn plain<'a>(packing: Packing, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let reader = BufReader::with_capacity(64 << 10, packed);
    Ok(match packing {
        Packing::Plain => Box::new(reader),
        Packing::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Packing::Zstd => Box::new(ruzstd::decoding::StreamingDecoder::new(reader).map_err(io::Error::other)?),
    })
}

/// Unpacks a layer that no digest vouches for into an empty folder, at most `limit` bytes of it.
///
/// # Errors
/// It is no layer, or more than that. What was unpacked stays.
pub fn fill(to: &Path, packing: Packing, packed: impl Read, limit: u64) -> io::Result<()> {
    let bounded = Bounded { inner: plain(packing, packed)?, left: limit };
    Tree::open(to)?.fill(&mut tar::Archive::new(bounded))
}

fn check(packed: &Path, expected: &Digest, found: Digest) -> Result<(), Refusal> {
    if *expected == found {
        return Ok(());
    }
    let refused = Refused::Mismatch { expected: expected.clone(), found };
    Err(refuse("unpack", &packed.display().to_string(), &refused))
}
