//! Database files in the format of bbolt, which etcd keeps its data in: written for `etcdctl snapshot save`, read to
//! take over an etcd's data. No maintained crate writes the format; what is needed of it is small.
//!
//! A file is an array of pages of one size. Page 0 and 1 are meta pages (two, so that one is whole if a write of the
//! other is torn), page 2 lists free pages (here: none), all others are nodes of B+ trees. A tree's leaf holds keys and
//! values in order, a branch holds for each child its first key and its page. A node that is larger than a page takes
//! as many as it needs, one after the other. The root tree holds buckets: the value under a bucket's name is the page
//! of the bucket's own root. All numbers are little-endian.
//! ```text
//! page:    id u64 | flags u16 | count u16 | overflow u32 (further pages)  | elements | keys and values
//! leaf:    flags u32 (1: a bucket) | pos u32 (from the element to its key) | key length u32 | value length u32
//! branch:  pos u32 | key length u32 | page u64
//! bucket:  root page u64 | sequence u64     a root of 0: the bucket's one leaf follows as a page of its own
//! meta:    magic u32 | version u32 | page size u32 | flags u32 | root bucket | free list page u64 | pages u64
//!          | transaction u64 | FNV-1a of all before u64
//! ```
//! Source: <https://pkg.go.dev/go.etcd.io/bbolt> (`page.go`, `db.go`, `bucket.go`).
pub mod database;
pub mod read;
mod tree;

pub use database::{Database, Stopped};
pub use read::{ReadError, Reader};

/// Size of a page in files written here (bytes): that of the memory's pages on the machines that etcd knows.
pub const PAGE: usize = 4096;

/// What a page's header takes (bytes).
const PAGE_HEADER: usize = 16;

/// What a leaf's or a branch's element takes besides key and value (bytes).
const ELEMENT: usize = 16;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREE_LIST: u16 = 0x10;

/// Flag of a leaf's element whose value is a bucket.
const BUCKET: u32 = 0x01;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;

/// Bytes of a meta page that its checksum covers, from the end of the page's header on.
const META_BYTES: usize = 56;

/// FNV-1a with 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>), as Go's `hash/fnv`.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
