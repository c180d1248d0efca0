//! PID 1's own log: the kernel log, which shows errors on the console and survives in pstore, and a bounded copy for `hullctl logs init`.

use std::fmt::{self, Write as _};
use std::os::fd::OwnedFd;

use hull_init_core::cmdline::Level;
use hull_init_core::limits::LOG_BYTES;
use hull_init_core::log_ring::Ring;
use rustix::fs::{Mode, OFlags, open};

/// Longest record; /dev/kmsg takes about 1,000 bytes.
const RECORD_BYTES: usize = 640;

/// Where PID 1 says what it does.
pub(crate) struct Log {
    kmsg: Option<OwnedFd>,
    level: Level,
    /// The newest records.
    pub(crate) ring: Ring,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { kmsg: None, level: Level::Info, ring: Ring::new(LOG_BYTES) }
    }

    /// Opens the kernel log once /dev is there, and takes away its rate limit for PID 1's records.
    pub(crate) fn open(&mut self) -> rustix::io::Result<()> {
        // Without the switch records may be dropped, which the ring still has: not worth an error of its own.
        let _ = crate::files::write("/proc/sys/kernel/printk_devkmsg", b"on");
        self.kmsg = Some(open("/dev/kmsg", OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?);
        Ok(())
    }

    pub(crate) fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// Writes one record; never blocks, never fails, allocates nothing.
    pub(crate) fn say(&mut self, level: Level, what: fmt::Arguments<'_>) {
        if level > self.level {
            return;
        }
        let mut record = Record { bytes: [0; RECORD_BYTES], length: 0 };
        // A record that is too long is cut: Record never fails.
        let _ = write!(record, "<{}>hull-init: ", level as u8);
        let head = record.length;
        let _ = write!(record, "{what}");
        let length = record.end_line();
        let text = &record.bytes[..length];
        self.ring.push(&text[head..]);
        if let Some(kmsg) = &self.kmsg {
            // A full kernel log drops its oldest records; there is nothing to wait for.
            let _ = rustix::io::write(kmsg, text);
        }
    }

    pub(crate) fn error(&mut self, what: fmt::Arguments<'_>) {
        self.say(Level::Error, what);
    }

    pub(crate) fn warning(&mut self, what: fmt::Arguments<'_>) {
        self.say(Level::Warning, what);
    }

    pub(crate) fn info(&mut self, what: fmt::Arguments<'_>) {
        self.say(Level::Info, what);
    }
}

struct Record {
    bytes: [u8; RECORD_BYTES],
    length: usize,
}

impl Record {
    /// Ends the line and gives its length: without it the kernel waits for more before it shows the record.
    fn end_line(&mut self) -> usize {
        let end = self.length.min(RECORD_BYTES - 1);
        self.bytes[end] = b'\n';
        end + 1
    }
}

impl fmt::Write for Record {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One record is one line, and control characters from outside do not reach the console.
        for character in text.chars().map(hull_init_core::control::shown) {
            let end = self.length + character.len_utf8();
            if end > RECORD_BYTES {
                return Ok(());
            }
            character.encode_utf8(&mut self.bytes[self.length..end]);
            self.length = end;
        }
        Ok(())
    }
}

/// A panic of PID 1: says it in the kernel log and ends the process, so that the kernel panics, keeps the log in pstore and resets.
pub(crate) fn panic_into_the_kernel_log() {
    std::panic::set_hook(Box::new(|panic| {
        let mut record = Record { bytes: [0; RECORD_BYTES], length: 0 };
        let _ = write!(record, "<0>hull-init: panic: {panic}");
        if let Ok(kmsg) = open("/dev/kmsg", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            let length = record.end_line();
            let _ = rustix::io::write(kmsg, &record.bytes[..length]);
        }
        crate::sys::process::leave(101);
    }));
}
