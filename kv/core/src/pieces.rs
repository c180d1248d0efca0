//! Answers to ranges too large to be in memory at once: which pairs, in which order and how many bytes is found out first,
//! then they come in pieces. Revisions never change, so that all of it is of one moment; meanwhile compaction must not be
//! scrubbed.
use std::sync::Arc;

use hull_kv_proto::etcdserverpb::{RangeRequest, RangeResponse, range_request::SortTarget};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};

use crate::{
    error::Refused,
    keyrange::KeyRange,
    put::header,
    range::{Filters, Order, count},
    record::{Key, Record, Revision},
    store::Store,
    value::{Unreadable, Values},
};

/// Field of `RangeResponse` that holds pairs.
const KVS: u32 = 2;

/// One pair of the answer.
#[derive(Debug, Clone, Copy)]
struct Found {
    rev: Revision,
    /// What it is sorted by.
    rank: i64,
    /// Bytes of the pair in the answer.
    bytes: u32,
}

/// Finds out what an answer consists of.
#[derive(Debug)]
pub struct RangePlan {
    range: KeyRange,
    at: i64,
    current: i64,
    order: Order,
    filters: Filters,
    limit: usize,
    /// As many pairs as need be found; the rest is only counted.
    enough: usize,
    keys_only: KeysOnly,
    after: Option<Key>,
    found: Vec<Found>,
    bytes: u64,
    total: usize,
    planned: Planned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeysOnly {
    Yes,
    No,
}

/// Whether a plan is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// Go on.
    Part,
    /// Every key of the range was looked at.
    All,
}

impl RangePlan {
    /// Begins; `None` for a request that is better answered in one piece: one that only counts, or sorts by values.
    ///
    /// # Errors
    /// The revision is compacted or in the future.
    pub fn new(store: &Store, request: &RangeRequest) -> Result<Option<Self>, Refused> {
        let current = store.revision();
        let at = store.read_at(request.revision, current)?;
        let order = Order::of(request);
        if request.count_only || matches!(order, Order::By(SortTarget::Value, _)) {
            return Ok(None);
        }
        let filters = Filters::of(request);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        Ok(Some(Self {
            range: KeyRange::new(&request.key, &request.range_end),
            at,
            current,
            enough: filters.enough(request, limit),
            order,
            filters,
            limit,
            keys_only: if request.keys_only { KeysOnly::Yes } else { KeysOnly::No },
            after: None,
            found: Vec::new(),
            bytes: 0,
            total: 0,
            planned: Planned::Part,
        }))
    }

    /// Looks at so many more keys, if there are any.
    pub fn step(&mut self, store: &Store, keys: usize) -> Planned {
        if self.planned == Planned::All {
            return Planned::All;
        }
        let after = self.after.take();
        let mut seen = 0;
        for (key, rev) in store.index.range_after(&self.range, after.as_deref(), self.at).take(keys) {
            self.total += 1;
            seen += 1;
            if seen == keys {
                self.after = Some(Key::clone(key));
            }
            if self.found.len() >= self.enough {
                continue;
            }
            let Some(record) = store.history.get(rev).filter(|record| self.filters.pass(record)) else { continue };
            let bytes = pair_bytes(&record, self.keys_only);
            self.bytes += u64::from(bytes);
            self.found.push(Found { rev, rank: self.order.rank(&record), bytes });
        }
        if self.after.is_none() {
            self.planned = Planned::All;
        }
        self.planned
    }

    /// Bytes of the pairs that were found so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many pairs were found so far.
    pub fn pairs(&self) -> usize {
        self.found.len()
    }

    /// The answer, once every key was looked at.
    pub fn finish(mut self) -> Pieces {
        self.order.sort_by_rank(&mut self.found, |found| found.rank);
        let mut head = RangeResponse { header: Some(header(self.current)), ..RangeResponse::default() };
        if self.limit > 0 && self.found.len() > self.limit {
            self.found.truncate(self.limit);
            head.more = true;
        }
        head.count = count(self.total);
        let bytes = self.found.iter().map(|found| u64::from(found.bytes)).sum();
        Pieces { head, bytes, found: self.found.into_iter(), keys_only: self.keys_only }
    }
}

/// Bytes of a pair within the answer: its tag, its length, and itself.
fn pair_bytes(record: &Record, keys_only: KeysOnly) -> u32 {
    let field = |length: usize| if length == 0 { 0 } else { 1 + encoded_len_varint(length as u64) + length };
    let value = if keys_only == KeysOnly::Yes { 0 } else { record.value.len() };
    let pair = record.numbers().encoded_len() + field(record.key.len()) + field(value);
    // A pair is no larger than a request.
    u32::try_from(1 + encoded_len_varint(pair as u64) + pair).unwrap_or(u32::MAX)
}

/// An answer in pieces.
#[derive(Debug)]
pub struct Pieces {
    /// The answer without its pairs; its header has the revision only.
    pub head: RangeResponse,
    /// Bytes of all pairs in the answer, to be added to those of [`Self::head`].
    pub bytes: u64,
    found: std::vec::IntoIter<Found>,
    keys_only: KeysOnly,
}

/// A piece whose values may still lie outside memory, so that they can be read without holding the store up.
#[derive(Debug)]
pub struct Piece {
    records: Vec<Record>,
    keys_only: KeysOnly,
    values: Arc<dyn Values>,
}

impl Pieces {
    /// The next piece, of about so many bytes; `None` after the last. Pairs that are gone from the store are left out.
    pub fn next(&mut self, store: &Store, bytes: u64) -> Option<Piece> {
        let (mut records, mut taken) = (Vec::new(), 0);
        while taken < bytes
            && let Some(found) = self.found.next()
        {
            taken += u64::from(found.bytes);
            records.extend(store.history.get(found.rev));
        }
        let values = Arc::clone(store.values());
        (taken > 0).then_some(Piece { records, keys_only: self.keys_only, values })
    }
}

impl Piece {
    /// The pairs as they stand in the answer.
    ///
    /// # Errors
    /// A value cannot be read.
    pub fn encode(&self) -> Result<Vec<u8>, Unreadable> {
        let mut to = Vec::new();
        for record in &self.records {
            let pair = match self.keys_only {
                KeysOnly::Yes => record.to_kv_without_value(),
                KeysOnly::No => record.to_kv(&*self.values)?,
            };
            encode_key(KVS, WireType::LengthDelimited, &mut to);
            encode_varint(pair.encoded_len() as u64, &mut to);
            // A Vec grows as needed, so that encoding into it cannot fail.
            let _ = pair.encode(&mut to);
        }
        Ok(to)
    }
}
