//! Some neighbours of an ordered map, found mostly without a look at their keys.
//!
//! Each key lies somewhere else in memory, and to fetch one takes longer than all else that a search does. So the four bytes
//! behind what all keys of a run begin with alike, its rank, are kept side by side. They tell most keys apart; only those that
//! have the same rank are looked at.
use crate::record::Key;

/// As many ranks (a few cache lines) are counted through quicker than they are searched.
const COUNTED: usize = 64;

/// The first bytes of a key, zeros behind its end: as a big-endian number they order keys, but those that they leave equal.
pub(crate) fn first_bytes<const N: usize>(key: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    let length = key.len().min(N);
    first[..length].copy_from_slice(&key[..length]);
    first
}

/// How many bytes two keys begin with alike.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Keys in their order, no key twice, each with what belongs to it.
pub(super) struct Run<T> {
    /// Bytes that all keys begin with alike and that ranks leave out. A single byte is not worth the look at the first key.
    skip: usize,
    ranks: Vec<u32>,
    entries: Vec<(Key, T)>,
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Self { skip: 0, ranks: Vec::new(), entries: Vec::new() }
    }
}

impl<T> Run<T> {
    /// A run of entries that are in their order.
    pub(super) fn of(entries: Vec<(Key, T)>) -> Self {
        let mut run = Self { skip: 0, ranks: Vec::with_capacity(entries.capacity()), entries };
        run.rank();
        run
    }

    /// The entries.
    pub(super) fn entries(&self) -> &[(Key, T)] {
        &self.entries
    }

    /// What belongs to the key at `at`, which is there.
    pub(super) fn at(&mut self, at: usize) -> (&Key, &mut T) {
        let (key, of_key) = &mut self.entries[at];
        (key, of_key)
    }

    /// Where a key is, or else where it would be.
    pub(super) fn place(&self, key: &[u8]) -> Result<usize, usize> {
        let Some((first, _)) = self.entries.first() else { return Err(0) };
        if self.skip > 0 {
            let common = &first[..self.skip];
            if !key.starts_with(common) {
                return Err(if key < common { 0 } else { self.entries.len() });
            }
        }
        let rank = self.rank_of(key);
        let from = if self.ranks.len() <= COUNTED {
            self.ranks.iter().filter(|other| **other < rank).count()
        } else {
            self.ranks.partition_point(|other| *other < rank)
        };
        let alike = self.ranks[from..].iter().take_while(|other| **other == rank).count();
        match self.entries[from..from + alike].binary_search_by(|(known, _)| (**known).cmp(key)) {
            Ok(at) => Ok(from + at),
            Err(at) => Err(from + at),
        }
    }

    /// The last key that is not above `key`; the first one if all are.
    pub(super) fn last_up_to(&self, key: &[u8]) -> usize {
        match self.place(key) {
            Ok(at) => at,
            Err(at) => at.saturating_sub(1),
        }
    }

    /// Puts a key where its place is.
    pub(super) fn insert(&mut self, at: usize, key: Key, of_key: T) {
        // Whatever goes between two keys begins as they do.
        let is_outside = at == 0 || at == self.entries.len();
        let begins_so = !is_outside
            || self.skip == 0 && !self.entries.is_empty()
            || self.entries.first().is_some_and(|(first, _)| key.starts_with(&first[..self.skip]));
        if begins_so {
            self.ranks.insert(at, self.rank_of(&key));
        }
        self.entries.insert(at, (key, of_key));
        if !begins_so {
            self.rank();
        }
    }

    /// Takes a key out; gives memory back if most of it is not used any more.
    pub(super) fn remove(&mut self, at: usize) {
        self.ranks.remove(at);
        self.entries.remove(at);
        if self.entries.len() * 4 <= self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
            self.ranks.shrink_to(self.entries.len() * 2);
        }
    }

    /// The first key is this one from now on, if it is lower.
    pub(super) fn lower_first(&mut self, key: &Key) {
        if let Some((first, _)) = self.entries.first_mut()
            && key < first
        {
            *first = Key::clone(key);
            self.rank();
        }
    }

    /// Keeps what is before `at`, and answers the rest.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        if at == self.entries.len() {
            return Self::default();
        }
        let rest = Self::of(self.entries.split_off(at));
        self.rank();
        rest
    }

    fn rank_of(&self, key: &[u8]) -> u32 {
        u32::from_be_bytes(first_bytes(&key[self.skip..]))
    }

    /// Ranks all keys by what is behind the longest beginning that they share.
    fn rank(&mut self) {
        let (first, last) = (self.entries.first(), self.entries.last());
        let common = first.zip(last).map_or(0, |((first, _), (last, _))| common_prefix(first, last));
        self.skip = if common > 1 { common } else { 0 };
        self.ranks.clear();
        let skip = self.skip;
        self.ranks.extend(self.entries.iter().map(|(key, _)| u32::from_be_bytes(first_bytes(&key[skip..]))));
    }
}
