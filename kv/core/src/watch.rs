//! Watches: a registry that only remembers who has something to read, and watchers that read from the history.
//!
//! Nothing is queued for a watcher. It has a cursor; the registry marks it when a key of its range changes; it then
//! reads from its cursor on, as much at a time as its caller wants. So a slow watcher costs no memory, loses nothing,
//! sees nothing twice or out of order, and holds up nobody.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use hull_kv_proto::mvccpb::{Event, event::EventType};

use crate::{
    interval::Intervals,
    keyrange::KeyRange,
    record::{Change, Record, Revision},
    store::Store,
    value::Unreadable,
};

/// A watch stream's number, chosen by the caller.
pub type StreamId = u64;

/// Which changes a watcher does not want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// No puts.
    NoPut,
    /// No deletions.
    NoDelete,
}

/// What a new watcher wants.
#[derive(Debug, Clone)]
pub struct WatchSpec {
    /// Keys.
    pub range: KeyRange,
    /// First revision wanted; 0: from the next one on.
    pub start_revision: i64,
    /// Changes not wanted.
    pub filters: Vec<Filter>,
    /// What the key was before each event.
    pub previous: Previous,
}

/// Whether an event carries what its key was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// It does, unless compaction removed it.
    Include,
    /// It does not.
    Omit,
}

/// Why a watcher was not created; the messages are etcd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchRefused {
    /// The stream has a watcher of this number.
    DuplicateId,
    /// No key can lie in the range.
    EmptyRange,
}

impl WatchRefused {
    /// etcd's `cancel_reason`.
    pub fn message(self) -> &'static str {
        match self {
            Self::DuplicateId => "mvcc: duplicate watch ID provided on the WatchStream",
            Self::EmptyRange => "mvcc: watcher range is empty",
        }
    }
}

/// A cursor over the history. Its owner keeps it; the registry knows only its range.
#[derive(Debug)]
pub struct Watcher {
    range: Arc<KeyRange>,
    next: i64,
    filters: Vec<Filter>,
    previous: Previous,
}

/// What a read gave.
#[derive(Debug, PartialEq)]
pub enum Pull {
    /// Everything up to this revision was read.
    Idle(i64),
    /// Some events.
    Events(Events),
    /// The cursor's revision is gone; the watcher must end. Carries the compacted revision.
    Compacted(i64),
    /// A value outside memory cannot be read: the member stops. The cursor is where it was.
    Unreadable,
}

/// Events in order; those of one revision are never split over two reads.
#[derive(Debug, PartialEq)]
pub struct Events {
    /// The events.
    pub events: Vec<Event>,
    /// Everything of interest up to this revision was read.
    pub revision: i64,
    /// Whether more is there already.
    pub rest: Rest,
}

/// Whether a read reached the current revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It did.
    None,
    /// It did not: read again.
    Some,
}

/// Who watches what, and who has something to read.
///
/// Registering and unregistering take O(log n), and so does a change for each watcher of its key; it looks at no others.
#[derive(Debug, Default)]
pub struct WatchHub {
    watchers: Intervals,
    /// Registered watchers.
    registered: usize,
    /// For each stream its marked watchers, with the first revision that concerns them.
    marked: HashMap<StreamId, BTreeMap<i64, i64>>,
    /// Streams that got their first mark since [`WatchHub::take_woken`].
    woken: Vec<StreamId>,
}

impl WatchHub {
    /// Registers watcher `id` of `stream`.
    fn register(&mut self, stream: StreamId, id: i64, range: Arc<KeyRange>) {
        self.watchers.insert(range, stream, id);
        self.registered += 1;
    }

    /// Forgets watcher `id` of `stream`.
    pub fn unregister(&mut self, stream: StreamId, id: i64, watcher: &Watcher) {
        if self.watchers.remove(&watcher.range, stream, id) {
            self.registered -= 1;
        }
        if let Some(marks) = self.marked.get_mut(&stream) {
            marks.remove(&id);
        }
    }

    /// A key changed at `revision`.
    pub(crate) fn mark(&mut self, key: &[u8], revision: i64) {
        self.mark_watchers(Some(key), revision);
    }

    /// Any key may have changed since `revision`: more was taken in than single changes.
    pub(crate) fn mark_all(&mut self, revision: i64) {
        self.mark_watchers(None, revision);
    }

    fn mark_watchers(&mut self, key: Option<&[u8]>, revision: i64) {
        let Self { watchers, marked, woken, .. } = self;
        watchers.visit(key, &mut |stream, id| {
            let marks = marked.entry(stream).or_default();
            if marks.is_empty() {
                woken.push(stream);
            }
            marks.entry(id).or_insert(revision);
        });
    }

    /// The marked watchers of a stream with the first revision that concerns them; their marks are gone then.
    pub fn take_marked(&mut self, stream: StreamId) -> BTreeMap<i64, i64> {
        self.marked.get_mut(&stream).map(std::mem::take).unwrap_or_default()
    }

    /// Streams that have something to read since the last call. A stream can be named twice.
    pub fn take_woken(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.woken)
    }

    /// Forgets a stream; its watchers must be unregistered.
    pub fn close(&mut self, stream: StreamId) {
        self.marked.remove(&stream);
    }

    /// Number of registered watchers.
    pub fn len(&self) -> usize {
        self.registered
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }
}

impl Store {
    /// Creates watcher `id` of `stream`. The caller reads it first with the start revision as its mark.
    ///
    /// # Errors
    /// The range is empty.
    pub fn watch(&mut self, stream: StreamId, id: i64, spec: WatchSpec) -> Result<Watcher, WatchRefused> {
        if spec.range.is_empty() {
            return Err(WatchRefused::EmptyRange);
        }
        let range = Arc::new(spec.range);
        self.hub.register(stream, id, Arc::clone(&range));
        // Before the first revision there is nothing; etcd calls it compacted as soon as anything is.
        let next = if spec.start_revision == 0 { self.revision + 1 } else { spec.start_revision.max(1) };
        Ok(Watcher { range, next, filters: spec.filters, previous: spec.previous })
    }

    /// Reads on from a watcher's cursor: at most `max_records` changes are looked at and about `max_bytes` of events
    /// answered, whole revisions only. `from` is the watcher's mark: nothing before it concerns the watcher.
    pub fn pull(&self, watcher: &mut Watcher, from: i64, max_records: usize, max_bytes: usize) -> Pull {
        watcher.next = watcher.next.max(from);
        if watcher.next > self.revision {
            return Pull::Idle(self.revision);
        }
        if watcher.next < self.compacted {
            return Pull::Compacted(self.compacted);
        }
        self.pull_events(watcher, max_records, max_bytes).unwrap_or(Pull::Unreadable)
    }

    fn pull_events(&self, watcher: &mut Watcher, max_records: usize, max_bytes: usize) -> Result<Pull, Unreadable> {
        self.check_whole()?;
        let mut events = Vec::new();
        let (mut looked, mut bytes) = (0, 0);
        let mut rest = Rest::None;
        let mut last = watcher.next - 1;
        for record in self.changes_of(watcher) {
            if record.rev.main != last && (looked >= max_records || bytes >= max_bytes) {
                rest = Rest::Some;
                break;
            }
            last = record.rev.main;
            looked += 1;
            if watcher.range.contains(&record.key) && watcher.wants(&record) {
                bytes += record.bytes() as usize;
                events.push(self.event(&record, watcher.previous)?);
            }
        }
        let revision = if rest == Rest::None { self.revision } else { last };
        watcher.next = revision + 1;
        if events.is_empty() && rest == Rest::None {
            return Ok(Pull::Idle(revision));
        }
        Ok(Pull::Events(Events { events, revision, rest }))
    }

    /// Changes from a watcher's cursor on: of its one key by the index, otherwise all.
    fn changes_of<'a>(&'a self, watcher: &'a Watcher) -> Box<dyn Iterator<Item = Record> + 'a> {
        match &*watcher.range {
            KeyRange::Single(key) => Box::new(
                self.index.steps_since(key, watcher.next).iter().filter_map(|step| self.history.get(step.rev())),
            ),
            _ => Box::new(self.history.since(Revision { main: watcher.next, sub: 0 })),
        }
    }

    fn event(&self, record: &Record, previous: Previous) -> Result<Event, Unreadable> {
        let kind = match record.change {
            Change::Put => EventType::Put,
            Change::Tombstone => EventType::Delete,
        };
        let before = record.rev.main - 1;
        let prev_kv = (previous == Previous::Include && record.create != record.rev.main && before >= self.compacted)
            .then(|| self.lookup(&record.key, before))
            .flatten();
        let prev_kv = prev_kv.map(|old| old.to_kv(&**self.values())).transpose()?;
        Ok(Event { r#type: kind.into(), kv: Some(record.to_kv(&**self.values())?), prev_kv })
    }
}

impl Watcher {
    fn wants(&self, record: &Record) -> bool {
        let unwanted = match record.change {
            Change::Put => Filter::NoPut,
            Change::Tombstone => Filter::NoDelete,
        };
        !self.filters.contains(&unwanted)
    }

    /// The first revision that was not read yet.
    pub fn next_revision(&self) -> i64 {
        self.next
    }
}
