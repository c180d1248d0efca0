//! Deleting keys, alone, inside a transaction, or because their lease ended.
use hull_kv_proto::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse};

use crate::{
    error::Refused,
    keyrange::KeyRange,
    put::{Write, header},
    record::Key,
    store::Store,
};

impl Write<'_> {
    /// Deletes every key of the range.
    ///
    /// # Errors
    /// A value to be answered cannot be read.
    pub(crate) fn delete_range(&mut self, request: &DeleteRangeRequest) -> Result<DeleteRangeResponse, Refused> {
        let range = KeyRange::new(&request.key, &request.range_end);
        let at = self.read_revision();
        let found: Vec<_> = self.store.index.range(&range, at).map(|(key, rev)| (Key::clone(key), rev)).collect();
        let mut prev_kvs = Vec::new();
        if request.prev_kv {
            for record in found.iter().filter_map(|(_, rev)| self.store.history.get(*rev)) {
                prev_kvs.push(record.to_kv(&**self.store.values())?);
            }
        }
        for (key, rev) in &found {
            let lease = self.store.history.lineage(*rev).map_or(0, |lineage| lineage.lease);
            self.delete(key, lease);
        }
        Ok(DeleteRangeResponse {
            header: Some(header(self.read_revision())),
            deleted: i64::try_from(found.len()).unwrap_or(i64::MAX),
            prev_kvs,
        })
    }

    /// Deletes one key that exists.
    fn delete(&mut self, key: &Key, lease: i64) {
        let rev = self.next_rev();
        self.store.append(key, Store::tombstone(rev));
        self.store.hub.mark(key, rev.main);
        if lease != 0 {
            self.store.lessor.detach(lease, key);
        }
    }

    /// Deletes the keys of a lease that is gone already.
    pub(crate) fn delete_keys(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            if self.store.index.get(&key, self.read_revision()).is_some() {
                self.delete(&key, 0);
            }
        }
    }
}
