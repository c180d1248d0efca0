//! The service `network`: addresses from the command line or by DHCP, kept as long as the node runs.

mod dhcp;
mod packet;
mod privileges;
mod report;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_init_core::cmdline::Config;
use hull_init_core::net::{Net, Static};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use rustix::time::{ClockId, clock_gettime};

use crate::disk::trouble::Trouble;
use crate::sys::netdev;
use report::{Configured, Report};

/// Where the kernel lists interfaces.
const INTERFACES: &str = "/sys/class/net";

/// `ARPHRD_ETHER`, linux/if_arp.h.
const ETHERNET: &str = "1";

/// `RTMGRP_LINK`, linux/rtnetlink.h: interfaces that come, go, or gain and lose their cable.
const LINKS: u32 = 1;

/// Milliseconds since the kernel started, sleep included: leases go on while a machine sleeps.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// Configures the network and keeps it. Comes back only with what cannot work.
pub(super) fn run() -> Result<(), Trouble> {
    let line = fs::read("/proc/cmdline").unwrap_or_default();
    let config = Config::parse(&line);
    privileges::drop_all_but_network();
    let links = Links::open()?;
    let control = netdev::control_socket().map_err(|error| kernel_lacks("a UDP socket", &error))?;
    let report = Report::new();
    match config.net() {
        Net::Off => {
            report.ready("off");
            loop {
                links.wait(&[], u64::MAX);
            }
        }
        Net::Static(fixed) => keep_static(&links, &control, report, &fixed),
        Net::Dhcp => dhcp::keep(&links, &control, report),
    }
}

fn kernel_lacks(what: &str, error: &std::io::Error) -> Trouble {
    Trouble::new("open", what, error, "build the kernel with NET, INET and PACKET")
}

/// Waits for the interface, sets its address, and does so again whenever it comes back.
fn keep_static(links: &Links, control: &OwnedFd, mut report: Report, fixed: &Static) -> Result<(), Trouble> {
    let name = fixed.interface.as_str();
    let mut configured = 0;
    loop {
        match index(name) {
            Some(index) if index != configured => {
                if let Err(error) = set_static(control, fixed) {
                    eprintln!("{error}");
                    report.waiting(&error.to_string());
                } else {
                    configured = index;
                    let dns = fixed.dns.iter().copied().collect();
                    report.configured(name, Some(Configured { address: fixed.address, prefix: fixed.prefix, dns }));
                }
            }
            Some(_) => {}
            None => {
                configured = 0;
                report.waiting(&format!("there is no interface {name}"));
            }
        }
        links.wait(&[], u64::MAX);
    }
}

fn set_static(control: &OwnedFd, fixed: &Static) -> Result<(), Trouble> {
    let name = fixed.interface.as_str();
    let say = |operation, error| Trouble::new(operation, name, error, "check hull.net on the kernel command line");
    netdev::bring_up(control, name).map_err(|error| say("bring up", error))?;
    netdev::set_address(control, name, fixed.address, fixed.prefix)
        .map_err(|error| say("set the address of", error))?;
    match fixed.gateway {
        Some(router) => {
            netdev::add_default_route(control, name, router).map_err(|error| say("set the default route over", error))
        }
        None => Ok(()),
    }
}

/// A file of an interface, without its line end.
fn attribute(name: &str, file: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(INTERFACES).join(name).join(file)).ok()?;
    Some(text.trim().to_owned())
}

fn index(name: &str) -> Option<u32> {
    attribute(name, "ifindex")?.parse().ok()
}

/// Every Ethernet interface that is a device, not one made by software.
fn ethernet_devices() -> Vec<String> {
    let entries = fs::read_dir(INTERFACES).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        attribute(name, "type").as_deref() == Some(ETHERNET) && Path::new(INTERFACES).join(name).join("device").exists()
    });
    names.sort();
    names
}

/// Wakes when interfaces change.
struct Links {
    socket: OwnedFd,
}

impl Links {
    fn open() -> Result<Self, Trouble> {
        let open = || -> rustix::io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?; // protocol 0 is NETLINK_ROUTE
            bind(&socket, &SocketAddrNetlink::new(0, LINKS))?;
            Ok(socket)
        };
        open().map(|socket| Self { socket }).map_err(|error| kernel_lacks("a netlink socket", &error.into()))
    }

    /// Waits until an interface changes, one of the sockets has something, or it is `until` (see [`now`]).
    fn wait(&self, sockets: &[BorrowedFd<'_>], until: u64) {
        let mut waits = vec![PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        waits.extend(sockets.iter().map(|socket| PollFd::from_borrowed_fd(*socket, PollFlags::IN)));
        let left = until.saturating_sub(now());
        let timeout = Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as i64 };
        let timeout = (until != u64::MAX).then_some(&timeout);
        let _ = poll(&mut waits, timeout); // an interruption only makes the caller look again
        let mut drain = [0; 8192];
        while recv(&self.socket, &mut drain, RecvFlags::DONTWAIT).is_ok() {}
    }
}
