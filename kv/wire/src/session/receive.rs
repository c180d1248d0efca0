//! What comes from the client, frame by frame (RFC 9113, section 6).
use std::sync::Arc;

use super::{
    MAX_HEAD, Session, WINDOW,
    stream::{Queue, Receives, Sends, Stream},
};
use crate::{
    Head, Reason,
    frame::{self, FrameHeader, HEADER, MAX_PAYLOAD, MAX_WINDOW, flag, kind, setting, without_padding},
    head::{Flaw, Heading},
    hpack::Decoder,
};

/// Frames that one header block may come in: a head that is as large as it may be needs two.
const MAX_FRAGMENTS: usize = 8;

/// How often a client may change what streams may send at first: those that measure their network do so a dozen times.
const MAX_RESIZES: u32 = 1000;

/// What priorities take in a frame of headers (bytes, section 6.2). Nobody looks at them (section 5.3.2).
const PRIORITY: usize = 5;

/// A header block that is not whole.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    is_last: bool,
    bytes: Vec<u8>,
    fragments: usize,
}

impl Session {
    /// Takes bytes from the network, and adds the keys of new requests to `arrived`; each is held on to once.
    ///
    /// # Errors
    /// The client broke a rule that ends the connection.
    pub(crate) fn receive(&mut self, bytes: &[u8], arrived: &mut Vec<usize>) -> Result<(), Reason> {
        if self.rest.is_empty() {
            let left = self.frames(bytes, arrived)?;
            self.rest.extend_from_slice(left);
        } else {
            let mut joined = std::mem::take(&mut self.rest);
            joined.extend_from_slice(bytes);
            let left = self.frames(&joined, arrived)?.len();
            joined.drain(..joined.len() - left);
            // Most connections have nothing left over, and need no room for it.
            self.rest = if joined.is_empty() { Vec::new() } else { joined };
        }
        self.pump();
        Ok(())
    }

    /// Takes all frames that are whole, and answers what is left.
    fn frames<'a>(&mut self, mut bytes: &'a [u8], arrived: &mut Vec<usize>) -> Result<&'a [u8], Reason> {
        while let Some(header) = bytes.first_chunk::<HEADER>() {
            let header = FrameHeader::read(header);
            if header.length > MAX_PAYLOAD {
                return Err(Reason::FRAME_SIZE_ERROR);
            }
            let Some(payload) = bytes.get(HEADER..HEADER + header.length) else { break };
            self.frame(header, payload, arrived)?;
            bytes = &bytes[HEADER + header.length..];
        }
        Ok(bytes)
    }

    fn frame(&mut self, header: FrameHeader, payload: &[u8], arrived: &mut Vec<usize>) -> Result<(), Reason> {
        // Nothing may come between the parts of a header block (section 4.3), nor ahead of the settings (section 3.4).
        let continues = header.kind == kind::CONTINUATION;
        if self.block.as_ref().is_some_and(|block| !continues || block.stream != header.stream)
            || (!self.greeted && header.kind != kind::SETTINGS)
        {
            return Err(Reason::PROTOCOL_ERROR);
        }
        match header.kind {
            kind::DATA => self.data(header, payload),
            kind::HEADERS => self.headers(header, payload, arrived),
            kind::CONTINUATION => self.continuation(header, payload, arrived),
            kind::PRIORITY => {
                let is_right = header.stream != 0 && payload.len() == PRIORITY;
                if is_right { Ok(()) } else { Err(wrong(header, Reason::FRAME_SIZE_ERROR)) }
            }
            kind::RST_STREAM => self.rst_stream(header, payload),
            kind::SETTINGS => self.settings(header, payload),
            // Only servers push.
            kind::PUSH_PROMISE => Err(Reason::PROTOCOL_ERROR),
            kind::PING => self.ping(header, payload),
            kind::GOAWAY => {
                let is_right = header.stream == 0 && payload.len() >= 8;
                if is_right { Ok(()) } else { Err(Reason::PROTOCOL_ERROR) }
            }
            kind::WINDOW_UPDATE => self.window_update(header, payload),
            // What is not known means nothing (section 4.1).
            _ => Ok(()),
        }
    }

    fn data(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if header.stream == 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let length = payload.len();
        self.receive_window -= length as i64;
        if self.receive_window < 0 {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        let data = without_padding(header, payload)?;
        let Some(key) = self.streams.find(header.stream) else {
            if header.stream > self.last_id {
                return Err(Reason::PROTOCOL_ERROR);
            }
            // It ended here while this was on its way.
            self.took_of_connection(length);
            return Ok(());
        };
        let stream = &mut self.streams[key];
        if stream.receives == Receives::Over {
            self.took_of_connection(length);
            self.reset(key, Reason::STREAM_CLOSED);
            return Ok(());
        }
        stream.receive_window -= length as i64;
        if stream.receive_window < 0 {
            self.took_of_connection(length);
            self.reset(key, Reason::FLOW_CONTROL_ERROR);
            return Ok(());
        }
        let is_last = header.has(flag::END_STREAM);
        if let Some(expected) = &mut stream.expected {
            // The body is as long as its head says (section 8.1.1).
            match expected.checked_sub(data.len() as u64) {
                Some(left) if left == 0 || !is_last => *expected = left,
                _ => {
                    self.took_of_connection(length);
                    self.reset(key, Reason::PROTOCOL_ERROR);
                    return Ok(());
                }
            }
        }
        let is_wanted = stream.receives == Receives::More;
        if is_last {
            stream.receives = Receives::Over;
        }
        if is_wanted {
            stream.received.append(data);
            if let Some(receiver) = stream.receiver.take() {
                receiver.wake();
            }
        }
        let unread = if is_wanted { length - data.len() } else { length };
        if unread > 0 {
            self.took(key, unread);
        }
        Ok(())
    }

    fn headers(&mut self, header: FrameHeader, payload: &[u8], arrived: &mut Vec<usize>) -> Result<(), Reason> {
        // Clients open streams with odd numbers (section 5.1.1).
        if header.stream.is_multiple_of(2) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let mut fragment = without_padding(header, payload)?;
        if header.has(flag::PRIORITY) {
            fragment = fragment.get(PRIORITY..).ok_or(Reason::FRAME_SIZE_ERROR)?;
        }
        let is_last = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.block(header.stream, is_last, fragment, arrived);
        }
        self.block = Some(Block { stream: header.stream, is_last, bytes: fragment.to_vec(), fragments: 1 });
        Ok(())
    }

    fn continuation(&mut self, header: FrameHeader, payload: &[u8], arrived: &mut Vec<usize>) -> Result<(), Reason> {
        let mut block = self.block.take().ok_or(Reason::PROTOCOL_ERROR)?;
        block.bytes.extend_from_slice(payload);
        block.fragments += 1;
        if header.has(flag::END_HEADERS) {
            return self.block(block.stream, block.is_last, &block.bytes, arrived);
        }
        if block.fragments == MAX_FRAGMENTS {
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block.
    fn block(&mut self, id: u32, is_last: bool, block: &[u8], arrived: &mut Vec<usize>) -> Result<(), Reason> {
        if let Some(key) = self.streams.find(id) {
            let flaw = self.heading(block)?.trailers().err();
            let stream = &mut self.streams[key];
            let is_whole = stream.expected.is_none_or(|left| left == 0);
            if stream.receives == Receives::Over {
                self.reset(key, Reason::STREAM_CLOSED);
            } else if flaw.is_some() || !is_last || !is_whole {
                self.reset(key, Reason::PROTOCOL_ERROR);
            } else {
                stream.receives = Receives::Over;
                if let Some(receiver) = stream.receiver.take() {
                    receiver.wake();
                }
            }
            return Ok(());
        }
        if id <= self.last_id {
            // The end of a stream that ended here before. The tables stay in step.
            return self.heading(block).map(drop);
        }
        self.last_id = id;
        let head = match self.head_of(block)? {
            // Not as it says (section 8.1.1).
            Ok(head) if is_last && head.content_length().is_some_and(|length| length > 0) => Err(Flaw::Malformed),
            head => head,
        };
        if self.leaves_behind.is_some() {
            // The client knows that it is not answered (section 6.8).
            return Ok(());
        }
        if self.streams.len() >= self.max_streams {
            self.refuse(id, Reason::REFUSED_STREAM);
            return Ok(());
        }
        match head {
            Ok(head) => {
                let stream = Stream {
                    id,
                    handles: 1,
                    reset: None,
                    receives: if is_last { Receives::Over } else { Receives::More },
                    received: Queue::default(),
                    receive_window: i64::from(WINDOW),
                    taken: 0,
                    expected: head.content_length(),
                    receiver: None,
                    head,
                    sends: Sends::Nothing,
                    is_endless: false,
                    queued: Queue::default(),
                    end: None,
                    send_window: self.first_window,
                    stands_in_line: false,
                    sender: None,
                };
                arrived.push(self.streams.open(stream));
            }
            Err(Flaw::Malformed) => self.refuse(id, Reason::PROTOCOL_ERROR),
            Err(Flaw::TooLarge) => self.refuse_head(id, is_last),
        }
        Ok(())
    }

    /// The head that a block holds.
    fn head_of(&mut self, block: &[u8]) -> Result<Result<Arc<Head>, Flaw>, Reason> {
        if let Some((last, head)) = &self.last_head
            && last == block
        {
            return Ok(Ok(Arc::clone(head)));
        }
        let head = self.heading(block)?.head().map(Arc::new);
        self.last_head = match &head {
            Ok(head) if Decoder::is_lasting(block) => Some((block.to_vec(), Arc::clone(head))),
            _ => None,
        };
        Ok(head)
    }

    fn heading(&mut self, block: &[u8]) -> Result<Heading, Reason> {
        if !Decoder::is_lasting(block) {
            // The tables may change, and with them what a block means.
            self.last_head = None;
        }
        let mut heading = Heading::new(MAX_HEAD);
        self.decoder.decode(block, |field| heading.field(field)).map_err(|_| Reason::COMPRESSION_ERROR)?;
        Ok(heading)
    }

    fn rst_stream(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        let reason = payload.try_into().map(u32::from_be_bytes).map_err(|_| Reason::FRAME_SIZE_ERROR)?;
        match self.streams.find(header.stream) {
            Some(key) => self.cut(key, Reason(reason)),
            // Stream 0, or one that never was.
            None if header.stream == 0 || header.stream > self.last_id => return Err(Reason::PROTOCOL_ERROR),
            None => {}
        }
        Ok(())
    }

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if header.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if header.has(flag::ACK) {
            return match (payload.is_empty(), self.greeted) {
                (true, true) => Ok(()),
                (false, _) => Err(Reason::FRAME_SIZE_ERROR),
                // Not what a connection begins with.
                (true, false) => Err(Reason::PROTOCOL_ERROR),
            };
        }
        let (settings, []) = payload.as_chunks::<6>() else { return Err(Reason::FRAME_SIZE_ERROR) };
        self.greeted = true;
        let mut first_window = self.first_window;
        for [a, b, value @ ..] in settings {
            let (setting, value) = (u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value));
            match setting {
                setting::INITIAL_WINDOW_SIZE => first_window = i64::from(value),
                _ => self.set(setting, value)?,
            }
            if first_window > MAX_WINDOW {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
        }
        // Nothing is sent between two settings of a frame: the last one counts.
        self.resize_windows(first_window)?;
        frame::put(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(())
    }

    fn set(&mut self, setting: u16, value: u32) -> Result<(), Reason> {
        match setting {
            setting::HEADER_TABLE_SIZE => self.encoder.limit(value as usize),
            setting::ENABLE_PUSH if value > 1 => return Err(Reason::PROTOCOL_ERROR),
            // Larger frames than the smallest that everyone takes would gain nothing, and let one stream hold up the others.
            setting::MAX_FRAME_SIZE if !(MAX_PAYLOAD..1 << 24).contains(&(value as usize)) => {
                return Err(Reason::PROTOCOL_ERROR);
            }
            _ => {}
        }
        Ok(())
    }

    /// What streams may send at first is another number now, which counts for those that are open, too (section 6.9.2).
    fn resize_windows(&mut self, first_window: i64) -> Result<(), Reason> {
        let more = first_window - std::mem::replace(&mut self.first_window, first_window);
        if more == 0 {
            return Ok(());
        }
        // It takes a look at each stream: not something to be asked for without end.
        self.resizes += 1;
        if self.resizes > MAX_RESIZES {
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        self.streams.open_keys().into_iter().try_for_each(|key| self.widen(key, more))
    }

    /// The client takes more of a stream now, or less.
    fn widen(&mut self, key: usize, more: i64) -> Result<(), Reason> {
        let stream = &mut self.streams[key];
        stream.send_window += more;
        if stream.send_window > MAX_WINDOW {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        self.line_up(key);
        Ok(())
    }

    fn ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if header.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let ping = payload.try_into().map_err(|_| Reason::FRAME_SIZE_ERROR)?;
        if !header.has(flag::ACK) {
            // One may wait a moment; two may not.
            self.release_pong();
            self.pong = Some(ping);
        }
        Ok(())
    }

    fn window_update(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        let more = payload.try_into().map(u32::from_be_bytes).map_err(|_| Reason::FRAME_SIZE_ERROR)?;
        let more = i64::from(more & 0x7fff_ffff);
        if header.stream == 0 {
            if more == 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
            self.send_window += more;
            return if self.send_window > MAX_WINDOW { Err(Reason::FLOW_CONTROL_ERROR) } else { Ok(()) };
        }
        match self.streams.find(header.stream) {
            Some(key) => {
                let flaw = if more == 0 { Some(Reason::PROTOCOL_ERROR) } else { self.widen(key, more).err() };
                if let Some(reason) = flaw {
                    self.reset(key, reason);
                }
            }
            None if header.stream > self.last_id => return Err(Reason::PROTOCOL_ERROR),
            None => {}
        }
        Ok(())
    }
}

/// What is wrong with a frame that belongs to no stream, or else with its size.
fn wrong(header: FrameHeader, size: Reason) -> Reason {
    if header.stream == 0 { Reason::PROTOCOL_ERROR } else { size }
}
