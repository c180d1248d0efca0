//! The streams of a connection: one request and its answer each.
use std::{collections::VecDeque, sync::Arc, task::Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::{Head, Reason};

/// A piece that is shorter goes together with those behind it (bytes): each piece costs room beside its own.
const SHORT: usize = 1024;

/// Bytes that wait, in pieces none of which is empty. The first piece, which mostly is the only one, needs no further allocation.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    first: Bytes,
    rest: VecDeque<Bytes>,
    /// Short pieces behind them, which become one.
    tail: BytesMut,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Adds a piece.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
            return;
        }
        self.close_tail();
        if !piece.is_empty() {
            self.rest.push_back(piece);
        }
    }

    /// Adds bytes, a copy of which is kept.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if self.first.is_empty() || bytes.len() >= SHORT {
            return self.push(Bytes::copy_from_slice(bytes));
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() >= SHORT {
            self.close_tail();
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.rest.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// Takes the first piece.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.first.is_empty() {
            return None;
        }
        let next = self.next();
        Some(std::mem::replace(&mut self.first, next))
    }

    /// The piece behind the first one; empty if there is none.
    fn next(&mut self) -> Bytes {
        match self.rest.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => Bytes::new(),
            None => std::mem::take(&mut self.tail).freeze(),
        }
    }

    /// The first piece; empty if there is none.
    pub(crate) fn front(&self) -> &[u8] {
        &self.first
    }

    /// Takes so many bytes off the first piece.
    pub(crate) fn advance(&mut self, count: usize) {
        self.first.advance(count);
        if self.first.is_empty() {
            self.first = self.next();
        }
    }

    /// Forgets everything and says how much it was (bytes).
    pub(crate) fn clear(&mut self) -> usize {
        let length = self.first.len() + self.rest.iter().map(Bytes::len).sum::<usize>() + self.tail.len();
        *self = Self::default();
        length
    }
}

/// How an answer ends.
#[derive(Debug)]
pub(crate) enum End {
    /// With its last byte.
    Data,
    /// With the trailers of a call that went well.
    Well,
    /// With these trailers.
    Trailers(HeaderMap),
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sends {
    /// Nothing of it went out.
    Nothing,
    /// Its head did.
    Body,
    /// All of it did.
    Over,
}

/// Whether the request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receives {
    /// More may come.
    More,
    /// More may come, which nobody wants.
    Unwanted,
    /// Its end has come.
    Over,
}

/// A request and its answer.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) head: Arc<Head>,
    /// Those who may ask or say something about it.
    pub(crate) handles: usize,
    /// Why it ended before its time.
    pub(crate) reset: Option<Reason>,

    pub(crate) receives: Receives,
    /// What came and was not taken yet.
    pub(crate) received: Queue,
    /// What more the client may send now (bytes).
    pub(crate) receive_window: i64,
    /// What was taken and the client was not told of (bytes).
    pub(crate) taken: usize,
    /// What more its head says is to come (bytes).
    pub(crate) expected: Option<u64>,
    pub(crate) receiver: Option<Waker>,

    pub(crate) sends: Sends,
    /// The answer goes on until the client or somebody here ends it.
    pub(crate) is_endless: bool,
    /// What waits for the client's permission, or for the network.
    pub(crate) queued: Queue,
    /// What comes behind it.
    pub(crate) end: Option<End>,
    /// What more the client takes now (bytes).
    pub(crate) send_window: i64,
    /// It stands in the line of those that may send.
    pub(crate) stands_in_line: bool,
    pub(crate) sender: Option<Waker>,
}

impl Stream {
    /// Whether an answer is to come or on its way, also to a request that is still coming: most likely its body is right behind its
    /// head. One that goes on until somebody ends it is not waited for.
    pub(crate) fn is_owed(&self) -> bool {
        self.sends != Sends::Over && !self.is_endless && self.reset.is_none()
    }

    /// Wakes whoever waits for it.
    pub(crate) fn wake(&mut self) {
        for waker in [self.receiver.take(), self.sender.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// Room for so many streams is kept on a connection that has none.
pub(crate) const ROOM_KEPT: usize = 64;

/// All streams that are open or that somebody still holds on to.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    all: Slab<Stream>,
    /// Those that are open, by their numbers.
    open: FxHashMap<u32, usize>,
    /// The one that was looked up last.
    last: Option<(u32, usize)>,
}

impl Streams {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.all.iter().map(|(_, stream)| stream)
    }

    /// The open stream with this number.
    pub(crate) fn find(&mut self, id: u32) -> Option<usize> {
        match self.last {
            Some((last, key)) if last == id => Some(key),
            _ => {
                let key = self.open.get(&id).copied()?;
                self.last = Some((id, key));
                Some(key)
            }
        }
    }

    /// Opens a stream.
    pub(crate) fn open(&mut self, stream: Stream) -> usize {
        let id = stream.id;
        let key = self.all.insert(stream);
        self.open.insert(id, key);
        self.last = Some((id, key));
        key
    }

    /// Nothing more comes or goes on it.
    pub(crate) fn close(&mut self, key: usize) {
        let id = self.all[key].id;
        self.open.remove(&id);
        if self.last.is_some_and(|(last, _)| last == id) {
            self.last = None;
        }
    }

    /// Forgets a stream that is closed. Room for many is given back when none is left.
    pub(crate) fn remove(&mut self, key: usize) -> Stream {
        let stream = self.all.remove(key);
        if self.all.is_empty() && self.all.capacity() > ROOM_KEPT {
            *self = Self::default();
        }
        stream
    }

    /// Whether this is still the stream with this number.
    pub(crate) fn is(&self, key: usize, id: u32) -> bool {
        self.all.get(key).is_some_and(|stream| stream.id == id)
    }

    /// The keys of those that are open.
    pub(crate) fn open_keys(&self) -> Vec<usize> {
        self.open.values().copied().collect()
    }
}

impl std::ops::Index<usize> for Streams {
    type Output = Stream;

    fn index(&self, key: usize) -> &Stream {
        &self.all[key]
    }
}

impl std::ops::IndexMut<usize> for Streams {
    fn index_mut(&mut self, key: usize) -> &mut Stream {
        &mut self.all[key]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_its_pieces_back_in_order() {
        let mut queue = Queue::default();
        assert_eq!(queue.pop(), None);
        for piece in ["ab", "", "c", "def"] {
            queue.push(Bytes::from_static(piece.as_bytes()));
        }
        queue.advance(1);
        assert_eq!(queue.front(), b"b");
        queue.advance(1);
        assert_eq!(queue.pop().as_deref(), Some(&b"c"[..]));
        assert_eq!((queue.clear(), queue.is_empty()), (3, true));
    }

    #[test]
    fn short_pieces_become_few_and_stay_in_order() {
        let (mut queue, mut all) = (Queue::default(), Vec::new());
        for length in (0..3000).map(|at| at % 7).chain([SHORT, 1, 2, SHORT - 1, 3]) {
            let piece: Vec<u8> = (0..length).map(|at| (all.len() + at) as u8).collect();
            queue.append(&piece);
            all.extend_from_slice(&piece);
        }
        assert!(queue.rest.len() < all.len() / SHORT + 4, "{} pieces of {} bytes", queue.rest.len(), all.len());
        let mut came = Vec::new();
        while let Some(piece) = queue.pop() {
            came.extend_from_slice(&piece);
        }
        assert_eq!((came == all, queue.clear()), (true, 0));
    }
}
