//! Header compression (RFC 7541): what a client sends is decoded; see [`encode`] for the other direction.
pub(crate) mod encode;
mod huffman;
mod tables;

use bytes::Bytes;

use tables::{DynamicTable, STATIC_TABLE, static_field};

/// What both sides' tables hold until they agree on something else (bytes, section 6.5.2 of RFC 9113).
pub(crate) const DEFAULT_TABLE: usize = 4096;

/// A field: its name and its value.
pub(crate) type Field = (Bytes, Bytes);

/// What a field costs beyond its bytes, in a table and in a list (RFC 7541, section 4.1).
pub(crate) const OVERHEAD: usize = 32;

/// A block that cannot be decoded. The tables of both sides are out of step from here on: the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable;

/// Decodes the header blocks of one connection, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    table: DynamicTable,
}

impl Decoder {
    /// Decodes a block and hands over each field.
    pub(crate) fn decode(&mut self, block: &[u8], mut each: impl FnMut(Field)) -> Result<(), Undecodable> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(first) = rest.first().copied() {
            match first {
                // An indexed field (section 6.1).
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    each(self.field(index)?);
                }
                // A literal that the table learns (section 6.2.1).
                0x40.. => {
                    let field = self.literal(&mut rest, 6)?;
                    self.table.insert(field.clone());
                    each(field);
                }
                // The table's new size (section 6.3), only ahead of all fields (section 4.2).
                0x20.. => {
                    let size = integer(&mut rest, 5)?;
                    if !may_resize || size > DEFAULT_TABLE {
                        return Err(Undecodable);
                    }
                    self.table.resize(size);
                    continue;
                }
                // A literal that the table does not learn, or must not (sections 6.2.2 and 6.2.3).
                _ => each(self.literal(&mut rest, 4)?),
            }
            may_resize = false;
        }
        Ok(())
    }

    /// Whether a block is made of fields in the tables only, each in one byte: the same block means the same fields until another
    /// kind of block was decoded.
    pub(crate) fn is_lasting(block: &[u8]) -> bool {
        block.iter().all(|byte| matches!(byte, 0x81..=0xfe))
    }

    fn field(&self, index: usize) -> Result<Field, Undecodable> {
        match index.checked_sub(STATIC_TABLE.len() + 1) {
            Some(index) => self.table.get(index).cloned().ok_or(Undecodable),
            None => static_field(index).ok_or(Undecodable),
        }
    }

    fn literal(&self, rest: &mut &[u8], prefix: u32) -> Result<Field, Undecodable> {
        let name = match integer(rest, prefix)? {
            0 => string(rest)?,
            index => self.field(index)?.0,
        };
        Ok((name, string(rest)?))
    }
}

/// Takes an integer whose first byte has `prefix` bits of it (section 5.1). None here is longer than four more bytes.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Undecodable> {
    let (first, behind) = rest.split_first().ok_or(Undecodable)?;
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & most;
    *rest = behind;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let (byte, behind) = rest.split_first().ok_or(Undecodable)?;
        *rest = behind;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Undecodable)
}

/// Takes a string (section 5.2).
fn string(rest: &mut &[u8]) -> Result<Bytes, Undecodable> {
    let is_coded = rest.first().ok_or(Undecodable)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (string, behind) = rest.split_at_checked(length).ok_or(Undecodable)?;
    *rest = behind;
    if is_coded {
        huffman::decode(string).map(Bytes::from).ok_or(Undecodable)
    } else {
        Ok(Bytes::copy_from_slice(string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Undecodable> {
        let mut fields = Vec::new();
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        decoder.decode(block, |(name, value)| fields.push((text(name), text(value))))?;
        Ok(fields)
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn requests_on_one_connection_are_decoded_as_in_the_standard() {
        // Appendix C.4.
        let first =
            [0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        let third = [
            0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89, 0x25, 0xa8, 0x49,
            0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
        ];
        let mut decoder = Decoder::default();
        let mut fields =
            vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(decoded(&mut decoder, &first), Ok(pairs(&fields)));
        fields.push(("cache-control", "no-cache"));
        assert_eq!(decoded(&mut decoder, &second), Ok(pairs(&fields)));
        let last = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(decoded(&mut decoder, &third), Ok(pairs(&last)));
        assert_eq!(decoder.table.size(), 164);
    }

    #[test]
    fn a_table_forgets_the_oldest_and_shrinks_when_told() {
        let mut decoder = Decoder::default();
        let learn = [0x40, 1, b'a', 1, b'1', 0x40, 1, b'b', 1, b'2'];
        assert_eq!(decoded(&mut decoder, &learn), Ok(pairs(&[("a", "1"), ("b", "2")])));
        assert_eq!(decoded(&mut decoder, &[0xbe, 0xbf]), Ok(pairs(&[("b", "2"), ("a", "1")])));
        // To 34 bytes: one field of two.
        assert_eq!(decoded(&mut decoder, &[0x3f, 3, 0xbe]), Ok(pairs(&[("b", "2")])));
        assert_eq!(decoded(&mut decoder, &[0xbf]), Err(Undecodable));
    }

    #[test]
    fn a_field_that_the_table_has_no_room_for_empties_it() {
        let mut decoder = Decoder::default();
        assert!(decoded(&mut decoder, &[0x40, 1, b'a', 1, b'1']).is_ok());
        let mut large = vec![0x40, 1, b'b', 0x7f, 0x81, 0x1f];
        large.extend([b'x'; 4096]);
        assert!(decoded(&mut decoder, &large).is_ok());
        assert_eq!((decoder.table.size(), decoded(&mut decoder, &[0xbe])), (0, Err(Undecodable)));
    }

    #[test]
    fn what_is_cut_off_too_large_or_nowhere_is_refused() {
        let blocks: [&[u8]; 9] = [
            &[0x80],                               // index 0
            &[0xc0],                               // beyond the tables
            &[0x40, 5, b'a'],                      // a name cut off
            &[0x40, 1, b'a'],                      // no value
            &[0x41, 0xff],                         // a length cut off
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], // an integer without end
            &[0x3f, 0xe2, 0x1f],                   // a table of 4097 bytes
            &[0x82, 0x20],                         // a resize behind a field
            &[0x41, 0x81, 0x00],                   // no string of the Huffman code
        ];
        for block in blocks {
            assert_eq!(decoded(&mut Decoder::default(), block), Err(Undecodable), "{block:x?}");
        }
    }

    #[test]
    fn blocks_of_indexed_fields_alone_last() {
        assert!(Decoder::is_lasting(&[0x83, 0x86, 0xbe, 0xfe]));
        for block in [&[0x80][..], &[0x83, 0xff, 0], &[0x40, 1, 0x83], &[0x20, 0x83]] {
            assert!(!Decoder::is_lasting(block), "{block:x?}");
        }
    }
}
