//! Header blocks of answers (RFC 7541). The two fields that nearly every answer has are learned by the client's table with the first
//! one; after that each is a byte. Anything else is said in full, and no table grows by it.
use super::DEFAULT_TABLE;

/// A field that the client's table learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Common {
    /// `content-type: application/grpc`.
    Grpc,
    /// `grpc-status: 0`.
    Well,
}

impl Common {
    /// Which one it is, if it is one.
    fn of(name: &str, value: &[u8]) -> Option<Self> {
        match (name, value) {
            ("content-type", b"application/grpc") => Some(Self::Grpc),
            ("grpc-status", b"0") => Some(Self::Well),
            _ => None,
        }
    }

    /// Has the client's table learn it: a literal with incremental indexing (section 6.2.1).
    fn literal(self) -> &'static [u8] {
        match self {
            // The name is the static table's 31st.
            Self::Grpc => b"\x5f\x10application/grpc",
            Self::Well => b"\x40\x0bgrpc-status\x010",
        }
    }
}

/// Index of the newest field of a table that learns: behind the static ones.
const NEWEST: u8 = 62;

/// What the table takes for both (bytes): names, values and 32 for each.
const BOTH: usize = (12 + 16 + 32) + (11 + 1 + 32);

/// `:status: 200` in the static table.
const OK: u8 = 0x88;

/// What the client's table knows.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// What it learned, the oldest first.
    learned: [Option<Common>; 2],
    /// What the client lets its table take (bytes).
    most: usize,
    /// The next block must say so (section 4.2).
    resized: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { learned: [None; 2], most: DEFAULT_TABLE, resized: false }
    }
}

impl Encoder {
    /// The client's table takes no more than this (bytes). More than so far is not made use of.
    pub(crate) fn limit(&mut self, most: usize) {
        if most < self.most {
            (self.most, self.resized) = (most, true);
            if most < BOTH {
                self.learned = [None; 2];
            }
        }
    }

    /// Begins a block.
    pub(crate) fn begin(&mut self, block: &mut Vec<u8>) {
        if std::mem::take(&mut self.resized) {
            integer(block, 0x20, 5, self.most);
        }
    }

    /// `:status`.
    pub(crate) fn status(&mut self, status: u16, block: &mut Vec<u8>) {
        if status == 200 {
            block.push(OK);
        } else {
            // The name is the static table's eighth.
            block.push(8);
            string(block, status.to_string().as_bytes());
        }
    }

    /// Any field.
    pub(crate) fn field(&mut self, name: &str, value: &[u8], block: &mut Vec<u8>) {
        match Common::of(name, value) {
            Some(common) => self.common(common, block),
            None => {
                block.push(0);
                string(block, name.as_bytes());
                string(block, value);
            }
        }
    }

    /// A field that most answers have.
    pub(crate) fn common(&mut self, common: Common, block: &mut Vec<u8>) {
        let count = self.learned.iter().flatten().count();
        match self.learned.iter().position(|known| *known == Some(common)) {
            Some(at) => block.push(0x80 | (NEWEST + (count - 1 - at) as u8)),
            None if self.most < BOTH => {
                // Not to be learned: the same, said to be for once (section 6.2.2).
                match common {
                    Common::Grpc => block.extend_from_slice(b"\x0f\x10\x10application/grpc"),
                    Common::Well => block.extend_from_slice(b"\x00\x0bgrpc-status\x010"),
                }
            }
            None => {
                self.learned[count] = Some(common);
                block.extend_from_slice(common.literal());
            }
        }
    }
}

/// An integer behind the upper bits of its first byte (section 5.1).
fn integer(block: &mut Vec<u8>, upper: u8, prefix: u32, value: usize) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        block.push(upper | value as u8);
        return;
    }
    block.push(upper | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// A string as it is (section 5.2).
fn string(block: &mut Vec<u8>, string: &[u8]) {
    integer(block, 0, 7, string.len());
    block.extend_from_slice(string);
}

#[cfg(test)]
mod tests {
    use super::{super::Decoder, *};

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Vec<String> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder
            .decode(block, |(name, value)| fields.push(format!("{}={}", text(&name), text(&value))))
            .expect("what was encoded");
        fields
    }

    fn answer(encoder: &mut Encoder) -> Vec<u8> {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.status(200, &mut block);
        encoder.field("content-type", b"application/grpc", &mut block);
        encoder.common(Common::Well, &mut block);
        block
    }

    const ANSWER: [&str; 3] = [":status=200", "content-type=application/grpc", "grpc-status=0"];

    #[test]
    fn what_every_answer_has_is_said_once_and_is_a_byte_after_that() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        assert_eq!(decoded(&mut decoder, &answer(&mut encoder)), ANSWER);
        let second = answer(&mut encoder);
        assert_eq!((second.len(), decoded(&mut decoder, &second)), (3, ANSWER.map(str::to_owned).to_vec()));
    }

    #[test]
    fn the_order_in_which_they_were_learned_does_not_matter() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut block = Vec::new();
        encoder.common(Common::Well, &mut block);
        assert_eq!(decoded(&mut decoder, &block), ["grpc-status=0"]);
        assert_eq!(decoded(&mut decoder, &answer(&mut encoder)), ANSWER);
        assert_eq!(decoded(&mut decoder, &answer(&mut encoder)), ANSWER);
    }

    #[test]
    fn a_client_with_a_small_table_is_understood_before_and_after() {
        for most in [0, 50, BOTH - 1, BOTH, 300] {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            assert_eq!(decoded(&mut decoder, &answer(&mut encoder)), ANSWER);
            encoder.limit(most);
            for _ in 0..3 {
                assert_eq!(decoded(&mut decoder, &answer(&mut encoder)), ANSWER, "{most} bytes");
            }
            // A larger one again changes nothing.
            encoder.limit(DEFAULT_TABLE);
            assert_eq!(decoded(&mut decoder, &answer(&mut encoder)), ANSWER, "{most} bytes");
        }
    }

    #[test]
    fn any_field_and_any_length_arrives() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for length in [0, 1, 126, 127, 128, 254, 255, 256, 20_000] {
            let mut block = Vec::new();
            encoder.begin(&mut block);
            encoder.status(503, &mut block);
            encoder.field("grpc-message", &vec![b'x'; length], &mut block);
            assert_eq!(
                decoded(&mut decoder, &block),
                [":status=503".to_owned(), format!("grpc-message={}", "x".repeat(length))]
            );
        }
    }
}
