//! The very start: `main` without the standard library's own preparations, which end the process when no console could be opened.

use std::process::{ExitCode, Termination};

/// What the C library calls. The kernel starts PID 1 without descriptors 0 to 2 if there is no console; the standard library would then
/// abort for want of /dev/null, so it is left out and [`fill_standard_descriptors`] does what is needed.
// SAFETY: the only symbol of this name; the harness of tests brings its own.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code))]
extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
    fill_standard_descriptors();
    // ExitCode gives its number only through Termination; `exit` also flushes what `print!` kept.
    let code: ExitCode = crate::run();
    i32::from(code.report() != ExitCode::SUCCESS)
}

/// Makes sure that descriptors 0 to 2 are taken, so that nothing else gets their numbers.
fn fill_standard_descriptors() {
    for fd in 0..=2 {
        // SAFETY: fcntl(2) and open(2) with numbers and a constant path; a new descriptor stays open for good.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) < 0 && libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) < 0 {
                libc::open(c"/".as_ptr(), libc::O_RDONLY);
            }
        }
    }
}
