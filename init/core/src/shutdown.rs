//! Orderly shutdown as a state machine: reverse order, deadline, kill, unmount, sync.
//!
//! ```text
//! services from the last to the launcher -> containers -> the other services -> stragglers -> unmount and jump
//!        \____ deadline over: everything is killed, then at most two seconds more ____/
//! ```
//!
//! Level-triggered: each [`Shutdown::step`] looks at what runs and says what to do; asking again in the same situation repeats nothing.

use crate::supervisor::{Id, Millis, State, Supervisor};

/// How the node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To the firmware.
    Reboot,
    /// Off.
    Poweroff,
    /// Into the kernel that `kexec-load` loaded: a swap.
    Swap,
}

/// Time that containers have between SIGTERM and SIGKILL, in ms, of the whole shutdown's. They answer for their data to the store only.
pub const CONTAINER_GRACE_MS: u64 = 2_000;
/// Time that killed processes have to disappear, in ms. Only one stuck in the kernel needs it, and it is left behind.
pub const KILLED_MS: u64 = 2_000;

/// Whether containers still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// At least one process is in their cgroup.
    Running,
    /// None.
    Gone,
}

/// Whether processes other than PID 1 and the kernel's exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// At least one.
    Running,
    /// None.
    Gone,
}

/// What to do now. At most one thing at a time; everything but `Wait` is followed by another step at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Do {
    /// Tell the supervisor [`StopAsked`](crate::supervisor::Event::StopAsked).
    StopService(Id),
    /// SIGTERM to every process of the containers.
    TerminateContainers,
    /// SIGKILL to the containers' cgroup.
    KillContainers,
    /// SIGKILL to every service's and the containers' cgroup.
    KillEverything,
    /// SIGKILL to every process but PID 1.
    KillStragglers,
    /// Unmount or remount read-only, sync; then jump. The last thing.
    UnmountAndJump(Goal),
    /// Nothing until something happens or [`Shutdown::deadline`].
    Wait,
}

/// Whether `/proc/PID/stat` (proc_pid_stat(5)) is that of a program that still runs: kernel threads never end, and the dead are only
/// waited for.
#[must_use]
pub fn is_program(stat: &[u8]) -> bool {
    /// linux/sched.h
    const PF_KTHREAD: u64 = 0x0020_0000;
    /// Of the fields after the name, which is in parentheses and may have blanks and parentheses itself.
    const FLAGS_AFTER_STATE: usize = 6;
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { return false };
    let mut fields = stat[end + 1..].split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let state = fields.next().unwrap_or(b"X");
    let flags = fields.nth(FLAGS_AFTER_STATE - 1).and_then(|field| core::str::from_utf8(field).ok()?.parse().ok());
    !matches!(state, b"Z" | b"X") && flags.unwrap_or(0) & PF_KTHREAD == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    NotYet,
    Terminated { kill_at: Millis },
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Until(Millis),
    /// Everything was killed; who is not gone then is left behind.
    Killed {
        leave_at: Millis,
    },
}

/// A shutdown under way.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    goal: Goal,
    launcher: Option<Id>,
    patience: Patience,
    containers: Ending,
    stragglers: Ending,
    asked: u32,
}

impl Shutdown {
    /// Begins; the supervisor must be closed. `launcher` is the service after whose end the containers end.
    #[must_use]
    pub fn new(now: Millis, limit_ms: u64, goal: Goal, launcher: Option<Id>) -> Self {
        let patience = Patience::Until(now.plus(limit_ms));
        Self { goal, launcher, patience, containers: Ending::NotYet, stragglers: Ending::NotYet, asked: 0 }
    }

    /// How it ends.
    #[must_use]
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// When [`Shutdown::step`] must come at the latest.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        let whole = match self.patience {
            Patience::Until(at) | Patience::Killed { leave_at: at } => at,
        };
        [self.containers, self.stragglers].into_iter().fold(whole, |soonest, ending| match ending {
            Ending::Terminated { kill_at } => soonest.min(kill_at),
            Ending::NotYet | Ending::Killed => soonest,
        })
    }

    /// What to do next.
    pub fn step(&mut self, now: Millis, services: &Supervisor, containers: Containers, others: Others) -> Do {
        match self.patience {
            Patience::Until(deadline) if now >= deadline => {
                self.patience = Patience::Killed { leave_at: now.plus(KILLED_MS) };
                self.containers = Ending::Killed;
                return Do::KillEverything;
            }
            Patience::Killed { leave_at } if now >= leave_at => return Do::UnmountAndJump(self.goal),
            Patience::Until(_) | Patience::Killed { .. } => {}
        }
        let stopped = |state: State| matches!(state, State::Stopped(_) | State::HeldBack);
        let last = services.iter().rev().find(|(_, service)| !stopped(service.state)).map(|(id, _)| id);
        let containers_turn = last.is_none_or(|id| self.launcher.is_some_and(|launcher| id < launcher));
        if containers_turn && self.containers != Ending::Killed {
            return self.end_containers(now, containers);
        }
        match last {
            Some(id) => self.stop_service(id),
            None => self.end_stragglers(now, others),
        }
    }

    fn stop_service(&mut self, id: Id) -> Do {
        let bit = 1 << id.0;
        if self.asked & bit != 0 {
            return Do::Wait;
        }
        self.asked |= bit;
        Do::StopService(id)
    }

    fn end_containers(&mut self, now: Millis, containers: Containers) -> Do {
        match (containers, self.containers) {
            (Containers::Running, Ending::NotYet) => {
                self.containers = Ending::Terminated { kill_at: now.plus(CONTAINER_GRACE_MS) };
                Do::TerminateContainers
            }
            (Containers::Running, Ending::Terminated { kill_at }) if now < kill_at => Do::Wait,
            (Containers::Running | Containers::Gone, _) => {
                self.containers = Ending::Killed;
                Do::KillContainers
            }
        }
    }

    fn end_stragglers(&mut self, now: Millis, others: Others) -> Do {
        match (others, self.stragglers) {
            (Others::Running, Ending::NotYet) => {
                self.stragglers = Ending::Terminated { kill_at: now.plus(KILLED_MS) };
                Do::KillStragglers
            }
            (Others::Running, Ending::Terminated { kill_at }) if now < kill_at => Do::Wait,
            (Others::Running | Others::Gone, _) => Do::UnmountAndJump(self.goal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_program;

    #[test]
    fn kernel_threads_and_the_dead_are_no_programs() {
        assert!(is_program(b"77 (a) S (b)) S 1 77 77 0 -1 4194560 100 0"));
        assert!(!is_program(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(!is_program(b"78 (sh) Z 1 78 78 0 -1 4194560 100 0"));
        assert!(!is_program(b""));
    }
}
