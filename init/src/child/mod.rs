//! The child modes of /init: work that may block, allocate or fail, done in a process of its own.
//!
//! PID 1 runs `/proc/self/exe MODE ARGUMENTS`. Standard output and error go to a bounded log (`hullctl logs update`, `network`), one
//! line a message. For `stage`, `kexec-load` and `slots`, descriptor 3 is the SOCK_SEQPACKET connection of the hullctl that asked
//! (or /dev/null): the child writes `hull_init_core::control::Response` packets (postcard) to it itself: `Progress`, `Slots`,
//! `Refused`, and `Done` when PID 1 has nothing to add. It exits with 0 when it has done its work and with 1 after a refusal.
//! `/hull/manifest` and `/hull/root.json` of the running initramfs are found at `/run/hull/boot/manifest` and `/run/hull/boot/root.json`
//! (a root-only tmpfs) once the root is switched; kernel command line as ever in /proc/cmdline.

mod answer;
mod net;
mod stage;
mod swap;

use std::process::ExitCode;

use answer::Answer;

use crate::disk::trouble::Trouble;

/// The supervised service `network`: static addresses or DHCP with renewal, per `hull.net`. Speaks sd_notify at $NOTIFY_SOCKET:
/// `STATUS=eth0 10.0.2.15/24, ...` whenever addresses change (PID 1 shows it as the node's addresses), READY=1 once the first
/// interface is configured or there is nothing to configure. Stays until SIGTERM. Writes /run/hull/resolv.conf.
pub(crate) fn net(_arguments: &[String]) -> ExitCode {
    match net::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

/// `stage DIRECTORY`: verifies the release, writes the slot that is not in use, reads it back, marks it Trying. Ends with `Done`.
pub(crate) fn stage(arguments: &[String]) -> ExitCode {
    match arguments.first() {
        Some(directory) => ended(stage::run, &Answer::from_descriptor_3(), directory),
        None => ExitCode::FAILURE,
    }
}

fn ended(work: fn(&Answer, &str) -> Result<(), Trouble>, answer: &Answer, argument: &str) -> ExitCode {
    match work(answer, argument) {
        Ok(()) => {
            answer.done();
            ExitCode::SUCCESS
        }
        Err(trouble) => refused(answer, &trouble),
    }
}

fn refused(answer: &Answer, trouble: &Trouble) -> ExitCode {
    eprintln!("{trouble}");
    answer.refused(trouble);
    ExitCode::FAILURE
}

/// `kexec-load`: verifies the staged slot's UKI against a.json/b.json and loads it with kexec_file_load, for `update swap`.
/// Runs before anything is stopped. On success prints nothing more to descriptor 3 (PID 1 goes on and closes it).
pub(crate) fn kexec_load(_arguments: &[String]) -> ExitCode {
    let answer = Answer::from_descriptor_3();
    match swap::load(&answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => refused(&answer, &trouble),
    }
}

/// `spend-try`: spends a try of the slot that `kexec-load` loaded in the GPT, flushed. Runs after the stop, right before the jump.
pub(crate) fn spend_try(_arguments: &[String]) -> ExitCode {
    alone(swap::spend_try())
}

/// `mark-good SLOT`: successful bit, and BootOrder on UEFI. Runs when the trial is healthy.
pub(crate) fn mark_good(arguments: &[String]) -> ExitCode {
    alone(swap::mark_good(arguments.first().map_or("", String::as_str)))
}

fn alone(result: Result<(), Trouble>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

/// `slots`: writes one `Response::Slot` per slot and `Done` to descriptor 3, for `update status`.
pub(crate) fn slots(_arguments: &[String]) -> ExitCode {
    ended(|answer, _| swap::tell_slots(answer), &Answer::from_descriptor_3(), "")
}
