//! PID 1's own memory: pages that only the boot needed go back to the kernel.

use std::ops::Range;

/// Distance kept from the current end of the stack: the frames of what runs now, and the red zone.
const STACK_MARGIN: usize = 16 * 1024;
const PAGE: usize = 4096;

/// Unmaps the pages of this program's text and constants, which come back from its file when they are needed again, and gives back the
/// part of the stack that is not in use. `maps` is `/proc/self/maps`.
pub(crate) fn drop_boot_pages(maps: &str) {
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights), Some(offset)) = (words.next().and_then(parse), words.next(), words.next())
        else {
            continue;
        };
        let is_program = line.contains("/init");
        // The first read-only mapping has the constants; the later one has relocations in it, which the file has not.
        if is_program && (rights == "r-xp" || rights == "r--p" && offset.bytes().all(|digit| digit == b'0')) {
            // SAFETY: a private mapping of a file that was never written to equals the file, which stays in memory as long as it is
            // mapped: MADV_DONTNEED loses nothing.
            unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
        } else if line.ends_with("[stack]") {
            drop_unused_stack(range);
        }
    }
}

fn parse(range: &str) -> Option<Range<usize>> {
    let (from, to) = range.split_once('-')?;
    Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
}

fn drop_unused_stack(stack: Range<usize>) {
    let here = 0u8;
    let end = ((&raw const here) as usize).saturating_sub(STACK_MARGIN) & !(PAGE - 1);
    if stack.contains(&end) {
        // SAFETY: the stack grows down, so everything well below a local variable of the running function is dead; a page given
        // back reads as zeros when it is used again.
        unsafe { libc::madvise(stack.start as *mut libc::c_void, end - stack.start, libc::MADV_DONTNEED) };
    }
}
