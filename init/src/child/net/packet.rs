//! IP and UDP around DHCP messages, for an interface that has no address yet.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};

use crate::sys::netdev::CLIENT_PORT;

/// Port of a DHCP server.
pub(super) const SERVER_PORT: u16 = 67;

/// Hops that a packet may take: the usual number.
const HOP_LIMIT: u8 = 64;

/// Wraps a message to everybody.
pub(super) fn wrap(from: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let udp = UdpRepr { src_port: CLIENT_PORT, dst_port: SERVER_PORT };
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: Ipv4Addr::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + message.len(),
        hop_limit: HOP_LIMIT,
    };
    let mut packet = vec![0; ip.buffer_len() + ip.payload_len];
    let checksums = ChecksumCapabilities::default();
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &checksums);
    let mut datagram = UdpPacket::new_unchecked(&mut packet[ip.buffer_len()..]);
    let (from, to) = (IpAddress::Ipv4(from), IpAddress::Ipv4(Ipv4Addr::BROADCAST));
    udp.emit(&mut datagram, &from, &to, message.len(), |payload| payload.copy_from_slice(message), &checksums);
    packet
}

/// The message inside a packet to port 68. The UDP checksum is not looked at: a virtual network leaves it to hardware that is not there.
pub(super) fn unwrap(packet: &[u8]) -> Option<&[u8]> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    if ip.next_header() != IpProtocol::Udp || !ip.verify_checksum() {
        return None;
    }
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    (udp.dst_port() == CLIENT_PORT && udp.src_port() == SERVER_PORT).then(|| udp.payload())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_question_has_the_right_ports_and_checksums() {
        let packet = wrap(Ipv4Addr::UNSPECIFIED, b"question");
        let ip = Ipv4Packet::new_checked(&packet[..]).unwrap();
        assert!(ip.verify_checksum());
        let udp = UdpPacket::new_checked(ip.payload()).unwrap();
        assert!(udp.verify_checksum(&IpAddress::Ipv4(Ipv4Addr::UNSPECIFIED), &IpAddress::Ipv4(Ipv4Addr::BROADCAST)));
        assert_eq!((udp.src_port(), udp.dst_port(), udp.payload()), (68, 67, &b"question"[..]));
        assert_eq!(unwrap(&packet), None, "a question is not an answer");
    }

    #[test]
    fn an_answer_is_unwrapped_and_a_damaged_or_cut_one_is_not() {
        let mut packet = wrap(Ipv4Addr::UNSPECIFIED, b"answer");
        (packet[21], packet[23]) = (67, 68);
        assert_eq!(unwrap(&packet), Some(&b"answer"[..]));
        for length in 0..packet.len() {
            assert_eq!(unwrap(&packet[..length]), None);
        }
        packet[13] ^= 1;
        assert_eq!(unwrap(&packet), None, "the IP header's checksum counts");
    }
}
