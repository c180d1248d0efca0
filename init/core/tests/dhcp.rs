//! The DHCP client against a scripted server: it gets, keeps, renews and loses an address as RFC 2131 says.

use std::net::Ipv4Addr;

use hull_init_core::dhcp::{Action, Client, Lease, Millis};
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
const MINUTE: Millis = 60_000;

fn client() -> Client {
    Client::new(MAC, "node1", 42, 0)
}

fn lease() -> Lease {
    Lease { address: OURS, prefix: 24, router: Some(SERVER), dns: vec![DNS], server: SERVER }
}

/// The only message among the actions, however it is sent.
fn message(actions: &[Action]) -> &[u8] {
    match actions {
        [Action::Broadcast { message, .. } | Action::Unicast { message, .. }] => message,
        other => panic!("not one message: {other:?}"),
    }
}

fn kind(bytes: &[u8]) -> DhcpMessageType {
    DhcpRepr::parse(&DhcpPacket::new_checked(bytes).unwrap()).unwrap().message_type
}

/// What a server answers to a message.
fn answer(question: &[u8], kind: DhcpMessageType, change: impl FnOnce(&mut DhcpRepr<'_>)) -> Vec<u8> {
    let packet = DhcpPacket::new_checked(question).unwrap();
    let mut repr = DhcpRepr::parse(&packet).unwrap();
    repr.message_type = kind;
    repr.your_ip = OURS;
    repr.router = Some(SERVER);
    repr.subnet_mask = Some(Ipv4Addr::new(255, 255, 255, 0));
    repr.server_identifier = Some(SERVER);
    repr.requested_ip = None;
    repr.parameter_request_list = None;
    repr.dns_servers = Some([DNS].into_iter().collect());
    repr.lease_duration = Some(3600);
    change(&mut repr);
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(bytes.as_mut_slice())).unwrap();
    bytes
}

fn nothing(_: &mut DhcpRepr<'_>) {}

/// A client with a lease, taken at time 0.
fn bound(change: impl FnOnce(&mut DhcpRepr<'_>)) -> Client {
    let mut client = client();
    let discover = client.step(0);
    let request = client.receive(0, &answer(message(&discover), DhcpMessageType::Offer, nothing));
    let actions = client.receive(0, &answer(message(&request), DhcpMessageType::Ack, change));
    assert_eq!(actions, [Action::Configure(lease())]);
    client
}

#[test]
fn discover_offer_request_ack_gives_an_address() {
    let mut client = client();
    let discover = client.step(0);
    assert_eq!(kind(message(&discover)), DhcpMessageType::Discover);
    let request = client.receive(5, &answer(message(&discover), DhcpMessageType::Offer, nothing));
    let packet = DhcpPacket::new_checked(message(&request)).unwrap();
    let repr = DhcpRepr::parse(&packet).unwrap();
    assert_eq!((repr.requested_ip, repr.server_identifier), (Some(OURS), Some(SERVER)));
    assert!(
        message(&request).windows(7).any(|bytes| bytes == [&[12, 5], &b"node1"[..]].concat()),
        "the host name is told"
    );
    let actions = client.receive(9, &answer(message(&request), DhcpMessageType::Ack, nothing));
    assert_eq!(actions, [Action::Configure(lease())]);
    assert_eq!(client.wake(), 9 + 30 * MINUTE, "half of an hour");
}

#[test]
fn silence_is_answered_with_ever_longer_waits() {
    let mut client = client();
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..10 {
        assert_eq!(kind(message(&client.step(now))), DhcpMessageType::Discover);
        waits.push(client.wake() - now);
        now = client.wake();
    }
    for (wait, least) in waits.iter().zip([1, 2, 4, 8, 16, 32, 64, 64, 64, 64]) {
        assert!((least * 1000..(least + 1) * 1000).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_server_that_offers_and_then_is_silent_is_left() {
    let mut client = client();
    let discover = client.step(0);
    let mut actions = client.receive(0, &answer(message(&discover), DhcpMessageType::Offer, nothing));
    for _ in 0..4 {
        assert_eq!(kind(message(&actions)), DhcpMessageType::Request);
        actions = client.step(client.wake());
    }
    assert_eq!(kind(message(&actions)), DhcpMessageType::Discover);
}

#[test]
fn a_lease_is_renewed_with_its_server_and_nothing_changes() {
    let mut client = bound(nothing);
    let now = 30 * MINUTE;
    let actions = client.step(now);
    assert!(matches!(&actions[..], [Action::Unicast { to: SERVER, .. }]), "{actions:?}");
    let actions = client.receive(now, &answer(message(&actions), DhcpMessageType::Ack, nothing));
    assert_eq!(actions, [], "the same lease configures nothing");
    assert_eq!(client.wake(), now + 30 * MINUTE);
}

#[test]
fn a_renewal_with_another_address_or_router_is_taken() {
    let mut client = bound(nothing);
    let actions = client.step(30 * MINUTE);
    let other = Ipv4Addr::new(10, 0, 2, 99);
    let actions =
        client.receive(30 * MINUTE, &answer(message(&actions), DhcpMessageType::Ack, |repr| repr.router = Some(other)));
    assert_eq!(actions, [Action::Configure(Lease { router: Some(other), ..lease() })]);
}

#[test]
fn without_an_answer_everybody_is_asked_and_at_the_end_the_address_goes() {
    let mut client = bound(nothing);
    let mut unicasts = 0;
    let mut broadcasts = 0;
    loop {
        let now = client.wake();
        match &client.step(now)[..] {
            [Action::Unicast { .. }] => {
                assert!(now < 3600 * 1000 * 7 / 8);
                unicasts += 1;
            }
            [Action::Broadcast { from: OURS, .. }] => {
                assert!(now >= 3600 * 1000 * 7 / 8);
                broadcasts += 1;
            }
            [Action::Deconfigure, Action::Broadcast { from: Ipv4Addr::UNSPECIFIED, message }] => {
                assert_eq!(now, 60 * MINUTE);
                assert_eq!(kind(message), DhcpMessageType::Discover);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(unicasts >= 2 && broadcasts >= 2, "{unicasts} {broadcasts}");
    assert_eq!(client.lease(), None);
}

#[test]
fn a_refusal_while_renewing_takes_the_address_and_starts_again() {
    let mut client = bound(nothing);
    let actions = client.step(30 * MINUTE);
    let actions = client.receive(30 * MINUTE, &answer(message(&actions), DhcpMessageType::Nak, nothing));
    assert!(matches!(&actions[..], [Action::Deconfigure, Action::Broadcast { .. }]), "{actions:?}");
}

#[test]
fn a_lease_for_ever_is_never_renewed() {
    let client = bound(|repr| repr.lease_duration = Some(u32::MAX));
    assert_eq!(client.wake(), Millis::MAX);
}

#[test]
fn times_that_make_no_sense_are_put_in_order() {
    let client = bound(|repr| {
        repr.renew_duration = Some(9000);
        repr.rebind_duration = Some(0);
    });
    assert!(client.wake() <= 60 * MINUTE && client.wake() > 0);
}

#[test]
fn a_cable_that_is_plugged_in_again_has_the_lease_confirmed_at_once() {
    let mut client = bound(nothing);
    client.link_up(7 * MINUTE);
    let actions = client.step(7 * MINUTE);
    assert!(matches!(&actions[..], [Action::Broadcast { from: OURS, .. }]), "{actions:?}");
    let actions = client.receive(7 * MINUTE, &answer(message(&actions), DhcpMessageType::Ack, nothing));
    assert_eq!(actions, []);
}

#[test]
fn answers_to_others_and_garbage_are_ignored() {
    let mut client = client();
    let discover = client.step(0);
    let other_id = answer(message(&discover), DhcpMessageType::Offer, |repr| repr.transaction_id ^= 1);
    let other_mac = answer(message(&discover), DhcpMessageType::Offer, |repr| repr.client_hardware_address.0[5] ^= 1);
    let no_address = answer(message(&discover), DhcpMessageType::Offer, |repr| repr.your_ip = Ipv4Addr::UNSPECIFIED);
    let holes = answer(message(&discover), DhcpMessageType::Offer, |repr| {
        repr.subnet_mask = Some(Ipv4Addr::new(255, 0, 255, 0));
    });
    for datagram in [&other_id, &other_mac, &no_address, &holes, &vec![], &vec![2; 300]] {
        assert_eq!(client.receive(1, datagram), []);
    }
    let good = answer(message(&discover), DhcpMessageType::Offer, nothing);
    for length in 0..good.len() {
        let _ = client.clone().receive(1, &good[..length]);
    }
    assert_eq!(kind(message(&client.receive(1, &good))), DhcpMessageType::Request);
}
