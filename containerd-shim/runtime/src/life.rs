//! What happens to a container that is there: start, signals, freezing, and its end.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::create::executed;
use crate::exchange::{self, Message};
use crate::failure::{Failure, failed, failing};
use crate::hooks;
use crate::state::{Folder, Record, Status};
use crate::sys::signals;

/// Lets a created container execute its program.
///
/// # Errors
/// It is not created, or the program cannot be executed.
pub fn start(folder: &Folder) -> Result<(), Failure> {
    let record = folder.record()?;
    match record.status(folder) {
        Status::Created => {}
        Status::Stopped => return Err(Failure("cannot start a container that has stopped".to_owned())),
        status => return Err(Failure(format!("cannot start an already running container: it is {}", status.name()))),
    }
    let told = |error: rustix::io::Errno| Failure(format!("start {}: {error}", folder.id));
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
    after_start(folder, &record)
}

/// Executes the hooks that come after the program was.
///
/// # Errors
/// One of them failed. The container runs nevertheless, as the specification asks.
pub fn after_start(folder: &Folder, record: &Record) -> Result<(), Failure> {
    let hooks = folder.spec()?.hooks.unwrap_or_default().poststart;
    hooks::run("poststart", &hooks, &record.state(Status::Running))
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

/// Deletes a container: its processes, its control group, its folder.
///
/// # Errors
/// It runs, or a hook failed. After a hook's failure it is gone nevertheless.
pub fn delete(folder: &Folder, force: Force) -> Result<(), Failure> {
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
    if let Some(process) = record.process() {
        // Gone before it is waited for is gone.
        let _ = signals::send(process.as_fd(), libc::SIGKILL);
        if record.cgroup_paths.is_empty() {
            let mut ended = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
            let _ = rustix::event::poll(&mut ended, None);
        }
    }
    let hooks = folder.spec().ok().and_then(|spec| spec.hooks).unwrap_or_default().poststop;
    if !record.cgroup_paths.is_empty() {
        record.groups().remove()?;
    }
    folder.remove()?;
    hooks::run("poststop", &hooks, &record.state(Status::Stopped))
}
