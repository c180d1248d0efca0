//! Reads database files in bbolt's format, as `etcdctl snapshot save` writes them and as etcd keeps them.
use std::{fmt, fs::File, io, os::unix::fs::FileExt as _};

use super::{BRANCH, BUCKET, ELEMENT, LEAF, MAGIC, META_BYTES, PAGE_HEADER, VERSION, fnv1a};

/// Deeper than any tree of pages with two children each can be in a file of 2^63 bytes: a loop, then.
const MAX_DEPTH: u32 = 64;

/// No node is larger (bytes): etcd's largest request, with room.
const MAX_NODE: usize = 256 * 1024 * 1024;

/// Why a file cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file system's reason.
    Io(io::Error),
    /// The file is not what bbolt writes.
    Damaged {
        /// Which page.
        page: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Damaged { page, what } => write!(f, "page {page}: {what}: this is no whole database of etcd"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A tree: its root's page, or the one leaf that is stored within its parent.
#[derive(Debug, Clone)]
pub struct Bucket(Root);

#[derive(Debug, Clone)]
enum Root {
    Page(u64),
    Inline(Vec<u8>),
}

/// A file.
#[derive(Debug)]
pub struct Reader {
    file: File,
    page_size: usize,
    root: u64,
}

/// What is done with each pair of a bucket.
type Visit<'a, E> = &'a mut dyn FnMut(u32, &[u8], &[u8]) -> Result<(), E>;

fn damaged<E: From<ReadError>>(page: u64, what: &'static str) -> E {
    ReadError::Damaged { page, what }.into()
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl Reader {
    /// Finds the newer of the meta pages that are whole. The second one lies where the first says a page ends, or, if
    /// the first is torn, at any of the sizes that machines have.
    ///
    /// # Errors
    /// The file cannot be read, or is no database.
    pub fn open(file: File) -> Result<Self, ReadError> {
        let first = meta_at(&file, 0)?;
        let sizes = match first {
            Some(meta) => vec![meta.page_size],
            None => (9..=16).map(|power| 1 << power).collect(),
        };
        let mut newest = first;
        for size in sizes {
            if let Some(meta) = meta_at(&file, size as u64)?
                && newest.is_none_or(|newest| newest.transaction < meta.transaction)
            {
                newest = Some(meta);
            }
        }
        let meta = newest.ok_or(ReadError::Damaged { page: 0, what: "no whole meta page" })?;
        Ok(Self { file, page_size: meta.page_size, root: meta.root })
    }

    /// The bucket of this name.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, ReadError> {
        let mut found = None;
        self.walk(&Root::Page(self.root), &mut |flags, key, value| {
            if key == name && flags & BUCKET != 0 {
                let root = word64(value, 0).ok_or(ReadError::Damaged { page: self.root, what: "a short bucket" })?;
                let inline = || value.get(16..).unwrap_or_default().to_vec();
                found = Some(Bucket(if root == 0 { Root::Inline(inline()) } else { Root::Page(root) }));
            }
            Ok::<_, ReadError>(())
        })?;
        Ok(found)
    }

    /// Calls `visit` with every key and value of a bucket, in order.
    ///
    /// # Errors
    /// `visit`'s; the file cannot be read, or is damaged.
    pub fn each<E: From<ReadError>>(
        &self,
        bucket: &Bucket,
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk(&bucket.0, &mut |_, key, value| visit(key, value))
    }

    fn walk<E: From<ReadError>>(&self, root: &Root, visit: Visit<'_, E>) -> Result<(), E> {
        match root {
            Root::Inline(node) => leaf(0, node, visit),
            Root::Page(page) => self.walk_page(*page, MAX_DEPTH, visit),
        }
    }

    fn walk_page<E: From<ReadError>>(&self, page: u64, depth: u32, visit: Visit<'_, E>) -> Result<(), E> {
        let depth = depth.checked_sub(1).ok_or_else(|| damaged::<E>(page, "a tree that never ends"))?;
        let node = self.node(page)?;
        match kind(&node) {
            LEAF => leaf(page, &node, visit),
            BRANCH => {
                for at in 0..count(&node) {
                    let child = word64(&node, PAGE_HEADER + at * ELEMENT + 8);
                    let child = child.ok_or_else(|| damaged::<E>(page, "a short branch"))?;
                    self.walk_page(child, depth, visit)?;
                }
                Ok(())
            }
            _ => Err(damaged(page, "neither leaf nor branch")),
        }
    }

    /// A node with all its pages.
    fn node(&self, page: u64) -> Result<Vec<u8>, ReadError> {
        let offset =
            page.checked_mul(self.page_size as u64).ok_or(ReadError::Damaged { page, what: "no such page" })?;
        let mut node = vec![0; self.page_size];
        self.file.read_exact_at(&mut node, offset).map_err(ReadError::Io)?;
        if word64(&node, 0) != Some(page) {
            return Err(ReadError::Damaged { page, what: "the page says that it is another one" });
        }
        let overflow = word32(&node, 12).unwrap_or_default() as usize;
        let bytes = (overflow + 1).saturating_mul(self.page_size);
        if bytes > MAX_NODE {
            return Err(ReadError::Damaged { page, what: "an impossible size" });
        }
        if overflow > 0 {
            node.resize(bytes, 0);
            self.file.read_exact_at(&mut node, offset).map_err(ReadError::Io)?;
        }
        Ok(node)
    }
}

#[derive(Debug, Clone, Copy)]
struct Meta {
    page_size: usize,
    root: u64,
    transaction: u64,
}

/// The meta page at an offset, if there is a whole one.
fn meta_at(file: &File, offset: u64) -> Result<Option<Meta>, ReadError> {
    let mut bytes = [0; PAGE_HEADER + META_BYTES + 8];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(ReadError::Io(error)),
    }
    let meta = &bytes[PAGE_HEADER..];
    let whole = word32(meta, 0) == Some(MAGIC)
        && word32(meta, 4) == Some(VERSION)
        && word64(meta, META_BYTES) == Some(fnv1a(&meta[..META_BYTES]));
    let page_size = word32(meta, 8).unwrap_or_default() as usize;
    let (root, transaction) = (word64(meta, 16).unwrap_or_default(), word64(meta, 48).unwrap_or_default());
    Ok((whole && page_size >= bytes.len()).then_some(Meta { page_size, root, transaction }))
}

fn kind(node: &[u8]) -> u16 {
    node.get(8..10).map_or(0, |flags| u16::from_le_bytes([flags[0], flags[1]]))
}

fn count(node: &[u8]) -> usize {
    node.get(10..12).map_or(0, |count| usize::from(u16::from_le_bytes([count[0], count[1]])))
}

fn leaf<E: From<ReadError>>(page: u64, node: &[u8], visit: Visit<'_, E>) -> Result<(), E> {
    for at in 0..count(node) {
        let element = PAGE_HEADER + at * ELEMENT;
        let field = |n: usize| word32(node, element + 4 * n);
        let pair = || {
            let (flags, pos) = (field(0)?, field(1)? as usize);
            let (key_len, value_len) = (field(2)? as usize, field(3)? as usize);
            let key = node.get(element + pos..)?.get(..key_len)?;
            let value = node.get(element + pos + key_len..)?.get(..value_len)?;
            Some((flags, key, value))
        };
        let (flags, key, value) = pair().ok_or_else(|| damaged::<E>(page, "a pair outside its page"))?;
        visit(flags, key, value)?;
    }
    Ok(())
}
