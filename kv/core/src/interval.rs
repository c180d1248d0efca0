//! Who watches which keys: a balanced tree that finds the watchers of a key without looking at the others.
//!
//! An AVL tree, ordered by first key, then stream, then watcher; each node knows how far any range below it reaches, so
//! that whole sides are passed over. One node a watcher, also where many watch the same keys: adding and removing one
//! takes O(log n) in the worst case, whatever its neighbours are, and no order of theirs can spoil that.
use std::sync::Arc;

use crate::{keyrange::KeyRange, watch::StreamId};

/// Which side of a node: lower places are left.
const LEFT: usize = 0;

/// Watchers by the keys they watch.
#[derive(Debug, Default)]
pub(crate) struct Intervals(Option<Box<Node>>);

/// One watcher.
#[derive(Debug)]
struct Node {
    range: Arc<KeyRange>,
    stream: StreamId,
    id: i64,
    /// The range that reaches furthest, of this node and all below it.
    furthest: Arc<KeyRange>,
    /// Nodes on the longest way down, this one included.
    height: u8,
    sides: [Intervals; 2],
}

impl Intervals {
    /// Adds a watcher that is not there yet.
    pub(crate) fn insert(&mut self, range: Arc<KeyRange>, stream: StreamId, id: i64) {
        let furthest = Arc::clone(&range);
        self.insert_node(Box::new(Node { range, stream, id, furthest, height: 1, sides: Default::default() }));
    }

    fn insert_node(&mut self, new: Box<Node>) {
        let Some(mut root) = self.0.take() else {
            self.0 = Some(new);
            return;
        };
        root.sides[usize::from(root.place() < new.place())].insert_node(new);
        self.0 = Some(root.balanced());
    }

    /// Removes a watcher; answers whether it was there.
    pub(crate) fn remove(&mut self, range: &KeyRange, stream: StreamId, id: i64) -> bool {
        let Some(mut root) = self.0.take() else { return false };
        let (place, wanted) = (root.place(), (range.first(), stream, id));
        if place == wanted {
            let [left, mut right] = std::mem::take(&mut root.sides);
            *self = match right.take_first() {
                None => left,
                Some(mut first) => {
                    first.sides = [left, right];
                    Self(Some(first.balanced()))
                }
            };
            return true;
        }
        let side = usize::from(place < wanted);
        let removed = root.sides[side].remove(range, stream, id);
        self.0 = Some(root.balanced());
        removed
    }

    /// Takes the node with the lowest place out.
    fn take_first(&mut self) -> Option<Box<Node>> {
        let mut root = self.0.take()?;
        let first = root.sides[LEFT].take_first();
        if first.is_some() {
            self.0 = Some(root.balanced());
            return first;
        }
        *self = std::mem::take(&mut root.sides[1 - LEFT]);
        Some(root)
    }

    /// Visits the watchers of a key, or without one all there are, by their place. Answers how many nodes it looked at.
    pub(crate) fn visit(&self, key: Option<&[u8]>, visitor: &mut dyn FnMut(StreamId, i64)) -> usize {
        let Some(node) = &self.0 else { return 0 };
        if key.is_some_and(|key| !node.furthest.reaches(key)) {
            return 1;
        }
        let [left, right] = &node.sides;
        let looked = 1 + left.visit(key, visitor);
        if key.is_some_and(|key| key < node.range.first()) {
            return looked;
        }
        if key.is_none_or(|key| node.range.reaches(key)) {
            visitor(node.stream, node.id);
        }
        looked + right.visit(key, visitor)
    }

    /// Whether there is no watcher.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn height(&self) -> u8 {
        self.0.as_ref().map_or(0, |node| node.height)
    }
}

impl Node {
    fn place(&self) -> (&[u8], StreamId, i64) {
        (self.range.first(), self.stream, self.id)
    }

    /// The sides are others now; their heights differ by two at most.
    fn balanced(mut self: Box<Self>) -> Box<Self> {
        for high in [LEFT, 1 - LEFT] {
            if self.sides[high].height() > self.sides[1 - high].height() + 1 {
                // What is too high in the middle would only change sides.
                let inner = |child: &mut Box<Self>| child.sides[1 - high].height() > child.sides[high].height();
                if let Some(child) = self.sides[high].0.take_if(inner) {
                    self.sides[high].0 = Some(child.rotated(1 - high));
                }
                return self.rotated(high);
            }
        }
        self.refresh();
        self
    }

    /// The child on a side comes up, this node goes down on the other.
    fn rotated(mut self: Box<Self>, side: usize) -> Box<Self> {
        let Some(mut top) = self.sides[side].0.take() else { return self };
        self.sides[side] = std::mem::take(&mut top.sides[1 - side]);
        self.refresh();
        top.sides[1 - side].0 = Some(self);
        top.refresh();
        top
    }

    /// Height and reach follow from the sides.
    fn refresh(&mut self) {
        let [left, right] = &self.sides;
        self.height = 1 + left.height().max(right.height());
        let mut furthest = &self.range;
        for side in self.sides.iter().filter_map(|side| side.0.as_ref()) {
            if side.furthest.end() > furthest.end() {
                furthest = &side.furthest;
            }
        }
        if !Arc::ptr_eq(furthest, &self.furthest) {
            self.furthest = Arc::clone(furthest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random numbers below a bound, the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn key(&mut self) -> Vec<u8> {
            (0..=self.below(3)).map(|_| b'a' + self.below(4) as u8).collect()
        }

        fn range(&mut self) -> KeyRange {
            let (a, b) = (self.key(), self.key());
            match self.below(8) {
                0 => KeyRange::Single(a.into()),
                1 => KeyRange::From(a.into()),
                _ if a == b => KeyRange::From(a.into()),
                _ => KeyRange::new(a.as_slice().min(&b), a.as_slice().max(&b)),
            }
        }
    }

    fn visited(tree: &Intervals, key: Option<&[u8]>) -> Vec<(StreamId, i64)> {
        let mut seen = Vec::new();
        tree.visit(key, &mut |stream, id| seen.push((stream, id)));
        seen
    }

    /// Checks balance, order and reach of every node; answers how many there are.
    fn check(tree: &Intervals) -> usize {
        let Some(node) = &tree.0 else { return 0 };
        let [left, right] = &node.sides;
        assert!(left.height().abs_diff(right.height()) <= 1);
        assert_eq!(node.height, 1 + left.height().max(right.height()));
        assert!(left.0.as_ref().is_none_or(|left| left.place() < node.place()));
        assert!(right.0.as_ref().is_none_or(|right| node.place() < right.place()));
        let below = node.sides.iter().filter_map(|side| side.0.as_ref()).map(|side| side.furthest.end());
        assert_eq!(Some(node.furthest.end()), below.chain([node.range.end()]).max());
        check(left) + check(right) + 1
    }

    #[test]
    fn it_finds_what_a_list_finds_whatever_comes_and_goes() {
        for seed in 0..10 {
            let mut numbers = Numbers(seed);
            let mut tree = Intervals::default();
            let mut list: Vec<(KeyRange, StreamId, i64)> = Vec::new();
            for id in 0..400 {
                // It grows, then shrinks.
                if !list.is_empty() && numbers.below(400) < id {
                    let (range, stream, id) = list.swap_remove(numbers.below(list.len() as u64) as usize);
                    assert!(tree.remove(&range, stream, id));
                    assert!(!tree.remove(&range, stream, id));
                } else {
                    let (range, stream) = (numbers.range(), numbers.below(3));
                    tree.insert(Arc::new(range.clone()), stream, id as i64);
                    list.push((range, stream, id as i64));
                }
                assert_eq!(check(&tree), list.len());
                let key = numbers.key();
                list.sort_by(|(a, s, i), (b, t, j)| (a.first(), s, i).cmp(&(b.first(), t, j)));
                let of_key = list.iter().filter(|(range, ..)| range.contains(&key)).map(|(_, s, i)| (*s, *i));
                assert_eq!(visited(&tree, Some(&key)), of_key.collect::<Vec<_>>(), "seed {seed}, key {key:?}");
                assert_eq!(visited(&tree, None), list.iter().map(|(_, s, i)| (*s, *i)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_key_costs_looks_at_its_own_watchers_and_the_way_to_them() {
        const RANGES: i64 = 100_000;
        let mut tree = Intervals::default();
        let folder = |id: i64| KeyRange::new(format!("p/{id:06}/").as_bytes(), format!("p/{id:06}0").as_bytes());
        (0..RANGES).for_each(|id| tree.insert(Arc::new(folder(id)), 1, id));
        assert!(tree.height() <= 24, "1.44 log2(n): {}", tree.height());
        let mut seen = Vec::new();
        let looked = tree.visit(Some(b"p/012345/key"), &mut |_, id| seen.push(id));
        assert_eq!(seen, [12_345]);
        assert!(looked <= 2 * 24, "{looked}");
        (0..RANGES).for_each(|id| assert!(tree.remove(&folder(id), 1, id)));
        assert!(tree.is_empty());
    }
}
