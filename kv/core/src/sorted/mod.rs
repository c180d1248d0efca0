//! An ordered map from keys to values in chunks of a few dozen.
//!
//! The standard library's tree halves a full node wherever the next key goes, so that keys which come in their order, as names with
//! numbers and dates in them do, leave its nodes half empty. Here a chunk that is full stays full when the next key goes behind it.
//! And finding a key takes a few looks at memory instead of dozens ([`run`]).
use std::{fmt, ops::Bound};

use run::Run;
pub(crate) use run::{common_prefix, first_bytes};

use crate::record::Key;

mod run;

/// Entries of a chunk.
const FULL: usize = 64;

/// Chunks of a group: few enough to be moved when there is one more, many enough that the groups of ten million keys are a thousand.
const FULL_GROUP: usize = 256;

type Chunk<V> = Run<V>;

/// Chunks, none empty, each with a bound: its keys are not below it, but the first chunk's can be, and below the next one's.
type Group<V> = Run<Chunk<V>>;

/// The map.
pub(crate) struct Sorted<V> {
    /// None empty, each with its bound, as chunks have.
    groups: Run<Group<V>>,
}

impl<V> Default for Sorted<V> {
    fn default() -> Self {
        Self { groups: Run::default() }
    }
}

impl<V: fmt::Debug> fmt::Debug for Sorted<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Cuts entries into pieces, each with its first key as its bound.
fn cut<T, U>(entries: Vec<(Key, T)>, size: usize, piece: impl Fn(Vec<(Key, T)>) -> U) -> Vec<(Key, U)> {
    let mut pieces = Vec::with_capacity(entries.len().div_ceil(size));
    let mut entries = entries.into_iter();
    while let Some((bound, first)) = entries.next() {
        let mut some = Vec::with_capacity(size.min(entries.len() + 1));
        some.push((Key::clone(&bound), first));
        some.extend(entries.by_ref().take(size - 1));
        pieces.push((bound, piece(some)));
    }
    pieces
}

impl<V> Sorted<V> {
    /// A map of entries that are in their order, no key twice.
    pub(crate) fn from_sorted(entries: Vec<(Key, V)>) -> Self {
        Self { groups: Run::of(cut(cut(entries, FULL, Run::of), FULL_GROUP, Run::of)) }
    }

    /// The group and the chunk in which a key is, if it is anywhere. There is one unless the map is empty.
    fn spot(&self, key: &[u8]) -> Option<(usize, usize)> {
        let group = self.groups.last_up_to(key);
        Some((group, self.groups.entries().get(group)?.1.last_up_to(key)))
    }

    fn chunk(&self, (group, chunk): (usize, usize)) -> &Chunk<V> {
        &self.groups.entries()[group].1.entries()[chunk].1
    }

    fn chunk_mut(&mut self, (group, chunk): (usize, usize)) -> &mut Chunk<V> {
        self.groups.at(group).1.at(chunk).1
    }

    /// A key and its value.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(&Key, &V)> {
        let chunk = self.chunk(self.spot(key)?);
        let (key, value) = &chunk.entries()[chunk.place(key).ok()?];
        Some((key, value))
    }

    /// The value of a key, to be changed.
    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let spot = self.spot(key)?;
        let chunk = self.chunk_mut(spot);
        let at = chunk.place(key).ok()?;
        Some(chunk.at(at).1)
    }

    /// The place of a key, whether it is there or not: searched once, to look and to change.
    pub(crate) fn entry(&mut self, key: &[u8]) -> Entry<'_, V> {
        let spot = self.spot(key);
        let at = spot.map_or(Err(0), |spot| self.chunk(spot).place(key));
        Entry { sorted: self, spot: spot.unwrap_or_default(), at }
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        let Some(spot) = self.spot(key) else { return };
        let chunk = self.chunk_mut(spot);
        let Ok(at) = chunk.place(key) else { return };
        chunk.remove(at);
        if chunk.entries().is_empty() {
            let (_, group) = self.groups.at(spot.0);
            group.remove(spot.1);
            if group.entries().is_empty() {
                self.groups.remove(spot.0);
            }
        }
    }

    /// Entries between two keys, in their order. The bounds are in their order, too, and not both excluded at one key.
    pub(crate) fn range<'a>(
        &'a self,
        from: Bound<&'a [u8]>,
        to: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Key, &'a V)> {
        let spot = match from {
            Bound::Included(key) | Bound::Excluded(key) => self.spot(key),
            Bound::Unbounded => None,
        };
        let (first_group, first_chunk) = spot.unwrap_or_default();
        let groups = self.groups.entries().get(first_group..).unwrap_or_default();
        let chunks = groups.iter().enumerate().flat_map(move |(number, (_, group))| {
            let chunks = group.entries();
            &chunks[if number == 0 { first_chunk.min(chunks.len()) } else { 0 }..]
        });
        let is_before_end = move |key: &Key| match to {
            Bound::Included(to) => **key <= *to,
            Bound::Excluded(to) => **key < *to,
            Bound::Unbounded => true,
        };
        let begins_before_end =
            move |chunk: &&Chunk<V>| chunk.entries().first().is_some_and(|(key, _)| is_before_end(key));
        chunks.map(|(_, chunk)| chunk).take_while(begins_before_end).enumerate().flat_map(move |(number, chunk)| {
            let entries = chunk.entries();
            let start = match from {
                Bound::Included(key) if number == 0 => chunk.place(key).unwrap_or_else(|at| at),
                Bound::Excluded(key) if number == 0 => chunk.place(key).map_or_else(|at| at, |at| at + 1),
                _ => 0,
            };
            let end = match to {
                _ if entries.last().is_some_and(|(key, _)| is_before_end(key)) => entries.len(),
                Bound::Included(key) => chunk.place(key).map_or_else(|at| at, |at| at + 1),
                Bound::Excluded(key) => chunk.place(key).unwrap_or_else(|at| at),
                Bound::Unbounded => entries.len(),
            };
            entries[start.min(end)..end].iter().map(|(key, value)| (key, value))
        })
    }

    /// All entries in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// Takes a chunk behind another one.
    fn insert_chunk(&mut self, (at, chunk): (usize, usize), bound: Key, added: Chunk<V>) {
        // The keys of a first chunk can be below its bound, but what comes behind it is not.
        let lowest = Key::clone(&self.chunk((at, chunk)).entries()[0].0);
        if (at, chunk) == (0, 0) {
            self.groups.lower_first(&lowest);
        }
        let (_, group) = self.groups.at(at);
        if chunk == 0 {
            group.lower_first(&lowest);
        }
        let next = chunk + 1;
        if group.entries().len() < FULL_GROUP {
            return group.insert(next, bound, added);
        }
        let mut rest = group.split_off(if next == FULL_GROUP { FULL_GROUP } else { FULL_GROUP / 2 });
        match next.checked_sub(group.entries().len()) {
            Some(next) if next > 0 || rest.entries().is_empty() => rest.insert(next, bound, added),
            _ => group.insert(next, bound, added),
        }
        let bound = Key::clone(&rest.entries()[0].0);
        self.groups.insert(at + 1, bound, rest);
    }
}

/// The place of a key.
pub(crate) struct Entry<'a, V> {
    sorted: &'a mut Sorted<V>,
    /// Its group, and the chunk in it; of no meaning if the map is empty.
    spot: (usize, usize),
    at: Result<usize, usize>,
}

impl<'a, V> Entry<'a, V> {
    /// The key and its value, if it is there.
    pub(crate) fn get(&self) -> Option<(&Key, &V)> {
        let at = self.at.ok()?;
        let (key, value) = &self.sorted.chunk(self.spot).entries()[at];
        Some((key, value))
    }

    /// The same, to be changed; or else its place.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn occupied(self) -> Result<(&'a Key, &'a mut V), Self> {
        match self.at {
            Ok(at) => Ok(self.sorted.chunk_mut(self.spot).at(at)),
            Err(_) => Err(self),
        }
    }

    /// Puts the key that was searched, which is not there, and its value into the place.
    pub(crate) fn insert(self, key: Key, value: V) {
        let Err(at) = self.at else { return };
        if self.sorted.groups.entries().is_empty() {
            *self.sorted = Sorted::from_sorted(vec![(key, value)]);
            return;
        }
        let chunk = self.sorted.chunk_mut(self.spot);
        if chunk.entries().len() < FULL {
            return chunk.insert(at, key, value);
        }
        // Behind the last key, a chunk begins. Elsewhere the chunk is halved.
        let mut rest = chunk.split_off(if at == FULL { FULL } else { FULL / 2 });
        if at <= chunk.entries().len() && at < FULL {
            chunk.insert(at, key, value);
        } else {
            rest.insert(at - chunk.entries().len(), key, value);
        }
        let bound = Key::clone(&rest.entries()[0].0);
        self.sorted.insert_chunk(self.spot, bound, rest);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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

    fn chunks(sorted: &Sorted<u64>) -> usize {
        sorted.groups.entries().iter().map(|(_, group)| group.entries().len()).sum()
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
        assert_eq!((sorted.iter().count(), sorted.groups.entries().len()), (0, 0));
    }

    /// Keys that are prefixes of each other, end in zeros, differ early and late, and have beginnings that many share.
    fn odd_key(number: u64) -> Key {
        let beginnings: [&[u8]; 8] =
            [b"", b"a", b"ab", b"/registry/pods/", b"/registry/pods/\0", b"/reg", b"\xff\xff\xff\xff", b"\0\0"];
        let digits = number / 8;
        let ending = match digits % 3 {
            0 => digits.to_be_bytes().to_vec(),
            1 => digits.to_le_bytes()[..(digits % 7) as usize].to_vec(),
            _ => format!("{digits}").into_bytes(),
        };
        [beginnings[(number % 8) as usize], &ending].concat().into()
    }

    #[test]
    fn groups_divide_and_go_whatever_the_keys_are() {
        // Random, rising and falling, so that first chunks and groups get keys below their bounds; then ranges of keys go.
        let orders: [fn(u64) -> u64; 3] = [|n| n.wrapping_mul(0x9e37_79b9) % 60_000, |n| n, |n| 60_000 - n];
        for order in orders {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for number in (0..60_000).map(order) {
                let key = odd_key(number);
                match sorted.entry(&key).occupied() {
                    Ok((_, value)) => *value = number,
                    Err(entry) => entry.insert(Key::clone(&key), number),
                }
                model.insert(key, number);
            }
            assert!(sorted.groups.entries().len() > 1);
            assert!(sorted.iter().eq(model.iter()));
            let keys: Vec<Key> = model.keys().cloned().collect();
            for key in keys.iter().take(20_000).chain(keys.iter().skip(30_000).take(9_000)) {
                sorted.remove(key);
                model.remove(key);
            }
            assert!(sorted.iter().eq(model.iter()));
            for number in (0..60_000).map(order).step_by(3) {
                let key = odd_key(number);
                assert_eq!(sorted.get(&key), model.get_key_value(&key));
                let entry = sorted.entry(&key);
                if entry.get().is_none() {
                    entry.insert(Key::clone(&key), number);
                    model.insert(key, number);
                }
            }
            assert!(sorted.iter().eq(model.iter()));
            for (from, to) in (0..400).map(|n| (odd_key(scatter(n) % 60_000), odd_key(scatter(n + 7) % 60_000))) {
                if from < to {
                    let bounds = (Bound::Excluded(&*from), Bound::Included(&*to));
                    assert!(sorted.range(bounds.0, bounds.1).eq(model.range::<[u8], _>(bounds)));
                }
            }
        }
    }

    #[test]
    fn keys_that_come_in_their_order_fill_their_chunks() {
        let mut sorted = Sorted::default();
        (0..6400).for_each(|number| insert(&mut sorted, number));
        assert_eq!(chunks(&sorted), 100);
        let at_once = Sorted::from_sorted((0..6400).map(|number| (key(number), number)).collect());
        assert!(at_once.iter().eq(sorted.iter()));
        assert_eq!(chunks(&at_once), 100);
        // In the opposite order they half fill them.
        let mut sorted = Sorted::default();
        (0..6400).rev().for_each(|number| insert(&mut sorted, number));
        assert!(at_once.iter().eq(sorted.iter()));
        assert!(chunks(&sorted) <= 200);
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
