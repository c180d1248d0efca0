//! Asks PID 1 over its control socket: one request, then packets until the last.

use crate::failure::Failure;
use hull_init_core::control::{self, Request, Response};
use hull_init_core::limits::PACKET_BYTES;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use std::os::fd::OwnedFd;

/// An answer that is being read.
pub(crate) struct Answer {
    socket: OwnedFd,
}

/// Sends `request` to PID 1.
pub(crate) fn ask(request: &Request) -> Result<Answer, Failure> {
    let socket = open().map_err(unreachable)?;
    let mut buffer = [0; PACKET_BYTES];
    let packet = control::encode(request, &mut buffer)
        .map_err(|error| Failure::new("send", "a request to PID 1", error, "use a shorter name or path"))?;
    send(&socket, packet, SendFlags::NOSIGNAL).map_err(unreachable)?;
    Ok(Answer { socket })
}

fn open() -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(control::SOCKET)?)?;
    Ok(socket)
}

fn unreachable(errno: Errno) -> Failure {
    let (cause, remedy) = match errno {
        Errno::NOENT => ("there is no such socket: this is not a Hull node", "run it on a node"),
        Errno::ACCESS | Errno::PERM => ("only root may ask PID 1", "run it as root"),
        Errno::CONNREFUSED | Errno::AGAIN => ("PID 1 is busy with others", "end another hullctl, then try again"),
        other => return Failure::new("ask PID 1 on", control::SOCKET, other, "try again"),
    };
    Failure::new("ask PID 1 on", control::SOCKET, cause, remedy)
}

impl Answer {
    /// The next packet; `None` after the last.
    ///
    /// # Errors
    /// PID 1 refused, hung up before the end, or said something this hullctl does not know.
    pub(crate) fn next(&mut self) -> Result<Option<Response>, Failure> {
        let mut buffer = [0; PACKET_BYTES];
        let (length, _) = loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                other => break other.map_err(unreachable)?,
            }
        };
        if length == 0 {
            return Err(Failure::new(
                "read",
                "the answer of PID 1",
                "it hung up before the end",
                "try again; `hullctl logs init` says more",
            ));
        }
        match control::decode(&buffer[..length]) {
            Ok(Response::Done) => Ok(None),
            Ok(Response::Refused(refusal)) => Err(refusal.into()),
            Ok(response) => Ok(Some(response)),
            Err(error) => Err(Failure::new(
                "read",
                "the answer of PID 1",
                error,
                "use the hullctl of the node's own release: /usr/bin/hullctl",
            )),
        }
    }

    /// Reads to the end, giving each packet to `take`.
    pub(crate) fn each(mut self, mut take: impl FnMut(Response) -> Result<(), Failure>) -> Result<(), Failure> {
        while let Some(response) = self.next()? {
            take(response)?;
        }
        Ok(())
    }
}
