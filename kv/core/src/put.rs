//! Writing a key, alone or inside a transaction.
use hull_kv_proto::etcdserverpb::{PutRequest, PutResponse, ResponseHeader};

use crate::{
    error::Refused,
    index::Step,
    record::{Change, Key, Record, Revision},
    store::Store,
    value::Value,
};

/// The changes of one log entry: all get the same revision, numbered within.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    pub(crate) store: &'a mut Store,
    changes: u32,
}

impl<'a> Write<'a> {
    pub(crate) fn new(store: &'a mut Store) -> Self {
        Self { store, changes: 0 }
    }

    /// The revision that the changes get.
    fn main(&self) -> i64 {
        self.store.revision + 1
    }

    /// The revision that reads within this transaction see: its own changes as soon as there are any.
    pub(crate) fn read_revision(&self) -> i64 {
        self.store.revision + i64::from(self.changes > 0)
    }

    pub(crate) fn next_rev(&mut self) -> Revision {
        let rev = Revision { main: self.main(), sub: self.changes };
        self.changes += 1;
        rev
    }

    /// Makes the changes current; answers the revision.
    pub(crate) fn finish(self) -> i64 {
        if self.changes > 0 {
            self.store.revision += 1;
        }
        self.store.revision
    }

    /// Writes one key.
    pub(crate) fn put(&mut self, request: PutRequest) -> Result<PutResponse, Refused> {
        let (at, main) = (self.read_revision(), self.main());
        let Store { index, history, hub, lessor, values, .. } = &mut *self.store;
        let place = index.place(&request.key);
        let previous = place.get(at);
        // Its key and value are somewhere else in memory: most puts need neither.
        let old = match previous {
            Some(rev) if request.prev_kv || request.ignore_value => history.get(rev),
            _ => None,
        };
        let previous =
            previous.and_then(|rev| old.as_ref().map_or_else(|| history.lineage(rev), |old| Some(old.lineage())));
        if (request.ignore_value || request.ignore_lease) && previous.is_none() {
            return Err(Refused::KeyNotFound);
        }
        let lease = match &previous {
            Some(previous) if request.ignore_lease => previous.lease,
            _ => request.lease,
        };
        let value = match &old {
            Some(old) if request.ignore_value => old.value.clone(),
            _ => Value::Here(request.value),
        };
        let (create, version) = previous.map_or((main, 1), |previous| (previous.create, previous.version + 1));
        let old_lease = previous.map_or(0, |previous| previous.lease);
        let prev_kv = old.filter(|_| request.prev_kv).map(|old| old.to_kv(&**values)).transpose()?;
        let rev = Revision { main, sub: self.changes };
        self.changes += 1;
        let step = Step::new(rev, Change::Put);
        let key = place.push(&request.key, step);
        history.push(Record { rev, change: Change::Put, create, version, lease, key: Key::clone(&key), value });
        hub.mark(&key, main);
        if old_lease != 0 && old_lease != lease {
            lessor.detach(old_lease, &key);
        }
        if lease != 0 {
            lessor.attach(lease, key);
        }
        Ok(PutResponse { header: Some(header(main)), prev_kv })
    }
}

/// A header that says the revision; the shell adds cluster, member and term to the outermost one.
pub(crate) fn header(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..ResponseHeader::default() }
}
