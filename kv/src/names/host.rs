//! What stands for a host in an address: an address of IP, or a name.
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The longest name (RFC 1035, 2.3.4: 255 bytes with the lengths of its labels), without a dot at its end.
const LONGEST_NAME: usize = 253;
/// The longest part of a name between dots (RFC 1035, 2.3.4).
const LONGEST_LABEL: usize = 63;

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    /// The network interface, by number or name, behind which an address of IPv6 is to be found (RFC 4007, 11).
    pub(super) zone: Option<String>,
}

impl Address {
    /// `1.2.3.4`, `::1`, `fe80::1%eth0`.
    pub(super) fn of(text: &str) -> Option<Self> {
        match text.split_once('%') {
            Some((_, "")) => None,
            Some((ip, zone)) => Some(Self { ip: ip.parse::<Ipv6Addr>().ok()?.into(), zone: Some(zone.to_owned()) }),
            None => text.parse().ok().map(|ip| Self { ip, zone: None }),
        }
    }

    /// This machine's own.
    pub(super) fn loopback() -> [Self; 2] {
        [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].map(|ip| Self { ip, zone: None })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            None => write!(f, "{}", self.ip),
            Some(zone) => write!(f, "{}%{zone}", self.ip),
        }
    }
}

/// A host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host<'a> {
    Address(Address),
    Name(&'a str),
    /// No text that a name server could know.
    Neither,
}

impl<'a> Host<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        match Address::of(text) {
            Some(address) => Self::Address(address),
            None if is_name(text) => Self::Name(text),
            None => Self::Neither,
        }
    }
}

/// Host and port of `host:port`; an address of IPv6 may stand in brackets.
pub(crate) fn split(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

/// Whether a text is a name of letters, digits, `-`, `_` and dots, one of which may end it. Digits alone are a damaged
/// address.
pub(super) fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_part = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= LONGEST_NAME
        && name.split('.').all(is_part)
        && !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// `localhost` and what ends with it: no name server is asked (RFC 6761, 6.3).
pub(super) fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_apart_with_and_without_brackets() {
        assert_eq!(split("db.example.org:2380"), Some(("db.example.org", 2380)));
        assert_eq!(split("10.0.0.1:2380"), Some(("10.0.0.1", 2380)));
        assert_eq!(split("[::1]:2380"), Some(("::1", 2380)));
        assert_eq!(split("[fe80::1%eth0]:2380"), Some(("fe80::1%eth0", 2380)));
        assert_eq!(split("::1:2380"), Some(("::1", 2380)));
        for wrong in ["", "db", "db:", "db:http", "db:65536"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_address_is_no_name() {
        let address = |ip: &str, zone: Option<&str>| {
            Host::Address(Address { ip: ip.parse().expect("an address"), zone: zone.map(str::to_owned) })
        };
        assert_eq!(Host::of("10.0.0.1"), address("10.0.0.1", None));
        assert_eq!(Host::of("::1"), address("::1", None));
        assert_eq!(Host::of("fe80::1%br-lan.5"), address("fe80::1", Some("br-lan.5")));
        assert_eq!(Host::of("db-1.example.org."), Host::Name("db-1.example.org."));
        assert_eq!(Host::of("_db"), Host::Name("_db"));
    }

    #[test]
    fn what_no_name_server_could_know_is_asked_of_none() {
        let long = format!("{}.org", ["a"; 125].join("."));
        assert_eq!(long.len(), 253);
        assert!(is_name(&long));
        let label = "a".repeat(64);
        let over = format!("a.{long}");
        for wrong in
            ["", ".", "a..b", ".a", "a b", "ü", "10.0.0", "1", "::g", "fe80::1%", "10.0.0.1%eth0", &label, &over]
        {
            assert_eq!(Host::of(wrong), Host::Neither, "{wrong}");
        }
    }

    #[test]
    fn localhost_and_what_is_below_it_are_this_machine() {
        for name in ["localhost", "LocalHost.", "db.localhost"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in ["notlocalhost", "localhost.example.org", "localhost4"] {
            assert!(!is_loopback(name), "{name}");
        }
    }
}
