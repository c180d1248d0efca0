//! The hardware watchdog: linux/watchdog.h, Documentation/watchdog/watchdog-api.rst.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};

const WDIOC_KEEPALIVE: libc::c_ulong = 0x8004_5705;
const WDIOC_SETTIMEOUT: libc::c_ulong = 0xc004_5706;

/// An armed watchdog. Dropping it does not disarm it: nothing is written before the close, and the kernel keeps it running.
pub(crate) struct Watchdog {
    device: OwnedFd,
}

impl Watchdog {
    /// Opens and thereby arms it; gives the time-out that the hardware accepted.
    pub(crate) fn arm(timeout: Duration) -> io::Result<(Self, Duration)> {
        let device = open("/dev/watchdog", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut seconds = timeout.as_secs() as i32;
        // SAFETY: WDIOC_SETTIMEOUT reads and writes one int.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut seconds) };
        let accepted = if result == 0 { Duration::from_secs(seconds.max(1) as u64) } else { timeout };
        Ok((Self { device }, accepted))
    }

    /// Starts its time anew.
    pub(crate) fn pet(&self) {
        let mut unused = 0;
        // SAFETY: WDIOC_KEEPALIVE writes at most one int, which no one needs.
        unsafe { libc::ioctl(self.device.as_raw_fd(), WDIOC_KEEPALIVE, &raw mut unused) };
    }
}
