//! The end of the node: orderly stop, then off, reset, or the jump into a new kernel. Decided by `hull_init_core::shutdown`.

use hull_init_core::control::{RunningRoot, SlotName};
use hull_init_core::shutdown::{Containers, Do, Goal, Others, Shutdown, is_program};
use hull_init_core::supervisor::Event;
use rustix::system::RebootCommand;

use crate::cgroups;
use crate::jobs::{Job, Went};
use crate::node::Stopped;
use crate::pid1::{Pid1, now};
use crate::trial::{remember_jump, unix_ms};

impl Pid1 {
    /// Begins to stop; a second wish while stopping changes nothing.
    pub(crate) fn begin_end(&mut self, goal: Goal, why: &str) {
        if self.shutdown.is_some() {
            return;
        }
        crate::sys::alloc::unseal();
        crate::boot::hurry(crate::boot::Hurry::Boot);
        let what = match goal {
            Goal::Reboot => "reboot",
            Goal::Poweroff => "power off",
            Goal::Swap => "swap to the staged slot",
        };
        self.log.warning(format_args!("{what}: asked for by {why}; stopping"));
        self.console.line(format_args!("\r\n  {what}: asked for by {why}; stopping"));
        self.explain_end_of_trial(goal, why);
        self.supervisor.close();
        let limit = self.config.shutdown_deadline().as_millis() as u64;
        self.shutdown = Some(Shutdown::new(now(), limit, goal, self.table.find("launcher")));
    }

    /// Does what the shutdown wants next, until it has to wait.
    pub(crate) fn go_on_ending(&mut self) {
        if let Some(by) = self.jobs.jump_by {
            if by <= now() {
                self.log.error(format_args!(
                    "spend a try of the staged slot: the disk does not answer; the machine resets instead"
                ));
                self.jump(RebootCommand::Restart);
            }
            return;
        }
        while let Some(mut shutdown) = self.shutdown {
            let containers = if cgroups::containers_run() { Containers::Running } else { Containers::Gone };
            let next = shutdown.step(now(), &self.supervisor, containers, others());
            self.shutdown = Some(shutdown);
            match next {
                Do::Wait => return,
                Do::StopService(id) => {
                    if self.table.find("kv") == Some(id) {
                        self.node.swap = Some(Stopped { ms: unix_ms(), tsc: crate::sys::tsc::now() });
                    }
                    self.step(Event::StopAsked(id));
                }
                Do::TerminateContainers => cgroups::terminate_containers(),
                Do::KillContainers => cgroups::kill_containers(),
                Do::KillEverything => {
                    self.log.warning(format_args!("the deadline is over: what still runs is killed"));
                    cgroups::kill_containers();
                    cgroups::kill_services();
                    self.table.entries.iter().for_each(crate::table::Entry::kill);
                }
                Do::KillStragglers => crate::sys::process::kill_all(),
                Do::UnmountAndJump(Goal::Swap) => return self.spend_try(),
                Do::UnmountAndJump(Goal::Reboot) => self.jump(RebootCommand::Restart),
                Do::UnmountAndJump(Goal::Poweroff) => self.jump(RebootCommand::PowerOff),
            }
        }
    }

    /// Before the jump of a swap: the reason for whoever finds the trial dead, and the try in the partition table.
    fn spend_try(&mut self) {
        let target = match &self.node.root {
            RunningRoot::Slot { slot: SlotName::A, .. } => SlotName::B,
            RunningRoot::Slot { slot: SlotName::B, .. }
            | RunningRoot::Embedded { .. }
            | RunningRoot::Missing { .. } => SlotName::A,
        };
        // What a later boot says if the new system never speaks.
        let stopped = self.node.swap.unwrap_or(Stopped { ms: unix_ms(), tsc: crate::sys::tsc::now() });
        if let Err(error) = remember_jump(target, stopped) {
            self.log.error(format_args!("remember the jump for the next system: {error}"));
        }
        self.jobs.jump_by = Some(now().plus(SPEND_TRY_MS));
        if let Err(refusal) = self.start_job(Job::SpendTry, &["spend-try"], None) {
            self.log.error(format_args!("{refusal}; the machine resets instead"));
            crate::trial::forget_jump();
            self.jump(RebootCommand::Restart);
        }
    }

    /// `spend-try` ended. A try that could not be spent is not taken: the machine resets into the system it has.
    pub(crate) fn try_spent(&mut self, went: Went) {
        match went {
            Went::Well => self.jump(RebootCommand::Kexec),
            Went::Wrong => {
                let mut last = [0; 200];
                let why = core::str::from_utf8(self.jobs.ring.last_line(&mut last)).unwrap_or("").to_owned();
                self.log.error(format_args!("spend a try of the staged slot: {why}; the machine resets instead"));
                crate::trial::forget_jump();
                self.jump(RebootCommand::Restart);
            }
        }
    }

    /// Flushes, lets go of the disks and ends. If the kernel refuses, the machine resets; if that is refused, too, PID 1 ends and
    /// the kernel panics: never a freeze.
    fn jump(&mut self, how: RebootCommand) -> ! {
        self.pet_watchdog(); // a new kernel gets its whole time
        if let Err(trouble) = crate::mounts::unmount_all() {
            self.log.error(format_args!("{trouble}"));
        }
        self.log.info(format_args!("everything is stopped and flushed"));
        self.console.line(format_args!("  everything is stopped and flushed"));
        let error = crate::sys::reboot::end(how);
        self.log.error(format_args!("{how:?}: {error}; the machine resets"));
        let error = crate::sys::reboot::end(RebootCommand::Restart);
        self.log.error(format_args!("reset: {error}"));
        crate::sys::process::leave(102);
    }
}

/// Time that the partition table's change may take before the machine resets without the jump, in ms: a disk that answers needs 20.
const SPEND_TRY_MS: u64 = 10_000;

/// Whether processes other than PID 1 and the kernel's own exist. The node ends: this may allocate.
fn others() -> Others {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Others::Gone };
    let is_other = |pid: &str| {
        // Not its command line: to read that may wait for a process that is stuck with its memory locked.
        pid != "1" && std::fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_program(&stat))
    };
    let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let found = names.any(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && is_other(&name));
    if found { Others::Running } else { Others::Gone }
}
