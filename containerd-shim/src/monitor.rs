//! `hull-launcher monitor NAME`: the parent of one container. It keeps the container's output, stops it when asked, writes down how it
//! ended, and outlives the launcher.
//!
//! ```text
//! waits for the launcher's word -> starts the container -> output | SIGTERM: stop signal, grace, kill | end -> state.json
//! ```
//! It dies with nobody and nobody with it but the container: that is killed by the kernel when its monitor is (PR_SET_PDEATHSIG).

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hull_oci_core::declaration::check_name;
use hull_oci_core::plan::plan;
use hull_oci_core::reconcile::Ending;
use hull_oci_core::spec::CGROUP;
use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions};

use crate::cgroup::Group;
use crate::clock::now_ms;
use crate::output::Log;
use crate::record::{self, Orders, Root, State, folder};
use crate::runtime::{self, Failure, Layers, failed};
use crate::signals::{Reaction, reaction};
use crate::sys::clone::{self, Child};

/// Runs the monitor of the container `name`.
pub(crate) fn main(name: &str) -> ExitCode {
    if check_name(name).is_err() || !told_to_begin() {
        return ExitCode::FAILURE;
    }
    let folder = folder(name);
    let state = match run(name, &folder) {
        Ok(ending) => State::Exited(ending),
        Err(failure) => State::Failed { reason: failure.to_string() },
    };
    match record::write(&folder, "state.json", &state) {
        Ok(()) => ExitCode::SUCCESS,
        // The launcher sees a monitor without a last word and starts the container again.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Waits for the launcher's byte. Its end without one means that this monitor is on no record.
fn told_to_begin() -> bool {
    io::stdin().read_exact(&mut [0]).is_ok()
}

fn run(name: &str, folder: &Path) -> Result<Ending, Failure> {
    // Before the container exists, so that neither its end nor a wish to stop it is missed.
    let signals = clone::signals(&[libc::SIGTERM, libc::SIGINT]).map_err(failed("block signals"))?;
    let spec: Spec = record::read(folder, "config.json").map_err(failed("read config.json"))?;
    let orders: Orders = record::read(folder, "start.json").map_err(failed("read start.json"))?;
    let facts = runtime::facts(&Group::at(CGROUP));
    let plan = plan(&spec, &facts).map_err(failed("plan"))?;
    let written = match &orders.root {
        Root::ReadOnly => None,
        Root::Written { folder } => Some(folder.clone()),
    };
    let layers = Layers { folder: folder.to_owned(), lower: orders.lower.clone(), written, files: files(name) };
    let (output, input) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed("make a pipe for the output"))?;
    let child = runtime::start(&plan, &layers, &input)?;
    // Of the writing ends only the container's are left: the pipe ends with it.
    drop((input, plan, spec));
    let running = State::Running { pid: child.pid.as_raw_nonzero().get() as u32, since_ms: now_ms() };
    record::write(folder, "state.json", &running).map_err(failed("write state.json"))?;
    let mut watch = Watch { child, group: Group::of_container(name), signals, output, log: Log::open(folder), orders };
    let ending = watch.until_the_end()?;
    let ending = if watch.group.ran_out_of_memory() { Ending::OutOfMemory } else { ending };
    // What it leaves in its group would otherwise outlive it, in a pid namespace of its own or not.
    watch.group.remove().map_err(failed("remove the control group"))?;
    watch.drain();
    Ok(ending)
}

/// Files that name the container.
fn files(name: &str) -> Vec<(&'static str, String)> {
    vec![
        ("etc/hostname", format!("{name}\n")),
        ("etc/hosts", format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {name}\n")),
    ]
}

struct Watch {
    child: Child,
    group: Group,
    signals: OwnedFd,
    output: OwnedFd,
    log: Log,
    orders: Orders,
}

/// Whether the container was asked to stop.
enum Stop {
    NotAsked,
    Asked { kill_at: Instant },
    Killed,
}

impl Watch {
    fn until_the_end(&mut self) -> Result<Ending, Failure> {
        let (mut stop, mut output_open) = (Stop::NotAsked, true);
        loop {
            let timeout = match &stop {
                Stop::Asked { kill_at } => {
                    let left = kill_at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.group.kill();
                        stop = Stop::Killed;
                        continue;
                    }
                    Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) })
                }
                Stop::NotAsked | Stop::Killed => None,
            };
            let wanted = if output_open { PollFlags::IN } else { PollFlags::empty() };
            let mut ready = [
                PollFd::new(&self.child.pidfd, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.output, wanted),
            ];
            // A closed pipe reports its hang-up without being asked: then it is left out.
            let count = if output_open { 3 } else { 2 };
            match poll(&mut ready[..count], timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed("poll")(error)),
            }
            let came = ready.map(|fd| !fd.revents().is_empty());
            if came[2] && output_open {
                output_open = self.log.take(&self.output);
            }
            if came[1] {
                self.forget_signal();
                if matches!(stop, Stop::NotAsked) {
                    stop = self.ask_to_stop();
                }
            }
            if came[0] {
                return self.reap();
            }
        }
    }

    /// Takes the signal out of its descriptor.
    fn forget_signal(&self) {
        /// `sizeof(struct signalfd_siginfo)`, signalfd(2).
        const SIZE: usize = 128;
        let _ = rustix::io::read(&self.signals, &mut [0; SIZE]);
    }

    /// Process 1 of a pid namespace is spared the default action of a signal; here it is given what the signal means elsewhere.
    fn ask_to_stop(&self) -> Stop {
        let signal = self.orders.stop_signal;
        match reaction(self.child.pid.as_raw_nonzero().get() as u32, signal) {
            Reaction::Ends => {
                self.group.kill();
                Stop::Killed
            }
            Reaction::Decides => {
                let _ = clone::send_signal(self.child.pidfd.as_fd(), signal);
                Stop::Asked { kill_at: Instant::now() + Duration::from_millis(self.orders.grace_ms) }
            }
        }
    }

    fn reap(&self) -> Result<Ending, Failure> {
        let status = rustix::process::waitid(WaitId::PidFd(self.child.pidfd.as_fd()), WaitIdOptions::EXITED)
            .map_err(failed("wait for the container"))?;
        let ending = status.and_then(|status| {
            let code = status.exit_status().map(Ending::Code);
            code.or_else(|| status.terminating_signal().map(Ending::Signal))
        });
        ending.ok_or_else(|| Failure("wait for the container: it ended neither by itself nor by a signal".to_owned()))
    }

    /// Takes what is left in the pipe, without waiting for more.
    fn drain(&mut self) {
        if rustix::io::ioctl_fionbio(&self.output, true).is_ok() {
            while self.log.take(&self.output) {}
        }
    }
}
