//! What PID 1's children say and how they end: their logs, their notices, their exit codes.

use crate::cgroups::Group;
use hull_init_core::control::{format_line, line};
use hull_init_core::limits::NOTIFY_BYTES;
use hull_init_core::notify::{self, Notice};
use hull_init_core::supervisor::{Ending, Event, Id, State, Then};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::pid1::{Children, Pid1, SHARE};

impl Pid1 {
    /// Waits for a bounded number of ended processes; the rest has its turn right after the other events.
    pub(crate) fn reap(&mut self) {
        self.children = Children::AllReaped;
        for _ in 0..SHARE {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.reaped(pid, status),
                Ok(None) | Err(_) => return,
            }
        }
        self.children = Children::MoreToReap;
    }

    fn reaped(&mut self, pid: Pid, status: WaitStatus) {
        let ending = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ending::Code(code),
            (None, Some(signal)) => Ending::Signal(signal),
            (None, None) => return, // stopped or continued: not asked for
        };
        if let Some(id) = self.table.find_pid(pid) {
            self.service_ended(id, ending);
        } else if let Some(job) = self.jobs.ended(pid) {
            self.job_ended(job, ending);
        } else {
            self.node.orphans += 1;
        }
    }

    fn service_ended(&mut self, id: Id, ending: Ending) {
        self.take_output(id); // its last words
        self.take_notices(id);
        let then = match self.supervisor.get(id).map(|service| service.state) {
            Some(State::Stopping { then, .. }) => Some(then),
            _ => None,
        };
        let Some(entry) = self.table.get(id) else { return };
        entry.child = None;
        let mut buffer = [0; 160];
        let last = core::str::from_utf8(entry.ring.last_line(&mut buffer)).unwrap_or("");
        let killed = ending == Ending::Signal(rustix::process::Signal::KILL.as_raw());
        let how = match then {
            Some(Then::BackOff) => How::Ended(Ending::Silent),
            None if killed && entry.group.as_ref().is_some_and(Group::ran_out_of_memory) => How::OutOfMemory,
            _ => How::Ended(ending),
        };
        entry.reason = format_line(format_args!("{how}; last line: {last}"));
        let name = entry.service.name.clone();
        match then {
            Some(Then::Restart | Then::Stay) => self.log.info(format_args!("{name}: {how}")),
            Some(Then::BackOff) | None => self.log.warning(format_args!("{name}: {how}; last line: {last}")),
        }
        self.step(Event::Ended(id, ending));
    }

    pub(crate) fn take_output(&mut self, id: Id) {
        let Some(entry) = self.table.get(id) else { return };
        let mut buffer = [0; 4096];
        for _ in 0..SHARE / 8 {
            match rustix::io::read(&entry.pipe.read, &mut buffer) {
                Ok(length) if length > 0 => entry.ring.push(&buffer[..length]),
                _ => return,
            }
        }
    }

    pub(crate) fn take_notices(&mut self, id: Id) {
        let mut buffer = [0; NOTIFY_BYTES];
        for _ in 0..SHARE {
            let Some(entry) = self.table.get(id) else { return };
            // Descriptors that came along are not asked for, so the kernel closes them: that ends sd_notify_barrier(3).
            let flags = rustix::net::RecvFlags::DONTWAIT;
            let Ok((_, length)) = rustix::net::recv(&entry.notify, &mut buffer[..], flags) else { return };
            for notice in notify::parse(&buffer[..length.min(NOTIFY_BYTES)]) {
                self.take_notice(id, notice);
            }
        }
    }

    fn take_notice(&mut self, id: Id, notice: Notice<'_>) {
        let event = match notice {
            Notice::Ready => Event::Ready(id),
            Notice::Watchdog => Event::Alive(id),
            Notice::WatchdogTrigger => Event::Broken(id),
            Notice::Healthy => Event::Healthy(id),
            Notice::Unhealthy(reason) => {
                self.set_reason(id, reason);
                Event::Unhealthy(id)
            }
            Notice::Status(text) => {
                if let Some(entry) = self.table.get(id) {
                    entry.status = line(text);
                }
                return;
            }
            Notice::Stopping => return,
        };
        let was_ready = self.is_ready(id);
        self.step(event);
        if !was_ready && self.is_ready(id) {
            self.became_ready(id);
        }
    }

    fn set_reason(&mut self, id: Id, reason: &str) {
        if let Some(entry) = self.table.get(id) {
            entry.reason = line(reason);
        }
    }
}

/// An ending in words.
#[derive(Clone, Copy)]
pub(crate) enum How {
    /// As the kernel or the supervisor tells it.
    Ended(Ending),
    /// The kernel killed it for memory.
    OutOfMemory,
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("killed: out of memory"),
            Self::Ended(Ending::Code(crate::spawn::NOT_BECOME)) => f.write_str("could not become its program"),
            Self::Ended(Ending::Code(code)) => write!(f, "exited with {code}"),
            Self::Ended(Ending::Signal(number)) => write!(f, "killed by signal {number}"),
            Self::Ended(Ending::NotStarted(errno)) => write!(f, "could not be started, errno {errno}"), // a name would cost an allocation
            Self::Ended(Ending::Silent) => f.write_str("killed, for it said nothing in time"),
        }
    }
}
