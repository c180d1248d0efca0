//! DHCP on every Ethernet interface: the sockets around `hull_init_core::dhcp`.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use hull_init_core::dhcp::{Action, Client, Lease};
use rustix::net::{RecvFlags, recv};
use rustix::rand::{GetRandomFlags, getrandom};

use super::packet::{SERVER_PORT, unwrap, wrap};
use super::report::{Configured, Report};
use super::{Links, attribute, ethernet_devices, index, now};
use crate::disk::trouble::Trouble;
use crate::sys::netdev;

/// Largest packet that is read: an Ethernet frame's content.
const PACKET_BYTES: usize = 1500;

/// One interface.
struct Port {
    name: String,
    index: u32,
    client: Client,
    packets: OwnedFd,
    /// Holds port 68, so that the kernel does not refuse answers to it.
    datagrams: UdpSocket,
    cable: Cable,
    lease: Option<Lease>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cable {
    Out,
    In,
}

/// Asks, renews and starts again, for ever.
pub(super) fn keep(links: &Links, control: &OwnedFd, mut report: Report) -> ! {
    let mut ports: Vec<Port> = Vec::new();
    let mut said = String::new();
    loop {
        look_for_interfaces(control, &mut ports, &mut report);
        for port in &mut ports {
            port.look_at_cable();
            port.receive(control, &mut report);
            port.step(control, &mut report);
        }
        say_what_is_missing(&ports, &report, &mut said);
        let sockets: Vec<_> = ports.iter().map(|port| port.packets.as_fd()).collect();
        let until = ports.iter().filter(|port| port.cable == Cable::In).map(|port| port.client.wake()).min();
        links.wait(&sockets, until.unwrap_or(u64::MAX));
    }
}

fn say_what_is_missing(ports: &[Port], report: &Report, said: &mut String) {
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let cables = ports.iter().any(|port| port.cable == Cable::In);
    let what = match (names.is_empty(), cables) {
        (true, _) => "there is no Ethernet interface".to_owned(),
        (false, false) => format!("no cable in {}", names.join(", ")),
        (false, true) => format!("asking on {}", names.join(", ")),
    };
    if what != *said && ports.iter().all(|port| port.lease.is_none()) {
        println!("{what}");
        if names.is_empty() {
            report.ready(&what)
        } else {
            report.waiting(&what)
        }
        *said = what;
    }
}

/// Takes up interfaces that are new, forgets those that are gone.
fn look_for_interfaces(control: &OwnedFd, ports: &mut Vec<Port>, report: &mut Report) {
    ports.retain(|port| {
        let there = index(&port.name) == Some(port.index);
        if !there && port.lease.is_some() {
            report.configured(&port.name, None);
        }
        there
    });
    for name in ethernet_devices() {
        if ports.iter().any(|port| port.name == name) {
            continue;
        }
        match Port::open(control, &name) {
            Ok(port) => ports.push(port),
            Err(trouble) => eprintln!("{trouble}"),
        }
    }
}

impl Port {
    fn open(control: &OwnedFd, name: &str) -> Result<Self, Trouble> {
        let say = |operation, error: std::io::Error| {
            Trouble::new(operation, name, error, "build the kernel with NET, INET and PACKET")
        };
        let gone = || Trouble::new("look at", name, "it is gone", "plug it in again");
        let index = index(name).ok_or_else(gone)?;
        let mac = attribute(name, "address").and_then(|text| mac(&text)).ok_or_else(gone)?;
        netdev::bring_up(control, name).map_err(|error| say("bring up", error))?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self {
            name: name.to_owned(),
            index,
            client: Client::new(mac, &host, seed(mac), now()),
            packets: netdev::packet_socket(index).map_err(|error| say("open a packet socket on", error))?,
            datagrams: netdev::client_socket(name).map_err(|error| say("open port 68 on", error))?,
            cable: Cable::Out,
            lease: None,
        })
    }

    fn look_at_cable(&mut self) {
        let cable = if attribute(&self.name, "carrier").as_deref() == Some("1") { Cable::In } else { Cable::Out };
        if cable == Cable::In && self.cable == Cable::Out {
            self.client.link_up(now());
        }
        self.cable = cable;
    }

    fn receive(&mut self, control: &OwnedFd, report: &mut Report) {
        let mut buffer = [0; PACKET_BYTES];
        while let Ok((_, length)) = recv(&self.packets, &mut buffer[..], RecvFlags::DONTWAIT) {
            if let Some(message) = unwrap(&buffer[..length.min(PACKET_BYTES)]) {
                let actions = self.client.receive(now(), message);
                self.perform(actions, control, report);
            }
        }
        // The same answers reach the socket that holds the port; nobody needs them there.
        while self.datagrams.recv(&mut buffer).is_ok() {}
    }

    fn step(&mut self, control: &OwnedFd, report: &mut Report) {
        if self.cable == Cable::In {
            let actions = self.client.step(now());
            self.perform(actions, control, report);
        }
    }

    fn perform(&mut self, actions: Vec<Action>, control: &OwnedFd, report: &mut Report) {
        for action in actions {
            let (what, result) = match action {
                Action::Broadcast { from, message } => {
                    ("ask on", netdev::send_to_all(&self.packets, self.index, &wrap(from, &message)))
                }
                Action::Unicast { to, message } => {
                    ("renew the lease of", self.datagrams.send_to(&message, (to, SERVER_PORT)).map(|_| ()))
                }
                Action::Configure(lease) => ("configure", self.configure(lease, control, report)),
                Action::Deconfigure => ("take the address from", self.deconfigure(control, report)),
            };
            if let Err(error) = result {
                eprintln!("{what} {}: {error}; it is tried again", self.name);
            }
        }
    }

    fn configure(&mut self, lease: Lease, control: &OwnedFd, report: &mut Report) -> std::io::Result<()> {
        let old = self.lease.replace(lease.clone());
        if let Some(router) = old.and_then(|old| old.router).filter(|router| Some(*router) != lease.router) {
            let _ = netdev::remove_default_route(control, &self.name, router); // a changed address took it away already
        }
        netdev::set_address(control, &self.name, lease.address, lease.prefix)?;
        let routed = lease.router.map_or(Ok(()), |router| netdev::add_default_route(control, &self.name, router));
        report
            .configured(&self.name, Some(Configured { address: lease.address, prefix: lease.prefix, dns: lease.dns }));
        routed
    }

    fn deconfigure(&mut self, control: &OwnedFd, report: &mut Report) -> std::io::Result<()> {
        self.lease = None;
        report.configured(&self.name, None);
        netdev::set_address(control, &self.name, Ipv4Addr::UNSPECIFIED, 0)
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Differs between machines by the address and between boots by the kernel's random numbers, which need not be good ones here.
fn seed(mac: [u8; 6]) -> u64 {
    let mut random = [0; 8];
    let _ = getrandom(&mut random, GetRandomFlags::INSECURE); // then the address alone has to do
    let mut address = [0; 8];
    address[..6].copy_from_slice(&mac);
    u64::from_le_bytes(random) ^ u64::from_le_bytes(address)
}
