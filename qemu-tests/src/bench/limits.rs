//! Numbers of the benchmark, each with its unit and its reason, and the targets that the results are held against.

use std::time::Duration;

/// Measured starts of each system; the median of five is what repeats within a tenth when a disk is involved.
const RUNS: u64 = 5;

/// Measured starts of each system, unless `HULL_BENCH_RUNS` says another number; the document tells how many there were.
pub(super) fn runs() -> u64 {
    std::env::var("HULL_BENCH_RUNS").ok().and_then(|number| number.parse().ok()).unwrap_or(RUNS).max(1)
}

/// Real time after which one machine is given up: the slowest start takes half a minute on two idle cores, and ten times that on busy ones.
pub(super) const PATIENCE: Duration = Duration::from_secs(400);

/// Real time for stage, swap and the new release's start.
pub(super) const SWAP_PATIENCE: Duration = Duration::from_secs(600);

/// Pause between two looks at the serial port's file.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Guest memory of a start from disk, MiB: what `make run` gives.
pub(super) const MEMORY: u32 = 256;

/// Guest memory of a start from memory, MiB: a whole Debian has to fit beside its own archive.
pub(super) const MEMORY_FOR_ALL: u32 = 1024;

/// Guest memory in which a node must still serve, MiB.
pub(super) const SMALL_MEMORY: u32 = 96;

/// Targets, in their units: bytes, KiB, nanoseconds of guest time.
pub(super) mod target {
    pub(crate) const INITRAMFS: u64 = 1_000_000;
    pub(crate) const KERNEL: u64 = 5_000_000;
    pub(crate) const ALL: u64 = 12_000_000;
    pub(crate) const PID_1: u64 = 1024;
    pub(crate) const STORE: u64 = 150_000_000;
    pub(crate) const EXAMPLE: u64 = 250_000_000;
    /// From a container's declaration to its program, beyond what a bare clone and exec takes.
    pub(crate) const CONTAINER: u64 = 20_000_000;
}
