//! ttrpc on a stream socket that never blocks: frames in, frames out (containerd/ttrpc, PROTOCOL.md).
//!
//! ```text
//! length of the data, 4 bytes, big endian | stream, 4 bytes | kind, 1 byte | flags, 1 byte | data
//! ```

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

/// Bytes of a frame in front of its data.
const HEADER: usize = 10;

/// Longest data of a frame, in bytes: ttrpc's own bound.
pub(crate) const LONGEST: usize = 4 << 20;

/// How much is read at once, in bytes. Most requests are a few hundred.
const READ: usize = 4096;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call.
    Request,
    /// Its answer.
    Response,
    /// More of a stream: no call of the task service has any.
    Data,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Which call of the connection.
    pub(crate) stream: u32,
    /// What it is.
    pub(crate) kind: Kind,
    /// A message.
    pub(crate) data: Vec<u8>,
}

/// Takes the first whole frame out of what was read.
///
/// # Errors
/// What came is not ttrpc, or a frame is too long.
fn take(inbox: &mut Vec<u8>) -> io::Result<Option<Frame>> {
    let Some(header) = inbox.first_chunk::<HEADER>() else { return Ok(None) };
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, stream) = (number(0) as usize, number(4));
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let kind = match header[8] {
        1 => Kind::Request,
        2 => Kind::Response,
        3 => Kind::Data,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    if inbox.len() < HEADER + length {
        return Ok(None);
    }
    let rest = inbox.split_off(HEADER + length);
    let data = inbox.split_off(HEADER);
    *inbox = rest;
    Ok(Some(Frame { stream, kind, data }))
}

/// Puts a frame behind what is to be written.
fn put(outbox: &mut Vec<u8>, frame: &Frame) {
    outbox.extend((frame.data.len() as u32).to_be_bytes());
    outbox.extend(frame.stream.to_be_bytes());
    outbox.push(match frame.kind {
        Kind::Request => 1,
        Kind::Response => 2,
        Kind::Data => 3,
    });
    outbox.push(0);
    outbox.extend(&frame.data);
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl Connection {
    /// Of a socket that does not block.
    pub(crate) fn new(socket: OwnedFd) -> Connection {
        Connection { socket, inbox: Vec::new(), outbox: Vec::new() }
    }

    /// For poll(2).
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether something waits to be written.
    pub(crate) fn is_full(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The other side is gone, or does not speak ttrpc.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<Frame>> {
        let mut bytes = [0; READ];
        loop {
            match rustix::io::read(&self.socket, &mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.inbox.extend(&bytes[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
            if self.inbox.len() > LONGEST + HEADER + READ {
                break;
            }
        }
        let mut frames = Vec::new();
        while let Some(frame) = take(&mut self.inbox)? {
            frames.push(frame);
        }
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        Ok(frames)
    }

    /// Writes a frame, now or as soon as the other side reads.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn send(&mut self, frame: &Frame) -> io::Result<()> {
        put(&mut self.outbox, frame);
        self.flush()
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The other side is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match rustix::net::send(&self.socket, &self.outbox, SendFlags::NOSIGNAL) {
                Ok(length) => drop(self.outbox.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.outbox = Vec::new();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let frames = [
            Frame { stream: 1, kind: Kind::Request, data: b"hello".to_vec() },
            Frame { stream: 3, kind: Kind::Response, data: Vec::new() },
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| put(&mut bytes, frame));
        let (mut inbox, mut came) = (Vec::new(), Vec::new());
        for byte in bytes {
            inbox.push(byte);
            came.extend(take(&mut inbox).unwrap());
        }
        assert_eq!(came, frames);
        assert!(inbox.is_empty());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut too_long = vec![0xff; HEADER];
        assert!(take(&mut too_long).is_err());
        let mut unknown = vec![0, 0, 0, 0, 0, 0, 0, 1, 9, 0];
        assert!(take(&mut unknown).is_err());
    }

    #[test]
    fn the_end_of_a_connection_is_an_error() {
        let pair = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        );
        let (mine, theirs) = pair.unwrap();
        let (mut mine, mut theirs) = (Connection::new(mine), Connection::new(theirs));
        let frame = Frame { stream: 1, kind: Kind::Request, data: vec![7; 100_000] };
        theirs.send(&frame).unwrap();
        let mut came = mine.receive().unwrap();
        while came.is_empty() {
            theirs.flush().unwrap();
            came = mine.receive().unwrap();
        }
        assert_eq!(came, [frame]);
        drop(theirs);
        assert!(mine.receive().is_err());
    }
}
