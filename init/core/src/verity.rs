//! dm-verity, as Hull uses it: format 1, SHA-256, 4096-byte data and hash blocks, no superblock, the tree right after the data.
//!
//! Kernel documentation: `Documentation/admin-guide/device-mapper/verity.rst`.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Bytes of a data block and of a hash block.
pub const BLOCK: usize = 4096;

/// Bytes of a SHA-256 digest.
pub const DIGEST: usize = 32;

/// Digests that fit one hash block.
const FAN_OUT: usize = BLOCK / DIGEST;

/// A SHA-256 digest, shown and parsed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; DIGEST]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses exactly 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; DIGEST];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What identifies a root image completely: with these three, dm-verity serves only the bytes that were built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// Root of the hash tree.
    pub root_hash: Digest,
    /// Goes before every block into the hash; may be empty.
    pub salt: Vec<u8>,
    /// Blocks of [`BLOCK`] bytes before the tree.
    pub data_blocks: u64,
}

impl Verity {
    /// The identity of a slot that holds this image: the first 128 bits of the root hash, as 16 bytes in textual GUID order
    /// (Discoverable Partitions Specification).
    pub fn partition_id(&self) -> PartitionId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.root_hash.0[..16]);
        PartitionId(id)
    }

    /// Blocks of the whole image, data and tree.
    pub fn image_blocks(&self) -> u64 {
        let mut total = self.data_blocks;
        let mut level = self.data_blocks;
        while level > 1 {
            level = level.div_ceil(FAN_OUT as u64);
            total += level;
        }
        total
    }

    /// The target parameters for a device that carries data and tree: `device` is `MAJOR:MINOR` or a path.
    /// No `restart_on_corruption` and no `panic_on_corruption`: a changed block is an I/O error.
    pub fn table(&self, device: &str) -> String {
        let salt = if self.salt.is_empty() { "-".to_owned() } else { hex::encode(&self.salt) };
        let blocks = self.data_blocks;
        format!("1 {device} {device} {BLOCK} {BLOCK} {blocks} {blocks} sha256 {} {salt}", self.root_hash)
    }
}

/// The unique GUID of a partition, its 16 bytes in the order in which the text form shows them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub [u8; 16]);

impl PartitionId {
    /// As tables and firmware store it: the first three fields of a GUID are little-endian there.
    pub fn on_disk(self) -> [u8; 16] {
        swap_fields(self.0)
    }

    /// The other way round.
    pub fn from_disk(bytes: [u8; 16]) -> Self {
        Self(swap_fields(bytes))
    }
}

fn swap_fields(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes the hash tree of an image whose data blocks are pushed one by one.
pub struct TreeBuilder {
    salted: Sha256,
    leaves: Vec<u8>,
}

/// The finished tree of an image.
pub struct Tree {
    /// What the image's root hash must be.
    pub root_hash: Digest,
    /// The bytes that must follow the data: the top level first.
    pub bytes: Vec<u8>,
}

impl TreeBuilder {
    /// A builder that hashes with this salt.
    pub fn new(salt: &[u8]) -> Self {
        Self { salted: Sha256::new_with_prefix(salt), leaves: Vec::new() }
    }

    /// Adds the next data block.
    pub fn push(&mut self, block: &[u8; BLOCK]) {
        let digest = self.hash(block);
        self.leaves.extend_from_slice(&digest);
    }

    /// Computes the levels above the leaves.
    pub fn finish(mut self) -> Tree {
        let mut levels = Vec::new();
        let mut level = std::mem::take(&mut self.leaves);
        while level.len() > DIGEST {
            level.resize(level.len().next_multiple_of(BLOCK), 0);
            let above = level.chunks(BLOCK).flat_map(|block| self.hash(block)).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        let mut root = [0; DIGEST];
        root[..level.len()].copy_from_slice(&level);
        Tree { root_hash: Digest(root), bytes: levels.into_iter().rev().flatten().collect() }
    }

    fn hash(&self, block: &[u8]) -> [u8; DIGEST] {
        self.salted.clone().chain_update(block).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `veritysetup format --no-superblock` says of images whose block i is the number i, 32 bits, again and again:
    /// blocks, salt, root hash, blocks of the tree, SHA-256 of the tree.
    const KNOWN: [(u32, &str, &str, u64, &str); 5] = [
        (
            1,
            "",
            "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7",
            0,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            2,
            "00ff",
            "dc51ad6724d19ee66533324bc06aef097b66793e53eca0fbede0aedf34a8934d",
            1,
            "8be5fcdba15850e48713ec0ff54d76b2ff3999141dee7019acea31b605f0450b",
        ),
        (
            128,
            "",
            "99e169f0bd63cb40fe0a04da6a105de97280a7d846d5b528085684f258ac6390",
            1,
            "99e169f0bd63cb40fe0a04da6a105de97280a7d846d5b528085684f258ac6390",
        ),
        (
            129,
            "a1b2c3",
            "c06507a333ffe4b1193474a8cfb0afbcae41aba6a520e09d6fbc692c0dce6fb5",
            3,
            "e554a550e8842e3f65cdefceff23bd388438b816f9d9d25ddc73385fc96bd62f",
        ),
        (
            20_000,
            "5a",
            "902a8d1d4f6052143719804317eb071f78d6df756e60cce2f1cc49d1d0e763e1",
            160,
            "3a45988306c9087f66079b9369ab84a332913904f8b36fdabcc1b78231328445",
        ),
    ];

    #[test]
    fn the_tree_is_the_one_that_veritysetup_makes() {
        for (blocks, salt, root_hash, tree_blocks, tree_digest) in KNOWN {
            let salt = hex::decode(salt).unwrap();
            let mut builder = TreeBuilder::new(&salt);
            for index in 0..blocks {
                let block: Vec<u8> = index.to_le_bytes().repeat(BLOCK / 4);
                builder.push(block.as_slice().try_into().unwrap());
            }
            let tree = builder.finish();
            assert_eq!(tree.root_hash.to_string(), root_hash, "{blocks} blocks");
            assert_eq!(tree.bytes.len() as u64, tree_blocks * BLOCK as u64);
            assert_eq!(Digest::of(&tree.bytes).to_string(), tree_digest);
            let verity = Verity { root_hash: tree.root_hash, salt, data_blocks: blocks.into() };
            assert_eq!(verity.image_blocks(), u64::from(blocks) + tree_blocks);
        }
    }

    #[test]
    fn the_table_of_the_target_has_the_kernel_s_fields() {
        let verity = Verity { root_hash: Digest([0xab; 32]), salt: vec![], data_blocks: 5 };
        let expected = format!("1 254:2 254:2 4096 4096 5 5 sha256 {} -", "ab".repeat(32));
        assert_eq!(verity.table("254:2"), expected);
    }
}
