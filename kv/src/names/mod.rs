//! Names of members, looked up as Go's own resolver does it, and so etcd's released programs: in /etc/hosts (hosts(5)),
//! then at the name servers of /etc/resolv.conf (resolv.conf(5)); but if no server answers for a name, those below the next
//! suffixes are not tried instead. Not by getaddrinfo(3): in a static program it loads
//! the host's own libraries at run time, which need not fit, and it keeps a thread busy for each lookup.
//!
//! - [`host`]: what stands in an address; [`hosts`] and [`settings`]: the two files, as text; [`message`]: questions
//!   and answers of name servers (RFC 1035). None of them touches anything.
//! - [`server`]: one question, to one server after the other; here: the whole lookup, and the connection.
mod host;
mod hosts;
mod message;
mod server;
mod settings;
mod unresolved;

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use host::split;
use host::{Address, Host};
pub use message::{Kind, NoAnswer, Question};
use server::{Asked, Said, random, socket_address};
use settings::{Families, Settings};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use unresolved::{Unresolved, Why};

/// The port of name servers (RFC 1035, 4.2).
const PORT: u16 = 53;

/// A lookup may take one in so many parts of the time for a connection: the rest is for the addresses.
const LOOKUP_SHARE: u32 = 2;

/// Addresses of a host that are tried; an answer may hold thousands.
const MOST_ADDRESSES: usize = 16;

/// Where names are looked up.
#[derive(Debug, Clone)]
pub struct Names {
    /// hosts(5)
    pub hosts: PathBuf,
    /// resolv.conf(5)
    pub resolv_conf: PathBuf,
    /// The port of the name servers.
    pub port: u16,
}

impl Default for Names {
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into(), port: PORT }
    }
}

impl Names {
    /// Connects to `host:port`: to the first of its addresses that answers. Each gets a share of the time that is left.
    ///
    /// # Errors
    /// The name has no address that we know of, or the last address's refusal.
    pub async fn connect(&self, host_and_port: &str, patience: Duration) -> io::Result<TcpStream> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "host:port was expected");
        let (host, port) = host::split(host_and_port).ok_or_else(wrong)?;
        let deadline = Instant::now() + patience;
        let addresses = self.resolve(host, port, patience / LOOKUP_SHARE).await?;
        let mut last = None;
        for (addresses_left, address) in (1..=addresses.len()).rev().zip(&addresses) {
            let share = share(deadline, addresses_left);
            let refused = match timeout(share, TcpStream::connect(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => error,
                Err(_) => io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", share.as_millis())),
            };
            last = Some(if address.to_string() == host_and_port {
                refused
            } else {
                io::Error::new(refused.kind(), format!("{address}: {refused}"))
            });
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// The addresses of a host, at least one. Those to which there is a route come first, and of these IPv6 before
    /// IPv4, as by the rules 1 and 6 of RFC 6724.
    ///
    /// # Errors
    /// There is no such name, or nobody who knows it answers.
    pub async fn resolve(&self, host: &str, port: u16, patience: Duration) -> io::Result<Vec<SocketAddr>> {
        let found = match Host::of(host) {
            Host::Address(address) => vec![address],
            Host::Name(name) => self.look_up(name, patience).await.map_err(|why| Unresolved::new(host, why))?,
            Host::Neither => return Err(Unresolved::new(host, Why::NoName).into()),
        };
        let mut addresses = Vec::with_capacity(found.len().min(MOST_ADDRESSES));
        for address in found.into_iter().take(MOST_ADDRESSES) {
            let address =
                socket_address(&address, port).map_err(|error| Unresolved::new(host, Why::Zone(address, error)))?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(if addresses.len() > 1 { in_order(&addresses, has_route) } else { addresses })
    }

    async fn look_up(&self, name: &str, patience: Duration) -> Result<Vec<Address>, Why> {
        let found = hosts::addresses(&read(&self.hosts)?, name);
        if !found.is_empty() {
            return Ok(found);
        }
        if host::is_loopback(name) {
            return Ok(Address::loopback().into());
        }
        let own_name = rustix::system::uname();
        let settings = Settings::of(&read(&self.resolv_conf)?, &own_name.nodename().to_string_lossy());
        let deadline = Instant::now() + patience;
        let mut asked = Asked::new(&settings, self.port, deadline, random().map_err(Why::Random)?);
        let mut unknown = Why::NoName;
        for candidate in settings.candidates(name) {
            let (Some(v4), Some(v6)) = (Question::new(&candidate, Kind::A), Question::new(&candidate, Kind::Aaaa))
            else {
                continue;
            };
            let (v4, v6) = match settings.families {
                Families::Both => tokio::join!(asked.ask(&v4), asked.ask(&v6)),
                Families::V4 => (asked.ask(&v4).await, Ok(Said::nothing())),
            };
            let said = Said::both(v4, v6)?;
            if !said.addresses.is_empty() {
                return Ok(said.addresses.into_iter().map(|ip| Address { ip, zone: None }).collect());
            }
            asked.begin_with(said.server);
            unknown = Why::Unknown(settings.servers[said.server].clone());
        }
        Err(unknown)
    }
}

/// Addresses with a route first, and of these IPv6 before IPv4; else in the order in which they came.
fn in_order(addresses: &[SocketAddr], has_route: fn(SocketAddr) -> bool) -> Vec<SocketAddr> {
    let all: Vec<_> = addresses.iter().map(|address| (*address, has_route(*address), address.is_ipv6())).collect();
    let ranks = [(true, true), (true, false), (false, true), (false, false)];
    let of_rank = |rank| all.iter().filter(move |(_, route, v6)| (*route, *v6) == rank).map(|(address, ..)| *address);
    ranks.into_iter().flat_map(of_rank).collect()
}

/// What is there for one of `sharers` that come one after the other.
fn share(deadline: Instant, sharers: usize) -> Duration {
    deadline.saturating_duration_since(Instant::now()) / u32::try_from(sharers).unwrap_or(u32::MAX).max(1)
}

/// A file that need not be there. It is short and, since it is looked at often, in the page cache: not worth a thread.
fn read(path: &Path) -> Result<String, Why> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Why::File(path.to_owned(), error)),
    }
}

/// An address of the same family that stands for any.
fn any(address: SocketAddr) -> SocketAddr {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    (any, 0).into()
}

/// Whether the kernel would know where to send. A datagram's connection sends nothing.
fn has_route(address: SocketAddr) -> bool {
    UdpSocket::bind(any(address)).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_a_route_come_first_and_of_these_ipv6() {
        let addresses = ["10.0.0.1:1", "10.0.0.2:1", "[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"];
        let addresses = addresses.map(|address| address.parse().expect("an address"));
        let has_route =
            |address: SocketAddr| ["10.0.0.1:1", "10.0.0.2:1", "[2001:db8::2]:1"].contains(&&*address.to_string());
        let expected = [4, 0, 1, 2, 3].map(|index: usize| addresses[index]);
        assert_eq!(in_order(&addresses, has_route), expected);
    }
}
