//! What certificates say (X.509, RFC 5280, section 4.1), as far as it is asked for here; whom to believe is for rustls
//! to decide.
use crate::der::{self, Reader};

/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// Days from the first of January of the year 1 to that of 1970.
const DAYS_TO_1970: i64 = 719_162;

/// A certificate that is whole.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    /// What is in its `SubjectPublicKeyInfo`.
    pub public_key: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads DER.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut signed = Reader::new(der::only(bytes, der::SEQUENCE)?);
        let mut said = Reader::new(signed.take(der::SEQUENCE)?);
        let _algorithm = signed.take(der::SEQUENCE)?;
        let _signature = signed.take(der::BIT_STRING)?;
        if said.tag()? == der::place(0) {
            let _version = said.any()?;
        }
        let _serial_number = said.take(der::INTEGER)?;
        let _algorithm = said.take(der::SEQUENCE)?;
        let _issuer = said.take(der::SEQUENCE)?;
        let validity = said.take(der::SEQUENCE)?;
        let subject = said.take(der::SEQUENCE)?;
        let public_key = said.take(der::SEQUENCE)?;
        while !said.is_empty() {
            let _extensions = said.any()?;
        }
        signed.is_empty().then_some(Self { validity, subject, public_key })
    }

    /// The last common name of its subject, as Go reads it; `None` if there is none, or one that cannot be read: Go
    /// refuses such a certificate.
    pub fn common_name(&self) -> Option<String> {
        let mut found = None;
        let mut names = Reader::new(self.subject);
        while !names.is_empty() {
            let mut attributes = Reader::new(names.take(der::SET)?);
            while !attributes.is_empty() {
                let mut attribute = Reader::new(attributes.take(der::SEQUENCE)?);
                let kind = attribute.take(der::OBJECT_ID)?;
                let (tag, value) = attribute.any()?;
                if kind == COMMON_NAME {
                    found = Some(text(tag, value)?);
                }
            }
        }
        found
    }

    /// Whether it is valid so many seconds after the beginning of 1970 (both ends of its time belong to it).
    pub fn is_valid_at(&self, seconds: u64) -> bool {
        let (Some((not_before, not_after)), Ok(now)) = (self.times(), i64::try_from(seconds)) else { return false };
        (not_before..=not_after).contains(&now)
    }

    fn times(&self) -> Option<(i64, i64)> {
        let mut times = Reader::new(self.validity);
        let mut next = || times.any().and_then(|(tag, text)| time(tag, text));
        let both = (next()?, next()?);
        times.is_empty().then_some(both)
    }
}

/// A `DirectoryString`, or what else Go takes for one.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        der::UTF8_STRING | der::NUMERIC_STRING | der::PRINTABLE_STRING | der::IA5_STRING => {
            String::from_utf8(value.to_vec()).ok()
        }
        // In theory T.61, in practice Latin-1.
        der::TELETEX_STRING => Some(value.iter().copied().map(char::from).collect()),
        der::BMP_STRING => {
            // Some write a zero behind it.
            let value = value.strip_suffix(&[0, 0]).unwrap_or(value);
            let (characters, []) = value.as_chunks() else { return None };
            characters.iter().map(|bytes| char::from_u32(u16::from_be_bytes(*bytes).into())).collect()
        }
        _ => None,
    }
}

/// Seconds since the beginning of 1970. Of what the standard allows RFC 5280 (section 4.1.2.5) has `YYMMDDHHMMSSZ`,
/// from 1950 to 2049, and `YYYYMMDDHHMMSSZ` only.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let (year, rest) = match tag {
        der::UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        der::GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year), rest)
        }
        _ => return None,
    };
    let (&[month, day, hour, minute, second], []) = rest.as_chunks::<2>() else { return None };
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|digits| number(&digits));
    let is_in_range = day >= 1 && day <= days_of(month, year)? && hour < 24 && minute < 60 && second < 60;
    is_in_range.then(|| ((days_to(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second)
}

/// Days of a month; `None` if there is no such month.
fn days_of(month: i64, year: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(if is_leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Days from the beginning of 1970 to that of a month.
fn days_to(year: i64, month: i64) -> i64 {
    let past = year - 1;
    let leap_days = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    let months: i64 = (1..month).filter_map(|month| days_of(month, year)).sum();
    past * 365 + leap_days + months - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, date_time_ymd};

    use super::*;

    /// A second of 2026.
    const NOW: u64 = 1_782_000_000;

    fn common_name() -> DnType {
        DnType::from_oid(&[2, 5, 4, 3])
    }

    /// A certificate with these attributes in its subject, from the first of January of one year to that of another.
    fn made(subject: &[(DnType, DnValue)], years: (i32, i32)) -> Vec<u8> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).expect("params");
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().expect("key");
        params.self_signed(&key).expect("sign").der().to_vec()
    }

    fn name_of(certificate: &[u8]) -> Option<String> {
        Certificate::read(certificate).expect("a certificate").common_name()
    }

    fn is_valid(certificate: &[u8], seconds: u64) -> bool {
        Certificate::read(certificate).is_some_and(|certificate| certificate.is_valid_at(seconds))
    }

    #[test]
    fn the_last_common_name_of_the_subject_counts() {
        // One type has one value in rcgen: the same under another name is a second one.
        let other = DnType::CustomDnType(vec![2, 5, 4, 3]);
        let company = (DnType::OrganizationName, DnValue::from("company"));
        let [first, last] = [(DnType::CommonName, "first".into()), (other, "last".into())];
        assert_eq!(name_of(&made(&[first.clone(), company.clone(), last.clone()], (2020, 2030))), Some("last".into()));
        assert_eq!(name_of(&made(&[last, first, company.clone()], (2020, 2030))), Some("first".into()));
        assert_eq!(name_of(&made(&[company], (2020, 2030))), None);
        assert_eq!(name_of(&made(&[], (2020, 2030))), None);
    }

    #[test]
    fn a_name_is_read_in_every_form_that_go_reads() {
        let names: [(DnValue, Option<&str>); 6] = [
            (DnValue::Utf8String("Zoë".into()), Some("Zoë")),
            (DnValue::PrintableString("ann".try_into().expect("name")), Some("ann")),
            (DnValue::Ia5String("ann@example".try_into().expect("name")), Some("ann@example")),
            (DnValue::TeletexString("ann".try_into().expect("name")), Some("ann")),
            (DnValue::BmpString("Zoë €".try_into().expect("name")), Some("Zoë €")),
            (DnValue::UniversalString("ann".try_into().expect("name")), None),
        ];
        for (value, name) in names {
            let certificate = made(&[(common_name(), value.clone())], (2020, 2030));
            assert_eq!(name_of(&certificate).as_deref(), name, "{value:?}");
        }
        assert_eq!(text(der::TELETEX_STRING, b"Zo\xeb").as_deref(), Some("Zoë"));
        assert_eq!(text(der::BMP_STRING, b"\0a\0\0").as_deref(), Some("a"));
        let malformed: [(u8, &[u8]); 4] = [
            (der::UTF8_STRING, b"\xff"),
            (der::BMP_STRING, b"\0a\0"),
            (der::BMP_STRING, b"\xd8\0\xdc\0"),
            (der::OCTET_STRING, b"a"),
        ];
        for (tag, value) in malformed {
            assert_eq!(text(tag, value), None, "{tag}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_read_does_not_bring_an_earlier_one_back() {
        let other = DnType::CustomDnType(vec![2, 5, 4, 3]);
        let last = DnValue::UniversalString("last".try_into().expect("name"));
        assert_eq!(name_of(&made(&[(DnType::CommonName, "first".into()), (other, last)], (2020, 2030))), None);
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_second_to_its_last() {
        let first_of_2020 = 1_577_836_800;
        let first_of_2049 = 2_493_072_000;
        let first_of_2060 = 2_840_140_800;
        for (end, last) in [(2049, first_of_2049), (2060, first_of_2060)] {
            let certificate = made(&[], (2020, end));
            for (seconds, valid) in [
                (0, false),
                (first_of_2020 - 1, false),
                (first_of_2020, true),
                (NOW, true),
                (last, true),
                (last + 1, false),
                (u64::MAX, false),
            ] {
                assert_eq!(is_valid(&certificate, seconds), valid, "{seconds} in 2020 to {end}");
            }
        }
        assert!(!is_valid(&made(&[], (2020, 2025)), NOW), "expired");
        assert!(!is_valid(&made(&[], (2055, 2060)), NOW), "not yet valid");
        assert!(is_valid(&made(&[], (1955, 9999)), NOW), "since before 1970");
    }

    #[test]
    fn times_are_the_two_of_rfc_5280_and_nothing_else() {
        let good: [(u8, &[u8], i64); 8] = [
            (der::UTC_TIME, b"700101000000Z", 0),
            (der::UTC_TIME, b"491231235959Z", 2_524_607_999),
            (der::UTC_TIME, b"500101000000Z", -631_152_000),
            (der::UTC_TIME, b"000229120000Z", 951_825_600),
            (der::GENERALIZED_TIME, b"20500101000000Z", 2_524_608_000),
            (der::GENERALIZED_TIME, b"21000301000000Z", 4_107_542_400),
            (der::GENERALIZED_TIME, b"00000101000000Z", -62_167_219_200),
            (der::GENERALIZED_TIME, b"99991231235959Z", 253_402_300_799),
        ];
        for (tag, text, seconds) in good {
            assert_eq!(time(tag, text), Some(seconds), "{}", text.escape_ascii());
        }
        let bad: [(u8, &[u8]); 16] = [
            (der::UTC_TIME, b""),
            (der::UTC_TIME, b"Z"),
            (der::UTC_TIME, b"700101000000"),
            (der::UTC_TIME, b"7001010000Z"),
            (der::UTC_TIME, b"70010100000Z"),
            (der::UTC_TIME, b"700101000000+0000"),
            (der::UTC_TIME, b"700001000000Z"),
            (der::UTC_TIME, b"701301000000Z"),
            (der::UTC_TIME, b"700100000000Z"),
            (der::UTC_TIME, b"990229000000Z"),
            (der::UTC_TIME, b"700101240000Z"),
            (der::UTC_TIME, b"700101006000Z"),
            (der::UTC_TIME, b"700101000060Z"),
            (der::UTC_TIME, b"19700101000000Z"),
            (der::GENERALIZED_TIME, b"19700101000000.5Z"),
            (der::GENERALIZED_TIME, b"21000229000000Z"),
        ];
        for (tag, text) in bad {
            assert_eq!(time(tag, text), None, "{}", text.escape_ascii());
        }
        assert_eq!(time(der::UTF8_STRING, b"700101000000Z"), None);
    }

    #[test]
    fn what_is_not_a_whole_certificate_is_none() {
        let mut certificate = made(&[(common_name(), "ann".into())], (2020, 2060));
        for length in 0..certificate.len() {
            assert!(Certificate::read(&certificate[..length]).is_none(), "the first {length} bytes");
        }
        // Whatever one byte becomes, a reader comes to an end.
        for at in 0..certificate.len() {
            for byte in [0, 1, 0x30, 0x7f, 0x80, 0xff] {
                let mut damaged = certificate.clone();
                damaged[at] = byte;
                let read = Certificate::read(&damaged);
                let _ = read.map(|read| (read.common_name(), read.is_valid_at(NOW)));
            }
        }
        certificate.push(0);
        assert!(Certificate::read(&certificate).is_none(), "something is behind it");
        assert!(Certificate::read(b"garbage").is_none());
    }
}
