//! Builds B+ trees from keys that come in order: leaves first, each branch as soon as it is full. Memory is needed for
//! one node a level.
use super::{BRANCH, ELEMENT, LEAF, PAGE, PAGE_HEADER};

/// Where finished pages go; nodes get their page ids in the order in which they are finished.
pub(super) struct Paper<'a, E> {
    next: u64,
    out: &'a mut dyn FnMut(Vec<u8>) -> Result<(), E>,
}

impl<'a, E> Paper<'a, E> {
    /// Pages go to `out`, each a multiple of [`PAGE`] bytes, numbered from `first` on.
    pub(super) fn new(first: u64, out: &'a mut dyn FnMut(Vec<u8>) -> Result<(), E>) -> Self {
        Self { next: first, out }
    }

    /// The next free page's id: the number of pages so far.
    pub(super) fn pages(&self) -> u64 {
        self.next
    }

    fn write(&mut self, node: &Node) -> Result<u64, E> {
        let id = self.next;
        let page = node.encode(id);
        self.next += (page.len() / PAGE) as u64;
        (self.out)(page)?;
        Ok(id)
    }
}

/// One element of a node.
struct Item {
    key: Vec<u8>,
    what: What,
}

enum What {
    Value { flags: u32, value: Vec<u8> },
    Child(u64),
}

impl Item {
    fn bytes(&self) -> usize {
        let value = match &self.what {
            What::Value { value, .. } => value.len(),
            What::Child(_) => 0,
        };
        ELEMENT + self.key.len() + value
    }
}

/// A leaf or a branch in the making.
struct Node {
    flags: u16,
    items: Vec<Item>,
    bytes: usize,
}

impl Node {
    fn new(flags: u16) -> Self {
        Self { flags, items: Vec::new(), bytes: PAGE_HEADER }
    }

    /// A node with a single large item takes several pages; otherwise one is filled.
    fn has_room_for(&self, item: &Item) -> bool {
        self.items.is_empty() || self.bytes + item.bytes() <= PAGE
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.items.push(item);
    }

    fn encode(&self, id: u64) -> Vec<u8> {
        let pages = self.bytes.div_ceil(PAGE);
        let mut page = Vec::with_capacity(pages * PAGE);
        page.extend_from_slice(&id.to_le_bytes());
        page.extend_from_slice(&self.flags.to_le_bytes());
        page.extend_from_slice(&(self.items.len() as u16).to_le_bytes());
        page.extend_from_slice(&(pages as u32 - 1).to_le_bytes());
        let mut data = PAGE_HEADER + ELEMENT * self.items.len();
        for (at, item) in self.items.iter().enumerate() {
            let pos = (data - PAGE_HEADER - ELEMENT * at) as u32;
            let key_len = item.key.len() as u32;
            match &item.what {
                What::Value { flags, value } => {
                    for word in [*flags, pos, key_len, value.len() as u32] {
                        page.extend_from_slice(&word.to_le_bytes());
                    }
                    data += value.len();
                }
                What::Child(child) => {
                    page.extend_from_slice(&pos.to_le_bytes());
                    page.extend_from_slice(&key_len.to_le_bytes());
                    page.extend_from_slice(&child.to_le_bytes());
                }
            }
            data += item.key.len();
        }
        for item in &self.items {
            page.extend_from_slice(&item.key);
            if let What::Value { value, .. } = &item.what {
                page.extend_from_slice(value);
            }
        }
        page.resize(pages * PAGE, 0);
        page
    }
}

/// A tree in the making.
pub(super) struct Tree {
    leaf: Node,
    /// Branches, the lowest first.
    branches: Vec<Node>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { leaf: Node::new(LEAF), branches: Vec::new() }
    }

    /// Adds a key, which must be above all before it, with its value.
    pub(super) fn push<E>(&mut self, paper: &mut Paper<'_, E>, flags: u32, pair: (Vec<u8>, Vec<u8>)) -> Result<(), E> {
        let item = Item { key: pair.0, what: What::Value { flags, value: pair.1 } };
        debug_assert!(self.leaf.items.last().is_none_or(|last| last.key < item.key), "keys come in order");
        if !self.leaf.has_room_for(&item) {
            let full = std::mem::replace(&mut self.leaf, Node::new(LEAF));
            self.close(paper, full, 0)?;
        }
        self.leaf.push(item);
        Ok(())
    }

    /// Writes a node and enters it into the branch above, of number `above`.
    fn close<E>(&mut self, paper: &mut Paper<'_, E>, node: Node, above: usize) -> Result<(), E> {
        let child = paper.write(&node)?;
        let key = node.items.into_iter().next().map(|item| item.key).unwrap_or_default();
        let item = Item { key, what: What::Child(child) };
        if above == self.branches.len() {
            self.branches.push(Node::new(BRANCH));
        }
        // A branch needs two children to be worth a level.
        if self.branches[above].items.len() >= 2 && !self.branches[above].has_room_for(&item) {
            let full = std::mem::replace(&mut self.branches[above], Node::new(BRANCH));
            self.close(paper, full, above + 1)?;
        }
        self.branches[above].push(item);
        Ok(())
    }

    /// Writes what is left; answers the root's page.
    pub(super) fn finish<E>(mut self, paper: &mut Paper<'_, E>) -> Result<u64, E> {
        if self.branches.is_empty() {
            return paper.write(&self.leaf);
        }
        let leaf = std::mem::replace(&mut self.leaf, Node::new(LEAF));
        self.close(paper, leaf, 0)?;
        let mut level = 0;
        while level + 1 < self.branches.len() {
            let node = std::mem::replace(&mut self.branches[level], Node::new(BRANCH));
            self.close(paper, node, level + 1)?;
            level += 1;
        }
        let root = Node::new(BRANCH);
        paper.write(&std::mem::replace(&mut self.branches[level], root))
    }
}
