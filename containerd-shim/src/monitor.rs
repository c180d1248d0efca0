//! `hull-launcher monitor NAME`: the parent of one container. It keeps the container's output, stops it when asked, writes down how it
//! ended, and outlives the launcher.
//!
//! ```text
//! waits for the launcher's word -> starts the container -> output | SIGTERM: stop signal, grace, kill | end -> state.json
//! ```
//! It dies with nobody and nobody with it but the container: that is killed by the kernel when its monitor is (PR_SET_PDEATHSIG).

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hull_oci_core::declaration::check_name;
use hull_oci_core::oci::config::{IdMapping, Spec};
use hull_oci_core::oci::namespaces::Kind;
use hull_oci_core::oci::plan::{Leave, Owner, Plan, plan};
use hull_oci_core::reconcile::Ending;
use hull_runtime::Failure;
use hull_runtime::cgroup::Groups;
use hull_runtime::create::{Keyring, Life, Request, Start, create, nothing};
use hull_runtime::facts::facts;
use hull_runtime::failure::failed;
use hull_runtime::state::Folder;
use hull_runtime::sys::clone::{self, Child};
use hull_runtime::sys::signals::send;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::mount::MountPropagationFlags;
use rustix::process::{WaitId, WaitIdOptions};

use crate::cgroup;
use crate::clock::now_ms;
use crate::output::Log;
use crate::record::{self, Orders, RUNTIME, State, folder};
use crate::root::Layers;
use crate::signals::{Reaction, reaction};
use crate::sys::spawn;

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
    let signals = spawn::signals(&[libc::SIGTERM, libc::SIGINT]).map_err(failed("block signals"))?;
    let orders: Orders = record::read(folder, "start.json").map_err(failed("read start.json"))?;
    let (output, input) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed("make a pipe for the output"))?;
    let child = make(name, folder, &orders, input)?;
    let running = State::Running { pid: child.pid.as_raw_nonzero().get() as u32, since_ms: now_ms() };
    record::write(folder, "state.json", &running).map_err(failed("write state.json"))?;
    let mut watch =
        Watch { child, groups: cgroup::of_container(name), signals, output, log: Log::open(folder), orders };
    let ending = watch.until_the_end()?;
    let ending = if watch.groups.out_of_memory_kills() > 0 { Ending::OutOfMemory } else { ending };
    // What it leaves in its group would otherwise outlive it, in a pid namespace of its own or not.
    watch.groups.remove()?;
    watch.drain();
    Ok(ending)
}

/// Makes the container, whose output goes to `output`. Of that the container has the only copies in the end.
fn make(name: &str, folder: &Path, orders: &Orders, output: OwnedFd) -> Result<Child, Failure> {
    let bytes = fs::read(folder.join("config.json")).map_err(failed("read config.json"))?;
    // The launcher wrote it: there is nobody whom to tell which field is wrong.
    let spec: Spec = serde_json::from_slice(&bytes).map_err(failed("read config.json"))?;
    let hierarchies = cgroup::hierarchies();
    let plan = plan(&spec, &facts(&hierarchies, Leave::Pivot))?;
    // Whatever an earlier life left must not share the new one's limits, nor outlive its end.
    cgroup::of_container(name).remove()?;
    let state = Folder::of(Path::new(RUNTIME), name)?;
    state.remove()?;
    // Layers are attached here, where the node does not see them, and go with this process.
    clone::unshare(Kind::Mount.flag()).map_err(failed("unshare the mount namespace"))?;
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(failed("keep mounts to itself"))?;
    let layers = Layers { folder, lower: &orders.lower, written: orders.root.written(), files: files(name) };
    layers.attach(&plan)?;
    give_to_user(&output, &plan)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open /dev/null"))?;
    let streams = |input: &OwnedFd, output: &OwnedFd| -> rustix::io::Result<()> {
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(output)
    };
    streams(&null, &output).map_err(failed("set up the standard streams"))?;
    let made = create(Request {
        folder: &state,
        bundle: folder,
        bytes: &bytes,
        spec: &spec,
        plan: &plan,
        hierarchies: &hierarchies,
        owner: Owner::Root,
        start: Start::AtOnce,
        console: None,
        preserve: 0,
        keyring: Keyring::New,
        life: Life::WithCaller,
        user: "root".to_owned(),
        now: String::new(),
        prepare: &nothing,
    });
    streams(&null, &null).map_err(failed("close the standard streams"))?;
    made.map(|(child, _)| child)
}

/// The container's user owns its output: a program may open `/dev/stdout` again.
fn give_to_user(output: &OwnedFd, plan: &Plan) -> Result<(), Failure> {
    let Some(identity) = &plan.identity else { return Ok(()) };
    let uid = Uid::from_raw(on_the_node(identity.user.uid, &plan.uid_map));
    let gid = Gid::from_raw(on_the_node(identity.user.gid, &plan.gid_map));
    rustix::fs::fchown(output, Some(uid), Some(gid)).map_err(failed("give the output to the container's user"))
}

fn on_the_node(id: u32, map: &[IdMapping]) -> u32 {
    let ids = map.iter().find(|ids| id.checked_sub(ids.container_id).is_some_and(|offset| offset < ids.size));
    ids.map_or(id, |ids| ids.host_id + (id - ids.container_id))
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
    groups: Groups,
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
                        self.groups.signal(libc::SIGKILL);
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
                self.groups.signal(libc::SIGKILL);
                Stop::Killed
            }
            Reaction::Decides => {
                let _ = send(self.child.pidfd.as_fd(), signal);
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
