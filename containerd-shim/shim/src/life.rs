//! Where in its life a process is, and when its end may be told. Decides only.
//!
//! ```text
//! Added ─┐
//! Making ─> Made ─> Starting ─> Running ─> Ending ─> Ended
//!             \          \________________/^
//!              \__________________________/
//! ```
//! An end is never told before the start, and the end of a container's first process not before those of its others.

use crate::messages::Timestamp;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exit {
    /// Its status, 128 and the signal's number for one that was killed.
    pub(crate) status: u32,
    /// When it was seen.
    pub(crate) at: Timestamp,
}

/// Where in its life a process is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Life {
    /// A process that will enter the container.
    Added,
    /// The container is being made.
    Making,
    /// It waits for Start.
    Made {
        /// Process id.
        pid: u32,
    },
    /// Start is at work. A process that enters has no id yet.
    Starting {
        /// Process id.
        pid: Option<u32>,
        /// It has ended meanwhile.
        early: Option<Exit>,
    },
    /// It runs.
    Running {
        /// Process id.
        pid: u32,
    },
    /// It has ended, which is not told yet.
    Ending {
        /// What was its process id.
        pid: u32,
        /// How.
        exit: Exit,
    },
    /// It has ended, and everybody knows.
    Ended {
        /// What was its process id, 0 when there was none.
        pid: u32,
        /// How.
        exit: Exit,
    },
}

impl Life {
    /// Its process id, 0 while and when it has none.
    pub(crate) fn pid(&self) -> u32 {
        match *self {
            Life::Added | Life::Making => 0,
            Life::Starting { pid, .. } => pid.unwrap_or(0),
            Life::Made { pid } | Life::Running { pid } | Life::Ending { pid, .. } | Life::Ended { pid, .. } => pid,
        }
    }

    /// Whether the kernel still has this process.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self, Life::Made { .. } | Life::Starting { early: None, .. } | Life::Running { .. })
    }

    /// How it ended, when that may be known.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self {
            Life::Ended { exit, .. } => Some(*exit),
            _ => None,
        }
    }

    /// The kernel says that it has ended.
    pub(crate) fn exited(&mut self, exit: Exit) {
        *self = match *self {
            Life::Starting { pid, early: None } => Life::Starting { pid, early: Some(exit) },
            Life::Made { pid } | Life::Running { pid } => Life::Ending { pid, exit },
            other => other,
        };
    }

    /// Start has been told.
    pub(crate) fn started(&mut self, pid: u32) {
        *self = match *self {
            Life::Starting { early: Some(exit), .. } => Life::Ending { pid, exit },
            _ => Life::Running { pid },
        };
    }

    /// Start went wrong: a process that was made for it has ended or will, another has never been.
    pub(crate) fn not_started(&mut self, never: Exit) {
        *self = match *self {
            Life::Starting { pid: Some(pid), early: Some(exit) } => Life::Ending { pid, exit },
            Life::Starting { pid: Some(pid), early: None } => Life::Running { pid },
            _ => Life::Ended { pid: 0, exit: never },
        };
    }

    /// Its end is told now: how it was.
    pub(crate) fn tell(&mut self) -> Option<(u32, Exit)> {
        let Life::Ending { pid, exit } = *self else { return None };
        *self = Life::Ended { pid, exit };
        Some((pid, exit))
    }
}

/// Whether others than the first process keep the container's end from being told.
pub(crate) fn hold_back<'a>(mut others: impl Iterator<Item = &'a Life>) -> bool {
    others.any(|life| matches!(life, Life::Starting { .. } | Life::Running { .. } | Life::Ending { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: Exit = Exit { status: 3, at: Timestamp { seconds: 1, nanos: 0 } };

    #[test]
    fn an_end_as_fast_as_the_start_is_told_after_it() {
        let mut life = Life::Starting { pid: Some(7), early: None };
        life.exited(EXIT);
        assert_eq!((life.tell(), life.is_alive()), (None, false));
        life.started(7);
        assert_eq!(life.tell(), Some((7, EXIT)));
        assert_eq!((life.tell(), life.exit()), (None, Some(EXIT)));
    }

    #[test]
    fn a_process_that_runs_ends_once() {
        let mut life = Life::Starting { pid: None, early: None };
        life.started(9);
        assert_eq!(life, Life::Running { pid: 9 });
        life.exited(EXIT);
        assert_eq!(life.tell(), Some((9, EXIT)));
        life.exited(Exit { status: 0, at: EXIT.at });
        assert_eq!(life.exit(), Some(EXIT));
    }

    #[test]
    fn what_never_ran_has_ended_without_an_event() {
        let mut life = Life::Starting { pid: None, early: None };
        life.not_started(EXIT);
        assert_eq!((life.tell(), life.exit()), (None, Some(EXIT)));
        let mut killed = Life::Made { pid: 4 };
        killed.exited(EXIT);
        assert_eq!(killed.tell(), Some((4, EXIT)));
    }

    #[test]
    fn the_first_process_ends_last() {
        assert!(hold_back([Life::Running { pid: 2 }].iter()));
        assert!(hold_back([Life::Ending { pid: 2, exit: EXIT }].iter()));
        assert!(!hold_back([Life::Added, Life::Ended { pid: 2, exit: EXIT }].iter()));
    }
}
