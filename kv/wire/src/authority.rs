//! Lets old clients in that send a URL as HTTP/2's `:authority`. Clients of etcd 3.4 do so when their endpoint is
//! written with `http://`; Go's server takes it, the HTTP/2 library here refuses the request as malformed.
//!
//! The reader changes `http://` at the start of that header into `httpB33`, which is a valid authority that nobody
//! looks at. In the Huffman code of HPACK (RFC 7541, appendix B) `:` and `B`, `/` and `3` differ in their last bit only,
//! so bits are set where they are: no length changes, and the compression state of both sides stays in step.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A frame's header: length (3 bytes), kind, flags, stream (RFC 9113, section 4.1).
const FRAME_HEADER: usize = 9;

/// Kind of the frame that begins a request's header block.
const HEADERS: u8 = 1;

/// What a connection of HTTP/2 begins with; after it come frames (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `:authority` as a literal that the table learns: the first byte of the field (RFC 7541, section 6.2.1).
const AUTHORITY: u8 = 0x41;

/// Huffman code of `http://`, 41 bits, at the top of six bytes.
const CODED: [u8; 6] = [0b1001_1101, 0b0010_1001, 0b1010_1110, 0b1110_0011, 0b0000_1100, 0b0000_0000];

/// The last bits of `:`, `/` and `/` in it.
const LAST_BITS: [u8; 6] = [0, 0, 0, 0b0000_1000, 0b0010_0000, 0b1000_0000];

/// Where in a connection the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// So many bytes of the preface were seen.
    Preface(usize),
    /// So many bytes of a frame's header were seen.
    Header(usize),
    /// In the payload of a frame.
    Payload,
    /// It is no HTTP/2: nothing is looked at.
    Elsewhere,
}

/// How much of the field was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Name,
    /// The length of the value, and so many bytes of it.
    Value(usize),
}

/// Follows a connection and changes the header where it occurs.
#[derive(Debug)]
struct Follower {
    at: At,
    kind: u8,
    /// Of the frame's header until it is whole, then bytes of payload to come.
    length: usize,
    seen: Seen,
}

impl Default for Follower {
    fn default() -> Self {
        Self { at: At::Preface(0), kind: 0, length: 0, seen: Seen::Nothing }
    }
}

impl Follower {
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Elsewhere => return,
                At::Payload => self.payload(bytes),
                At::Header(0) if bytes.len() >= FRAME_HEADER => self.header(bytes),
                At::Preface(_) | At::Header(_) => {
                    self.byte(bytes[0]);
                    1
                }
            };
            bytes = &mut bytes[taken..];
        }
    }

    /// A frame's header, when it is whole; answers its length.
    fn header(&mut self, bytes: &[u8]) -> usize {
        self.length = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        (self.kind, self.seen) = (bytes[3], Seen::Nothing);
        self.at = if self.length == 0 { At::Header(0) } else { At::Payload };
        FRAME_HEADER
    }

    /// A byte of the preface or of a frame's header.
    fn byte(&mut self, byte: u8) {
        self.at = match self.at {
            At::Preface(seen) if byte != PREFACE[seen] => At::Elsewhere,
            At::Preface(seen) if seen + 1 == PREFACE.len() => At::Header(0),
            At::Preface(seen) => At::Preface(seen + 1),
            At::Header(seen) => {
                match seen {
                    0 => self.length = usize::from(byte),
                    1 | 2 => self.length = self.length << 8 | usize::from(byte),
                    3 => self.kind = byte,
                    _ => {}
                }
                self.seen = Seen::Nothing;
                match seen + 1 {
                    FRAME_HEADER if self.length == 0 => At::Header(0),
                    FRAME_HEADER => At::Payload,
                    seen => At::Header(seen),
                }
            }
            elsewhere => elsewhere,
        };
    }

    /// As much of a frame's payload as there is; answers how much.
    fn payload(&mut self, bytes: &mut [u8]) -> usize {
        let taken = bytes.len().min(self.length);
        if self.kind == HEADERS {
            bytes[..taken].iter_mut().for_each(|byte| self.field(byte));
        }
        self.length -= taken;
        if self.length == 0 {
            self.at = At::Header(0);
        }
        taken
    }

    fn field(&mut self, byte: &mut u8) {
        self.seen = match self.seen {
            Seen::Name if *byte & 0x80 != 0 => Seen::Value(0),
            Seen::Value(at) if matches(*byte, at) => {
                *byte |= LAST_BITS[at];
                if at + 1 == CODED.len() { Seen::Nothing } else { Seen::Value(at + 1) }
            }
            _ if *byte == AUTHORITY => Seen::Name,
            _ => Seen::Nothing,
        };
    }
}

/// Whether a byte is what `http://` has at this place; of the last one a single bit counts.
fn matches(byte: u8, at: usize) -> bool {
    let counts = if at + 1 == CODED.len() { 0x80 } else { 0xff };
    // The bytes are the code's own up to the slashes' ends; what follows the last slash shares its byte.
    byte & counts == CODED[at] & counts
}

/// A connection whose requests may name a URL as their authority.
#[derive(Debug)]
pub struct Tolerant<S> {
    stream: S,
    follower: Follower,
    /// What was read, and is read again.
    again: Bytes,
}

impl<S> Tolerant<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, follower: Follower::default(), again: Bytes::new() }
    }

    /// Has what was read from the start read again, before anything else.
    pub(crate) fn read_again(&mut self, first: Bytes) {
        self.again = first;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tolerant<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let length = self.again.len().min(to.remaining());
            to.put_slice(&self.again.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = to.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, to);
        if let Poll::Ready(Ok(())) = read {
            self.follower.pass(&mut to.filled_mut()[before..]);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tolerant<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `http://` and then `1`, whose code is 00001, coded.
    const VALUE: [u8; 6] = [0x9d, 0x29, 0xae, 0xe3, 0x0c, 0x07];

    fn request(value: &[u8]) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 0, value.len() as u8 + 3, HEADERS, 4, 0, 0, 0, 1, 0x83, AUTHORITY]);
        bytes.push(0x80 | value.len() as u8);
        bytes.extend_from_slice(value);
        bytes
    }

    #[test]
    fn a_url_becomes_an_authority_however_the_bytes_are_cut() {
        let before = request(&VALUE);
        for cut in 0..before.len() {
            let mut after = before.clone();
            let mut follower = Follower::default();
            let (first, second) = after.split_at_mut(cut);
            follower.pass(first);
            follower.pass(second);
            assert_eq!(after[..before.len() - 6], before[..before.len() - 6]);
            assert_eq!(after[before.len() - 6..], [0x9d, 0x29, 0xae, 0xeb, 0x2c, 0x87], "cut at {cut}");
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        let plain = request(b"\x9d\x29\xae\xff\x00\x00");
        let mut data = request(&VALUE);
        data[PREFACE.len() + FRAME_HEADER + 3] = 0;
        let mut http1 = b"GET / HTTP/1.1\r\nHost: \x41\x86".to_vec();
        http1.extend_from_slice(&VALUE);
        for before in [plain, data, http1] {
            let mut after = before.clone();
            Follower::default().pass(&mut after);
            assert_eq!(after, before);
        }
    }
}
