//! The clock that containers' times are told in: milliseconds since the kernel started, suspended time included.

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_BOOTTIME in milliseconds.
pub(crate) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
