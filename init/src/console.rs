//! The console: PID 1 shows who and how the node is, and never waits for it.

use std::fmt::{self, Write as _};
use std::os::fd::OwnedFd;

use heapless::Vec;
use rustix::fs::{Mode, OFlags, open};

/// Bytes that wait for a slow console; more is dropped, the kernel log and `hullctl status` have it all.
const WAITING_BYTES: usize = 4096;

/// The console as PID 1 writes to it.
#[derive(Default)]
pub(crate) struct Console {
    device: Option<OwnedFd>,
    waiting: Vec<u8, WAITING_BYTES>,
}

impl Console {
    /// Opens it without waiting for a carrier and without making it PID 1's terminal. A machine may have none.
    pub(crate) fn open(&mut self) {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.device = open("/dev/console", flags, Mode::empty()).ok();
    }

    /// Shows one line.
    pub(crate) fn line(&mut self, what: fmt::Arguments<'_>) {
        let _ = write!(self, "{what}\r\n"); // never fails: what does not fit is dropped
        self.flush();
    }

    /// Whether something waits: [`Console::flush`] must be called again soon.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes as much as the console takes now.
    pub(crate) fn flush(&mut self) {
        let Some(device) = &self.device else {
            self.waiting.clear();
            return;
        };
        while !self.waiting.is_empty() {
            match rustix::io::write(device, &self.waiting) {
                Ok(0) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Ok(written) => {
                    self.waiting.copy_within(written.., 0);
                    self.waiting.truncate(self.waiting.len() - written);
                }
                Err(_) => return self.waiting.clear(), // hung up; the next line tries again
            }
        }
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = WAITING_BYTES - self.waiting.len();
        let _ = self.waiting.extend_from_slice(&text.as_bytes()[..text.len().min(room)]); // fits: just cut
        Ok(())
    }
}

/// The terminal behind /dev/console: that one can be a controlling terminal.
pub(crate) fn terminal() -> std::string::String {
    let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    match active.split_ascii_whitespace().last() {
        Some(name) => format!("/dev/{name}"),
        None => "/dev/console".to_owned(),
    }
}
