//! Which revisions each key has: an ordered map from key to its changes, oldest first.
//!
//! etcd keeps generations (create to delete) for each key; here a deletion is a mark on its revision, which says the
//! same in a third of the space.
use std::ops::Bound;

use thin_vec::{ThinVec, thin_vec};

use crate::{
    keyrange::KeyRange,
    record::{Change, Key, Revision},
    sorted::{Entry, Sorted, common_prefix, first_bytes},
};

/// One change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    // The parts of a `Revision`, unpadded: it is what makes `Steps` 16 bytes.
    main: i64,
    sub: u32,
    pub(crate) change: Change,
}

impl Step {
    pub(crate) fn new(rev: Revision, change: Change) -> Self {
        Self { main: rev.main, sub: rev.sub, change }
    }

    pub(crate) fn rev(&self) -> Revision {
        Revision { main: self.main, sub: self.sub }
    }
}

/// The changes of one key; most keys have one.
#[derive(Debug)]
enum Steps {
    One(Step),
    Many(ThinVec<Step>),
}

const _: () = assert!(size_of::<Steps>() == 16, "the niche in Change holds the tag");

impl Steps {
    fn as_slice(&self) -> &[Step] {
        match self {
            Self::One(step) => std::slice::from_ref(step),
            Self::Many(steps) => steps,
        }
    }

    fn push(&mut self, step: Step) {
        match self {
            Self::One(first) => *self = Self::Many(thin_vec![*first, step]),
            Self::Many(steps) => steps.push(step),
        }
    }

    /// The newest change at or before `at`.
    fn newest(&self, at: i64) -> Option<Step> {
        let steps = self.as_slice();
        match steps {
            [.., last] if last.main <= at => Some(*last),
            _ => steps[..steps.partition_point(|step| step.main <= at)].last().copied(),
        }
    }

    /// The revision under which the key exists at `at`.
    fn put_at(&self, at: i64) -> Option<Revision> {
        let step = self.newest(at)?;
        (step.change == Change::Put).then_some(step.rev())
    }
}

/// How many bytes all keys begin with alike.
fn beginning(changes: &[(Key, Step)]) -> usize {
    let Some((first, _)) = changes.first() else { return 0 };
    changes.iter().fold(first.len(), |common, (key, _)| common_prefix(&first[..common], key))
}

/// The first eight bytes as a number: it orders most keys without a look at where they lie, which takes far longer.
fn rank(key: &[u8]) -> u64 {
    u64::from_be_bytes(first_bytes(key))
}

/// The place of a key, whether it has changes or not.
pub(crate) struct Place<'a> {
    entry: Entry<'a, Steps>,
    live: &'a mut usize,
}

impl Place<'_> {
    /// The revision under which the key exists at `at`.
    pub(crate) fn get(&self, at: i64) -> Option<Revision> {
        self.entry.get()?.1.put_at(at)
    }

    /// Adds the newest change of the key that was searched, and answers the shared key bytes.
    pub(crate) fn push(self, key: &[u8], step: Step) -> Key {
        let puts = step.change == Change::Put;
        match self.entry.occupied() {
            Ok((key, steps)) => {
                let was_live = steps.as_slice().last().is_some_and(|last| last.change == Change::Put);
                match (was_live, puts) {
                    (true, false) => *self.live -= 1,
                    (false, true) => *self.live += 1,
                    _ => {}
                }
                steps.push(step);
                Key::clone(key)
            }
            Err(entry) => {
                let key: Key = key.into();
                *self.live += usize::from(puts);
                entry.insert(Key::clone(&key), Steps::One(step));
                key
            }
        }
    }
}

/// The ordered map of keys.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: Sorted<Steps>,
    live: usize,
}

impl Index {
    /// Makes an index of changes in the order of their revisions, each with its own copy of the key's bytes: all at once,
    /// which for many keys takes a fraction of the time and less memory. `share` gets every further change of a key and
    /// the bytes that all of them share.
    pub(crate) fn build(changes: Vec<(Key, Step)>, mut share: impl FnMut(Revision, &Key)) -> Self {
        let skip = beginning(&changes);
        let mut changes: Vec<(u64, Key, Step)> =
            changes.into_iter().map(|(key, step)| (rank(&key[skip..]), key, step)).collect();
        // Stable, so that a key's changes stay in their order.
        changes.sort_by(|(a, a_key, _), (b, b_key, _)| a.cmp(b).then_with(|| a_key.cmp(b_key)));
        let mut keys: Vec<(Key, Steps)> = Vec::with_capacity(changes.len());
        let mut last = 0;
        for (rank, key, step) in changes {
            match keys.last_mut() {
                Some((known, steps)) if last == rank && *known == key => {
                    share(step.rev(), known);
                    steps.push(step);
                }
                _ => keys.push((key, Steps::One(step))),
            }
            last = rank;
        }
        let exists =
            |(_, steps): &&(Key, Steps)| steps.as_slice().last().is_some_and(|last| last.change == Change::Put);
        let live = keys.iter().filter(exists).count();
        Self { keys: Sorted::from_sorted(keys), live }
    }

    /// Adds the newest change of a key and answers the shared key bytes.
    pub(crate) fn push(&mut self, key: &[u8], step: Step) -> Key {
        self.place(key).push(key, step)
    }

    /// The place of a key: the map is searched once, to look and to change.
    pub(crate) fn place(&mut self, key: &[u8]) -> Place<'_> {
        Place { entry: self.keys.entry(key), live: &mut self.live }
    }

    /// The shared bytes of a key, if this is its newest change.
    pub(crate) fn shared_if_newest(&self, key: &[u8], rev: Revision) -> Option<Key> {
        let (key, steps) = self.keys.get(key)?;
        (steps.as_slice().last()?.rev() == rev).then(|| Key::clone(key))
    }

    /// The revision under which `key` exists at `at`.
    pub(crate) fn get(&self, key: &[u8], at: i64) -> Option<Revision> {
        self.keys.get(key)?.1.put_at(at)
    }

    /// Keys of a range that exist at `at`, in key order.
    pub(crate) fn range<'a>(&'a self, range: &'a KeyRange, at: i64) -> impl Iterator<Item = (&'a Key, Revision)> {
        self.range_after(range, None, at)
    }

    /// Like [`Self::range`], only of those keys that come after one of them.
    pub(crate) fn range_after<'a>(
        &'a self,
        range: &'a KeyRange,
        after: Option<&'a [u8]>,
        at: i64,
    ) -> impl Iterator<Item = (&'a Key, Revision)> {
        let bounds = range.bounds().map(|(from, to)| (after.map_or(from, Bound::Excluded), to));
        // A single key, or the last one, has nothing behind it; ordered maps panic over such bounds.
        let bounds = bounds.filter(|(from, to)| match (from, to) {
            (Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from < to,
            _ => true,
        });
        bounds
            .into_iter()
            .flat_map(move |(from, to)| self.keys.range(from, to))
            .filter_map(move |(key, steps)| steps.put_at(at).map(|rev| (key, rev)))
    }

    /// Number of keys that exist now.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Whether a change survives a compaction at `at`: it is newer, or it is what its key is at `at`. The deletion at
    /// exactly `at` stays, so that a watch from there still sees it.
    fn survives(step: Step, newest: Option<Step>, at: i64) -> bool {
        step.main > at
            || newest.is_some_and(|n| n.rev() == step.rev() && (step.change == Change::Put || step.main == at))
    }

    /// Forgets what a compaction at `at` removes from one key. Doing it twice changes nothing.
    pub(crate) fn compact_key(&mut self, key: &[u8], at: i64) {
        let Some(steps) = self.keys.get_mut(key) else { return };
        let newest = steps.newest(at);
        match steps {
            Steps::One(step) => {
                if !Self::survives(*step, newest, at) {
                    self.keys.remove(key);
                }
            }
            Steps::Many(all) => {
                all.retain(|step| Self::survives(*step, newest, at));
                match all.as_slice() {
                    [] => self.keys.remove(key),
                    [only] => *steps = Steps::One(*only),
                    _ if all.len() * 2 < all.capacity() => all.shrink_to_fit(),
                    _ => {}
                }
            }
        }
    }

    /// Whether this change of this key is still known.
    pub(crate) fn knows(&self, key: &[u8], rev: Revision) -> bool {
        self.keys
            .get(key)
            .is_some_and(|(_, steps)| steps.as_slice().binary_search_by_key(&rev, |step| step.rev()).is_ok())
    }

    /// Whether a change would be there after a compaction at `at` had removed all that it should.
    pub(crate) fn outlives(&self, key: &[u8], rev: Revision, at: i64) -> bool {
        let Some((_, steps)) = self.keys.get(key) else { return false };
        let found = steps.as_slice().binary_search_by_key(&rev, |step| step.rev());
        found.is_ok_and(|found| Self::survives(steps.as_slice()[found], steps.newest(at), at))
    }

    /// Whether a change is what a compaction at `at` would leave of its key (etcd's `Keep`).
    pub(crate) fn kept_at(&self, key: &[u8], rev: Revision, at: i64) -> bool {
        self.keys
            .get(key)
            .and_then(|(_, steps)| steps.newest(at))
            .is_some_and(|newest| newest.rev() == rev && newest.change == Change::Put)
    }
}

impl Index {
    /// Changes of one key from revision `since` on.
    pub(crate) fn steps_since(&self, key: &[u8], since: i64) -> &[Step] {
        let steps = self.keys.get(key).map(|(_, steps)| steps.as_slice()).unwrap_or_default();
        &steps[steps.partition_point(|step| step.main < since)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_built_at_once_is_the_one_built_change_by_change() {
        // Prefixes of each other, zeros at the end, keys that differ late, keys that come again.
        let endings: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"a", b"a\0b", b"ab", b"abcdefgh", b"abcdefgh\0", b"abcdefghi"];
        for common in ["", "/registry/"] {
            let key = |n: i64| -> Key { [common.as_bytes(), endings[(n * 7 % 9) as usize]].concat().into() };
            let step = |n: i64| {
                let change = if n % 4 == 0 { Change::Tombstone } else { Change::Put };
                Step::new(Revision { main: n, sub: 0 }, change)
            };
            let mut one_by_one = Index::default();
            (1..40).for_each(|n| drop(one_by_one.push(&key(n), step(n))));
            let mut shared = 0;
            let at_once = Index::build((1..40).map(|n| (key(n), step(n))).collect(), |rev, known| {
                shared += 1;
                assert_eq!(*known, key(rev.main));
            });
            assert_eq!((at_once.live, shared), (one_by_one.live, 39 - 9));
            assert_eq!(format!("{:?}", at_once.keys), format!("{:?}", one_by_one.keys));
        }
    }
}
