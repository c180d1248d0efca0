//! HPACK's Huffman code (RFC 7541, section 5.2 and appendix B), decoded.
//!
//! The code is canonical: of one length, codes rise with their symbols, and each length goes on where the shorter one ended. So the
//! lengths say everything, and a symbol is found by counting.

/// The longest code (bits).
const LONGEST: usize = 30;

/// Symbols: the octets, and the end of the string, which no string may hold.
const SYMBOLS: usize = 257;

/// How long each symbol's code is (bits).
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// Of each length: the first code, how many there are, and where their symbols begin.
#[derive(Clone, Copy)]
struct Group {
    first: u32,
    count: u32,
    symbols: usize,
}

const GROUPS: [Group; LONGEST + 1] = groups();

/// The symbols by their codes.
const BY_CODE: [u16; SYMBOLS] = by_code();

const fn groups() -> [Group; LONGEST + 1] {
    let mut groups = [Group { first: 0, count: 0, symbols: 0 }; LONGEST + 1];
    let (mut code, mut symbols, mut length) = (0, 0, 1);
    while length <= LONGEST {
        let (mut count, mut symbol) = (0, 0);
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                count += 1;
            }
            symbol += 1;
        }
        groups[length] = Group { first: code, count, symbols };
        symbols += count as usize;
        code = (code + count) << 1;
        length += 1;
    }
    groups
}

const fn by_code() -> [u16; SYMBOLS] {
    let mut sorted = [0; SYMBOLS];
    let (mut at, mut length) = (0, 1);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                sorted[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    sorted
}

/// Decodes a string. `None`: it holds the end of the string, or does not end in at most seven set bits (section 5.2).
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut string = Vec::with_capacity(coded.len() * 8 / 5);
    let (mut code, mut length) = (0_u32, 0);
    for octet in coded {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(octet >> bit & 1);
            length += 1;
            // 30 bits are always a code, so this is never out of bounds.
            let group = GROUPS[length];
            let place = code.wrapping_sub(group.first);
            if place < group.count {
                string.push(u8::try_from(BY_CODE[group.symbols + place as usize]).ok()?);
                (code, length) = (0, 0);
            }
        }
    }
    let padding = (1_u32 << length) - 1;
    (length < 8 && code == padding).then_some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a client would. The symbol and its code's length.
    fn encode(symbols: &[u16]) -> (Vec<u8>, usize) {
        let mut bits = Vec::new();
        for symbol in symbols {
            let length = usize::from(LENGTHS[usize::from(*symbol)]);
            let place = BY_CODE.iter().position(|other| other == symbol).expect("a symbol") - GROUPS[length].symbols;
            let code = GROUPS[length].first + place as u32;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        let padding = (8 - bits.len() % 8) % 8;
        bits.extend(std::iter::repeat_n(true, padding));
        let octets = bits.chunks(8).map(|octet| octet.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit)));
        (octets.collect(), padding)
    }

    #[test]
    fn the_standards_examples_are_decoded() {
        // Appendix C.4 and C.6.
        let examples: [(&[u8], &str); 4] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66,
                    0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
                ],
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
        ];
        for (coded, string) in examples {
            assert_eq!(decode(coded).as_deref(), Some(string.as_bytes()));
        }
    }

    #[test]
    fn every_octet_comes_back_and_the_end_is_refused() {
        let all: Vec<u16> = (0..256).collect();
        let octets: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all).0), Some(octets));
        assert_eq!(decode(&encode(&[256]).0), None);
        assert_eq!(decode(&encode(&[u16::from(b'a'), 256]).0), None);
    }

    #[test]
    fn padding_is_short_and_all_ones() {
        let (coded, padding) = encode(&[u16::from(b'0')]);
        assert_eq!((padding, decode(&coded)), (3, Some(b"0".to_vec())));
        assert_eq!(decode(&[coded[0] & 0xf8]), None, "zeros: the beginning of no code but '0' again, cut off");
        assert_eq!(decode(&[coded[0], 0xff]), None, "eleven bits");
    }
}
