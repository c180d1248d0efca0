//! Gives back the pages of the program's own text, most of which only its beginning and its performers need.

use std::fs;

/// The text as it is mapped: start and length in bytes. It is only read and executed, never written to.
#[derive(Debug)]
pub(crate) struct Text(Vec<(usize, usize)>);

impl Text {
    /// Of this program (proc_pid_maps(5)).
    pub(crate) fn of_this_program() -> Text {
        let text = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Text(text.lines().filter_map(range).collect())
    }

    /// Unmaps its pages: what runs next comes back from the page cache, and only that counts as resident.
    pub(crate) fn give_back(&self) {
        for (start, length) in &self.0 {
            // SAFETY: the range is a private mapping of a file that is never written to (`r-xp`): MADV_DONTNEED drops what the kernel
            // finds again in the file (madvise(2)).
            unsafe { libc::madvise(*start as *mut libc::c_void, *length, libc::MADV_DONTNEED) };
        }
    }
}

/// The range of a line that is executed out of a file.
fn range(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (permissions, inode) = (words.next()?, words.nth(2)?);
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    (permissions == "r-xp" && inode != "0").then(|| (start, end - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_executed_out_of_a_file_is_given_back() {
        assert_eq!(range("1000-3000 r-xp 00001000 fe:00 77 /bin/x"), Some((0x1000, 0x2000)));
        for kept in
            ["1000-3000 r--p 0 fe:00 77 /bin/x", "1000-3000 rw-p 0 fe:00 77 /bin/x", "1-2 r-xp 0 00:00 0 [vdso]"]
        {
            assert_eq!(range(kept), None, "{kept}");
        }
        // This very test runs on afterwards.
        Text::of_this_program().give_back();
    }
}
