//! Frames of HTTP/2 (RFC 9113, sections 4 and 6): their headers, and those that this side sends.
use std::fmt;

/// What a client's side of a connection begins with; after it come frames (section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's header: length (3 bytes), kind, flags, stream (section 4.1).
pub(crate) const HEADER: usize = 9;

/// The largest payload that is taken, and that is sent to whoever does not ask for more (bytes, section 4.2).
pub(crate) const MAX_PAYLOAD: usize = 16_384;

/// What a window may grow to (bytes, section 6.9.1).
pub(crate) const MAX_WINDOW: i64 = (1 << 31) - 1;

/// Kinds of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Settings (section 6.5.2).
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Why a stream or a connection ends (section 7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub(crate) u32);

impl Reason {
    /// Nothing went wrong.
    pub const NO_ERROR: Self = Self(0);
    /// The other side broke the rules.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// This side cannot go on.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More was sent than there was room for.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame for a stream that ended.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame of a length that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nothing was done about the request.
    pub const REFUSED_STREAM: Self = Self(7);
    /// Whoever asked wants no answer.
    pub const CANCEL: Self = Self(8);
    /// A header block that cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The other side makes more work than it should.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);

    /// Its name in the standard.
    fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Of the payload (bytes).
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHeader {
    /// Reads a header.
    pub(crate) fn read(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        // The uppermost bit of the stream is reserved and means nothing.
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Self { length: u32::from_be_bytes([0, a, b, c]) as usize, kind, flags, stream }
    }

    /// Whether a flag is set.
    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame's header. No payload here is longer than 24 bits can say.
pub(crate) fn put_header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [e, f, g, h] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, e, f, g, h]);
}

/// Appends a frame whose payload is known.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_header(out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
}

/// Appends a frame whose payload is written by `block`; its length is filled in afterwards.
pub(crate) fn put_with(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, block: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    put_header(out, 0, kind, flags, stream);
    block(out);
    let [_, a, b, c] = ((out.len() - at - HEADER) as u32).to_be_bytes();
    out[at..at + 3].copy_from_slice(&[a, b, c]);
}

/// The payload without its padding (section 6.1).
///
/// # Errors
/// There is more padding than payload.
pub(crate) fn without_padding(header: FrameHeader, payload: &[u8]) -> Result<&[u8], Reason> {
    if !header.has(flag::PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(Reason::FRAME_SIZE_ERROR)?;
    let length = rest.len().checked_sub(usize::from(*padding)).ok_or(Reason::PROTOCOL_ERROR)?;
    Ok(&rest[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let mut out = Vec::new();
        put_with(&mut out, kind::HEADERS, flag::END_HEADERS, 7, |block| block.extend_from_slice(&[1; 300]));
        let header = FrameHeader::read(out.first_chunk().expect("a header"));
        assert_eq!(header, FrameHeader { length: 300, kind: kind::HEADERS, flags: flag::END_HEADERS, stream: 7 });
        assert_eq!(FrameHeader::read(&[0, 0, 0, 4, 1, 0x80, 0, 0, 1]).stream, 1, "the reserved bit");
    }

    #[test]
    fn padding_is_taken_off_and_may_not_be_longer_than_its_frame() {
        let header = FrameHeader { length: 0, kind: kind::DATA, flags: flag::PADDED, stream: 1 };
        assert_eq!(without_padding(header, &[2, 7, 8, 0, 0]), Ok(&[7, 8][..]));
        assert_eq!(without_padding(header, &[2, 0, 0]), Ok(&[][..]));
        assert_eq!(without_padding(header, &[3, 0, 0]), Err(Reason::PROTOCOL_ERROR));
        assert_eq!(without_padding(header, &[]), Err(Reason::FRAME_SIZE_ERROR));
    }
}
