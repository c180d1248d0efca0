//! The processor's time stamp counter: it goes on over a kexec, where the kernel's clocks begin anew with the second of the RTC.

/// Ticks since the processor's reset.
pub(crate) fn now() -> u64 {
    // SAFETY: every x86-64 has RDTSC.
    unsafe { core::arch::x86_64::_rdtsc() }
}
