//! HashKV: a checksum over the revisions, bit for bit the one etcd computes from its database, so that members and even
//! a real etcd can be compared.
use std::sync::Arc;

use hull_kv_proto::mvccpb::KeyValue;
use prost::Message as _;

use crate::{
    error::Refused,
    limits::{HASH_PIECE_BYTES, HASH_PIECE_RECORDS},
    record::{Change, Record, Revision},
    store::Store,
    value::{Unreadable, Values},
};

/// A checksum of the revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash {
    /// CRC32C.
    pub hash: u32,
    /// The current revision.
    pub revision: i64,
    /// The compacted revision; -1 before the first compaction.
    pub compacted: i64,
}

/// Name of etcd's bucket, which its hash starts with.
const BUCKET: &[u8] = b"key";

/// Computes a checksum piece by piece, of the revisions as they were when it began. A piece is taken off the store and then
/// hashed without it, so that entries can be applied in between. Until the last piece is taken, compaction must not be
/// scrubbed, and it must be the same store.
#[derive(Debug)]
pub struct KeyHasher {
    /// The revision that is hashed.
    at: i64,
    revision: i64,
    compacted: i64,
    next: Revision,
    /// The first revision that a compaction at `at` would keep, once it was found.
    first_kept: Option<Revision>,
    /// With what compaction spared only if a compaction at `at` would keep it, too.
    hash: u32,
    /// With all that compaction spared; it counts if a compaction at `at` would keep nothing.
    spared: u32,
}

/// Some revisions whose values may still lie outside memory, so that they can be read without holding the store up.
#[derive(Debug)]
pub struct HashPiece {
    records: Vec<Record>,
    values: Arc<dyn Values>,
}

impl KeyHasher {
    /// Begins the checksum as of `revision`; 0: the current one.
    ///
    /// # Errors
    /// The revision is compacted or in the future; a command had only a part of its effect.
    pub fn new(store: &Store, revision: i64) -> Result<Self, Refused> {
        if revision > 0 && revision <= store.compacted {
            return Err(Refused::Compacted);
        }
        if revision > store.revision {
            return Err(Refused::FutureRevision);
        }
        store.check_whole()?;
        let hash = crc32c::crc32c(BUCKET);
        Ok(Self {
            at: if revision == 0 { store.revision } else { revision },
            revision: store.revision,
            compacted: store.compacted,
            next: Revision::default(),
            first_kept: None,
            hash,
            spared: hash,
        })
    }

    /// Takes the next piece off the store; `None` after the last.
    pub fn next_piece(&mut self, store: &Store) -> Option<HashPiece> {
        let mut records = Vec::new();
        let (mut seen, mut bytes) = (0, 0);
        for record in store.history.since(self.next) {
            let rev = record.rev;
            if rev.main > self.at || seen == HASH_PIECE_RECORDS || bytes >= HASH_PIECE_BYTES {
                break;
            }
            seen += 1;
            self.next = Revision { main: rev.main, sub: rev.sub + 1 };
            let old = rev.main <= self.compacted;
            let kept_at = |at| store.index.kept_at(&record.key, rev, at);
            // What compaction has removed, or is about to: when it does must make no difference.
            if old && !kept_at(self.compacted) {
                continue;
            }
            // etcd leaves out, of what compaction spared, all that is superseded at the hash's revision, unless every
            // key is deleted there.
            if (old || self.first_kept.is_none()) && kept_at(self.at) {
                self.first_kept.get_or_insert(rev);
            } else if old && self.first_kept.is_some() {
                continue;
            }
            bytes += record.bytes();
            records.push(record);
        }
        (seen > 0).then(|| HashPiece { records, values: Arc::clone(&store.values) })
    }

    /// Hashes a piece; they come in the order in which they were taken.
    ///
    /// # Errors
    /// A value cannot be read.
    pub fn update(&mut self, piece: &HashPiece) -> Result<(), Unreadable> {
        let mut pair = Vec::new();
        for record in &piece.records {
            pair.clear();
            etcd_pair(record, &*piece.values, &mut pair)?;
            let none_kept_yet = self.first_kept.is_none_or(|first| record.rev < first);
            if !none_kept_yet || record.rev.main > self.compacted {
                self.hash = crc32c::crc32c_append(self.hash, &pair);
            }
            if none_kept_yet {
                self.spared = crc32c::crc32c_append(self.spared, &pair);
            }
        }
        Ok(())
    }

    /// The checksum, after the last piece.
    pub fn finish(&self) -> KeyHash {
        let hash = if self.first_kept.is_some() { self.hash } else { self.spared };
        KeyHash { hash, revision: self.revision, compacted: self.compacted }
    }
}

impl Store {
    /// The checksum as of `revision`, all at once; 0: the current one.
    ///
    /// # Errors
    /// The revision is compacted or in the future; a value cannot be read.
    pub fn hash_kv(&self, revision: i64) -> Result<KeyHash, Refused> {
        let mut hasher = KeyHasher::new(self, revision)?;
        while let Some(piece) = hasher.next_piece(self) {
            hasher.update(&piece)?;
        }
        Ok(hasher.finish())
    }
}

/// A revision as etcd stores it: the revision in 17 bytes (18 for a tombstone), then the encoded pair.
fn etcd_pair(record: &Record, values: &dyn Values, to: &mut Vec<u8>) -> Result<(), Unreadable> {
    to.extend_from_slice(&record.rev.main.to_be_bytes());
    to.push(b'_');
    to.extend_from_slice(&i64::from(record.rev.sub).to_be_bytes());
    let pair = match record.change {
        Change::Put => record.to_kv(values)?,
        Change::Tombstone => {
            to.push(b't');
            KeyValue { key: record.to_kv_without_value().key, ..KeyValue::default() }
        }
    };
    // A Vec grows as needed, so that encoding into it cannot fail.
    let _ = pair.encode(to);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::value::Value;

    /// As etcd has it: what a compaction at the revision would keep is found first.
    fn at_once(store: &Store, at: i64) -> u32 {
        let kept_at = |at| {
            let records = store.history.since(Revision::default());
            let kept = records.filter(move |record| store.index.kept_at(&record.key, record.rev, at));
            kept.map(|record| record.rev).collect::<BTreeSet<Revision>>()
        };
        let (spared, keep) = (kept_at(store.compacted), kept_at(at));
        let mut pairs = BUCKET.to_vec();
        for record in store.history.since(Revision::default()).filter(|record| record.rev.main <= at) {
            let old = record.rev.main <= store.compacted;
            let left = !old || spared.contains(&record.rev);
            if left && (!old || keep.is_empty() || keep.contains(&record.rev)) {
                etcd_pair(&record, &*store.values, &mut pairs).expect("in memory");
            }
        }
        crc32c::crc32c(&pairs)
    }

    #[test]
    fn in_one_pass_the_checksum_is_that_of_two() {
        let mut seed = 1_u64;
        let mut any = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut nothing_kept = 0;
        for _ in 0..400 {
            let mut store = Store::new();
            for _ in 0..any(40) {
                store.revision += 1;
                let rev = Revision { main: store.revision, sub: 0 };
                // With few keys and many deletions, often none is left.
                let key = [b'a' + any(3) as u8];
                let record = match any(2) {
                    0 => Store::tombstone(rev),
                    _ => Record { change: Change::Put, value: Value::NONE, version: 1, ..Store::tombstone(rev) },
                };
                store.append(&key, record);
            }
            store.compacted = any(store.revision.cast_unsigned() + 1).cast_signed();
            for at in store.compacted + 1..=store.revision {
                assert_eq!(store.hash_kv(at).map(|hash| hash.hash), Ok(at_once(&store, at)), "{store:?} at {at}");
                let mut hasher = KeyHasher::new(&store, at).expect("a revision");
                while hasher.next_piece(&store).is_some() {}
                nothing_kept += usize::from(hasher.first_kept.is_none());
            }
        }
        assert!(nothing_kept > 100, "{nothing_kept}");
    }
}
