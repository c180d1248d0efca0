//! Moves network devices of the host into a container's network namespace, with the addresses that they have.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use hull_oci_core::oci::namespaces::Kind;
use hull_oci_core::oci::net_devices::{self, Address, Answer, Device};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::create::type_of;
use crate::failure::{Failure, failing};

/// Largest datagram that the kernel answers with (netlink(7)).
const ANSWER: usize = 32 << 10;

/// Moves them into the namespace that the file names.
///
/// # Errors
/// Says which device is not there, or cannot be moved: the kernel takes those back that have moved when the namespace ends.
pub(crate) fn give(devices: &[Device], namespace: &str) -> Result<(), Failure> {
    if devices.is_empty() {
        return Ok(());
    }
    let open = |path: &str| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let told = |error: io::Error| Failure(format!("linux.netDevices: enter {namespace}: {error}"));
    let theirs = open(namespace).map_err(|error| told(error.into()))?;
    let ours = open("/proc/self/ns/net").map_err(|error| told(error.into()))?;
    let here = socket().map_err(told)?;
    let there = in_namespace(&theirs, &ours).map_err(told)?;
    for device in devices {
        give_one(device, &theirs, &here, &there)
            .map_err(failing(|| format!("linux.netDevices.{}: move it as {}", device.name, device.inside)))?;
    }
    Ok(())
}

fn give_one(device: &Device, theirs: &OwnedFd, here: &OwnedFd, there: &OwnedFd) -> io::Result<()> {
    let index = rustix::net::netdevice::name_to_index(here, &device.name)?;
    let mut addresses = Vec::new();
    ask(here, &net_devices::ask_addresses(), index, &mut addresses)?;
    ask(here, &net_devices::move_to(index, theirs.as_raw_fd(), &device.inside), index, &mut Vec::new())?;
    // Its number may be another one there.
    let index = rustix::net::netdevice::name_to_index(there, &device.inside)?;
    for address in &addresses {
        ask(there, &net_devices::set_address(index, address), index, &mut Vec::new())?;
    }
    ask(there, &net_devices::bring_up(index), index, &mut Vec::new())
}

/// A socket stays in the namespace that it was made in.
fn in_namespace(theirs: &OwnedFd, ours: &OwnedFd) -> io::Result<OwnedFd> {
    rustix::thread::move_into_link_name_space(theirs.as_fd(), type_of(Kind::Network))?;
    let made = socket();
    rustix::thread::move_into_link_name_space(ours.as_fd(), type_of(Kind::Network))?;
    made
}

fn socket() -> io::Result<OwnedFd> {
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    // NETLINK_ROUTE is protocol 0, which is what none is.
    Ok(rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, None)?)
}

fn ask(socket: &OwnedFd, question: &[u8], index: u32, addresses: &mut Vec<Address>) -> io::Result<()> {
    rustix::net::send(socket, question, SendFlags::empty())?;
    let mut bytes = vec![0; ANSWER];
    loop {
        let (length, _) = rustix::net::recv(socket, bytes.as_mut_slice(), RecvFlags::empty())?;
        match net_devices::answer(&bytes[..length], index, addresses) {
            Answer::More => {}
            Answer::Done => return Ok(()),
            Answer::Failed(error) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}
