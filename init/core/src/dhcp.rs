//! DHCPv4 client decisions (RFC 2131): datagrams and time come in, datagrams and addresses go out.
//! ```text
//!              offer                ack                  T1              T2
//!  Selecting --------> Requesting -------> Bound ------------> Renewing ----> Rebinding
//!      ^                   | nak, silence    ^       ack           | |            | |
//!      +-------------------+                 +-------------------<-+-(-----<------+ |
//!      +-------------------------------- nak, lease over -----------+---------------+
//! ```

use core::net::Ipv4Addr;

use smoltcp::wire::{DHCP_MAX_DNS_SERVER_COUNT, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};

/// Milliseconds on a clock that never goes back.
pub type Millis = u64;

/// Wait before the first repetition, in ms. RFC 2131 (4.1) suggests 4 s; a node that boots in a tenth of a second asks sooner.
const FIRST_WAIT: Millis = 1_000;
/// Longest wait between two questions without an answer, in ms (RFC 2131, 4.1).
const LONGEST_WAIT: Millis = 64_000;
/// Shortest wait between two requests to renew or rebind, in ms (RFC 2131, 4.4.5).
const SHORTEST_RENEWAL_WAIT: Millis = 60_000;
/// Requests without an answer before everything starts again (RFC 2131, 3.1.5, suggests four).
const REQUESTS: u32 = 4;
/// Largest random part of a wait, in ms (RFC 2131, 4.1: one second to each side).
const JITTER: Millis = 1_000;
/// A lease that never ends (RFC 2131, 3.3).
const FOREVER: u32 = u32::MAX;
/// Options asked for: subnet mask, router, name servers, lease time, T1, T2.
const ASKED_FOR: &[u8] = &[1, 3, 6, 51, 58, 59];
/// Option "host name" (RFC 2132, 3.14).
const HOST_NAME: u8 = 12;
/// Largest answer that is accepted, in bytes: what fits an Ethernet frame.
const MAX_ANSWER: u16 = 1472;

/// Name servers of a lease.
pub const MAX_DNS: usize = DHCP_MAX_DNS_SERVER_COUNT;

/// An address that a server lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Ours.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
    /// Default route.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Who lent it.
    pub server: Ipv4Addr,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this from port 68 to port 67 of everybody, from address 0.0.0.0 (or ours while rebinding).
    Broadcast {
        /// The source address.
        from: Ipv4Addr,
        /// The message, without headers of UDP and IP.
        message: Vec<u8>,
    },
    /// Send this from port 68 of our address to port 67 of the server.
    Unicast {
        /// The server.
        to: Ipv4Addr,
        /// The message.
        message: Vec<u8>,
    },
    /// The interface has this address now.
    Configure(Lease),
    /// The interface has no address any more.
    Deconfigure,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Selecting { sent: u32, next: Millis },
    Requesting { offer: Lease, sent: u32, next: Millis },
    Bound { lease: Lease, times: Times },
    Renewing { lease: Lease, times: Times, next: Millis },
    Rebinding { lease: Lease, times: Times, next: Millis },
}

/// When a lease must be renewed, renewed by anybody, given up. `Millis::MAX`: never.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    renew: Millis,
    rebind: Millis,
    end: Millis,
}

/// The client of one interface.
#[derive(Clone, Debug)]
pub struct Client {
    mac: EthernetAddress,
    host_name: String,
    random: u64,
    transaction: u32,
    started: Millis,
    state: State,
}

impl Client {
    /// A client that asks at once. `random` should differ between machines and boots.
    pub fn new(mac: [u8; 6], host_name: &str, random: u64, now: Millis) -> Self {
        let mut client = Self {
            mac: EthernetAddress(mac),
            host_name: host_name.chars().take(63).collect(),
            random,
            transaction: 0,
            started: now,
            state: State::Selecting { sent: 0, next: now },
        };
        client.restart(now);
        client
    }

    /// When [`step`](Self::step) has something to do; `Millis::MAX` for never.
    pub fn wake(&self) -> Millis {
        match &self.state {
            State::Selecting { next, .. } | State::Requesting { next, .. } => *next,
            State::Bound { times, .. } => times.renew,
            State::Renewing { times, next, .. } => times.rebind.min(*next),
            State::Rebinding { times, next, .. } => times.end.min(*next),
        }
    }

    /// The address the interface has.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { lease, .. } | State::Renewing { lease, .. } | State::Rebinding { lease, .. } => Some(lease),
            State::Selecting { .. } | State::Requesting { .. } => None,
        }
    }

    /// The cable was plugged in again, perhaps into another network: asks at once whether the lease still holds.
    pub fn link_up(&mut self, now: Millis) {
        self.state = match core::mem::replace(&mut self.state, State::Selecting { sent: 0, next: now }) {
            State::Bound { lease, times }
            | State::Renewing { lease, times, .. }
            | State::Rebinding { lease, times, .. } => {
                let times = Times { renew: now, rebind: now, ..times };
                State::Rebinding { lease, times, next: now }
            }
            State::Selecting { .. } | State::Requesting { .. } => State::Selecting { sent: 0, next: now },
        };
        self.new_transaction(now);
    }

    /// Time has passed.
    pub fn step(&mut self, now: Millis) -> Vec<Action> {
        let mut actions = Vec::new();
        // Each turn moves to a later state or ends: Bound -> Renewing -> Rebinding -> Selecting -> sent.
        while self.wake() <= now {
            if let Some(action) = self.due(now) {
                actions.push(action);
            }
        }
        actions
    }

    fn due(&mut self, now: Millis) -> Option<Action> {
        match self.state.clone() {
            State::Selecting { sent, .. } => {
                self.state = State::Selecting { sent: sent + 1, next: now + self.back_off(sent) };
                Some(self.broadcast(now, DhcpMessageType::Discover, Ipv4Addr::UNSPECIFIED, None))
            }
            State::Requesting { sent: REQUESTS.., .. } => {
                self.restart(now);
                None
            }
            State::Requesting { offer, sent, .. } => {
                let next = now + self.back_off(sent);
                let action = self.broadcast(now, DhcpMessageType::Request, Ipv4Addr::UNSPECIFIED, Some(&offer));
                self.state = State::Requesting { offer, sent: sent + 1, next };
                Some(action)
            }
            State::Bound { lease, times } => {
                self.new_transaction(now);
                self.state = State::Renewing { lease, times, next: now };
                None
            }
            State::Renewing { lease, times, .. } if times.rebind <= now => {
                self.state = State::Rebinding { lease, times, next: now };
                None
            }
            State::Renewing { lease, times, .. } => {
                let message = self.message(now, DhcpMessageType::Request, lease.address, None);
                let to = lease.server;
                self.state = State::Renewing { next: half_way(now, times.rebind), lease, times };
                Some(Action::Unicast { to, message })
            }
            State::Rebinding { times, .. } if times.end <= now => {
                self.restart(now);
                Some(Action::Deconfigure)
            }
            State::Rebinding { lease, times, .. } => {
                let action = self.broadcast(now, DhcpMessageType::Request, lease.address, None);
                self.state = State::Rebinding { next: half_way(now, times.end), lease, times };
                Some(action)
            }
        }
    }

    /// A datagram to port 68 arrived. What is not an answer to this client's last question is ignored.
    pub fn receive(&mut self, now: Millis, datagram: &[u8]) -> Vec<Action> {
        let Some(answer) = self.parse(datagram) else { return Vec::new() };
        match (&self.state, answer) {
            (State::Selecting { .. }, Answer::Offer(offer)) => {
                self.state = State::Requesting { offer, sent: 0, next: now };
                self.step(now)
            }
            (State::Requesting { offer, .. }, Answer::Ack(lease, seconds)) if offer.server == lease.server => {
                self.bind(now, lease, seconds)
            }
            (State::Renewing { .. } | State::Rebinding { .. }, Answer::Ack(lease, seconds)) => {
                self.bind(now, lease, seconds)
            }
            (State::Requesting { offer, .. }, Answer::Nak(server)) if offer.server == server => {
                self.restart(now);
                self.step(now)
            }
            (State::Renewing { .. } | State::Rebinding { .. }, Answer::Nak(_)) => {
                self.restart(now);
                let mut actions = vec![Action::Deconfigure];
                actions.extend(self.step(now));
                actions
            }
            _ => Vec::new(),
        }
    }

    fn bind(&mut self, now: Millis, lease: Lease, seconds: Seconds) -> Vec<Action> {
        let changed = self.lease() != Some(&lease);
        let times = seconds.from(now);
        self.state = State::Bound { lease: lease.clone(), times };
        if changed { vec![Action::Configure(lease)] } else { Vec::new() }
    }

    fn restart(&mut self, now: Millis) {
        self.new_transaction(now);
        self.state = State::Selecting { sent: 0, next: now };
    }

    fn new_transaction(&mut self, now: Millis) {
        self.transaction = self.draw() as u32;
        self.started = now;
    }

    /// SplitMix64: spreads retries and transaction ids; nothing depends on it being secret.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn back_off(&mut self, sent: u32) -> Millis {
        let wait = FIRST_WAIT.checked_shl(sent).map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT));
        wait + self.draw() % JITTER
    }

    fn broadcast(&self, now: Millis, kind: DhcpMessageType, from: Ipv4Addr, offer: Option<&Lease>) -> Action {
        Action::Broadcast { from, message: self.message(now, kind, from, offer) }
    }

    /// `own` goes into `ciaddr`, an offer into the options "requested address" and "server identifier" (RFC 2131, table 4).
    fn message(&self, now: Millis, kind: DhcpMessageType, own: Ipv4Addr, offer: Option<&Lease>) -> Vec<u8> {
        let name = [DhcpOption { kind: HOST_NAME, data: self.host_name.as_bytes() }];
        let repr = DhcpRepr {
            message_type: kind,
            transaction_id: self.transaction,
            secs: ((now - self.started) / 1000).min(u16::MAX.into()) as u16,
            client_hardware_address: self.mac,
            client_ip: own,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: offer.map(|offer| offer.address),
            client_identifier: Some(self.mac),
            server_identifier: offer.map(|offer| offer.server),
            parameter_request_list: Some(ASKED_FOR),
            dns_servers: None,
            max_size: Some(MAX_ANSWER),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: if self.host_name.is_empty() { &[] } else { &name },
        };
        let mut bytes = vec![0; repr.buffer_len()];
        let emitted = repr.emit(&mut DhcpPacket::new_unchecked(bytes.as_mut_slice()));
        debug_assert!(emitted.is_ok(), "the buffer has the length that was asked for");
        bytes
    }

    fn parse(&self, datagram: &[u8]) -> Option<Answer> {
        let packet = DhcpPacket::new_checked(datagram).ok()?;
        let repr = DhcpRepr::parse(&packet).ok()?;
        if repr.transaction_id != self.transaction || repr.client_hardware_address != self.mac {
            return None;
        }
        let server = repr.server_identifier?;
        match repr.message_type {
            DhcpMessageType::Nak => Some(Answer::Nak(server)),
            DhcpMessageType::Offer => Some(Answer::Offer(lease(&repr, server)?)),
            DhcpMessageType::Ack => Some(Answer::Ack(lease(&repr, server)?, Seconds::of(&repr))),
            _ => None,
        }
    }
}

enum Answer {
    Offer(Lease),
    Ack(Lease, Seconds),
    Nak(Ipv4Addr),
}

fn lease(repr: &DhcpRepr<'_>, server: Ipv4Addr) -> Option<Lease> {
    let address = repr.your_ip;
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast() {
        return None;
    }
    let mask = repr.subnet_mask.map_or(u32::MAX << 8, u32::from);
    (mask.leading_ones() == mask.count_ones()).then(|| Lease {
        address,
        prefix: mask.count_ones() as u8,
        router: repr.router.filter(|router| !router.is_unspecified()),
        dns: repr.dns_servers.iter().flatten().copied().collect(),
        server,
    })
}

/// Durations of a lease in seconds.
struct Seconds {
    renew: Option<u32>,
    rebind: Option<u32>,
    end: u32,
}

impl Seconds {
    fn of(repr: &DhcpRepr<'_>) -> Self {
        Self { renew: repr.renew_duration, rebind: repr.rebind_duration, end: repr.lease_duration.unwrap_or(FOREVER) }
    }

    /// Without T1 and T2 half and seven eighths of the lease (RFC 2131, 4.4.5); whatever a server says, they come in this order.
    fn from(&self, now: Millis) -> Times {
        if self.end == FOREVER {
            return Times { renew: Millis::MAX, rebind: Millis::MAX, end: Millis::MAX };
        }
        let end = u64::from(self.end.max(1)) * 1000;
        let within = |given: Option<u32>, usual: u64, most: u64| {
            given.map_or(usual, |seconds| u64::from(seconds) * 1000).clamp(1, most)
        };
        let rebind = within(self.rebind, end * 7 / 8, end);
        let renew = within(self.renew, end / 2, rebind);
        Times { renew: now + renew, rebind: now + rebind, end: now + end }
    }
}

/// Half of what is left, but not all the time.
fn half_way(now: Millis, end: Millis) -> Millis {
    now + ((end - now) / 2).max(SHORTEST_RENEWAL_WAIT)
}
