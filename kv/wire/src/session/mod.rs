//! One connection of HTTP/2 as a server sees it (RFC 9113), without the network: bytes that came go in, requests come out; answers go
//! in, bytes to be sent come out.
mod receive;
mod send;
pub(crate) mod stream;

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::{
    Head, Reason,
    frame::{self, flag, kind, setting},
    hpack::{self, encode::Encoder},
};
use receive::Block;
pub(crate) use stream::End;
use stream::{ROOM_KEPT, Receives, Sends, Stream, Streams};

/// What a client may send before it must wait for this side (bytes), for a request and for a connection: a megabyte, so that one
/// large request does not wait for a round trip.
const WINDOW: u32 = 1024 * 1024;

/// What each side may send at first (bytes, section 6.9.2).
const FIRST_WINDOW: i64 = 65_535;

/// Once so much was taken of what came, the client may send as much again (bytes).
const TELL_AT: usize = WINDOW as usize / 2;

/// Bytes of one request's head, as the standard counts them: a token and what clients add to it are far below.
const MAX_HEAD: usize = 16 * 1024;

/// What may wait for the network (bytes). When there is more, answers wait in their streams, and nothing is read.
const OUT_FULL: usize = 64 * 1024;

/// What is kept of the room for waiting bytes when none wait (bytes).
const OUT_KEPT: usize = 4 * 1024;

/// Why something cannot be read or said any more: the other side ended the exchange, or the connection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended(Reason);

impl Ended {
    /// As the other side gave it.
    pub fn reason(self) -> Reason {
        self.0
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the stream was reset: {}", self.0)
    }
}

impl std::error::Error for Ended {}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Requests that a client may have open at a time.
    max_streams: usize,
    streams: Streams,
    /// The connection is over: nothing more is read or said.
    over: bool,
    /// The client was told that this side leaves, behind this stream: what it asks for from then on is passed over, and it knows that.
    leaves_behind: Option<u32>,

    decoder: hpack::Decoder,
    /// The last head and the block that it came in, if that block means the same when it comes again.
    last_head: Option<(Vec<u8>, Arc<Head>)>,
    /// What came of a frame that is not whole.
    rest: Vec<u8>,
    /// A header block that is not whole.
    block: Option<Block>,
    /// Whether the client's first settings have come.
    greeted: bool,
    /// The last stream that the client opened.
    last_id: u32,
    receive_window: i64,
    /// What was taken and the client was not told of (bytes).
    taken: usize,

    encoder: Encoder,
    out: Vec<u8>,
    /// An answer to a ping that may wait for other bytes to go with.
    pong: Option<[u8; 8]>,
    send_window: i64,
    /// What a stream may send at first.
    first_window: i64,
    /// Streams that have something to send, and their numbers: those that ended meanwhile are passed over.
    line: VecDeque<(usize, u32)>,
    /// How often the client changed what a stream may send at first.
    resizes: u32,

    /// Whoever writes to the network, and whether it looks anyway before it sleeps.
    writer: Option<Waker>,
    writer_is_up: bool,
}

impl Session {
    /// A connection whose client may have `max_streams` requests open at a time. Its first bytes go out at once.
    pub(crate) fn new(max_streams: u32) -> Self {
        let mut out = Vec::new();
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, max_streams),
            (setting::INITIAL_WINDOW_SIZE, WINDOW),
            (setting::MAX_HEADER_LIST_SIZE, MAX_HEAD as u32),
        ];
        frame::put_with(&mut out, kind::SETTINGS, 0, 0, |payload| {
            for (setting, value) in settings {
                payload.extend_from_slice(&setting.to_be_bytes());
                payload.extend_from_slice(&value.to_be_bytes());
            }
        });
        frame::put(&mut out, kind::WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW as u32).to_be_bytes());
        Self {
            max_streams: max_streams as usize,
            streams: Streams::default(),
            over: false,
            leaves_behind: None,
            decoder: hpack::Decoder::default(),
            last_head: None,
            rest: Vec::new(),
            block: None,
            greeted: false,
            last_id: 0,
            receive_window: i64::from(WINDOW),
            taken: 0,
            encoder: Encoder::default(),
            out,
            pong: None,
            send_window: FIRST_WINDOW,
            first_window: FIRST_WINDOW,
            line: VecDeque::new(),
            resizes: 0,
            writer: None,
            writer_is_up: true,
        }
    }

    // What the connection's task asks.

    /// Whether there is room for what answers to what is read.
    pub(crate) fn may_read(&self) -> bool {
        self.out.len() < OUT_FULL
    }

    /// The writer is at work until [`Self::sleep`], and looks for output before.
    pub(crate) fn wake_up(&mut self) {
        self.writer_is_up = true;
    }

    /// Whether nothing is to be written now; whoever adds something wakes the writer then.
    pub(crate) fn sleep(&mut self, context: &Context<'_>) -> bool {
        if !self.out.is_empty() {
            return false;
        }
        self.writer_is_up = false;
        if !self.writer.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.writer = Some(context.waker().clone());
        }
        true
    }

    /// Whether an answer to a ping waits for other bytes.
    pub(crate) fn holds_pong(&self) -> bool {
        self.pong.is_some()
    }

    /// The answer to a ping has waited long enough.
    pub(crate) fn release_pong(&mut self) {
        if let Some(ping) = self.pong.take() {
            frame::put(&mut self.out, kind::PING, flag::ACK, 0, &ping);
        }
    }

    /// What is to be written, in exchange for room for more.
    pub(crate) fn take_output(&mut self, empty: Vec<u8>) -> Vec<u8> {
        if !self.out.is_empty() {
            self.release_pong();
        }
        let out = std::mem::replace(&mut self.out, empty);
        self.pump();
        out
    }

    /// Says that the connection ends, and why.
    pub(crate) fn go_away(&mut self, reason: Reason) {
        let mut payload = [0; 8];
        // What was said once is not taken back (section 6.8).
        let last = self.leaves_behind.unwrap_or(self.last_id);
        payload[..4].copy_from_slice(&last.to_be_bytes());
        payload[4..].copy_from_slice(&reason.0.to_be_bytes());
        frame::put(&mut self.out, kind::GOAWAY, 0, 0, &payload);
    }

    /// Tells the client that this side leaves: what it asked is answered, and what it asks from now on it must ask elsewhere.
    pub(crate) fn leave(&mut self) {
        if self.leaves_behind.is_none() && !self.over {
            self.leaves_behind = Some(self.last_id);
            self.go_away(Reason::NO_ERROR);
            self.wake_writer();
        }
    }

    /// Whether this side leaves and owes no answer.
    pub(crate) fn has_left(&self) -> bool {
        self.leaves_behind.is_some() && self.out.is_empty() && !self.streams.iter().any(Stream::is_owed)
    }

    /// The connection is over. Whoever waits for something hears so.
    pub(crate) fn end(&mut self) {
        self.over = true;
        for key in self.streams.open_keys() {
            self.cut(key, Reason::CANCEL);
        }
        self.line.clear();
    }

    // What whoever answers asks.

    /// The head of a request.
    pub(crate) fn head(&self, key: usize) -> &Arc<Head> {
        &self.streams[key].head
    }

    /// Nobody knows when its answer ends.
    pub(crate) fn goes_on(&mut self, key: usize) {
        self.streams[key].is_endless = true;
    }

    /// One more holds on to a stream.
    pub(crate) fn hold(&mut self, key: usize) {
        self.streams[key].handles += 1;
    }

    /// One less holds on to a stream. When it was the last, an answer that has no end yet never will have one.
    pub(crate) fn let_go(&mut self, key: usize) {
        let stream = &mut self.streams[key];
        stream.handles -= 1;
        if stream.handles > 0 {
            return;
        }
        let is_done = stream.reset.is_some() || stream.sends == Sends::Over;
        match &stream.end {
            _ if is_done => self.forget_if_done(key),
            // What is queued still goes out.
            Some(_) => {}
            None => self.reset(key, Reason::CANCEL),
        }
    }

    /// What came of the request's body. None: that was all.
    pub(crate) fn poll_data(&mut self, key: usize, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Ended>>> {
        let stream = &mut self.streams[key];
        if let Some(piece) = stream.received.pop() {
            self.took(key, piece.len());
            return Poll::Ready(Some(Ok(piece)));
        }
        if stream.receives == Receives::Over {
            return Poll::Ready(None);
        }
        if let Some(reason) = stream.reset {
            return Poll::Ready(Some(Err(Ended(reason))));
        }
        remember(&mut stream.receiver, context);
        Poll::Pending
    }

    /// The body, if all of it has come in one piece.
    pub(crate) fn take_whole(&mut self, key: usize) -> Option<Bytes> {
        let stream = &mut self.streams[key];
        if stream.receives != Receives::Over {
            return None;
        }
        let piece = stream.received.pop()?;
        if stream.received.is_empty() {
            self.took(key, piece.len());
            return Some(piece);
        }
        // In pieces: they are put together again by whoever reads them.
        let mut rest = std::mem::take(&mut stream.received);
        stream.received.push(piece);
        while let Some(piece) = rest.pop() {
            stream.received.push(piece);
        }
        None
    }

    /// Whether all of the body was taken.
    pub(crate) fn is_taken(&self, key: usize) -> bool {
        let stream = &self.streams[key];
        stream.receives == Receives::Over && stream.received.is_empty()
    }

    /// Nobody reads the body any further.
    pub(crate) fn discard(&mut self, key: usize) {
        let stream = &mut self.streams[key];
        let unread = stream.received.clear();
        if stream.receives == Receives::More {
            stream.receives = Receives::Unwanted;
        }
        self.took(key, unread);
    }

    /// Ready once the client took its request back, or the connection is over.
    pub(crate) fn poll_reset(&mut self, key: usize, context: &mut Context<'_>) -> Poll<Ended> {
        let stream = &mut self.streams[key];
        match stream.reset {
            Some(reason) => Poll::Ready(Ended(reason)),
            None => {
                remember(&mut stream.sender, context);
                Poll::Pending
            }
        }
    }

    /// Whether the client took its request back, or the connection is over.
    pub(crate) fn is_reset(&self, key: usize) -> bool {
        self.streams[key].reset.is_some()
    }

    // What both sides need.

    /// So much was taken of what came on a stream: the client may send as much again. It is told only now and then.
    fn took(&mut self, key: usize, count: usize) {
        self.took_of_connection(count);
        let stream = &mut self.streams[key];
        if stream.receives == Receives::Over || stream.reset.is_some() {
            return;
        }
        stream.taken += count;
        if stream.taken >= TELL_AT {
            let (id, taken) = (stream.id, std::mem::take(&mut stream.taken));
            stream.receive_window += taken as i64;
            frame::put(&mut self.out, kind::WINDOW_UPDATE, 0, id, &(taken as u32).to_be_bytes());
            self.wake_writer();
        }
    }

    fn took_of_connection(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= TELL_AT {
            let taken = std::mem::take(&mut self.taken);
            self.receive_window += taken as i64;
            frame::put(&mut self.out, kind::WINDOW_UPDATE, 0, 0, &(taken as u32).to_be_bytes());
            self.wake_writer();
        }
    }

    /// Ends a stream without a word to the client.
    fn cut(&mut self, key: usize, reason: Reason) {
        self.streams.close(key);
        let stream = &mut self.streams[key];
        stream.reset = Some(reason);
        stream.queued.clear();
        stream.end = None;
        stream.wake();
        self.forget_if_done(key);
        if self.line.len() > 2 * self.streams.len() + ROOM_KEPT {
            self.line.retain(|(key, id)| self.streams.is(*key, *id));
        }
    }

    /// Forgets a stream on which nothing more happens, and that nobody holds on to.
    fn forget_if_done(&mut self, key: usize) {
        let stream = &self.streams[key];
        let is_done = stream.reset.is_some() || stream.sends == Sends::Over;
        if is_done && stream.handles == 0 {
            let unread = self.streams.remove(key).received.clear();
            self.took_of_connection(unread);
        }
    }

    fn wake_writer(&mut self) {
        if !self.writer_is_up
            && let Some(writer) = &self.writer
        {
            self.writer_is_up = true;
            writer.wake_by_ref();
        }
    }
}

/// Has the task woken that asks.
fn remember(waker: &mut Option<Waker>, context: &Context<'_>) {
    if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
        *waker = Some(context.waker().clone());
    }
}
