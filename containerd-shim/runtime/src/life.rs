//! What happens to a container that is there: start, signals, freezing, and its end.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use hull_oci_core::oci::cgroup;
use hull_oci_core::oci::config::Spec;
use hull_oci_core::oci::namespaces::{self, Namespaces};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::among;
use crate::cgroup::{Groups, Hierarchies};
use crate::create::executed;
use crate::exchange::{self, Message};
use crate::failure::{Failure, failed, failing};
use crate::hooks;
use crate::notify::{self, Listener};
use crate::state::{Folder, Record, Status};
use crate::sys::signals;

/// How long a killed process may take to be gone. The kernel needs microseconds, unless it hangs in a broken device.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks whether a killed process is frozen.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Lets a created container execute its program. What there is to warn of: hooks that failed after that.
///
/// # Errors
/// It is not created, or the program cannot be executed.
pub fn start(folder: &Folder) -> Result<Vec<Failure>, Failure> {
    let record = folder.record()?;
    match record.status(folder) {
        Status::Created => {}
        Status::Stopped => return Err(Failure("cannot start a container that has stopped".to_owned())),
        status => return Err(Failure(format!("cannot start an already running container: it is {}", status.name()))),
    }
    let told = |error: rustix::io::Errno| Failure(format!("start {}: {error}", folder.id));
    let waits = notify::address().filter(|_| notify::place(folder).is_dir());
    let waits = waits.map(|address| Listener::bind(folder).map(|listener| (listener, address))).transpose()?;
    let process = record.process();
    let open = rustix::fs::open(&folder.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(told)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(told)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/start", open.as_raw_fd())).map_err(told)?;
    rustix::net::connect(&socket, &address).map_err(told)?;
    fs::remove_file(folder.start_socket())
        .map_err(failing(|| format!("remove {}", folder.start_socket().display())))?;
    match exchange::receive(socket.as_fd()).map_err(failed("wait for the container"))? {
        Message::Executes => executed(&socket)?,
        Message::Failed(cause) => return Err(Failure(cause)),
        _ => return Err(Failure(format!("start {}: its process has ended", folder.id))),
    }
    let warnings = after_start(folder, &record);
    if let (Some((listener, address)), Some(process)) = (waits, process) {
        listener.forward(process.as_fd(), record.pid, &address)?;
    }
    Ok(warnings)
}

/// Executes the hooks that come after the program was. What went wrong: the container runs nevertheless, as the specification asks.
pub fn after_start(folder: &Folder, record: &Record) -> Vec<Failure> {
    match folder.spec() {
        Ok(spec) => {
            hooks::run_all("poststart", &spec.hooks.unwrap_or_default().poststart, &record.state(Status::Running))
        }
        Err(failure) => vec![failure],
    }
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The first process.
    First,
    /// Every process.
    All,
}

/// Sends a signal.
///
/// # Errors
/// The container has stopped.
pub fn kill(folder: &Folder, signal: i32, whom: Whom) -> Result<(), Failure> {
    let record = folder.record()?;
    if whom == Whom::All {
        record.groups().signal(signal);
        return Ok(());
    }
    let process =
        record.process().ok_or_else(|| Failure("container not running: cannot kill a stopped container".to_owned()))?;
    signals::send(process.as_fd(), signal).map_err(failing(|| format!("send signal {signal} to {}", folder.id)))?;
    // Without process ids of its own its other processes do not end with the first.
    if signal == libc::SIGKILL && folder.spec().is_ok_and(|spec| !has_own_process_ids(&spec)) {
        record.groups().signal(signal);
    }
    // A frozen process ends when it is thawed: SIGKILL is meant at once.
    if signal == libc::SIGKILL && record.groups().freezing() == crate::cgroup::Freezing::Frozen {
        record.groups().freeze(crate::cgroup::Freezing::Thawed)?;
    }
    Ok(())
}

/// Whether a container that runs is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Only what has stopped is deleted.
    No,
    /// It is killed.
    Yes,
}

/// Deletes a container: its processes, its control group, its folder. What there is to warn of: hooks that failed after that.
///
/// # Errors
/// It runs, or it does not end.
pub fn delete(folder: &Folder, force: Force) -> Result<Vec<Failure>, Failure> {
    let record = folder.record()?;
    match record.status(folder) {
        Status::Stopped | Status::Created => {}
        status if force == Force::No => {
            return Err(Failure(format!(
                "cannot delete container {:?} that is not stopped: {}",
                folder.id,
                status.name()
            )));
        }
        _ => {}
    }
    let spec = folder.spec().ok();
    let groups = record.groups();
    if let Some(process) = record.process() {
        end(&process, &groups)?;
    }
    match spec.as_ref() {
        _ if record.cgroup_paths.is_empty() => {}
        // Its processes have ended with their namespace: whoever is in the groups is of another container that shares them.
        Some(spec) if has_own_process_ids(spec) => groups.leave()?,
        _ => groups.remove()?,
    }
    if spec.as_ref().is_some_and(is_among) {
        among::detach(Path::new(&record.rootfs));
    }
    let hooks = spec.and_then(|spec| spec.hooks).unwrap_or_default().poststop;
    folder.remove()?;
    Ok(hooks::run_all("poststop", &hooks, &record.state(Status::Stopped)))
}

/// Removes what a runtime has left that was killed while it made a container, if nothing that belongs to it runs. A process that waits for a
/// start does not: there is none for what is not whole.
///
/// # Errors
/// There is no such container, it is whole, it is being made, or a process of it is left.
pub fn reclaim(folder: &Folder) -> Result<(), Failure> {
    let Some(_claim) = folder.reclaim()? else {
        return Err(match folder.path.exists() {
            true => Failure(format!("container {:?} is being created", folder.id)),
            false => Failure(format!("container {:?} does not exist", folder.id)),
        });
    };
    let waits = folder.start_socket().exists();
    let process = folder.unfinished().filter(|record| record.process().is_some()).map(|record| record.pid);
    let groups = folder.spec().and_then(|spec| groups_of(folder, &spec));
    let others = groups.is_ok_and(|groups| groups.processes().iter().any(|pid| Some(*pid) != process));
    if others || (process.is_some() && !waits) {
        return Err(Failure(format!(
            "container {:?} is half made and has processes: delete it with --force",
            folder.id
        )));
    }
    discard(folder)
}

/// Those that a container without a record would have.
fn groups_of(folder: &Folder, spec: &Spec) -> Result<Groups, Failure> {
    let path = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref()).filter(|path| !path.is_empty());
    let path = path.map_or_else(|| Ok(format!("/{}", folder.id)), cgroup::path)?;
    Ok(Groups::at(&Hierarchies::find(), &path))
}

/// Removes what a runtime has left that was killed while it made a container, the process that it had made included. Its control groups are
/// removed unless there are others in them.
///
/// # Errors
/// The folder cannot be removed, or the process does not end.
pub fn discard(folder: &Folder) -> Result<(), Failure> {
    let record = folder.unfinished();
    if let Some((process, record)) = record.as_ref().and_then(|record| Some((record.process()?, record))) {
        end(&process, &record.groups())?;
    }
    if let Some(record) = &record {
        among::detach_new(record);
    }
    if let Ok(spec) = folder.spec() {
        let groups = groups_of(folder, &spec)?;
        let deadline = Instant::now() + END_PATIENCE;
        while !groups.processes().is_empty() && Instant::now() < deadline {
            std::thread::sleep(LOOK_AGAIN);
        }
        groups.leave()?;
    }
    folder.remove()
}

fn namespaces_of(spec: &Spec) -> Namespaces {
    let linux = spec.linux.as_ref();
    linux.and_then(|linux| namespaces::read(&linux.namespaces).ok()).unwrap_or_default()
}

fn has_own_process_ids(spec: &Spec) -> bool {
    namespaces_of(spec).is_new(namespaces::Kind::Pid)
}

/// Whether its mounts are among the runtime's own.
fn is_among(spec: &Spec) -> bool {
    !namespaces_of(spec).is_own(namespaces::Kind::Mount)
}

/// Kills the first process and waits for its end. One that is frozen, by whomever, is thawed for it.
fn end(process: &OwnedFd, groups: &Groups) -> Result<(), Failure> {
    // Gone before the signal is gone.
    let _ = signals::send(process.as_fd(), libc::SIGKILL);
    let deadline = Instant::now() + END_PATIENCE;
    let interval = Timespec { tv_sec: 0, tv_nsec: LOOK_AGAIN.subsec_nanos().into() };
    loop {
        let mut ended = [PollFd::new(process, PollFlags::IN)];
        match rustix::event::poll(&mut ended, Some(&interval)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => groups.thaw_all(),
            Ok(_) => return Ok(()),
            Err(error) => return Err(Failure(format!("wait for the container's end: {error}"))),
        }
        if Instant::now() > deadline {
            return Err(Failure("the container's first process does not end; it waits in the kernel".to_owned()));
        }
    }
}
