//! PID 1's own memory: pages of its program that only the boot needed are unmapped; they come back when they run again.

/// Unmaps the pages of this program's text. `maps` is `/proc/self/maps`.
pub(crate) fn drop_text(maps: &str) {
    for line in maps.lines().filter(|line| line.contains("/init")) {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some("r-xp")) = (words.next(), words.next()) else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)) else { continue };
        // SAFETY: the range is a private mapping of a file that was never writable, so its pages equal the file's, which stays in
        // memory as long as it is mapped: MADV_DONTNEED loses nothing.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
}
