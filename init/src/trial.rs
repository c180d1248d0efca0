//! A trial boot: judged by PID 1, told to the disk, and its reason kept over the reset.
//!
//! `/var/lib/hull/init/trial` holds `slot=`, `stopped=`, `tsc=`, `reason=`: written by the old system before the jump, the reason
//! overwritten by a trial that fails by itself, the file removed by one that is good. Whoever finds it and is no trial says why.

use std::fmt::Write as _;
use std::fs;

use hull_init_core::control::{RunningRoot, SlotName, format_line};
use hull_init_core::health::{Judged, Verdict, judge};
use hull_init_core::shutdown::Goal;
use hull_init_core::supervisor::Millis;
use rustix::time::{ClockId, clock_gettime};

use crate::jobs::Job;
use crate::node::{Stopped, Trial};
use crate::pid1::{Pid1, now};

const FOLDER: &str = "/var/lib/hull/init";
const FILE: &str = "/var/lib/hull/init/trial";
/// The last trial that failed, for `hullctl update status`.
const FAILED: &str = "/var/lib/hull/init/failed-trial";
const PSTORE: &str = "/sys/fs/pstore";

/// The reason that the old system writes for the new one: it stays if that one cannot say better.
const SILENT: &str = "it never got as far as to say why: its kernel or PID 1 ended, or the watchdog reset the machine";

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// What the file said.
struct Record {
    slot: String,
    reason: String,
    stopped: Stopped,
}

fn read_record() -> Option<Record> {
    let text = fs::read_to_string(FILE).ok()?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or("");
    let number = |key| value(key).parse().unwrap_or(0);
    let stopped = Stopped { ms: number("stopped"), tsc: number("tsc") };
    Some(Record { slot: value("slot").to_owned(), reason: value("reason").to_owned(), stopped })
}

fn write_record(slot: &str, reason: &str, stopped: Stopped) -> std::io::Result<()> {
    let mut text = String::new();
    let _ = write!(text, "slot={slot}\nstopped={}\ntsc={}\nreason={reason}\n", stopped.ms, stopped.tsc);
    fs::create_dir_all(FOLDER)?;
    let new = format!("{FILE}.new");
    fs::write(&new, text)?;
    fs::rename(&new, FILE)?;
    rustix::fs::sync();
    Ok(())
}

fn name_of(slot: SlotName) -> &'static str {
    match slot {
        SlotName::A => "a",
        SlotName::B => "b",
    }
}

/// Before a swap jumps: what a later boot says if the trial never speaks. Errors are the caller's to log; a swap goes on without.
pub(crate) fn remember_jump(slot: SlotName, stopped: Stopped) -> std::io::Result<()> {
    write_record(name_of(slot), SILENT, stopped)
}

/// The jump is not taken: nothing is to be said about it.
pub(crate) fn forget_jump() {
    let _ = fs::remove_file(FILE); // then a boot says once that a trial failed which never began
}

/// After /var is there: takes over what an earlier system left.
pub(crate) fn look_back(pid1: &mut Pid1, running: &RunningRoot) {
    let panic = take_pstore();
    let Some(record) = read_record() else {
        if let Some(panic) = panic {
            pid1.note(format_args!("the last boot ended in a kernel panic: {panic}"));
        }
        return;
    };
    if !matches!(pid1.node.trial, Trial::None) {
        pid1.node.swap = Some(record.stopped);
        return;
    }
    let panic = panic.map(|text| format!(" (kernel: {text})")).unwrap_or_default();
    let other = match running {
        RunningRoot::Slot { slot, .. } if name_of(*slot) != record.slot => "; the node runs the other slot",
        _ => "",
    };
    pid1.note(format_args!("slot {} failed its trial: {}{panic}{other}", record.slot, record.reason));
    let kept = fs::write(FAILED, format!("slot={}\nreason={}{panic}\n", record.slot, record.reason));
    if let Err(error) = kept.and_then(|()| fs::remove_file(FILE)) {
        pid1.note(format_args!("keep the reason of the failed trial in {FAILED}: {error}"));
    }
}

/// The line of the last panic that the firmware or a reserved memory kept; it is removed there, for there is little room.
fn take_pstore() -> Option<String> {
    let mut found = None;
    for entry in fs::read_dir(PSTORE).ok()?.flatten() {
        let path = entry.path();
        let bytes = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().find_map(|line| Some(&line[line.find("Kernel panic")?..]));
        found = found.or(line.map(|line| line.chars().take(160).collect()));
        let _ = fs::remove_file(path); // then it is told twice
    }
    found
}

impl Pid1 {
    /// Looks at the services of a trial; a verdict has its consequence at once. For every other boot this does nothing.
    pub(crate) fn judge_trial(&mut self) {
        if self.shutdown.is_some() {
            return;
        }
        let time = now();
        match self.node.trial {
            Trial::Running { slot, deadline } => self.judge(time, slot, deadline),
            Trial::Marking { slot, again_at: Some(again) } if again <= time => self.mark(slot),
            Trial::None | Trial::Good | Trial::Marking { .. } | Trial::Failed { .. } => {}
        }
    }

    /// What is missing, for the judgement and for the status.
    pub(crate) fn verdict(&self, time: Millis, deadline: Millis) -> Verdict {
        let entries = self.supervisor.iter().zip(&self.table.entries);
        let judged =
            entries.map(|((_, watched), entry)| Judged { name: &entry.service.name, reason: &entry.reason, watched });
        judge(time, deadline, judged)
    }

    fn judge(&mut self, time: Millis, slot: SlotName, deadline: Millis) {
        match self.verdict(time, deadline) {
            Verdict::Undecided(_) => {}
            Verdict::Good => {
                self.log.info(format_args!("slot {slot}: healthy; it is marked good"));
                self.mark(slot);
            }
            Verdict::Failed(missing) => {
                let limit = self.config.update_deadline().as_secs();
                self.fail_trial(slot, format_args!("not healthy within {limit} s: {missing}"));
            }
        }
    }

    fn mark(&mut self, slot: SlotName) {
        self.node.trial = Trial::Marking { slot, again_at: None };
        if self.start_job(Job::MarkGood, &["mark-good", name_of(slot)], None).is_err() {
            self.node.mark_again(now());
        }
    }

    /// `mark-good` ended.
    pub(crate) fn marked(&mut self, went: crate::jobs::Went) {
        let Trial::Marking { slot, .. } = self.node.trial else { return };
        match went {
            crate::jobs::Went::Well => {
                self.node.trial = Trial::Good;
                let _ = rustix::fs::unlink(FILE); // it may not be there: the disk may be degraded
                self.log.info(format_args!("slot {slot}: good"));
                self.console.line(format_args!("  slot {slot} is good: the update is complete"));
            }
            crate::jobs::Went::Wrong => {
                self.note(format_args!("slot {slot}: mark it good: see `hullctl logs update`; it is tried again"));
                self.node.mark_again(now());
            }
        }
    }

    /// Somebody ends the node before its trial is decided: the next boot says so.
    pub(crate) fn explain_end_of_trial(&self, goal: Goal, why: &str) {
        let Trial::Running { slot, .. } = self.node.trial else { return };
        let what = if goal == Goal::Poweroff { "turned off" } else { "restarted" };
        let reason = format!("it was {what} by {why} before it was proved");
        // The node ends either way; then the next boot says less.
        let _ = write_record(name_of(slot), &reason, Stopped { ms: unix_ms(), tsc: 0 });
    }

    /// The trial is over: the reason goes to the disk, the machine to the other slot.
    pub(crate) fn fail_trial(&mut self, slot: SlotName, reason: std::fmt::Arguments<'_>) {
        crate::sys::alloc::unseal();
        let reason = format_line(reason);
        self.note(format_args!("slot {slot} fails its trial: {reason}; the machine goes back to the other slot"));
        self.console.line(format_args!("  slot {slot} fails its trial: {reason}"));
        let stopped = Stopped { ms: unix_ms(), tsc: 0 };
        if let Err(error) = write_record(name_of(slot), &reason, stopped) {
            self.log.error(format_args!("write {FILE}: {error}"));
        }
        self.node.trial = Trial::Failed { reason };
        self.begin_end(Goal::Reboot, "a failed trial");
    }
}
