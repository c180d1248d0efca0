//! What a signal does to a process, out of `/proc/<pid>/status`.

/// What a process would do with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing is set up for it: its default action would end the process.
    Ends,
    /// It has a handler, ignores it, or takes it from a blocked queue: it decides by itself.
    Decides,
}

/// Reads the signal sets `SigBlk`, `SigIgn` and `SigCgt` (proc_pid_status(5)). SIGKILL always ends.
pub(crate) fn reaction(status: &str, signal: i32) -> Reaction {
    let Some(bit) = u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift)) else {
        return Reaction::Ends;
    };
    let set = |name: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(text.trim(), 16).ok()
    };
    let concerned = ["SigBlk:", "SigIgn:", "SigCgt:"].iter().any(|name| set(name).is_some_and(|bits| bits & bit != 0));
    if concerned { Reaction::Decides } else { Reaction::Ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n";

    #[test]
    fn a_signal_without_a_handler_ends_a_process() {
        assert_eq!(reaction(STATUS, 15), Reaction::Decides);
        assert_eq!(reaction(STATUS, 2), Reaction::Decides);
        assert_eq!(reaction(STATUS, 13), Reaction::Decides);
        assert_eq!(reaction(STATUS, 3), Reaction::Ends);
        assert_eq!(reaction(STATUS, 9), Reaction::Ends);
        assert_eq!(reaction("", 15), Reaction::Ends);
    }
}
