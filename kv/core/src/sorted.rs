//! An ordered map from keys to values in chunks of a few dozen.
//!
//! The standard library's tree halves a full node wherever the next key goes, so that keys which come in their order, as names with
//! numbers and dates in them do, leave its nodes half empty. Here a chunk that is full stays full when the next key goes behind it.
//! Finding a key takes half as many looks at keys, each of which lies somewhere else in memory.
use std::{collections::BTreeMap, fmt, ops::Bound};

use slab::Slab;

use crate::record::Key;

/// Entries of a chunk.
const FULL: usize = 64;

type Chunk<V> = Vec<(Key, V)>;

/// The map.
pub(crate) struct Sorted<V> {
    /// What each chunk's keys are not below; they are below the next chunk's bound.
    bounds: BTreeMap<Key, usize>,
    chunks: Slab<Chunk<V>>,
}

impl<V> Default for Sorted<V> {
    fn default() -> Self {
        Self { bounds: BTreeMap::new(), chunks: Slab::new() }
    }
}

impl<V: fmt::Debug> fmt::Debug for Sorted<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Where a key is in its chunk, or where it would be.
fn place<V>(chunk: &Chunk<V>, key: &[u8]) -> Result<usize, usize> {
    // Keys that come in their order go behind the last one.
    match chunk.last() {
        Some((last, _)) if **last < *key => Err(chunk.len()),
        _ => chunk.binary_search_by(|(known, _)| (**known).cmp(key)),
    }
}

impl<V> Sorted<V> {
    /// A map of entries that are in their order, no key twice.
    pub(crate) fn from_sorted(entries: Vec<(Key, V)>) -> Self {
        let mut sorted = Self::default();
        let mut entries = entries.into_iter().peekable();
        let mut bound: Key = [].into();
        while entries.peek().is_some() {
            let mut chunk = Vec::with_capacity(FULL.min(entries.len()));
            chunk.extend(entries.by_ref().take(FULL));
            sorted.bounds.insert(bound, sorted.chunks.insert(chunk));
            bound = entries.peek().map(|(key, _)| Key::clone(key)).unwrap_or_default();
        }
        sorted
    }

    /// The chunk in which a key is, if it is anywhere.
    fn slot(&self, key: &[u8]) -> Option<usize> {
        self.bounds.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back().map(|(_, slot)| *slot)
    }

    /// A key and its value.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(&Key, &V)> {
        let chunk = &self.chunks[self.slot(key)?];
        let (key, value) = &chunk[place(chunk, key).ok()?];
        Some((key, value))
    }

    /// The value of a key, to be changed.
    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let slot = self.slot(key)?;
        let chunk = &mut self.chunks[slot];
        let at = place(chunk, key).ok()?;
        Some(&mut chunk[at].1)
    }

    /// The place of a key, whether it is there or not: searched once, to look and to change.
    pub(crate) fn entry(&mut self, key: &[u8]) -> Entry<'_, V> {
        let slot = match self.slot(key) {
            Some(slot) => slot,
            None => {
                let slot = self.chunks.insert(Vec::new());
                self.bounds.insert([].into(), slot);
                slot
            }
        };
        let at = place(&self.chunks[slot], key);
        Entry { sorted: self, slot, at }
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        let before = self.bounds.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        let Some((bound, slot)) = before.map(|(bound, slot)| (Key::clone(bound), *slot)) else { return };
        let chunk = &mut self.chunks[slot];
        let Ok(at) = place(chunk, key) else { return };
        chunk.remove(at);
        if chunk.is_empty() {
            self.chunks.remove(slot);
            self.bounds.remove(&bound);
        } else if chunk.len() * 4 <= chunk.capacity() {
            chunk.shrink_to(chunk.len() * 2);
        }
    }

    /// Entries between two keys, in their order. The bounds are in their order, too, and not both excluded at one key.
    pub(crate) fn range<'a>(
        &'a self,
        from: Bound<&'a [u8]>,
        to: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Key, &'a V)> {
        let first = match from {
            Bound::Included(key) | Bound::Excluded(key) => {
                self.bounds.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
            }
            Bound::Unbounded => None,
        };
        let first = first.map_or(Bound::Unbounded, |(bound, _)| Bound::Included(&**bound));
        self.bounds.range::<[u8], _>((first, to)).flat_map(move |(_, slot)| {
            let chunk = &self.chunks[*slot];
            let start = match from {
                Bound::Included(key) => chunk.partition_point(|(known, _)| **known < *key),
                Bound::Excluded(key) => chunk.partition_point(|(known, _)| **known <= *key),
                Bound::Unbounded => 0,
            };
            let end = match (to, chunk.last()) {
                (Bound::Included(key), Some((last, _))) if **last > *key => {
                    chunk.partition_point(|(known, _)| **known <= *key)
                }
                (Bound::Excluded(key), Some((last, _))) if **last >= *key => {
                    chunk.partition_point(|(known, _)| **known < *key)
                }
                _ => chunk.len(),
            };
            chunk[start.min(end)..end].iter().map(|(key, value)| (key, value))
        })
    }

    /// All entries in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }
}

/// The place of a key.
pub(crate) struct Entry<'a, V> {
    sorted: &'a mut Sorted<V>,
    slot: usize,
    at: Result<usize, usize>,
}

impl<'a, V> Entry<'a, V> {
    /// The key and its value, if it is there.
    pub(crate) fn get(&self) -> Option<(&Key, &V)> {
        let (key, value) = &self.sorted.chunks[self.slot][self.at.ok()?];
        Some((key, value))
    }

    /// The same, to be changed; or else its place.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn occupied(self) -> Result<(&'a Key, &'a mut V), Self> {
        match self.at {
            Ok(at) => {
                let (key, value) = &mut self.sorted.chunks[self.slot][at];
                Ok((key, value))
            }
            Err(_) => Err(self),
        }
    }

    /// Puts the key that was searched, which is not there, and its value into the place.
    pub(crate) fn insert(self, key: Key, value: V) {
        let Err(at) = self.at else { return };
        let Sorted { bounds, chunks } = self.sorted;
        let chunk = &mut chunks[self.slot];
        if chunk.len() < FULL {
            chunk.insert(at, (key, value));
            return;
        }
        // Behind the last key, a chunk begins. Elsewhere the chunk is halved.
        let mut rest = chunk.split_off(if at == FULL { FULL } else { FULL / 2 });
        if at <= chunk.len() && at < FULL {
            chunk.insert(at, (key, value));
        } else {
            rest.insert(at - chunk.len(), (key, value));
        }
        bounds.insert(Key::clone(&rest[0].0), chunks.insert(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        format!("key{number:08}").into_bytes().into()
    }

    fn insert(sorted: &mut Sorted<u64>, number: u64) {
        let key = key(number);
        match sorted.entry(&key).occupied() {
            Ok((_, value)) => *value = number,
            Err(entry) => entry.insert(Key::clone(&key), number),
        }
    }

    /// A sequence that looks random.
    fn scatter(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44
    }

    fn assert_same(sorted: &Sorted<u64>, model: &BTreeMap<Key, u64>) {
        assert!(sorted.iter().eq(model.iter()));
        for probe in (0..1 << 20).step_by(9973) {
            let (from, to) = (key(probe), key(probe + 50_000));
            assert_eq!(sorted.get(&from), model.get_key_value(&from));
            for from in [Bound::Included(&*from), Bound::Excluded(&*from), Bound::Unbounded] {
                for to in [Bound::Included(&*to), Bound::Excluded(&*to), Bound::Unbounded] {
                    assert!(sorted.range(from, to).eq(model.range::<[u8], _>((from, to))));
                }
            }
        }
    }

    #[test]
    fn it_is_the_map_that_a_tree_is_while_keys_come_and_go() {
        let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
        assert_same(&sorted, &model);
        for round in 0..4 {
            for number in 0..5000 {
                let number = scatter(round * 2500 + number);
                insert(&mut sorted, number);
                model.insert(key(number), number);
            }
            assert_same(&sorted, &model);
            for number in 0..4000 {
                let number = key(scatter(round * 2500 + number + 500));
                sorted.remove(&number);
                model.remove(&number);
            }
            assert_same(&sorted, &model);
        }
        for key in model.keys() {
            sorted.remove(key);
        }
        assert_eq!((sorted.iter().count(), sorted.bounds.len(), sorted.chunks.len()), (0, 0, 0));
    }

    #[test]
    fn keys_that_come_in_their_order_fill_their_chunks() {
        let mut sorted = Sorted::default();
        (0..6400).for_each(|number| insert(&mut sorted, number));
        assert_eq!(sorted.chunks.len(), 100);
        let at_once = Sorted::from_sorted((0..6400).map(|number| (key(number), number)).collect());
        assert!(at_once.iter().eq(sorted.iter()));
        assert_eq!(at_once.chunks.len(), 100);
        // In the opposite order they half fill them.
        let mut sorted = Sorted::default();
        (0..6400).rev().for_each(|number| insert(&mut sorted, number));
        assert!(at_once.iter().eq(sorted.iter()));
        assert!(sorted.chunks.len() <= 200);
    }

    #[test]
    fn a_place_is_taken_once() {
        let mut sorted = Sorted::default();
        insert(&mut sorted, 1);
        insert(&mut sorted, 1);
        assert_eq!(sorted.entry(&key(1)).get(), Some((&key(1), &1)));
        assert!(sorted.entry(&key(2)).get().is_none());
        assert_eq!(sorted.get_mut(&key(1)), Some(&mut 1));
        assert_eq!(sorted.get_mut(&key(2)), None);
    }
}
