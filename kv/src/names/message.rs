//! Questions for addresses, and their answers (RFC 1035, 4; RFC 3596). The form of messages is smoltcp's: each pointer
//! in a name leads further back there than the one before, so that the name's end is reached.
use std::net::IpAddr;

use smoltcp::wire::{
    DnsFlags, DnsOpcode, DnsPacket, DnsQueryType, DnsQuestion, DnsRcode, DnsRecord, DnsRecordData, DnsRepr,
};

/// Other names that a name may stand for, one after the other (CNAME). Who has more goes in a circle.
const MOST_ALIASES: usize = 16;
/// The longest name (RFC 1035, 2.3.4): its labels, each with its length in front, and the empty one at its end.
const LONGEST_NAME: usize = 255;
/// The longest part of it (RFC 1035, 2.3.4): larger lengths are pointers.
const LONGEST_LABEL: u8 = 63;

/// What kind of address is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

/// Why a message holds no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// It answers another question, or none. Anybody can send such.
    NotOurs,
    /// It did not fit into a datagram.
    Truncated,
    /// Nobody has this name (NXDOMAIN).
    NoSuchName,
    /// The name has no address of this kind.
    NoAddress,
    /// The server knows nothing and asks nobody.
    KnowsNobody,
    /// The server's code for what went wrong.
    Code(u8),
    /// It ends in the middle, or says what makes no sense.
    Damaged,
}

/// A question for the addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// As in a message, in small letters.
    name: Vec<u8>,
    kind: Kind,
}

impl Question {
    /// The question; `None` if the text cannot be a name.
    pub fn new(name: &str, kind: Kind) -> Option<Self> {
        let mut wire = Vec::with_capacity(name.len() + 2);
        for label in name.split('.') {
            put(&mut wire, label.as_bytes())?;
        }
        wire.push(0);
        Some(Self { name: wire, kind })
    }

    fn type_(&self) -> DnsQueryType {
        match self.kind {
            Kind::A => DnsQueryType::A,
            Kind::Aaaa => DnsQueryType::Aaaa,
        }
    }

    /// The message that asks it.
    pub fn message(&self, id: u16) -> Vec<u8> {
        let message = DnsRepr {
            transaction_id: id,
            opcode: DnsOpcode::Query,
            flags: DnsFlags::RECURSION_DESIRED,
            question: DnsQuestion { name: &self.name, type_: self.type_() },
        };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut DnsPacket::new_unchecked(&mut bytes));
        bytes
    }

    /// The addresses in a message that answers it, at least one.
    ///
    /// # Errors
    /// There is none in it.
    pub fn answer(&self, id: u16, bytes: &[u8]) -> Result<Vec<IpAddr>, NoAnswer> {
        let packet = DnsPacket::new_checked(bytes).map_err(|_| NoAnswer::NotOurs)?;
        let flags = packet.flags();
        if packet.transaction_id() != id
            || !flags.contains(DnsFlags::RESPONSE)
            || packet.opcode() != DnsOpcode::Query
            || packet.question_count() != 1
        {
            return Err(NoAnswer::NotOurs);
        }
        let (rest, asked) = DnsQuestion::parse(packet.payload()).map_err(|_| NoAnswer::NotOurs)?;
        if asked.type_ != self.type_() || whole(&packet, asked.name).as_ref() != Some(&self.name) {
            return Err(NoAnswer::NotOurs);
        }
        if flags.contains(DnsFlags::TRUNCATED) {
            return Err(NoAnswer::Truncated);
        }
        match packet.rcode() {
            DnsRcode::NoError => {}
            DnsRcode::NXDomain => return Err(NoAnswer::NoSuchName),
            code => return Err(NoAnswer::Code(code.into())),
        }
        let answers = packet.answer_record_count();
        if answers == 0
            && packet.additional_record_count() == 0
            && !flags.intersects(DnsFlags::AUTHORITATIVE | DnsFlags::RECURSION_AVAILABLE)
        {
            return Err(NoAnswer::KnowsNobody);
        }
        let records = Records::of(&packet, rest, answers).ok_or(NoAnswer::Damaged)?;
        records.addresses(&self.name, self.kind).ok_or(NoAnswer::NoAddress)
    }
}

/// What an answer says, whatever the order in which it says so.
#[derive(Default)]
struct Records {
    addresses: Vec<(Vec<u8>, IpAddr)>,
    /// A name, and what it stands for.
    aliases: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Records {
    fn of(packet: &DnsPacket<&[u8]>, mut bytes: &[u8], count: u16) -> Option<Self> {
        let mut records = Self::default();
        for _ in 0..count {
            let (rest, record) = DnsRecord::parse(bytes).ok()?;
            let owner = whole(packet, record.name)?;
            match record.data {
                DnsRecordData::A(address) => records.addresses.push((owner, address.into())),
                DnsRecordData::Aaaa(address) => records.addresses.push((owner, address.into())),
                DnsRecordData::Cname(name) => records.aliases.push((owner, whole(packet, name)?)),
                // Signatures, say.
                DnsRecordData::Other(..) => {}
            }
            bytes = rest;
        }
        Some(records)
    }

    /// The addresses of a name, or of what it stands for.
    fn addresses(&self, name: &[u8], kind: Kind) -> Option<Vec<IpAddr>> {
        let mut name = name;
        for _ in 0..=MOST_ALIASES {
            let own = self.addresses.iter().filter(|(owner, _)| owner == name).map(|(_, address)| *address);
            let own: Vec<IpAddr> = own.filter(|address| address.is_ipv4() == (kind == Kind::A)).collect();
            if !own.is_empty() {
                return Some(own);
            }
            name = self.aliases.iter().find(|(alias, _)| alias == name).map(|(_, name)| name.as_slice())?;
        }
        None
    }
}

/// Appends a label in small letters; `None` if it is empty, or label or name are longer than may be.
fn put(name: &mut Vec<u8>, label: &[u8]) -> Option<()> {
    let length = u8::try_from(label.len()).ok().filter(|length| (1..=LONGEST_LABEL).contains(length))?;
    // A byte for the length, and one for the empty label at the name's end.
    if name.len() + 1 + label.len() + 1 > LONGEST_NAME {
        return None;
    }
    name.push(length);
    name.extend(label.iter().map(u8::to_ascii_lowercase));
    Some(())
}

/// A name with all that it points to, in small letters.
fn whole(packet: &DnsPacket<&[u8]>, name: &[u8]) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    for label in packet.parse_name(name) {
        put(&mut wire, label.ok()?)?;
    }
    wire.push(0);
    Some(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u16 = 0x1234;
    /// Response, recursion desired and available.
    const FLAGS: u16 = 0x8180;
    const A: u16 = 1;
    const CNAME: u16 = 5;
    const AAAA: u16 = 28;
    /// Where the question's name stands.
    const ASKED: &[u8] = &[0xc0, 12];

    fn question(kind: Kind) -> Question {
        Question::new("DB.example.org", kind).expect("a name")
    }

    fn wire(name: &str) -> Vec<u8> {
        Question::new(name, Kind::A).expect("a name").name
    }

    fn record(owner: &[u8], type_: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).expect("short");
        [owner, &type_.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length.to_be_bytes(), data].concat()
    }

    fn message(flags: u16, asked: (&str, u16), records: &[Vec<u8>]) -> Vec<u8> {
        let count = u16::try_from(records.len()).expect("few");
        let header = [ID, flags, 1, count, 0, 0].map(u16::to_be_bytes).concat();
        [header, wire(asked.0), [asked.1, 1].map(u16::to_be_bytes).concat(), records.concat()].concat()
    }

    fn answer(records: &[Vec<u8>]) -> Result<Vec<IpAddr>, NoAnswer> {
        question(Kind::A).answer(ID, &message(FLAGS, ("db.example.org", A), records))
    }

    fn addresses(texts: &[&str]) -> Result<Vec<IpAddr>, NoAnswer> {
        Ok(texts.iter().map(|text| text.parse().expect("an address")).collect())
    }

    #[test]
    fn a_question_is_a_message_that_asks_for_recursion() {
        let expected = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x02db\x07example\x03org\0", &[0, 28, 0, 1]];
        assert_eq!(question(Kind::Aaaa).message(ID), expected.concat());
    }

    #[test]
    fn what_is_too_long_or_empty_is_no_question() {
        let long = format!("{}.org", ["a"; 125].join("."));
        assert!(Question::new(&long, Kind::A).is_some());
        for wrong in ["", ".", "a..b", "a.", &"a".repeat(64), &format!("a.{long}")] {
            assert_eq!(Question::new(wrong, Kind::A), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_of_the_kind_asked_for_are_taken_whatever_else_is_there() {
        let records = [
            record(ASKED, A, &[10, 0, 0, 1]),
            record(ASKED, 46, b"a signature"),
            record(ASKED, AAAA, &[1; 16]),
            record(&wire("other.org"), A, &[10, 0, 0, 9]),
            record(&wire("DB.EXAMPLE.ORG"), A, &[10, 0, 0, 2]),
        ];
        assert_eq!(answer(&records), addresses(&["10.0.0.1", "10.0.0.2"]));
        let v6 = message(FLAGS, ("db.example.org", AAAA), &records);
        assert_eq!(question(Kind::Aaaa).answer(ID, &v6), addresses(&["101:101:101:101:101:101:101:101"]));
    }

    #[test]
    fn a_name_may_stand_for_another_in_any_order() {
        // `a` in front of what the question's name ends with.
        let below = &[&b"\x01a"[..], &[0xc0, 15]].concat();
        let mut records = vec![
            record(&wire("b.net"), A, &[10, 0, 0, 1]),
            record(below, CNAME, &wire("b.net")),
            record(ASKED, CNAME, below),
        ];
        assert_eq!(answer(&records), addresses(&["10.0.0.1"]));
        records.reverse();
        assert_eq!(answer(&records), addresses(&["10.0.0.1"]));
        records.truncate(2);
        assert_eq!(answer(&records), Err(NoAnswer::NoAddress));
    }

    #[test]
    fn names_that_stand_for_each_other_have_no_address() {
        let records = [record(ASKED, CNAME, &wire("b.net")), record(&wire("b.net"), CNAME, ASKED)];
        assert_eq!(answer(&records), Err(NoAnswer::NoAddress));
    }

    #[test]
    fn an_answer_to_another_question_is_not_ours() {
        let records = [record(ASKED, A, &[10, 0, 0, 1])];
        let ours = message(FLAGS, ("db.example.org", A), &records);
        assert_eq!(question(Kind::A).answer(ID, &ours), addresses(&["10.0.0.1"]));
        assert_eq!(question(Kind::A).answer(ID + 1, &ours), Err(NoAnswer::NotOurs));
        assert_eq!(question(Kind::Aaaa).answer(ID, &ours), Err(NoAnswer::NotOurs));
        let of = |bytes: &[u8]| question(Kind::A).answer(ID, bytes);
        assert_eq!(of(&message(FLAGS, ("db.example.net", A), &records)), Err(NoAnswer::NotOurs));
        assert_eq!(of(&message(0x0100, ("db.example.org", A), &records)), Err(NoAnswer::NotOurs), "a question");
        assert_eq!(of(&message(FLAGS | 0x2800, ("db.example.org", A), &records)), Err(NoAnswer::NotOurs), "an update");
        for (at, byte) in [(5, 0), (5, 2), (ours.len() - records[0].len() - 1, 3)] {
            let mut other = ours.clone();
            other[at] = byte;
            assert_eq!(of(&other), Err(NoAnswer::NotOurs), "byte {at} is {byte}");
        }
    }

    #[test]
    fn what_a_server_says_instead_of_an_address_is_told_apart() {
        let of = |flags| question(Kind::A).answer(ID, &message(flags, ("db.example.org", A), &[]));
        assert_eq!(of(FLAGS), Err(NoAnswer::NoAddress));
        assert_eq!(of(FLAGS | 3), Err(NoAnswer::NoSuchName));
        assert_eq!(of(FLAGS | 2), Err(NoAnswer::Code(2)));
        assert_eq!(of(FLAGS | 0x0200), Err(NoAnswer::Truncated));
        assert_eq!(of(0x8100), Err(NoAnswer::KnowsNobody));
        assert_eq!(of(0x8500), Err(NoAnswer::NoAddress), "who is the authority knows");
    }

    #[test]
    fn pointers_that_lead_to_themselves_or_beyond_the_end_are_refused() {
        let at = u8::try_from(message(FLAGS, ("db.example.org", A), &[]).len()).expect("short");
        for owner in [[0xc0, at], [0xc0, at + 1], [0xff, 0xff]] {
            assert_eq!(answer(&[record(&owner, A, &[10, 0, 0, 1])]), Err(NoAnswer::Damaged), "{owner:?}");
        }
        // Round and round, with a label on the way.
        assert_eq!(answer(&[record(&[1, b'a', 0xc0, at], A, &[10, 0, 0, 1])]), Err(NoAnswer::Damaged));
        // Two bits of a length that mean neither.
        assert_eq!(answer(&[record(&[0x80, 12], A, &[10, 0, 0, 1])]), Err(NoAnswer::Damaged));
    }

    #[test]
    fn a_name_that_is_longer_than_may_be_is_refused() {
        let labels: Vec<u8> = [&[63][..], &[b'a'; 63]].concat().repeat(4);
        assert_eq!(answer(&[record(&[&labels[..], ASKED].concat(), A, &[10, 0, 0, 1])]), Err(NoAnswer::Damaged));
    }

    #[test]
    fn an_answer_cut_anywhere_is_refused() {
        let records = [record(ASKED, CNAME, &wire("b.net")), record(&wire("b.net"), A, &[10, 0, 0, 1])];
        let whole = message(FLAGS, ("db.example.org", A), &records);
        let head = whole.len() - records.concat().len();
        for length in 0..whole.len() {
            let why = if length < head { NoAnswer::NotOurs } else { NoAnswer::Damaged };
            assert_eq!(question(Kind::A).answer(ID, &whole[..length]), Err(why), "{length} bytes");
        }
        let mut short = whole.clone();
        // An address of three bytes.
        short.pop();
        let at = short.len() - 4;
        short[at] = 3;
        assert_eq!(question(Kind::A).answer(ID, &short), Err(NoAnswer::Damaged));
    }

    #[test]
    fn random_bytes_behind_a_right_question_neither_panic_nor_give_what_is_not_there() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let rest: Vec<u8> =
                (0..rng.usize(..80)).map(|_| [0, 1, 4, 5, 12, 0xc0, rng.u8(..)][rng.usize(..7)]).collect();
            let mut bytes = message(FLAGS, ("db.example.org", A), &[]);
            bytes[7] = rng.u8(..4);
            bytes.extend(rest);
            if let Ok(addresses) = question(Kind::A).answer(ID, &bytes) {
                assert!(addresses.len() <= usize::from(bytes[7]));
            }
        }
    }
}
