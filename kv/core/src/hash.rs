//! HashKV: a checksum over the revisions, bit for bit the one etcd computes from its database, so that members and even
//! a real etcd can be compared.
use hull_kv_proto::mvccpb::KeyValue;
use prost::Message as _;

use crate::{
    error::Refused,
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

impl Store {
    /// The checksum as of `revision`; 0: the current one.
    ///
    /// # Errors
    /// The revision is compacted or in the future; a value cannot be read.
    pub fn hash_kv(&self, revision: i64) -> Result<KeyHash, Refused> {
        if revision > 0 && revision <= self.compacted {
            return Err(Refused::Compacted);
        }
        if revision > self.revision {
            return Err(Refused::FutureRevision);
        }
        let at = if revision == 0 { self.revision } else { revision };
        self.check_whole()?;
        let any_kept = self.index.keeps_any(at);
        let mut hash = crc32c::crc32c(BUCKET);
        let mut buffer = Vec::new();
        for record in self.history.since(Revision::default()) {
            if record.rev.main > at {
                break;
            }
            let old = record.rev.main <= self.compacted;
            // What compaction has removed, or is about to: when it does must make no difference.
            if old && !self.index.kept_at(&record.key, record.rev, self.compacted) {
                continue;
            }
            // etcd leaves out, of what compaction spared, all that is superseded at the hash's revision, unless every
            // key is deleted there.
            if old && any_kept && !self.index.kept_at(&record.key, record.rev, at) {
                continue;
            }
            buffer.clear();
            etcd_pair(&record, &**self.values(), &mut buffer)?;
            hash = crc32c::crc32c_append(hash, &buffer);
        }
        Ok(KeyHash { hash, revision: self.revision, compacted: self.compacted })
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
