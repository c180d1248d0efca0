//! The connection between the runtime and a new process: one message a packet, a descriptor with some of them, and its end at exec.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Longest text of a message, in bytes.
const TEXT_MAX: usize = 4096;

/// What the two say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Runtime: go on.
    Go,
    /// Process: namespaces and mounts are there, now the hooks of the runtime.
    Hooks,
    /// Process: waits for `start`.
    Ready,
    /// Process: executes its program next.
    Executes,
    /// Process: this went wrong.
    Failed(String),
    /// The connection has ended.
    End,
}

/// Makes a connection. Both ends close at exec.
///
/// # Errors
/// No descriptor is left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message.
///
/// # Errors
/// The other side is gone.
pub fn send(connection: BorrowedFd<'_>, message: &Message) -> io::Result<()> {
    let text;
    let bytes: &[u8] = match message {
        Message::Go => b"G",
        Message::Hooks => b"H",
        Message::Ready => b"R",
        Message::Executes => b"X",
        Message::Failed(cause) => {
            text = format!("E{cause}");
            &text.as_bytes()[..text.len().min(TEXT_MAX)]
        }
        Message::End => return Ok(()),
    };
    rustix::net::send(connection, bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for a message.
///
/// # Errors
/// What came is no message.
pub fn receive(connection: BorrowedFd<'_>) -> io::Result<Message> {
    let mut bytes = [0; TEXT_MAX];
    let length = loop {
        match rustix::io::read(connection, &mut bytes) {
            Err(rustix::io::Errno::INTR) => {}
            // Its process was killed while something was on the way.
            Err(rustix::io::Errno::CONNRESET) => return Ok(Message::End),
            length => break length?,
        }
    };
    Ok(match bytes[..length].split_first() {
        None => Message::End,
        Some((b'G', [])) => Message::Go,
        Some((b'H', [])) => Message::Hooks,
        Some((b'R', [])) => Message::Ready,
        Some((b'X', [])) => Message::Executes,
        Some((b'E', cause)) => Message::Failed(String::from_utf8_lossy(cause).into_owned()),
        Some(_) => return Err(io::ErrorKind::InvalidData.into()),
    })
}

/// Sends a descriptor along with some bytes.
///
/// # Errors
/// The other side is gone.
pub fn send_descriptor(connection: BorrowedFd<'_>, descriptor: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(connection, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for a descriptor.
///
/// # Errors
/// The other side has ended without sending one.
pub fn receive_descriptor(connection: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; TEXT_MAX];
    let received = recvmsg(connection, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.flatten().next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn messages_arrive_as_they_were_sent_and_the_end_is_one() {
        let (mine, theirs) = pair().unwrap();
        let messages =
            [Message::Go, Message::Hooks, Message::Ready, Message::Executes, Message::Failed("mount /x: EPERM".into())];
        messages.iter().for_each(|message| send(theirs.as_fd(), message).unwrap());
        drop(theirs);
        for message in messages {
            assert_eq!(receive(mine.as_fd()).unwrap(), message);
        }
        assert_eq!(receive(mine.as_fd()).unwrap(), Message::End);
        assert!(send(mine.as_fd(), &Message::Go).is_err());
    }

    #[test]
    fn a_descriptor_goes_over() {
        let (mine, theirs) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send_descriptor(mine.as_fd(), writer.as_fd(), b"!").unwrap();
        let received = receive_descriptor(theirs.as_fd()).unwrap();
        rustix::io::write(&received, b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 4]), Ok(1));
        drop(mine);
        assert!(receive_descriptor(theirs.as_fd()).is_err());
    }
}
