//! Every revision that is still there, in order: chunks of records, appended at the end, thinned out by compaction.
use crate::{
    limits::HISTORY_CHUNK,
    record::{Record, Revision},
};

/// Records in the order of their revisions.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// No chunk is empty.
    chunks: Vec<Vec<Record>>,
    len: usize,
    bytes: u64,
}

impl History {
    /// Appends the newest record.
    pub(crate) fn push(&mut self, record: Record) {
        debug_assert!(self.last().is_none_or(|last| last.rev < record.rev), "revisions only grow");
        self.len += 1;
        self.bytes += record.bytes();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < HISTORY_CHUNK => chunk.push(record),
            _ => self.chunks.push(vec![record]),
        }
    }

    fn last(&self) -> Option<&Record> {
        self.chunks.last()?.last()
    }

    /// The record of exactly this revision.
    pub(crate) fn get(&self, rev: Revision) -> Option<&Record> {
        let chunk = self.chunk_of(rev)?;
        let records = &self.chunks[chunk];
        let at = records.binary_search_by_key(&rev, |record| record.rev).ok()?;
        Some(&records[at])
    }

    /// The last chunk that starts at or before `rev`.
    fn chunk_of(&self, rev: Revision) -> Option<usize> {
        self.chunks.partition_point(|chunk| chunk[0].rev <= rev).checked_sub(1)
    }

    /// Records from `rev` on, in order.
    pub(crate) fn since(&self, rev: Revision) -> impl Iterator<Item = &Record> {
        let first = self.chunk_of(rev).unwrap_or(0);
        let skip = self.chunks.get(first).map_or(0, |chunk| chunk.partition_point(|record| record.rev < rev));
        self.chunks.get(first..).unwrap_or_default().iter().flatten().skip(skip)
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Drops what `keep` refuses from the chunk that holds the first record at or after `from`; answers the revision to
    /// go on from, or `None` after the last chunk that starts at or before `until`.
    pub(crate) fn thin_chunk(
        &mut self,
        from: Revision,
        until: Revision,
        mut keep: impl FnMut(&Record) -> bool,
    ) -> Option<Revision> {
        let mut at = self.chunk_of(from).unwrap_or(0);
        if self.chunks.get(at)?.last()?.rev < from {
            at += 1;
        }
        let chunk = self.chunks.get_mut(at)?;
        if chunk[0].rev > until {
            return None;
        }
        let last = chunk.last()?.rev;
        let (before_len, mut gone) = (chunk.len(), 0);
        chunk.retain(|record| {
            let kept = keep(record);
            gone += if kept { 0 } else { record.bytes() };
            kept
        });
        self.len -= before_len - chunk.len();
        self.bytes -= gone;
        self.tidy(at);
        Some(Revision { main: last.main, sub: last.sub + 1 })
    }

    /// Removes the chunk if it is empty now, or joins it to its left neighbour if both fit into one.
    fn tidy(&mut self, at: usize) {
        if self.chunks[at].is_empty() {
            self.chunks.remove(at);
            return;
        }
        if at > 0 && self.chunks[at - 1].len() + self.chunks[at].len() <= HISTORY_CHUNK {
            let right = self.chunks.remove(at);
            self.chunks[at - 1].extend(right);
        } else if self.chunks[at].len() * 2 < self.chunks[at].capacity() {
            self.chunks[at].shrink_to_fit();
        }
    }
}
