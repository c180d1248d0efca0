//! The connection between a container's parent and its first process: one descriptor down, one text up, and its end at exec.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Longest text, in bytes.
const TEXT_MAX: usize = 4096;

/// Makes a connection. Both ends close at exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Sends a descriptor.
pub(super) fn send_descriptor(connection: &OwnedFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(connection, &[IoSlice::new(b"!")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for a descriptor.
///
/// # Errors
/// The other side has ended without sending one.
pub(super) fn receive_descriptor(connection: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(connection, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.flatten().next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Sends a text, cut if it is too long.
pub(super) fn send_text(connection: &OwnedFd, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(TEXT_MAX)];
    // The other side may be gone; then nobody wants to know.
    let _ = rustix::net::send(connection, bytes, SendFlags::NOSIGNAL);
}

/// Everything that the other side says before it closes.
pub(super) fn read_to_end(connection: &OwnedFd) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 512];
    loop {
        match rustix::io::read(connection, &mut piece) {
            Ok(0) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(rustix::io::Errno::INTR) => {}
            // Its process was killed while something was on the way.
            Err(rustix::io::Errno::CONNRESET) => return Err(io::ErrorKind::ConnectionReset.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_goes_over_and_a_text_comes_back() {
        let (mine, theirs) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send_descriptor(&mine, writer.as_fd()).unwrap();
        drop(writer);
        let received = receive_descriptor(&theirs).unwrap();
        rustix::io::write(&received, b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 4]), Ok(1));
        send_text(&theirs, "mount proc on /proc: EPERM");
        drop(theirs);
        assert_eq!(read_to_end(&mine).unwrap(), "mount proc on /proc: EPERM");
    }

    #[test]
    fn an_end_without_a_descriptor_is_an_error() {
        let (mine, theirs) = pair().unwrap();
        drop(mine);
        assert!(receive_descriptor(&theirs).is_err());
    }
}
