//! Control groups: `hull.init` for PID 1, one below `hull.services` for each service, `hull.containers` for the launcher's.

use std::cell::Cell;
use std::os::fd::OwnedFd;

use heapless::String;
use rustix::fs::{Mode, OFlags, mkdir, open};
use rustix::io::{Errno, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::files;

const ROOT: &str = "/sys/fs/cgroup/";
/// Where the launcher makes its containers' groups.
pub(crate) const CONTAINERS: &str = "/sys/fs/cgroup/hull.containers";

/// Makes the tree and lets limits be set below `hull.services` and `hull.containers`. Nothing is in the new groups yet, so that no
/// process has to be moved, for which the kernel would wait.
pub(crate) fn prepare() -> Result<()> {
    for name in ["hull.init", "hull.services", "hull.containers"] {
        make(&files::path(&[ROOT, name]))?;
    }
    ["", "hull.services/", "hull.containers/"].into_iter().try_for_each(enable_below)
}

/// Moves PID 1 into its own group. The kernel may wait for every processor here, and no service waits for it.
pub(crate) fn enter_own() -> Result<()> {
    files::write(&files::path(&[ROOT, "hull.init/cgroup.procs"]), b"0")
}

fn make(path: &str) -> Result<()> {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Enables every controller that there is: all at once, or one by one if one refuses.
fn enable_below(group: &str) -> Result<()> {
    let mut buffer = [0; 256];
    let available = files::read(&files::path(&[ROOT, group, "cgroup.controllers"]), &mut buffer)?;
    let control = files::path(&[ROOT, group, "cgroup.subtree_control"]);
    let mut all: String<300> = String::new();
    for name in core::str::from_utf8(available).unwrap_or("").split_ascii_whitespace() {
        let _ = core::fmt::write(&mut all, format_args!("+{name} ")); // as long as what was read, and a sign each
    }
    if files::write(&control, all.as_bytes()).is_err() {
        for word in all.split_ascii_whitespace() {
            let _ = files::write(&control, word.as_bytes()); // whoever needs this one finds out
        }
    }
    Ok(())
}

/// A service's own group.
pub(crate) struct Group {
    folder: OwnedFd,
    path: files::Path,
    /// Kills for memory that were told already.
    oom_kills: Cell<u64>,
}

impl Group {
    /// Makes the group of a service, with its memory limit.
    pub(crate) fn of_service(name: &str, memory_max: Option<u64>) -> Result<Self> {
        let path = files::path(&[ROOT, "hull.services/", name]);
        make(&path)?;
        if let Some(bytes) = memory_max {
            let mut text: String<24> = String::new();
            let _ = core::fmt::write(&mut text, format_args!("{bytes}")); // 20 digits fit
            files::write(&files::path(&[&path, "/memory.max"]), text.as_bytes())?;
        }
        let folder = open(path.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { folder, path, oom_kills: Cell::new(0) })
    }

    /// For clone3(2).
    pub(crate) fn folder(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.folder)
    }

    /// SIGKILL to everything in it.
    pub(crate) fn kill(&self) {
        let _ = files::write(&files::path(&[&self.path, "/cgroup.kill"]), b"1"); // an empty group has nothing to kill
    }

    /// Whether the kernel killed something in it for memory since this was asked last.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let mut buffer = [0; 256];
        let text = files::read(&files::path(&[&self.path, "/memory.events"]), &mut buffer).unwrap_or(b"");
        let lines = core::str::from_utf8(text).unwrap_or("").lines();
        let kills = lines.filter_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).next().unwrap_or(0);
        self.oom_kills.replace(kills) < kills
    }

    /// Bytes in use.
    pub(crate) fn memory(&self) -> Option<u64> {
        let mut buffer = [0; 32];
        let text = files::read(&files::path(&[&self.path, "/memory.current"]), &mut buffer).ok()?;
        core::str::from_utf8(text).ok()?.trim_ascii().parse().ok()
    }
}

/// SIGKILL to every container.
pub(crate) fn kill_containers() {
    let _ = files::write(&files::path(&[CONTAINERS, "/cgroup.kill"]), b"1"); // none is fine
}

/// SIGKILL to every service.
pub(crate) fn kill_services() {
    let _ = files::write(&files::path(&[ROOT, "hull.services/cgroup.kill"]), b"1"); // none is fine
}

/// Whether a process is below the containers' group.
pub(crate) fn containers_run() -> bool {
    let mut buffer = [0; 128];
    let events = files::read(&files::path(&[CONTAINERS, "/cgroup.events"]), &mut buffer).unwrap_or(b"");
    events.windows(11).any(|window| window == b"populated 1")
}

/// SIGTERM to the launcher's monitors: each gives its container the stop signal of its image and the time that it asks for. The node
/// ends: this may allocate.
pub(crate) fn terminate_containers() {
    let procs = std::fs::read_to_string(files::path(&[CONTAINERS, "/.monitors/cgroup.procs"]).as_str());
    for pid in procs.unwrap_or_default().lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)) {
        let _ = kill_process(pid, Signal::TERM); // it may be gone already
    }
}
