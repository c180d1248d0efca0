//! DER (X.690), the form of certificates and keys: values one behind the other, each a tag, a length and so many bytes.
//! What is not well-formed is `None`. Tags are of one byte, which is all that certificates and keys use.

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING; its first byte says how many bits at its end do not count.
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub const OBJECT_ID: u8 = 0x06;
/// UTF8String.
pub const UTF8_STRING: u8 = 0x0c;
/// NumericString.
pub const NUMERIC_STRING: u8 = 0x12;
/// PrintableString.
pub const PRINTABLE_STRING: u8 = 0x13;
/// TeletexString.
pub const TELETEX_STRING: u8 = 0x14;
/// IA5String.
pub const IA5_STRING: u8 = 0x16;
/// UTCTime.
pub const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub const GENERALIZED_TIME: u8 = 0x18;
/// BMPString.
pub const BMP_STRING: u8 = 0x1e;
/// SEQUENCE and SEQUENCE OF.
pub const SEQUENCE: u8 = 0x30;
/// SET and SET OF.
pub const SET: u8 = 0x31;

/// The tag of a value that has a number for its place, and others inside: `[0]`, `[1]`, ...
pub const fn place(number: u8) -> u8 {
    0xa0 | number
}

/// Bytes of a length: more would be a value of more than 4 GiB.
const LONGEST_LENGTH: usize = 4;

/// Takes values off the front of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// At the first of these values.
    pub fn new(values: &'a [u8]) -> Self {
        Self(values)
    }

    /// Whether there is no further value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next value.
    pub fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Tag and content of the next value.
    pub fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        // This is where a tag of more bytes begins.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = length(first, rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next value, which has this tag.
    pub fn take(&mut self, expected: u8) -> Option<&'a [u8]> {
        if self.tag()? == expected { self.any().map(|(_, content)| content) } else { None }
    }
}

/// The length that begins with the byte `first`, and what is behind it. It has one form only, the shortest (X.690,
/// section 10.1).
fn length(first: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    if bytes.len() > LONGEST_LENGTH || matches!(bytes, [] | [0, ..] | [..0x80]) {
        return None;
    }
    let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    Some((length, rest))
}

/// The content of a value with this tag that is all there is in these bytes.
pub fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    reader.take(tag).filter(|_| reader.is_empty())
}

/// A value.
pub fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let (short, length) = match &length[zeros..] {
        [] => (0, &[][..]),
        [length @ ..0x80] => (*length, &[][..]),
        // At most eight bytes of a length.
        length => (0x80 | length.len() as u8, length),
    };
    [&[tag, short], length, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_one_behind_the_other() {
        let bytes = [[2, 1, 7].as_slice(), &[0xa0, 2, 5, 0], &write(SEQUENCE, &[1; 200])].concat();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.take(SEQUENCE), None, "another tag is next");
        assert_eq!(reader.take(INTEGER), Some(&[7][..]));
        assert_eq!((reader.tag(), reader.any()), (Some(place(0)), Some((place(0), &[5, 0][..]))));
        assert_eq!(reader.take(SEQUENCE), Some(&[1; 200][..]));
        assert_eq!((reader.is_empty(), reader.tag(), reader.any()), (true, None, None));
    }

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_or_longer() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![9; length];
            let mut value = write(OCTET_STRING, &content);
            assert_eq!(only(&value, OCTET_STRING), Some(&content[..]), "{length}");
            assert_eq!(only(&value[..value.len() - 1], OCTET_STRING), None, "{length}");
            value.push(0);
            assert_eq!(only(&value, OCTET_STRING), None, "{length}");
        }
    }

    #[test]
    fn lengths_in_another_form_than_the_shortest_are_refused() {
        let malformed: [&[u8]; 9] = [
            &[],
            &[4],
            // Without an end, as BER has it.
            &[4, 0x80, 0, 0],
            &[4, 0x81, 1, 0],
            &[4, 0x81],
            &[4, 0x82, 0, 0x80],
            &[4, 0x85, 1, 0, 0, 0, 0],
            &[4, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x81, 0],
        ];
        for bytes in malformed {
            assert_eq!(Reader::new(bytes).any(), None, "{bytes:x?}");
        }
    }
}
