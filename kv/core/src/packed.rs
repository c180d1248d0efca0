//! Records whose values lie outside memory, packed: a key's address and a few bytes instead of eighty.
//!
//! Most numbers of a record follow from the one before it, so what is kept is how it differs. A block of
//! [`PACKED_BLOCK`] records starts afresh, so that finding one costs a block's work.
use prost::encoding::{decode_varint, encode_varint};

use crate::{
    limits::PACKED_BLOCK,
    record::{Change, Key, Lineage, Record, Revision},
    value::{Place, Value},
};

// What follows the byte of flags: a number for each that is set, in this order.
const TOMBSTONE: u8 = 1;
const SUB: u8 = 1 << 1;
const CREATE: u8 = 1 << 2;
const VERSION: u8 = 1 << 3;
const LEASE: u8 = 1 << 4;
const VALUE: u8 = 1 << 5;
/// The value does not lie where the one before it ends.
const PLACE: u8 = 1 << 6;

/// What a record is told by: the one before it.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    main: i64,
    file: u32,
    /// Where the next value lies if nothing is between them.
    offset: u64,
    /// Bytes between two values.
    gap: u64,
}

/// A block of records.
#[derive(Debug)]
struct Block {
    first: Revision,
    /// Where its bytes start.
    at: u32,
}

/// Records in the order of their revisions; at least one.
#[derive(Debug)]
pub(crate) struct Packed {
    keys: Box<[Key]>,
    bytes: Box<[u8]>,
    blocks: Box<[Block]>,
    last: Revision,
}

impl Packed {
    /// Packs records; `None` if one of them has its value in memory, or there are none.
    pub(crate) fn new(records: &[Record]) -> Option<Self> {
        let last = records.last()?.rev;
        let in_memory = |record: &Record| matches!(&record.value, Value::Here(value) if !value.is_empty());
        if records.iter().any(in_memory) {
            return None;
        }
        let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
        for block in records.chunks(PACKED_BLOCK) {
            blocks.push(Block { first: block[0].rev, at: u32::try_from(bytes.len()).ok()? });
            let mut before = Before::default();
            block.iter().for_each(|record| before.put(record, &mut bytes));
        }
        let keys = records.iter().map(|record| Key::clone(&record.key)).collect();
        Some(Self { keys, bytes: bytes.into(), blocks: blocks.into(), last })
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn first(&self) -> Revision {
        self.blocks[0].first
    }

    pub(crate) fn last(&self) -> Revision {
        self.last
    }

    /// The record of exactly this revision.
    pub(crate) fn get(&self, rev: Revision) -> Option<Record> {
        let (at, found) = self.find(rev)?;
        Some(found.with(self.keys.get(at)?))
    }

    /// What the next change of the key goes on from that this revision changed.
    pub(crate) fn lineage(&self, rev: Revision) -> Option<Lineage> {
        let (_, Numbers { create, version, lease, .. }) = self.find(rev)?;
        Some(Lineage { create, version, lease })
    }

    /// Where a record is among all, and what it says. No key on the way there is looked at, since each lies elsewhere in memory.
    fn find(&self, rev: Revision) -> Option<(usize, Numbers)> {
        let block = self.block_of(rev);
        let (at, found) = self.numbers(block).enumerate().find(|(_, numbers)| numbers.rev >= rev)?;
        (found.rev == rev).then_some((block * PACKED_BLOCK + at, found))
    }

    /// The bytes of a record's key are these from now on.
    pub(crate) fn set_key(&mut self, rev: Revision, key: &Key) {
        if let Some(held) = self.find(rev).and_then(|(at, _)| self.keys.get_mut(at)) {
            *held = Key::clone(key);
        }
    }

    /// Records from `rev` on.
    pub(crate) fn since(&self, rev: Revision) -> impl Iterator<Item = Record> {
        (self.block_of(rev)..self.blocks.len())
            .flat_map(|block| self.block(block))
            .skip_while(move |record| record.rev < rev)
    }

    fn block_of(&self, rev: Revision) -> usize {
        self.blocks.partition_point(|block| block.first <= rev).saturating_sub(1)
    }

    fn block(&self, number: usize) -> impl Iterator<Item = Record> {
        let keys = self.keys.iter().skip(number * PACKED_BLOCK);
        self.numbers(number).zip(keys).map(|(numbers, key)| numbers.with(key))
    }

    fn numbers(&self, block: usize) -> impl Iterator<Item = Numbers> {
        let from = block * PACKED_BLOCK;
        let count = PACKED_BLOCK.min(self.keys.len() - from);
        let mut bytes = &self.bytes[self.blocks[block].at as usize..];
        let mut before = Before::default();
        (0..count).map(move |_| before.take(&mut bytes))
    }
}

/// A record without its key.
struct Numbers {
    rev: Revision,
    change: Change,
    create: i64,
    version: i64,
    lease: i64,
    value: Value,
}

impl Numbers {
    fn with(self, key: &Key) -> Record {
        let Self { rev, change, create, version, lease, value } = self;
        Record { rev, change, create, version, lease, key: Key::clone(key), value }
    }
}

impl Before {
    fn put(&mut self, record: &Record, to: &mut Vec<u8>) {
        let at = to.len();
        to.push(0);
        let mut flags = if record.change == Change::Tombstone { TOMBSTONE } else { 0 };
        let mut number = |flag: u8, wanted: bool, number: u64| {
            if wanted {
                flags |= flag;
                encode_varint(number, to);
            }
        };
        let main = record.rev.main;
        number(0, true, (main - self.main).cast_unsigned());
        number(SUB, record.rev.sub != 0, record.rev.sub.into());
        number(CREATE, record.create != main, main.wrapping_sub(record.create).cast_unsigned());
        number(VERSION, record.version != 1, record.version.cast_unsigned());
        number(LEASE, record.lease != 0, record.lease.cast_unsigned());
        if let Value::Away(place) = record.value {
            let expected = self.offset.checked_add(self.gap);
            let elsewhere = place.file != self.file || Some(place.offset) != expected;
            number(VALUE, true, place.length.into());
            number(PLACE, elsewhere, place.file.into());
            if elsewhere {
                encode_varint(place.offset, to);
                // The first gap within a block is taken for all of its gaps.
                let between = place.offset.checked_sub(self.offset).filter(|_| place.file == self.file);
                self.gap = between.filter(|gap| *gap < SMALL_GAP).unwrap_or(self.gap);
            }
            self.file = place.file;
            self.offset = place.offset + u64::from(place.length);
        }
        self.main = main;
        to[at] = flags;
    }

    fn take(&mut self, from: &mut &[u8]) -> Numbers {
        let flags = from.first().copied().unwrap_or_default();
        *from = from.get(1..).unwrap_or_default();
        // The bytes are this module's own: they are whole.
        let mut next = |flag: u8| if flags & flag == flag { decode_varint(from).unwrap_or_default() } else { 0 };
        let main = self.main + next(0).cast_signed();
        let sub = next(SUB) as u32;
        let create = main.wrapping_sub(next(CREATE).cast_signed());
        let version = if flags & VERSION == 0 { 1 } else { next(VERSION).cast_signed() };
        let lease = next(LEASE).cast_signed();
        let length = next(VALUE) as u32;
        let value = if flags & VALUE == 0 {
            Value::NONE
        } else {
            let elsewhere = flags & PLACE != 0;
            let file = if elsewhere { next(PLACE) as u32 } else { self.file };
            let offset = if elsewhere { next(PLACE) } else { self.offset + self.gap };
            if elsewhere {
                let between = offset.checked_sub(self.offset).filter(|_| file == self.file);
                self.gap = between.filter(|gap| *gap < SMALL_GAP).unwrap_or(self.gap);
            }
            (self.file, self.offset) = (file, offset + u64::from(length));
            Value::Away(Place { file, offset, length })
        };
        self.main = main;
        let change = if flags & TOMBSTONE == 0 { Change::Put } else { Change::Tombstone };
        Numbers { rev: Revision { main, sub }, change, create, version, lease, value }
    }
}

/// A gap (bytes) that a file's format may have between two values; more is something that is gone.
const SMALL_GAP: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(main: i64, sub: u32, value: Value) -> Record {
        let key = Key::from(format!("k{main}").into_bytes());
        Record { rev: Revision { main, sub }, change: Change::Put, create: main, version: 1, lease: 0, key, value }
    }

    fn away(file: u32, offset: u64, length: u32) -> Value {
        Value::Away(Place { file, offset, length })
    }

    fn same(a: &Record, b: &Record) -> bool {
        format!("{a:?}") == format!("{b:?}")
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let mut records = Vec::new();
        let mut offset = 8;
        for n in 1..200_u32 {
            let place = if n == 77 { away(4, 1 << 40, n) } else { away(3, offset, n) };
            offset += u64::from(n) + 4;
            let mut one = record(i64::from(n) * 3, n % 2, place);
            if n % 10 == 0 {
                (one.create, one.version, one.lease) = (i64::from(n), i64::MAX, -i64::from(n));
            }
            if n % 25 == 0 {
                (one.change, one.create, one.version, one.value) = (Change::Tombstone, 0, 0, Value::NONE);
            }
            records.push(one);
        }
        let packed = Packed::new(&records).expect("no value is in memory");
        assert_eq!((packed.len(), packed.first(), packed.last()), (199, records[0].rev, records[198].rev));
        assert!(packed.since(Revision::default()).eq_by_debug(&records));
        for (at, one) in records.iter().enumerate() {
            assert!(same(&packed.get(one.rev).expect("is there"), one), "record {at}");
            assert_eq!(packed.since(one.rev).count(), records.len() - at);
        }
        assert!(packed.get(Revision { main: 4, sub: 0 }).is_none());
        assert!(packed.get(Revision { main: 10_000, sub: 0 }).is_none());
    }

    trait EqByDebug: Iterator<Item = Record> + Sized {
        fn eq_by_debug(self, other: &[Record]) -> bool {
            let all: Vec<Record> = self.collect();
            all.len() == other.len() && all.iter().zip(other).all(|(a, b)| same(a, b))
        }
    }

    impl<I: Iterator<Item = Record>> EqByDebug for I {}

    #[test]
    fn neighbours_cost_a_few_bytes() {
        let records: Vec<Record> =
            (0..512).map(|n| record(1_000_000 + n, 0, away(3, 8 + 260 * n.cast_unsigned(), 256))).collect();
        let packed = Packed::new(&records).expect("no value is in memory");
        assert!(packed.bytes.len() < 512 * 6, "{} bytes", packed.bytes.len());
    }

    #[test]
    fn values_in_memory_are_not_packed() {
        let here = record(1, 0, Value::Here(bytes::Bytes::from_static(b"v")));
        assert!(Packed::new(&[here]).is_none());
        assert!(Packed::new(&[]).is_none());
    }
}
