//! A terminal in the foreground: what is typed goes to the container, what it says to the caller's terminal, and its size with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use crate::sys::signals;

/// The caller's terminal, raw while this lives.
pub struct Raw(Option<Termios>);

impl Raw {
    /// Makes standard input raw, if it is a terminal.
    pub fn new() -> Raw {
        let input = rustix::stdio::stdin();
        let Ok(before) = rustix::termios::tcgetattr(input) else { return Raw(None) };
        let mut raw = before.clone();
        raw.make_raw();
        match rustix::termios::tcsetattr(input, OptionalActions::Now, &raw) {
            Ok(()) => Raw(Some(before)),
            Err(_) => Raw(None),
        }
    }
}

impl Default for Raw {
    fn default() -> Raw {
        Raw::new()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Gives the container's terminal the size of the caller's.
pub fn resize(terminal: BorrowedFd<'_>) {
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        let _ = rustix::termios::tcsetwinsize(terminal, size);
    }
}

/// Waits for the end of a process: passes signals on to it, and bytes between its terminal, if it has one, and the standard streams.
///
/// # Errors
/// The kernel cannot wait.
pub fn accompany(process: BorrowedFd<'_>, signals: &OwnedFd, terminal: Option<&OwnedFd>) -> io::Result<()> {
    let (mut typing, mut saying) = (terminal.is_some(), terminal.is_some());
    if let Some(terminal) = terminal {
        resize(terminal.as_fd());
    }
    loop {
        let on = |open: bool| if open { PollFlags::IN } else { PollFlags::empty() };
        let mut ready = vec![PollFd::new(&process, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        if let (Some(terminal), true) = (terminal, saying) {
            ready.push(PollFd::new(terminal, PollFlags::IN));
            if typing {
                ready.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), on(typing)));
            }
        }
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let came: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
        if let (Some(terminal), Some(true)) = (terminal, came.get(2)) {
            saying = copy(terminal.as_fd(), rustix::stdio::stdout());
        }
        if let (Some(terminal), Some(true)) = (terminal, came.get(3)) {
            typing = copy(rustix::stdio::stdin(), terminal.as_fd());
        }
        if came[1] {
            pass_on(process, signals, terminal);
        }
        if came[0] {
            if let Some(terminal) = terminal {
                drain(terminal, saying);
            }
            return Ok(());
        }
    }
}

fn pass_on(process: BorrowedFd<'_>, signals: &OwnedFd, terminal: Option<&OwnedFd>) {
    while let Some(signal) = signals::next(signals.as_fd()) {
        match (signal, terminal) {
            (libc::SIGCHLD | libc::SIGURG | libc::SIGPIPE, _) => {}
            (libc::SIGWINCH, Some(terminal)) => resize(terminal.as_fd()),
            _ => drop(signals::send(process, signal)),
        }
    }
}

/// What is left in the terminal of a process that has ended.
fn drain(terminal: &OwnedFd, mut saying: bool) {
    while saying {
        let mut ready = [PollFd::new(terminal, PollFlags::IN)];
        let some = poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0);
        saying = some && copy(terminal.as_fd(), rustix::stdio::stdout());
    }
}

/// Copies what is there. Whether more may come.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut bytes = [0; 8192];
    match rustix::io::read(from, &mut bytes) {
        // A terminal whose last process is gone reports an input error.
        Ok(0) | Err(Errno::IO) => false,
        Ok(length) => {
            let mut rest = &bytes[..length];
            while !rest.is_empty() {
                match rustix::io::write(to, rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(_) => return false,
                }
            }
            true
        }
        Err(Errno::INTR | Errno::AGAIN) => true,
        Err(_) => false,
    }
}
