//! One revision of one key, held compactly: a million of them must fit where etcd needs three times the memory.
use std::sync::Arc;

use bytes::Bytes;
use hull_kv_proto::mvccpb::KeyValue;

use crate::value::{Unreadable, Value, Values};

/// Position of a change: the transaction's revision and the change's number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision {
    /// Revision of the transaction.
    pub main: i64,
    /// Number of the change within the transaction, from 0.
    pub sub: u32,
}

/// Key bytes, shared between the index, the history and the leases.
pub(crate) type Key = Arc<[u8]>;

/// Whether a change set or deleted its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Put,
    Tombstone,
}

/// What one change left behind. A tombstone has no value and zeros elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) rev: Revision,
    pub(crate) change: Change,
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    pub(crate) key: Key,
    pub(crate) value: Value,
}

/// What the next change of a record's key goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lineage {
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl Record {
    pub(crate) fn lineage(&self) -> Lineage {
        let Self { create, version, lease, .. } = *self;
        Lineage { create, version, lease }
    }

    /// As the API shows it. etcd shows a tombstone as its key and revision only.
    pub(crate) fn to_kv(&self, values: &dyn Values) -> Result<KeyValue, Unreadable> {
        Ok(self.to_kv_with(self.value.read(values)?))
    }

    /// Like [`Self::to_kv`] without the value.
    pub(crate) fn to_kv_without_value(&self) -> KeyValue {
        self.to_kv_with(Bytes::new())
    }

    fn to_kv_with(&self, value: Bytes) -> KeyValue {
        KeyValue {
            key: Bytes::copy_from_slice(&self.key),
            create_revision: self.create,
            mod_revision: self.rev.main,
            version: self.version,
            value,
            lease: self.lease,
        }
    }

    /// As the API shows it, without key and value.
    pub(crate) fn numbers(&self) -> KeyValue {
        KeyValue {
            create_revision: self.create,
            mod_revision: self.rev.main,
            version: self.version,
            lease: self.lease,
            ..KeyValue::default()
        }
    }

    /// Bytes of key and value.
    pub(crate) fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}
