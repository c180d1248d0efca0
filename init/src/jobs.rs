//! Jobs: child modes of PID 1 for work that may block or fail (stage, kexec-load, ...), one process each, with one log, `update`.
#![allow(clippy::result_large_err, reason = "a refusal is plain text, and nothing here may allocate")]

use std::os::fd::{AsFd, BorrowedFd};

use heapless::Vec;
use hull_init_core::control::{Refusal, Response, format_line};
use hull_init_core::limits::LOG_BYTES;
use hull_init_core::log_ring::Ring;
use hull_init_core::shutdown::Goal;
use hull_init_core::supervisor::{Ending, Millis};
use rustix::process::Pid;

use crate::children::How;
use crate::pid1::Pid1;
use crate::requests::Client;
use crate::sys::process::Child;
use crate::table::LogPipe;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// `update stage`.
    Stage,
    /// `update status`.
    Slots,
    /// `update swap`, before anything stops.
    KexecLoad,
    /// `update swap`, after everything stopped.
    SpendTry,
    /// The end of a good trial.
    MarkGood,
    /// The file system of the state grows to its partition while the node runs already.
    ResizeState,
}

impl Job {
    /// Only one of those runs at a time.
    fn changes_slots(self) -> bool {
        !matches!(self, Self::Slots | Self::ResizeState)
    }
}

/// Whether it worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    Well,
    Wrong,
}

/// Jobs at once: one that changes slots, and some that look.
const MAX_JOBS: usize = 4;

struct Running {
    job: Job,
    child: Child,
    client: Option<Client>,
}

/// What runs.
pub(crate) struct Jobs {
    running: Vec<Running, MAX_JOBS>,
    pub(crate) pipe: LogPipe,
    pub(crate) ring: Ring,
    /// `spend-try` runs, the last thing before a jump, and must have ended by then.
    pub(crate) jump_by: Option<Millis>,
}

/// A job that ended.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) job: Job,
    pub(crate) client: Option<Client>,
}

impl Jobs {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self { running: Vec::new(), pipe: LogPipe::new()?, ring: Ring::new(LOG_BYTES), jump_by: None })
    }

    /// Takes a bounded share of what jobs wrote.
    pub(crate) fn take_output(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..8 {
            match rustix::io::read(&self.pipe.read, &mut buffer) {
                Ok(length) if length > 0 => self.ring.push(&buffer[..length]),
                _ => return,
            }
        }
    }

    /// A process ended: the job it was.
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<Ended> {
        let index = self.running.iter().position(|running| running.child.pid == pid)?;
        let running = self.running.swap_remove(index);
        Some(Ended { job: running.job, client: running.client })
    }

    /// The job that changes slots, if one runs.
    fn changing(&self) -> Option<Job> {
        self.running.iter().map(|running| running.job).find(|job| job.changes_slots())
    }
}

impl Pid1 {
    /// Starts a job; its answer goes to `client`, whose connection stays open until it ends.
    pub(crate) fn start_job(&mut self, job: Job, arguments: &[&str], client: Option<Client>) -> Result<(), Refusal> {
        let refused =
            |cause: &str, remedy: &str| Refusal::new("update", arguments.first().unwrap_or(&""), cause, remedy);
        if job.changes_slots() && self.jobs.changing().is_some() {
            return Err(refused("another stage or swap is under way", "wait until it has ended"));
        }
        if self.jobs.running.is_full() {
            return Err(refused("too many requests at once", "try again"));
        }
        let third: Option<BorrowedFd<'_>> = client.and_then(|client| self.connections.socket(client));
        let child = crate::spawn::own_mode(arguments, self.jobs.pipe.write.as_fd(), third).map_err(|error| {
            refused(&format_line(format_args!("clone: {:?}", error.raw_os_error())), "free some memory, or try again")
        })?;
        // There is room: just looked.
        let _ = self.jobs.running.push(Running { job, child, client });
        Ok(())
    }

    /// The first boot of a disk: its file system follows the partition, beside the services and after their start.
    pub(crate) fn let_state_grow(&mut self) {
        if self.node.grown.take().is_none() {
            return;
        }
        if let Err(refusal) = self.start_job(Job::ResizeState, &["resize-state"], None) {
            self.note(format_args!("grow /var: {refusal}"));
        }
    }

    /// A job ended: what comes after it.
    pub(crate) fn job_ended(&mut self, ended: Ended, ending: Ending) {
        self.jobs.take_output();
        let went = if ending == Ending::Code(0) { Went::Well } else { Went::Wrong };
        if went == Went::Wrong {
            self.log.warning(format_args!("{:?}: {}", ended.job, How::Ended(ending)));
        }
        // 0: it said Done itself. 1: it said Refused itself. Everything else came unexpected, even for itself.
        let unexpected = !matches!(ending, Ending::Code(0 | 1));
        match ended.job {
            Job::MarkGood => self.marked(went),
            Job::SpendTry => self.try_spent(went),
            Job::KexecLoad if went == Went::Well => {
                self.answer_and_close(ended.client, &Response::Done);
                return self.begin_end(Goal::Swap, "update swap");
            }
            Job::ResizeState if went == Went::Wrong => {
                let mut last = [0; 200];
                let why = core::str::from_utf8(self.jobs.ring.last_line(&mut last)).unwrap_or("");
                let note = format_line(format_args!("the state keeps its size: {why}"));
                self.note(format_args!("{note}"));
            }
            Job::Stage | Job::Slots | Job::KexecLoad | Job::ResizeState => {}
        }
        if unexpected {
            let cause = format_line(format_args!("its process was {}", How::Ended(ending)));
            let refusal = Refusal::new("update", "carry it out", &cause, "see `hullctl logs update`");
            self.answer_and_close(ended.client, &Response::Refused(refusal));
        } else {
            self.close(ended.client);
        }
    }
}
