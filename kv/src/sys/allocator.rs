//! The C library's allocator.

/// Gives memory back to the kernel that was freed and is held for the next allocations (malloc_trim(3)), whole pages of it. Takes some
/// milliseconds, in which allocations may have to wait. Other C libraries than GNU's do it by themselves, or not at all.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers, may be called from any thread, and touches only memory that is free. What it answers says whether
    // there was any.
    unsafe {
        libc::malloc_trim(0);
    }
}
