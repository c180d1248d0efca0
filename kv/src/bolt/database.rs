//! The store as etcd's database: the same buckets with the same keys and values, as a stream of pages.
//!
//! The file begins with where its root is, which is known at the end only. So the store is gone through twice: once to
//! count pages, once to send them. Both see the same: revisions never change, the rest is copied at the start, and
//! compaction waits meanwhile.
use std::sync::Arc;

use hull_kv_core::{SnapshotCursor, Unreadable};
use hull_kv_proto::hullpb::{LeaseRecord, Member, SnapshotHead};
use prost::Message as _;

use super::{
    BUCKET, FREE_LIST, MAGIC, META, META_BYTES, PAGE, PAGE_HEADER, VERSION, fnv1a,
    tree::{Paper, Tree},
};
use crate::{api::CLUSTER_VERSION, lock::read, shared::Shared};

/// Pages before the first tree: two meta pages and the list of free pages.
const FIRST_NODE: u64 = 3;

/// A lease in etcd's bucket `lease` (`leasepb.Lease`).
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LeaseValue {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    #[prost(int64, tag = "2")]
    pub(crate) ttl: i64,
}

/// Why there is no whole database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Whoever reads it went away.
    Gone,
    /// A snapshot from another member replaced the store meanwhile.
    Replaced,
    /// A value on this member's disk is damaged; the member stops.
    Unreadable,
}

impl From<Unreadable> for Stopped {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// Where the root is, and how many pages there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    root: u64,
    pages: u64,
}

/// A database about to be written.
#[derive(Debug)]
pub struct Database {
    shared: Arc<Shared>,
    head: SnapshotHead,
    leases: Vec<LeaseRecord>,
    /// Stands at the first revision.
    revisions: SnapshotCursor,
    generation: u64,
    shape: Shape,
    /// Compaction waits as long as this lives.
    _hold: Arc<()>,
}

type Out<'a> = &'a mut dyn FnMut(Vec<u8>) -> Result<(), Stopped>;

impl Database {
    /// Takes the store as it is now and finds out how large its file is.
    ///
    /// # Errors
    /// The store became another one.
    pub fn new(shared: Arc<Shared>) -> Result<Self, Stopped> {
        let hold = shared.hold_for_reader();
        let (mut revisions, generation) = {
            let store = read(&shared.store);
            (SnapshotCursor::new(&store)?, shared.generation())
        };
        let (mut head, mut leases) = (SnapshotHead::default(), Vec::new());
        // Head and leases are copies within the cursor, so that where they end is where revisions begin.
        let revisions = loop {
            let here = revisions.clone();
            let Some(part) = revisions.next_part(&read(&shared.store)) else { break here };
            match part.small.head {
                Some(found) => head = found,
                None if part.small.leases.is_empty() => break here,
                None => leases.extend(part.small.leases),
            }
        };
        leases.sort_unstable_by_key(|lease| lease.id.to_be_bytes());
        let shape = Shape { root: 0, pages: 0 };
        let mut database = Self { shared, head, leases, revisions, generation, shape, _hold: hold };
        database.shape = database.nodes(&mut |_| Ok(()))?;
        Ok(database)
    }

    /// Size of the file (bytes).
    pub fn bytes(&self) -> u64 {
        self.shape.pages * PAGE as u64
    }

    /// Sends the file to `out`, page by page. Holds the store's lock for a part of the revisions at a time.
    ///
    /// # Errors
    /// `out`'s, or the store became another one.
    pub fn write(&self, out: Out<'_>) -> Result<(), Stopped> {
        for id in 0..2 {
            out(self.meta(id))?;
        }
        out(page(2, FREE_LIST, &[]))?;
        let shape = self.nodes(out)?;
        debug_assert!(shape == self.shape, "the second time is like the first");
        Ok(())
    }

    /// A meta page; the one with the higher transaction counts.
    fn meta(&self, id: u64) -> Vec<u8> {
        let mut meta = Vec::with_capacity(META_BYTES + 8);
        for word in [MAGIC, VERSION, PAGE as u32, 0] {
            meta.extend_from_slice(&word.to_le_bytes());
        }
        // Root page, its sequence, list of free pages, number of pages, transaction.
        for word in [self.shape.root, 0, 2, self.shape.pages, id] {
            meta.extend_from_slice(&word.to_le_bytes());
        }
        let checksum = fnv1a(&meta);
        meta.extend_from_slice(&checksum.to_le_bytes());
        page(id, META, &meta)
    }

    /// All trees, the root's last.
    fn nodes(&self, out: Out<'_>) -> Result<Shape, Stopped> {
        let mut paper = Paper::new(FIRST_NODE, out);
        let mut root = Tree::new();
        let mut enter = |paper: &mut Paper<'_, Stopped>, name: &str, bucket: u64| {
            let value = [bucket.to_le_bytes(), 0_u64.to_le_bytes()].concat();
            root.push(paper, BUCKET, (name.into(), value))
        };
        // In the order of their names.
        for (name, pairs) in self.small_buckets_before_keys() {
            let bucket = small(&mut paper, pairs)?;
            enter(&mut paper, name, bucket)?;
        }
        let bucket = self.keys(&mut paper)?;
        enter(&mut paper, "key", bucket)?;
        for (name, pairs) in self.small_buckets_after_keys() {
            let bucket = small(&mut paper, pairs)?;
            enter(&mut paper, name, bucket)?;
        }
        let root = root.finish(&mut paper)?;
        Ok(Shape { root, pages: paper.pages() })
    }

    fn small_buckets_before_keys(&self) -> [(&'static str, Pairs); 5] {
        let auth = self.head.auth.clone().unwrap_or_default();
        let alarms = self.head.alarms.iter().map(|alarm| (alarm.encode_to_vec(), Vec::new()));
        let flags = vec![
            (b"authEnabled".to_vec(), vec![u8::from(auth.enabled)]),
            (b"authRevision".to_vec(), auth.revision.to_be_bytes().to_vec()),
        ];
        let roles = auth.roles.iter().map(|role| (role.name.to_vec(), role.encode_to_vec()));
        let users = auth.users.iter().map(|user| (user.name.to_vec(), user.encode_to_vec()));
        [
            ("alarm", sorted(alarms)),
            ("auth", flags),
            ("authRoles", sorted(roles)),
            ("authUsers", sorted(users)),
            ("cluster", vec![(b"clusterVersion".to_vec(), CLUSTER_VERSION.into())]),
        ]
    }

    fn small_buckets_after_keys(&self) -> [(&'static str, Pairs); 4] {
        let lease = |lease: &LeaseRecord| {
            let LeaseRecord { id, ttl_seconds: ttl } = *lease;
            (id.to_be_bytes().to_vec(), LeaseValue { id, ttl }.encode_to_vec())
        };
        let members = self.head.members.iter().map(|member| (id_text(member.id), member_json(member)));
        let removed = self.head.removed.iter().map(|id| (id_text(*id), b"removed".to_vec()));
        let mut meta = vec![(b"consistent_index".to_vec(), self.head.applied_index.to_be_bytes().to_vec())];
        if self.head.compacted > 0 {
            let compacted = revision_key(self.head.compacted, 0, false);
            meta.push((b"finishedCompactRev".to_vec(), compacted.clone()));
            meta.push((b"scheduledCompactRev".to_vec(), compacted));
        }
        meta.push((b"term".to_vec(), self.head.applied_term.to_be_bytes().to_vec()));
        [
            ("lease", self.leases.iter().map(lease).collect()),
            ("members", sorted(members)),
            ("members_removed", sorted(removed)),
            ("meta", meta),
        ]
    }

    /// The bucket of revisions, in their order.
    fn keys(&self, paper: &mut Paper<'_, Stopped>) -> Result<u64, Stopped> {
        let mut tree = Tree::new();
        let mut revisions = self.revisions.clone();
        loop {
            let part = {
                let store = read(&self.shared.store);
                if self.shared.generation() != self.generation {
                    return Err(Stopped::Replaced);
                }
                revisions.next_part(&store).map(|mut part| {
                    part.retain(|key, revision| store.outlives(key, revision, self.head.compacted));
                    part
                })
            };
            let Some(part) = part else { return tree.finish(paper) };
            for record in part.read()?.records {
                let key = revision_key(record.main, record.sub, record.tombstone);
                // etcd keeps of a deletion the key alone.
                let mut pair = record.kv.unwrap_or_default();
                if record.tombstone {
                    pair = hull_kv_proto::mvccpb::KeyValue { key: pair.key, ..Default::default() };
                }
                tree.push(paper, 0, (key, pair.encode_to_vec()))?;
            }
        }
    }
}

/// Keys and values of a bucket, in order.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn sorted(pairs: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Pairs {
    let mut pairs: Pairs = pairs.collect();
    pairs.sort_unstable();
    pairs.dedup_by(|a, b| a.0 == b.0);
    pairs
}

fn small(paper: &mut Paper<'_, Stopped>, pairs: Pairs) -> Result<u64, Stopped> {
    let mut tree = Tree::new();
    pairs.into_iter().try_for_each(|pair| tree.push(paper, 0, pair))?;
    tree.finish(paper)
}

/// A page that is no node.
fn page(id: u64, flags: u16, content: &[u8]) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE);
    page.extend_from_slice(&id.to_le_bytes());
    page.extend_from_slice(&flags.to_le_bytes());
    page.resize(PAGE_HEADER, 0);
    page.extend_from_slice(content);
    page.resize(PAGE, 0);
    page
}

/// A revision as etcd's key: 8 bytes, `_`, 8 bytes, big-endian, and a `t` for a deletion.
fn revision_key(main: i64, sub: i64, tombstone: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(&main.to_be_bytes());
    key.push(b'_');
    key.extend_from_slice(&sub.to_be_bytes());
    if tombstone {
        key.push(b't');
    }
    key
}

fn id_text(id: u64) -> Vec<u8> {
    format!("{id:x}").into_bytes()
}

/// A member as etcd's bucket has it: JSON, with what is empty left out.
fn member_json(member: &Member) -> Vec<u8> {
    let mut json = serde_json::Map::new();
    json.insert("id".into(), member.id.into());
    json.insert("peerURLs".into(), member.peer_urls.clone().into());
    if member.learner {
        json.insert("isLearner".into(), true.into());
    }
    if !member.name.is_empty() {
        json.insert("name".into(), member.name.clone().into());
    }
    if !member.client_urls.is_empty() {
        json.insert("clientURLs".into(), member.client_urls.clone().into());
    }
    serde_json::Value::Object(json).to_string().into_bytes()
}
