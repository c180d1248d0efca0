//! The processor's time-stamp counter: under `-icount shift=0` one tick is one guest instruction, and a kexec does not reset it.

/// Ticks since the machine was switched on.
///
/// Source: Intel SDM volume 2, RDTSC; QEMU's `cpu_get_tsc` returns the virtual clock in nanoseconds under icount.
pub(crate) fn now() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor, touches no memory, and Linux leaves CR4.TSD clear.
    unsafe { core::arch::x86_64::_rdtsc() }
}
