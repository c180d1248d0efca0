//! Network devices, addresses, routes and packets: netdevice(7), packet(7), socket(7), rtentry in route(8)'s sense.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

/// Port of a DHCP client.
pub(crate) const CLIENT_PORT: u16 = 68;

const IPV4: u16 = libc::ETH_P_IP as u16;

/// Accepts UDP to port 68 in unfragmented IPv4 and nothing else, so that no other packet wakes the process. The packet starts at the IP
/// header: protocol at byte 9, fragment offset at 6, header length in the low nibble of byte 0, port 2 bytes into UDP.
const DHCP_ONLY: [libc::sock_filter; 8] = [
    instruction(0x30, 0, 0, 9),                  // load byte 9
    instruction(0x15, 0, 5, 17),                 // not UDP: drop
    instruction(0x28, 0, 0, 6),                  // load half word 6
    instruction(0x45, 3, 0, 0x1fff),             // a later fragment: drop
    instruction(0xb1, 0, 0, 0),                  // x = 4 * low nibble of byte 0
    instruction(0x48, 0, 0, 2),                  // load half word x + 2
    instruction(0x15, 1, 0, CLIENT_PORT as u32), // ours: accept
    instruction(0x06, 0, 0, 0),                  // drop
];
const ACCEPT: libc::sock_filter = instruction(0x06, 0, 0, u32::MAX);

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Any socket; addresses and routes are set through it.
pub(crate) fn control_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// Brings an interface up.
pub(crate) fn bring_up(socket: &impl AsFd, name: &str) -> io::Result<()> {
    let mut request = request(name);
    ioctl(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS filled this field of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    ioctl(socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Gives an interface its only address. The unspecified address takes it away.
pub(crate) fn set_address(socket: &impl AsFd, name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    set(socket, libc::SIOCSIFADDR, name, address)?;
    if address.is_unspecified() {
        return Ok(());
    }
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    set(socket, libc::SIOCSIFNETMASK, name, Ipv4Addr::from(mask))?;
    let broadcast = Ipv4Addr::from(u32::from(address) | !mask);
    if prefix < 31 { set(socket, libc::SIOCSIFBRDADDR, name, broadcast) } else { Ok(()) }
}

fn set(socket: &impl AsFd, operation: libc::Ioctl, name: &str, address: Ipv4Addr) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_addr = internet(address);
    ioctl(socket, operation, &mut request)
}

/// Sets the default route; one that is there already stays. A router outside of the interface's network gets a route of its own first.
pub(crate) fn add_default_route(socket: &impl AsFd, name: &str, router: Ipv4Addr) -> io::Result<()> {
    match route(socket, libc::SIOCADDRT, name, Ipv4Addr::UNSPECIFIED, Some(router)) {
        Err(error) if error.raw_os_error() == Some(libc::ENETUNREACH) => {
            route(socket, libc::SIOCADDRT, name, router, None)?;
            route(socket, libc::SIOCADDRT, name, Ipv4Addr::UNSPECIFIED, Some(router))
        }
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Removes the default route over a router.
pub(crate) fn remove_default_route(socket: &impl AsFd, name: &str, router: Ipv4Addr) -> io::Result<()> {
    route(socket, libc::SIOCDELRT, name, Ipv4Addr::UNSPECIFIED, Some(router))
}

/// To a host, or to everywhere when `to` is unspecified; over a router, or directly.
fn route(
    socket: &impl AsFd,
    operation: libc::Ioctl,
    name: &str,
    to: Ipv4Addr,
    over: Option<Ipv4Addr>,
) -> io::Result<()> {
    let mut device: Vec<libc::c_char> = name.bytes().map(|byte| byte as libc::c_char).collect();
    device.push(0);
    // SAFETY: rtentry is plain data, for which zero is valid.
    let mut entry: libc::rtentry = unsafe { std::mem::zeroed() };
    entry.rt_dst = internet(to);
    entry.rt_genmask = internet(if to.is_unspecified() { to } else { Ipv4Addr::BROADCAST });
    entry.rt_gateway = internet(over.unwrap_or(Ipv4Addr::UNSPECIFIED));
    entry.rt_flags = libc::RTF_UP | if over.is_some() { libc::RTF_GATEWAY } else { libc::RTF_HOST };
    entry.rt_dev = device.as_mut_ptr();
    // SAFETY: both operations read one rtentry; the device's name lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), operation, &raw const entry) })
}

/// A socket that receives IPv4 packets to port 68 on one interface, whether or not it has an address, and sends any.
pub(crate) fn packet_socket(index: u32) -> io::Result<OwnedFd> {
    // Protocol 0 receives nothing until it is bound, with the filter in place.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None::<Protocol>)?;
    let mut program = DHCP_ONLY.to_vec();
    program.push(ACCEPT);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(&socket, libc::SO_ATTACH_FILTER, &filter)?;
    let address = link_layer(index, [0; 6]);
    // SAFETY: the address is a sockaddr_ll of the length given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) })?;
    Ok(socket)
}

/// Sends an IPv4 packet to every station of the interface's network.
pub(crate) fn send_to_all(socket: &impl AsFd, index: u32, packet: &[u8]) -> io::Result<()> {
    let address = link_layer(index, [0xff; 6]);
    // SAFETY: the packet and the address are valid for the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_DONTWAIT,
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A UDP socket on port 68 of one interface: for requests to one server, and so that its answers are not refused by the kernel.
pub(crate) fn client_socket(name: &str) -> io::Result<std::net::UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    set_option(&socket, libc::SO_REUSEADDR, &1_i32)?;
    set_option_bytes(&socket, libc::SO_BINDTODEVICE, name.as_bytes())?;
    rustix::net::bind(&socket, &std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
    Ok(socket.into())
}

fn set_option<T>(socket: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value is valid for its own size.
    let bytes = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) };
    set_option_bytes(socket, option, bytes)
}

fn set_option_bytes(socket: &OwnedFd, option: i32, bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of the value.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, bytes.as_ptr().cast(), length) })
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request
}

fn ioctl(socket: &impl AsFd, operation: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the SIOC operations used here read and write one ifreq.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), operation, std::ptr::from_mut(request)) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn internet(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as u16, sa_data: data }
}

fn link_layer(index: u32, to: [u8; 6]) -> libc::sockaddr_ll {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&to);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: IPV4.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    }
}
