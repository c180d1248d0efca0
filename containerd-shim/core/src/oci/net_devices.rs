//! Network devices that a container gets from the host: `linux.netDevices` of the specification 1.3, and the messages to the kernel that move
//! them (rtnetlink(7)). A device that moves loses its addresses; those that were set for good are set again.

use std::collections::BTreeMap;

use super::Refused;
use super::config;
use super::namespaces::{Kind, Namespaces};
use super::refused::value;

/// A device and its name in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// On the host.
    pub name: String,
    /// In the container.
    pub inside: String,
}

/// Reads them.
///
/// # Errors
/// Names the field: a name that is none, one that is there twice, or no network namespace to move them to.
pub fn read(declared: &BTreeMap<String, config::NetDevice>, namespaces: &Namespaces) -> Result<Vec<Device>, Refused> {
    const FIELD: &str = "linux.netDevices";
    let mut devices: Vec<Device> = Vec::new();
    for (name, device) in declared {
        let inside = if device.name.is_empty() { name } else { &device.name };
        if !namespaces.is_own(Kind::Network) {
            return Err(value(FIELD, name, "given together with a network namespace"));
        }
        if !is_name(name) {
            return Err(value(FIELD, name, "the name of a network device"));
        }
        if !is_name(inside) {
            return Err(value(format!("{FIELD}.{name}.name"), inside, "the name of a network device"));
        }
        if devices.iter().any(|known| known.inside == *inside) {
            return Err(value(format!("{FIELD}.{name}.name"), inside, "there once"));
        }
        devices.push(Device { name: name.clone(), inside: inside.clone() });
    }
    Ok(devices)
}

/// As the kernel has it (`dev_valid_name`): 1 to 15 bytes, no path, and nothing that is another field of its tables.
fn is_name(text: &str) -> bool {
    let bad = |c: char| c == '/' || c == ':' || c == '%' || c == '\0' || c.is_whitespace();
    !text.is_empty() && text.len() < 16 && text != "." && text != ".." && !text.contains(bad)
}

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const REQUEST_AND_ACK: u16 = 1 | 4;
const CREATE: u16 = 0x400 | 0x200;
const DUMP: u16 = 1 | 0x300;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// `IFF_UP`
const UP: u32 = 1;
/// `IFA_F_PERMANENT`: set by somebody, and not learnt.
const PERMANENT: u8 = 0x80;
const GLOBAL: u8 = 0;
const HEADER: usize = 16;

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence and sender: one question at a time on a socket of its own.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    // Which flags are set, and which of them count.
    body.extend(flags.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body
}

/// Moves a device to the network namespace of a descriptor, and gives it its name there.
pub fn move_to(index: u32, namespace: i32, name: &str) -> Vec<u8> {
    let mut body = link(index, 0);
    attribute(&mut body, IFLA_NET_NS_FD, &namespace.to_ne_bytes());
    let mut name = name.as_bytes().to_vec();
    name.push(0);
    attribute(&mut body, IFLA_IFNAME, &name);
    message(NEW_LINK, REQUEST_AND_ACK, &body)
}

/// Brings a device up.
pub fn bring_up(index: u32) -> Vec<u8> {
    message(NEW_LINK, REQUEST_AND_ACK, &link(index, UP))
}

/// Asks for all addresses.
pub fn ask_addresses() -> Vec<u8> {
    message(GET_ADDRESS, DUMP, &[0; 8])
}

/// An address of a device, ready to be set again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Family, length of the prefix, flags, scope.
    head: [u8; 4],
    attributes: Vec<u8>,
}

/// Sets an address.
pub fn set_address(index: u32, address: &Address) -> Vec<u8> {
    let mut body = address.head.to_vec();
    body.extend(index.to_ne_bytes());
    body.extend(&address.attributes);
    message(NEW_ADDRESS, REQUEST_AND_ACK | CREATE, &body)
}

/// What an answer of the kernel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// More is to come.
    More,
    /// It is done.
    Done,
    /// It failed, with this number of an error.
    Failed(i32),
}

/// Reads one datagram of answers; addresses of the device that were set for good and are good everywhere are added to `addresses`.
pub fn answer(mut bytes: &[u8], index: u32, addresses: &mut Vec<Address>) -> Answer {
    while let Some((head, _)) = bytes.split_at_checked(HEADER) {
        let length = (u32_at(head, 0) as usize).max(HEADER);
        let Some(body) = bytes.get(HEADER..length) else { return Answer::Failed(EBADMSG) };
        match u16_at(head, 4) {
            DONE => return Answer::Done,
            ERROR => {
                return match body.get(..4).map(|error| u32_at(error, 0) as i32) {
                    Some(0) => Answer::Done,
                    Some(error) => Answer::Failed(error.saturating_neg()),
                    None => Answer::Failed(EBADMSG),
                };
            }
            NEW_ADDRESS => addresses.extend(address(body, index)),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Answer::More
}

const EBADMSG: i32 = 74;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().unwrap_or_default()))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_ne_bytes(bytes.try_into().unwrap_or_default()))
}

fn address(body: &[u8], index: u32) -> Option<Address> {
    let head: [u8; 4] = body.get(..4)?.try_into().ok()?;
    if u32_at(body, 4) != index || head[2] & PERMANENT == 0 || head[3] != GLOBAL {
        return None;
    }
    let (mut rest, mut attributes) = (body.get(8..)?, Vec::new());
    while rest.len() >= 4 {
        let (length, kind) = (usize::from(u16_at(rest, 0)), u16_at(rest, 2));
        let value = rest.get(4..length)?;
        if matches!(kind, IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST | IFA_FLAGS) {
            attribute(&mut attributes, kind, value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Address { head, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(pairs: &[(&str, &str)], network: bool) -> Result<Vec<Device>, String> {
        let declared =
            pairs.iter().map(|(name, inside)| ((*name).into(), config::NetDevice { name: (*inside).into() })).collect();
        let namespaces = Namespaces { new: if network { Kind::Network.flag() } else { 0 }, join: Vec::new() };
        read(&declared, &namespaces).map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_device_keeps_its_name_unless_it_gets_another() {
        let read = devices(&[("eth7", ""), ("wan", "eth0")], true).unwrap();
        assert_eq!(read[0], Device { name: "eth7".into(), inside: "eth7".into() });
        assert_eq!(read[1], Device { name: "wan".into(), inside: "eth0".into() });
    }

    #[test]
    fn names_that_are_none_and_no_place_to_go_are_refused() {
        for bad in ["", "..", "a/b", "a b", "a%d", "a:1", "sixteen-letters-", "a\0"] {
            assert!(devices(&[(bad, "")], true).unwrap_err().starts_with("linux.netDevices"), "{bad:?}");
        }
        assert!(devices(&[("a", "x/y")], true).unwrap_err().starts_with("linux.netDevices.a.name"));
        assert!(devices(&[("a", ""), ("b", "a")], true).unwrap_err().starts_with("linux.netDevices.b.name"));
        assert!(devices(&[("a", "")], false).unwrap_err().contains("network namespace"));
    }

    #[test]
    fn addresses_are_told_from_those_of_other_devices_and_those_that_were_learnt() {
        let told = |index: u32, flags: u8, scope: u8| {
            let mut body = vec![2, 24, flags, scope];
            body.extend(index.to_ne_bytes());
            attribute(&mut body, IFA_LOCAL, &[10, 0, 0, 1]);
            // A cache entry, which is not set again.
            attribute(&mut body, 6, &[0; 16]);
            message(NEW_ADDRESS, 0, &body)
        };
        let bytes = [told(5, PERMANENT, 0), told(6, PERMANENT, 0), told(5, 0, 0), told(5, PERMANENT, 253)].concat();
        let mut addresses = Vec::new();
        assert_eq!(answer(&bytes, 5, &mut addresses), Answer::More);
        assert_eq!(addresses.len(), 1);
        assert_eq!(set_address(9, &addresses[0]).len(), HEADER + 8 + 8);
        assert_eq!(answer(&message(DONE, 0, &[0; 4]), 5, &mut addresses), Answer::Done);
        assert_eq!(answer(&message(ERROR, 0, &(-17_i32).to_ne_bytes()), 5, &mut addresses), Answer::Failed(17));
    }

    #[test]
    fn no_answer_makes_it_panic() {
        for length in 0..64_u8 {
            for byte in [0, 1, 2, 16, 20, 255] {
                let bytes = vec![byte; usize::from(length)];
                answer(&bytes, 1, &mut Vec::new());
                answer(&message(NEW_ADDRESS, 0, &bytes), 0, &mut Vec::new());
            }
        }
    }
}
