//! A counting allocator: proves that PID 1 allocates nothing once the node is up.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Allocations since [`seal`].
static SINCE_UP: AtomicU64 = AtomicU64::new(0);
static SEALED: AtomicBool = AtomicBool::new(false);

/// The system's allocator, counted.
pub(crate) struct Counting;

// SAFETY: every call goes to `System` unchanged; counting touches only atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if SEALED.load(Ordering::Relaxed) {
            SINCE_UP.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` by this allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if SEALED.load(Ordering::Relaxed) {
            SINCE_UP.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises about `layout` are passed on; calloc leaves fresh pages untouched.
        unsafe { System.alloc_zeroed(layout) }
    }
}

/// Large blocks come from mmap(2) and go back to the kernel when they are freed; pages of a log that were never written do not count.
pub(crate) fn prepare() {
    const LARGE_BYTES: i32 = 16 * 1024;
    // SAFETY: mallopt(3) has no preconditions.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
}

/// Gives what was freed back to the kernel; large blocks after it come from mmap(2) again.
pub(crate) fn trim() {
    // SAFETY: malloc_trim(3) has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

/// From now on allocations are counted as wrong, and what the boot used and freed goes back to the kernel.
pub(crate) fn seal() {
    trim();
    SEALED.store(true, Ordering::Relaxed);
}

/// From now on allocations are allowed again: the node ends.
pub(crate) fn unseal() {
    SEALED.store(false, Ordering::Relaxed);
}

/// Allocations since [`seal`].
pub(crate) fn since_up() -> u64 {
    SINCE_UP.load(Ordering::Relaxed)
}
