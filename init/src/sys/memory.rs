//! PID 1's own memory: pages that only the boot needed go back to the kernel.

use std::ops::Range;

/// Distance kept from the current end of the stack: the frames of what runs now, and the red zone.
const STACK_MARGIN: usize = 16 * 1024;
const PAGE: usize = 4096;

/// The parts of this process that may be dropped.
#[derive(Default)]
pub(crate) struct Droppable {
    /// Program text and constants: private mappings of a file that are never written to.
    program: [Range<usize>; 2],
    stack: Range<usize>,
}

impl Droppable {
    /// Finds them in `/proc/self/maps`.
    pub(crate) fn find(maps: &str) -> Self {
        let mut found = Self::default();
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(range), Some(rights), Some(offset)) = (words.next().and_then(parse), words.next(), words.next())
            else {
                continue;
            };
            let is_first = offset.bytes().all(|digit| digit == b'0');
            match (line.contains("/init"), rights) {
                (true, "r-xp") => found.program[0] = range,
                // The first read-only mapping has the constants; the later one has relocations in it, which the file has not.
                (true, "r--p") if is_first => found.program[1] = range,
                (false, _) if line.ends_with("[stack]") => found.stack = range,
                _ => {}
            }
        }
        found
    }

    /// Unmaps the pages of the program, which come back from its file when they are needed, and gives back the part of the stack that
    /// is not in use.
    pub(crate) fn give_back(&self) {
        for range in self.program.iter().filter(|range| !range.is_empty()) {
            // SAFETY: such a mapping equals the file, which stays in memory as long as it is mapped: MADV_DONTNEED loses nothing.
            unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
        }
        drop_unused_stack(&self.stack);
    }
}

fn parse(range: &str) -> Option<Range<usize>> {
    let (from, to) = range.split_once('-')?;
    Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
}

fn drop_unused_stack(stack: &Range<usize>) {
    let here = 0u8;
    let end = ((&raw const here) as usize).saturating_sub(STACK_MARGIN) & !(PAGE - 1);
    if stack.contains(&end) {
        // SAFETY: the stack grows down, so everything well below a local variable of the running function is dead; a page given
        // back reads as zeros when it is used again.
        unsafe { libc::madvise(stack.start as *mut libc::c_void, end - stack.start, libc::MADV_DONTNEED) };
    }
}
