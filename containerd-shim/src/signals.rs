//! What a signal does to a process, out of `/proc/<pid>/task`.

use std::fs;

/// `rt_sigtimedwait` on x86-64: a thread in it takes signals that its `SigBlk` does not show meanwhile (sigwait(3)).
const SIGNAL_WAIT: &str = "128";

/// What a process would do with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing is set up for it: its default action would end the process.
    Ends,
    /// It has a handler, ignores it, or takes it from a queue: it decides by itself.
    Decides,
}

/// How the process `pid` stands to `signal`. One that has ended, ends.
pub(crate) fn reaction(pid: u32, signal: i32) -> Reaction {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Reaction::Ends };
    let read = |path: std::path::PathBuf| fs::read_to_string(path).unwrap_or_default();
    let mut threads = threads.flatten().map(|thread| thread.path());
    let decides = threads.any(|thread| concerns(&read(thread.join("status")), &read(thread.join("syscall")), signal));
    if decides { Reaction::Decides } else { Reaction::Ends }
}

/// Whether a thread has something set up for the signal: `SigBlk`, `SigIgn` and `SigCgt` of proc_pid_status(5), or it waits for one.
fn concerns(status: &str, syscall: &str, signal: i32) -> bool {
    let Some(bit) = u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift)) else { return false };
    let set = |name: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(text.trim(), 16).ok()
    };
    let waits = syscall.split(' ').next() == Some(SIGNAL_WAIT);
    waits || ["SigBlk:", "SigIgn:", "SigCgt:"].iter().any(|name| set(name).is_some_and(|bits| bits & bit != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n";

    #[test]
    fn a_signal_without_a_handler_ends_a_process() {
        for (signal, decides) in [(15, true), (2, true), (13, true), (3, false), (9, false)] {
            assert_eq!(concerns(STATUS, "0 0x0", signal), decides, "signal {signal}");
        }
        assert!(!concerns("", "", 15));
    }

    #[test]
    fn a_thread_that_waits_for_signals_decides_by_itself() {
        assert!(concerns(STATUS, "128 0x7ffd 0x0 0x0 0x8", 3));
        assert!(!concerns(STATUS, "running\n", 3));
    }

    #[test]
    fn a_process_that_is_gone_has_ended() {
        assert_eq!(reaction(u32::MAX, 15), Reaction::Ends);
    }
}
