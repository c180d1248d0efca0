//! What a request must look like before it is worth the log's time. The same checks on every member, without state.
use std::collections::HashSet;

use bytes::Bytes;
use hull_kv_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};

use crate::error::Refused;

/// # Errors
/// No key.
pub fn check_range(request: &RangeRequest) -> Result<(), Refused> {
    if request.key.is_empty() { Err(Refused::EmptyKey) } else { Ok(()) }
}

/// # Errors
/// No key; a value although it is to be ignored; a lease although it is to be ignored.
pub fn check_put(request: &PutRequest) -> Result<(), Refused> {
    if request.key.is_empty() {
        return Err(Refused::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refused::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refused::LeaseProvided);
    }
    Ok(())
}

/// # Errors
/// No key.
pub fn check_delete(request: &DeleteRangeRequest) -> Result<(), Refused> {
    if request.key.is_empty() { Err(Refused::EmptyKey) } else { Ok(()) }
}

/// Transactions within transactions that a command of the log may hold: its decoder goes a hundred messages deep, and each level
/// is two. etcd goes as deep as there may be operations.
const DEEPEST: usize = 45;

/// # Errors
/// Too many operations or levels, an operation or condition without a key, or one key changed twice in a possible run.
pub fn check_txn(request: &TxnRequest, max_ops: usize) -> Result<(), Refused> {
    check_ops(request, max_ops, DEEPEST)?;
    Changes::of(&request.success)?;
    Changes::of(&request.failure)?;
    Ok(())
}

fn check_ops(request: &TxnRequest, max_ops: usize, deepest: usize) -> Result<(), Refused> {
    let deeper = deepest.checked_sub(1).ok_or(Refused::TooManyOps)?;
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = max_ops.checked_sub(ops).ok_or(Refused::TooManyOps)?;
    if request.compare.iter().any(|condition| condition.key.is_empty()) {
        return Err(Refused::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete(delete)?,
            Some(Request::RequestTxn(nested)) => check_ops(nested, left, deeper)?,
            None => return Err(Refused::KeyNotFound),
        }
    }
    Ok(())
}

/// What a list of operations may put and delete, its nested transactions included.
#[derive(Default)]
struct Changes {
    puts: HashSet<Bytes>,
    deletes: Vec<Interval>,
}

/// What a delete covers in the eyes of etcd's rule. An end of one zero byte is taken at its word there, not as "to the last key":
/// so a put after the delete of all keys is no duplicate.
struct Interval {
    key: Bytes,
    end: Bytes,
}

impl Interval {
    fn contains(&self, key: &Bytes) -> bool {
        if self.end.is_empty() { self.key == *key } else { self.key <= *key && *key < self.end }
    }
}

impl Changes {
    /// etcd's `checkIntervals`: deletes of this level first, then what the nested ones do, then this level's puts.
    fn of(ops: &[RequestOp]) -> Result<Self, Refused> {
        let mut all = Self::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                all.deletes.push(Interval { key: delete.key.clone(), end: delete.range_end.clone() });
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                all.add_nested(nested)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                all.add_put(put.key.clone())?;
            }
        }
        Ok(all)
    }

    /// Only one branch of a nested transaction runs, so its branches may put the same key.
    fn add_nested(&mut self, nested: &TxnRequest) -> Result<(), Refused> {
        let success = Self::of(&nested.success)?;
        let failure = Self::of(&nested.failure)?;
        for key in success.puts.union(&failure.puts).cloned().collect::<Vec<_>>() {
            self.add_put(key)?;
        }
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: Bytes) -> Result<(), Refused> {
        if self.deletes.iter().any(|deleted| deleted.contains(&key)) || !self.puts.insert(key) {
            return Err(Refused::DuplicateKey);
        }
        Ok(())
    }
}
