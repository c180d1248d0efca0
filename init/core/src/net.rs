//! The value of `hull.net`: how the node gets its addresses.

use core::net::Ipv4Addr;

use heapless::{String, Vec};

/// Longest name of a network interface (IFNAMSIZ less its final zero).
pub const INTERFACE_BYTES: usize = 15;

/// Name servers that are used; resolvers look at three.
pub const MAX_DNS: usize = 3;

/// How the node gets its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Net {
    /// By DHCP on every Ethernet interface.
    Dhcp,
    /// Not at all: only the loopback is up.
    Off,
    /// As given.
    Static(Static),
}

/// One interface's fixed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Static {
    /// Interface name.
    pub interface: String<INTERFACE_BYTES>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits, 0 to 32.
    pub prefix: u8,
    /// Default route.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr, MAX_DNS>,
}

impl Net {
    /// Reads `dhcp`, `off` or `INTERFACE:ADDRESS/BITS[:GATEWAY[:DNS[,DNS]]]`; an empty gateway means none.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        match value {
            "dhcp" => return Some(Self::Dhcp),
            "off" => return Some(Self::Off),
            _ => {}
        }
        let mut parts = value.split(':');
        let interface =
            parts.next().filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/'))?;
        let (address, bits) = parts.next()?.split_once('/')?;
        let gateway = match parts.next() {
            None | Some("") => None,
            Some(text) => Some(text.parse().ok()?),
        };
        let mut dns = Vec::new();
        for server in parts.next().unwrap_or("").split(',').filter(|text| !text.is_empty()) {
            dns.push(server.parse().ok()?).ok()?;
        }
        if parts.next().is_some() {
            return None;
        }
        Some(Self::Static(Static {
            interface: String::try_from(interface).ok()?,
            address: address.parse().ok()?,
            prefix: bits.parse().ok().filter(|bits| *bits <= 32)?,
            gateway,
            dns,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(value: &str) -> Static {
        match Net::parse(value) {
            Some(Net::Static(fixed)) => fixed,
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn a_static_address_needs_neither_gateway_nor_name_server() {
        let alone = fixed("eth0:10.0.0.2/24");
        assert_eq!((alone.prefix, alone.gateway, alone.dns.len()), (24, None, 0));
        assert_eq!(fixed("eth0:10.0.0.2/24:10.0.0.1").gateway, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(fixed("eth0:10.0.0.2/24::10.0.0.53,10.0.0.54").dns.len(), 2);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for value in ["", "eth0", "eth0:10.0.0.2", "eth0:10.0.0.2/33", "eth0:10.0.0/24", ":10.0.0.2/24", "DHCP"] {
            assert_eq!(Net::parse(value), None, "{value}");
        }
        assert_eq!(Net::parse("averyverylonginterface:10.0.0.2/24"), None);
        assert_eq!(Net::parse("eth0:10.0.0.2/24:gw"), None);
        assert_eq!(Net::parse("eth0:10.0.0.2/24:10.0.0.1:1.1.1.1:more"), None);
    }
}
