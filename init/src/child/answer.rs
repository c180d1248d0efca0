//! The connection of the hullctl that asked, at descriptor 3.

use std::os::fd::BorrowedFd;

use hull_init_core::control::{Progress, Response, Slot, encode, line};
use hull_init_core::limits::PACKET_BYTES;
use rustix::net::{SendFlags, send};

use crate::disk::trouble::Trouble;
use crate::sys::process::third_descriptor;

/// Where answers go. Nobody may be listening any more: the work goes on, and its log says the same.
pub(crate) struct Answer {
    socket: Option<BorrowedFd<'static>>,
}

impl Answer {
    /// What PID 1 gave this process.
    pub(crate) fn from_descriptor_3() -> Self {
        Self { socket: third_descriptor() }
    }

    /// How far a step is; the log gets a line when it begins. Left out when the reader is slow.
    pub(crate) fn progress(&self, step: &str, done: u64, total: u64) {
        if done == 0 {
            println!("{step}");
        }
        self.send(&Response::Progress(Progress { step: line(step), done, total }), SendFlags::DONTWAIT);
    }

    /// One slot.
    pub(crate) fn slot(&self, slot: Slot) {
        self.send(&Response::Slot(slot), SendFlags::empty());
    }

    /// Last packet: done.
    pub(crate) fn done(&self) {
        self.send(&Response::Done, SendFlags::empty());
    }

    /// Last packet: not done.
    pub(crate) fn refused(&self, trouble: &Trouble) {
        self.send(&Response::Refused(trouble.refusal()), SendFlags::empty());
    }

    fn send(&self, response: &Response, flags: SendFlags) {
        let mut buffer = [0; PACKET_BYTES];
        if let (Some(socket), Ok(packet)) = (self.socket, encode(response, &mut buffer)) {
            // Whoever asked may have gone; /dev/null is no socket.
            let _ = send(socket, packet, SendFlags::NOSIGNAL | flags);
        }
    }
}
