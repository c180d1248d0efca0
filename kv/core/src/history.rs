//! Every revision that is still there, in order: chunks of records, appended at the end, thinned out by compaction.
//! A chunk whose values lie outside memory is packed.
use crate::{
    limits::HISTORY_CHUNK,
    packed::Packed,
    record::{Key, Lineage, Record, Revision},
    store::RECORD_OVERHEAD,
    value::{Place, Value},
};

/// Some neighbours; never empty.
#[derive(Debug)]
struct Chunk {
    /// The revision of the first. It is what a search looks at, so it lies beside the other chunks'.
    first: Revision,
    records: Records,
}

#[derive(Debug)]
enum Records {
    Open(Vec<Record>),
    Packed(Packed),
}

/// Where a record is among neighbours, none of which is missing most of the time.
fn place(records: &[Record], rev: Revision) -> Option<usize> {
    let expected = usize::try_from(rev.main - records.first()?.rev.main).ok();
    let found = expected.filter(|at| records.get(*at).is_some_and(|record| record.rev == rev));
    found.or_else(|| records.binary_search_by_key(&rev, |record| record.rev).ok())
}

impl Chunk {
    /// An unpacked one of records, of which there is one at least.
    fn open(records: Vec<Record>) -> Self {
        Self { first: records[0].rev, records: Records::Open(records) }
    }

    /// Packs records if they can be.
    fn of(records: Vec<Record>) -> Self {
        match Packed::new(&records) {
            Some(packed) => Self { first: packed.first(), records: Records::Packed(packed) },
            None => Self::open(records),
        }
    }

    fn len(&self) -> usize {
        match &self.records {
            Records::Open(records) => records.len(),
            Records::Packed(packed) => packed.len(),
        }
    }

    fn last(&self) -> Revision {
        match &self.records {
            Records::Open(records) => records[records.len() - 1].rev,
            Records::Packed(packed) => packed.last(),
        }
    }

    fn get(&self, rev: Revision) -> Option<Record> {
        match &self.records {
            Records::Open(records) => place(records, rev).map(|at| records[at].clone()),
            Records::Packed(packed) => packed.get(rev),
        }
    }

    fn lineage(&self, rev: Revision) -> Option<Lineage> {
        match &self.records {
            Records::Open(records) => place(records, rev).map(|at| records[at].lineage()),
            Records::Packed(packed) => packed.lineage(rev),
        }
    }

    fn since(&self, rev: Revision) -> impl Iterator<Item = Record> {
        let (open, packed) = match &self.records {
            Records::Open(records) => {
                let skip = records.partition_point(|record| record.rev < rev);
                (Some(records[skip..].iter().cloned()), None)
            }
            Records::Packed(packed) => (None, Some(packed.since(rev))),
        };
        open.into_iter().flatten().chain(packed.into_iter().flatten())
    }

    fn into_records(self) -> Vec<Record> {
        match self.records {
            Records::Open(records) => records,
            Records::Packed(packed) => packed.since(Revision::default()).collect(),
        }
    }
}

/// Records in the order of their revisions.
#[derive(Debug, Default)]
pub(crate) struct History {
    chunks: Vec<Chunk>,
    len: usize,
    bytes: u64,
    appended: u64,
}

impl History {
    /// Appends the newest record.
    pub(crate) fn push(&mut self, record: Record) {
        debug_assert!(self.chunks.last().is_none_or(|last| last.last() < record.rev), "revisions only grow");
        self.len += 1;
        self.bytes += record.bytes();
        self.appended += record.bytes() + RECORD_OVERHEAD;
        match self.chunks.last_mut() {
            Some(Chunk { records: Records::Open(records), .. }) if records.len() < HISTORY_CHUNK => {
                records.push(record)
            }
            _ => {
                self.pack_last();
                let mut records = Vec::with_capacity(HISTORY_CHUNK);
                records.push(record);
                self.chunks.push(Chunk::open(records));
            }
        }
    }

    /// The last chunk is full: if all its values lie outside memory, which only a restore does, it is packed at once.
    fn pack_last(&mut self) {
        if let Some(last) = self.chunks.last_mut()
            && let Records::Open(records) = &last.records
            && let Some(packed) = Packed::new(records)
        {
            last.records = Records::Packed(packed);
        }
    }

    /// The record of exactly this revision.
    pub(crate) fn get(&self, rev: Revision) -> Option<Record> {
        self.chunks[self.chunk_of(rev)?].get(rev)
    }

    /// What the next change of the key goes on from that this revision changed.
    pub(crate) fn lineage(&self, rev: Revision) -> Option<Lineage> {
        self.chunks[self.chunk_of(rev)?].lineage(rev)
    }

    /// A record shares these bytes of its key from now on; they are equal to its own.
    pub(crate) fn share_key(&mut self, rev: Revision, key: &Key) {
        let Some(at) = self.chunk_of(rev) else { return };
        match &mut self.chunks[at].records {
            Records::Packed(packed) => packed.set_key(rev, key),
            Records::Open(records) => {
                if let Some(at) = place(records, rev) {
                    records[at].key = Key::clone(key);
                }
            }
        }
    }

    /// The last chunk that starts at or before `rev`.
    fn chunk_of(&self, rev: Revision) -> Option<usize> {
        self.chunks.partition_point(|chunk| chunk.first <= rev).checked_sub(1)
    }

    /// Records from `rev` on, in order.
    pub(crate) fn since(&self, rev: Revision) -> impl Iterator<Item = Record> {
        let first = self.chunk_of(rev).unwrap_or(0);
        self.chunks.get(first..).unwrap_or_default().iter().flat_map(move |chunk| chunk.since(rev))
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of all keys and values that ever were, with what each record is charged for.
    pub(crate) fn appended(&self) -> u64 {
        self.appended
    }

    /// The chunk that holds the first record at or after `rev`.
    fn chunk_from(&self, rev: Revision) -> Option<usize> {
        let at = self.chunk_of(rev).unwrap_or(0);
        let at = if self.chunks.get(at)?.last() < rev { at + 1 } else { at };
        (at < self.chunks.len()).then_some(at)
    }

    /// Drops what `keep` refuses from the chunk that holds the first record at or after `from`; answers the revision to
    /// go on from, or `None` after the last chunk that starts at or before `until`.
    pub(crate) fn thin_chunk(
        &mut self,
        from: Revision,
        until: Revision,
        mut keep: impl FnMut(&Record) -> bool,
    ) -> Option<Revision> {
        let at = self.chunk_from(from).filter(|at| self.chunks[*at].first <= until)?;
        let last = self.chunks[at].last();
        let chunk = &mut self.chunks[at];
        let (before, mut gone) = (chunk.len(), 0);
        let mut kept = Vec::new();
        for record in chunk.since(Revision::default()) {
            if keep(&record) {
                kept.push(record);
            } else {
                gone += record.bytes();
            }
        }
        if kept.len() < before {
            self.len -= before - kept.len();
            self.bytes -= gone;
            self.replace(at, kept);
        }
        Some(after(last))
    }

    /// Gives the values up to revision `until` their places, in order, in the chunk that holds the first record at or
    /// after `from`; answers the revision to go on from, or `None` after the last.
    pub(crate) fn place_chunk(
        &mut self,
        from: Revision,
        until: i64,
        place: &mut dyn FnMut(u32) -> Place,
    ) -> Option<Revision> {
        let at = self.chunk_from(from).filter(|at| self.chunks[*at].first.main <= until)?;
        let last = self.chunks[at].last();
        let mut records = self.take(at);
        for record in &mut records {
            let length = u32::try_from(record.value.len()).unwrap_or(u32::MAX);
            if length > 0 && record.rev >= from && record.rev.main <= until {
                record.value = Value::Away(place(length));
            }
        }
        let still_grows = at + 1 == self.chunks.len() && records.len() < HISTORY_CHUNK;
        self.chunks[at] = if still_grows { Chunk::open(records) } else { Chunk::of(records) };
        Some(after(last))
    }

    fn take(&mut self, at: usize) -> Vec<Record> {
        let first = self.chunks[at].first;
        std::mem::replace(&mut self.chunks[at], Chunk { first, records: Records::Open(Vec::new()) }).into_records()
    }

    /// Puts what is left of a chunk in its place, or joins it to its left neighbour if both fit into one.
    fn replace(&mut self, at: usize, kept: Vec<Record>) {
        if kept.is_empty() {
            self.chunks.remove(at);
        } else if at > 0 && self.chunks[at - 1].len() + kept.len() <= HISTORY_CHUNK {
            let mut joined = self.take(at - 1);
            joined.extend(kept);
            self.chunks.remove(at);
            self.chunks[at - 1] = Chunk::of(joined);
        } else {
            self.chunks[at] = Chunk::of(kept);
        }
    }
}

/// The next revision that there could be.
fn after(rev: Revision) -> Revision {
    Revision { main: rev.main, sub: rev.sub + 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::Change;

    /// Every chunk is what it says, and every revision is found that is there, and none that is not.
    fn assert_same(history: &History, model: &BTreeMap<Revision, i64>) {
        let mut all = Vec::new();
        for chunk in &history.chunks {
            let records: Vec<Record> = chunk.since(Revision::default()).collect();
            assert_eq!((chunk.first, chunk.last()), (records[0].rev, records[records.len() - 1].rev));
            assert_eq!(chunk.len(), records.len());
            all.extend(records);
        }
        assert!(
            all.iter()
                .map(|record| (record.rev, record.version))
                .eq(model.iter().map(|(rev, version)| (*rev, *version)))
        );
        for Revision { main, sub } in all.iter().map(|record| record.rev) {
            for rev in
                [(main, sub), (main, sub + 1), (main + 1, 0), (main - 1, 0)].map(|(main, sub)| Revision { main, sub })
            {
                assert_eq!(history.lineage(rev).map(|lineage| lineage.version), model.get(&rev).copied(), "{rev:?}");
                assert_eq!(history.get(rev).map(|record| record.version), model.get(&rev).copied(), "{rev:?}");
            }
        }
    }

    #[test]
    fn records_are_found_whatever_was_put_away_and_thinned_out() {
        let mut seed = 1_u64;
        let mut any = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut history, mut model) = (History::default(), BTreeMap::new());
        let (mut main, mut offset) = (0, 8);
        for _ in 0..40 {
            for _ in 0..any(1500) {
                // Revisions are missing here and there, and some have several changes.
                main += if any(20) == 0 { 3 } else { 1 };
                for sub in 0..if any(6) == 0 { 3 } else { 1 } {
                    let (rev, version) = (Revision { main, sub }, 1 + any(5).cast_signed());
                    let key = Key::from(format!("k{main}").into_bytes());
                    let value =
                        if any(5) == 0 { Value::NONE } else { Value::Here(vec![1; 1 + any(9) as usize].into()) };
                    model.insert(rev, version);
                    history.push(Record { rev, change: Change::Put, create: main, version, lease: 0, key, value });
                }
            }
            if any(2) == 0 {
                let until = any(main.cast_unsigned() + 1).cast_signed();
                let mut from = Revision::default();
                while let Some(next) = history.place_chunk(from, until, &mut |length| {
                    offset += u64::from(length);
                    Place { file: 1, offset: offset - u64::from(length), length }
                }) {
                    from = next;
                }
            }
            if any(2) == 0 {
                let until = Revision { main: any(main.cast_unsigned() + 1).cast_signed(), sub: 0 };
                // Few of them, most, or all.
                let kept = [8, 2, 0][any(3) as usize];
                let mut next = Some(Revision::default());
                while let Some(from) = next {
                    next = history.thin_chunk(from, until, |record| {
                        let keep = record.rev > until || any(10) < kept;
                        if !keep {
                            model.remove(&record.rev);
                        }
                        keep
                    });
                }
            }
            assert_same(&history, &model);
        }
    }
}
