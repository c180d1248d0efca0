//! A bounded log for each service: the newest bytes stay, readers follow by position.
//!
//! Positions count bytes since the log began and never go back. A reader that fell behind learns how many bytes it lost.

/// The newest bytes that were written. Allocates once, when it is made; pages that were never written are not resident.
#[derive(Debug)]
pub struct Ring {
    bytes: Box<[u8]>,
    written: u64,
}

/// What [`Ring::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Bytes between the asked position and the oldest one kept.
    pub lost: u64,
    /// Bytes copied, 0 at the end.
    pub copied: usize,
    /// Where to read on.
    pub next: u64,
}

impl Ring {
    /// An empty log of so many bytes, at least one.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size.max(1)].into_boxed_slice(), written: 0 }
    }

    /// Appends; the oldest bytes make room.
    pub fn push(&mut self, text: &[u8]) {
        let size = self.bytes.len();
        let skipped = text.len().saturating_sub(size);
        let start = ((self.written + skipped as u64) % size as u64) as usize;
        let kept = &text[skipped..];
        let first = kept.len().min(size - start);
        self.bytes[start..start + first].copy_from_slice(&kept[..first]);
        self.bytes[..kept.len() - first].copy_from_slice(&kept[first..]);
        self.written += text.len() as u64;
    }

    /// Position after the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.written
    }

    /// Position of the oldest byte kept.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.written.saturating_sub(self.bytes.len() as u64)
    }

    /// Copies bytes from a position on; a position in the future reads nothing and comes back to the end.
    pub fn read(&self, from: u64, out: &mut [u8]) -> Piece {
        let from = from.min(self.written);
        let start = from.max(self.start());
        let copied = out.len().min((self.written - start) as usize);
        let at = (start % self.bytes.len() as u64) as usize;
        let first = copied.min(self.bytes.len() - at);
        out[..first].copy_from_slice(&self.bytes[at..at + first]);
        out[first..copied].copy_from_slice(&self.bytes[..copied - first]);
        Piece { lost: start - from, copied, next: start + copied as u64 }
    }

    /// The last line that is not blank, cut to `out`; for the reason of a failure.
    pub fn last_line<'o>(&self, out: &'o mut [u8]) -> &'o [u8] {
        let from = self.written.saturating_sub(out.len() as u64);
        let copied = self.read(from, out).copied;
        let text = out[..copied].trim_ascii_end();
        let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        &text[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ring: &Ring, from: u64) -> (u64, String) {
        let mut out = [0; 8];
        let piece = ring.read(from, &mut out);
        (piece.lost, String::from_utf8(out[..piece.copied].to_vec()).unwrap())
    }

    #[test]
    fn the_newest_bytes_stay() {
        let mut ring = Ring::new(8);
        ring.push(b"abc");
        assert_eq!(all(&ring, 0), (0, "abc".into()));
        ring.push(b"defghij");
        assert_eq!(all(&ring, 0), (2, "cdefghij".into()));
        assert_eq!(all(&ring, 9), (0, "j".into()));
    }

    #[test]
    fn a_line_longer_than_the_log_keeps_its_end() {
        let mut ring = Ring::new(8);
        ring.push(b"x");
        ring.push(b"0123456789abcdef");
        assert_eq!(all(&ring, 0), (9, "89abcdef".into()));
    }

    #[test]
    fn a_reader_follows_without_losing_or_repeating() {
        let mut ring = Ring::new(8);
        let (mut position, mut seen) = (0, Vec::new());
        for n in 0..100u8 {
            ring.push(&[n, n + 100]);
            let mut out = [0; 3];
            let piece = ring.read(position, &mut out);
            assert_eq!(piece.lost, 0);
            seen.extend_from_slice(&out[..piece.copied]);
            position = piece.next;
        }
        let expected: Vec<u8> = (0..100).flat_map(|n| [n, n + 100]).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_position_in_the_future_comes_back() {
        let ring = Ring::new(8);
        assert_eq!(ring.read(99, &mut [0; 4]), Piece { lost: 0, copied: 0, next: 0 });
    }

    #[test]
    fn the_last_line_is_the_one_with_words() {
        let mut ring = Ring::new(32);
        ring.push(b"first\nthe reason\n\n");
        assert_eq!(ring.last_line(&mut [0; 20]), b"the reason");
        assert_eq!(Ring::new(8).last_line(&mut [0; 20]), b"");
    }
}
