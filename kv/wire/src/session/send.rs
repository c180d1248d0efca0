//! What goes to the client: answers, as far as it lets them through.
use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{
    End, Ended, OUT_FULL, OUT_KEPT, Session, remember,
    stream::{ROOM_KEPT, Receives, Sends},
};
use crate::{
    Reason,
    frame::{self, HEADER, MAX_PAYLOAD, flag, kind},
    hpack::encode::{Common, Encoder},
};

impl Session {
    /// Sends a whole answer of gRPC: a message, and that all is well.
    ///
    /// # Errors
    /// The client took its request back, or the connection is over.
    pub(crate) fn message(&mut self, key: usize, message: Bytes) -> Result<(), Ended> {
        self.begin(key, None)?;
        let stream = &mut self.streams[key];
        let length = message.len();
        let has_room = stream.send_window >= length as i64 && self.send_window >= length as i64;
        if (has_room || length == 0) && length <= MAX_PAYLOAD && self.out.len() + length < OUT_FULL {
            // Nothing waits ahead of it: its head just went out.
            stream.send_window -= length as i64;
            self.send_window -= length as i64;
            frame::put(&mut self.out, kind::DATA, 0, stream.id, &message);
            self.finish(key, End::Well);
        } else {
            stream.queued.push(message);
            stream.end = Some(End::Well);
            self.line_up(key);
            self.pump();
        }
        self.wake_writer();
        Ok(())
    }

    /// Sends an answer that is a head only.
    ///
    /// # Errors
    /// The client took its request back, or the connection is over.
    pub(crate) fn empty(&mut self, key: usize, head: &Response<()>) -> Result<(), Ended> {
        self.is_alive(key)?;
        let id = self.streams[key].id;
        put_head(&mut self.out, &mut self.encoder, id, flag::END_STREAM, Some(head));
        self.over(key);
        self.wake_writer();
        Ok(())
    }

    /// Sends the head of an answer that goes on; none: that of an answer of gRPC.
    ///
    /// # Errors
    /// The client took its request back, or the connection is over.
    pub(crate) fn begin(&mut self, key: usize, head: Option<&Response<()>>) -> Result<(), Ended> {
        self.is_alive(key)?;
        let stream = &mut self.streams[key];
        stream.sends = Sends::Body;
        put_head(&mut self.out, &mut self.encoder, stream.id, 0, head);
        self.wake_writer();
        Ok(())
    }

    /// Sends more of an answer, or has it wait.
    ///
    /// # Errors
    /// The client took its request back, or the connection is over.
    pub(crate) fn send(&mut self, key: usize, data: Bytes) -> Result<(), Ended> {
        self.is_alive(key)?;
        self.streams[key].queued.push(data);
        self.line_up(key);
        self.pump();
        self.wake_writer();
        Ok(())
    }

    /// Ready once nothing waits any more of what was to be sent.
    pub(crate) fn poll_sent(&mut self, key: usize, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let stream = &mut self.streams[key];
        if let Some(reason) = stream.reset {
            return Poll::Ready(Err(Ended(reason)));
        }
        if stream.queued.is_empty() {
            return Poll::Ready(Ok(()));
        }
        remember(&mut stream.sender, context);
        Poll::Pending
    }

    /// Ends an answer behind what still waits.
    ///
    /// # Errors
    /// The client took its request back, or the connection is over.
    pub(crate) fn end_with(&mut self, key: usize, end: End) -> Result<(), Ended> {
        self.is_alive(key)?;
        let stream = &mut self.streams[key];
        if stream.queued.is_empty() {
            self.finish(key, end);
        } else {
            stream.end = Some(end);
        }
        self.wake_writer();
        Ok(())
    }

    /// Ends a stream before its time, and says so.
    pub(crate) fn reset(&mut self, key: usize, reason: Reason) {
        let id = self.streams[key].id;
        if self.streams[key].reset.is_none() && !self.over {
            self.refuse(id, reason);
            self.cut(key, reason);
        }
    }

    /// Says that a stream has ended.
    pub(super) fn refuse(&mut self, id: u32, reason: Reason) {
        frame::put(&mut self.out, kind::RST_STREAM, 0, id, &reason.0.to_be_bytes());
        self.wake_writer();
    }

    /// Says that a request's head is larger than any may be (RFC 6585, section 5).
    pub(super) fn refuse_head(&mut self, id: u32, is_last: bool) {
        let mut head = Response::new(());
        *head.status_mut() = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        put_head(&mut self.out, &mut self.encoder, id, flag::END_STREAM, Some(&head));
        if !is_last {
            self.refuse(id, Reason::NO_ERROR);
        }
    }

    fn is_alive(&self, key: usize) -> Result<(), Ended> {
        match self.streams[key].reset {
            Some(reason) => Err(Ended(reason)),
            None if self.over => Err(Ended(Reason::CANCEL)),
            None => Ok(()),
        }
    }

    /// Says the end of an answer of which nothing waits.
    fn finish(&mut self, key: usize, end: End) {
        let id = self.streams[key].id;
        match end {
            End::Data => frame::put(&mut self.out, kind::DATA, flag::END_STREAM, id, &[]),
            End::Well => {
                let encoder = &mut self.encoder;
                frame::put_with(&mut self.out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, |block| {
                    encoder.begin(block);
                    encoder.common(Common::Well, block);
                });
            }
            End::Trailers(trailers) => {
                let encoder = &mut self.encoder;
                put_block(&mut self.out, flag::END_STREAM, id, |block| {
                    encoder.begin(block);
                    put_fields(encoder, &trailers, block);
                });
            }
        }
        self.over(key);
    }

    /// All of an answer went out. What the client still has to say is not wanted (section 8.1).
    fn over(&mut self, key: usize) {
        let stream = &mut self.streams[key];
        let (id, receives) = (stream.id, stream.receives);
        stream.sends = Sends::Over;
        self.streams.close(key);
        if receives != Receives::Over {
            self.refuse(id, Reason::NO_ERROR);
            // Whoever reads on learns that nothing comes.
            let stream = &mut self.streams[key];
            stream.reset = Some(Reason::NO_ERROR);
            stream.wake();
        }
        self.forget_if_done(key);
    }

    /// Has a stream stand in line if it has something that the client takes now.
    pub(super) fn line_up(&mut self, key: usize) {
        let stream = &mut self.streams[key];
        if !stream.stands_in_line && !stream.queued.is_empty() && stream.send_window > 0 {
            stream.stands_in_line = true;
            self.line.push_back((key, stream.id));
        }
    }

    /// Sends what may be sent, a frame of each stream in turn.
    pub(super) fn pump(&mut self) {
        while self.send_window > 0 && self.out.len() < OUT_FULL {
            let Some((key, id)) = self.line.pop_front() else {
                if self.line.capacity() > ROOM_KEPT {
                    self.line = VecDeque::new();
                }
                return;
            };
            if !self.streams.is(key, id) || self.streams[key].reset.is_some() {
                continue;
            }
            let stream = &mut self.streams[key];
            stream.stands_in_line = false;
            let most = MAX_PAYLOAD.min(stream.send_window.min(self.send_window).max(0) as usize);
            if most == 0 {
                // The client has changed its mind; it lines up again when it may send.
                continue;
            }
            let piece = stream.queued.front();
            let length = piece.len().min(most);
            frame::put(&mut self.out, kind::DATA, 0, stream.id, &piece[..length]);
            stream.queued.advance(length);
            stream.send_window -= length as i64;
            self.send_window -= length as i64;
            if !stream.queued.is_empty() {
                self.line_up(key);
            } else if let Some(end) = stream.end.take() {
                self.finish(key, end);
            } else if let Some(sender) = stream.sender.take() {
                sender.wake();
            }
        }
    }

    /// What was written, to be filled again. Room that was needed once is given back.
    pub(crate) fn reuse(mut written: Vec<u8>) -> Vec<u8> {
        written.clear();
        written.shrink_to(OUT_KEPT);
        written
    }
}

/// Appends the head of an answer; none: that of an answer of gRPC.
fn put_head(out: &mut Vec<u8>, encoder: &mut Encoder, id: u32, flags: u8, head: Option<&Response<()>>) {
    let Some(head) = head else {
        return frame::put_with(out, kind::HEADERS, flags | flag::END_HEADERS, id, |block| {
            encoder.begin(block);
            encoder.status(200, block);
            encoder.common(Common::Grpc, block);
        });
    };
    put_block(out, flags, id, |block| {
        encoder.begin(block);
        encoder.status(head.status().as_u16(), block);
        put_fields(encoder, head.headers(), block);
    });
}

fn put_fields(encoder: &mut Encoder, fields: &HeaderMap, block: &mut Vec<u8>) {
    for (name, value) in fields {
        encoder.field(name.as_str(), value.as_bytes(), block);
    }
}

/// Appends a header block of any size: what does not fit into its first frame follows in others (section 6.10).
fn put_block(out: &mut Vec<u8>, flags: u8, id: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    frame::put_with(out, kind::HEADERS, flags | flag::END_HEADERS, id, write);
    if out.len() - at - HEADER <= MAX_PAYLOAD {
        return;
    }
    let block = out.split_off(at + HEADER);
    out.truncate(at);
    let mut fragments = block.chunks(MAX_PAYLOAD).peekable();
    let mut kind = (kind::HEADERS, flags);
    while let Some(fragment) = fragments.next() {
        let last = if fragments.peek().is_none() { flag::END_HEADERS } else { 0 };
        frame::put(out, kind.0, kind.1 | last, id, fragment);
        kind = (kind::CONTINUATION, 0);
    }
}
