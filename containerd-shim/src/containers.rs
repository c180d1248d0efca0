//! Containers as the launcher sees them: started by way of a monitor, adopted after a launcher's death, asked to stop, removed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hull_oci_core::declaration::Declaration;
use hull_oci_core::oci::config::{Mount, Spec};
use hull_oci_core::reconcile::Ending;
use hull_oci_core::spec;
use hull_runtime::state::Folder;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::cgroup;
use crate::clock::now_ms;
use crate::record::{self, Ended, Identity, Orders, Root, folder};
use crate::sys::spawn;
use crate::volumes;
use hull_images::read_inside;

pub(crate) use crate::record::State;

/// Where containers that may write keep what they wrote.
const KEPT: &str = "/var/lib/hull/containers";

/// User namespaces get ranges of [`spec::IDS`] ids from this one on, each container its own.
const FIRST_IDS: u32 = 1 << 16;

/// Ranges that there are: ids end at 2³¹ for programs that take them as signed.
const RANGES: u32 = (1 << 31) / spec::IDS - 1;

/// Logs of ended containers that are kept.
const ENDED_LOGS: usize = 32;

/// All that a start needs.
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) spec: Spec,
    /// Unpacked layers, topmost first.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) declared: Declaration,
    /// And as it is written down.
    pub(crate) declaration: String,
    pub(crate) stop_signal: i32,
    pub(crate) grace: Duration,
}

/// A container whose monitor lives.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) declaration: String,
    /// Milliseconds of CLOCK_BOOTTIME.
    pub(crate) started_at: u64,
    monitor: OwnedFd,
}

/// Why a container was not started.
#[derive(Debug)]
pub(crate) struct Failure {
    operation: &'static str,
    object: String,
    cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.object, self.cause)
    }
}

impl std::error::Error for Failure {}

fn failure(operation: &'static str, object: impl fmt::Display, cause: impl fmt::Display) -> Failure {
    Failure { operation, object: object.to_string(), cause: cause.to_string() }
}

/// What an earlier launcher left of a container.
pub(crate) enum Found {
    /// It runs.
    Running(Running),
    /// It ended, before or while no launcher ran.
    Ended { name: String, ended: Ended },
    /// Its folder says too little: it starts anew if it is still declared.
    Unclear { name: String },
}

/// Where a container's output is kept; the older part is beside it, with `.1`.
pub(crate) fn log_path(name: &str) -> PathBuf {
    folder(name).join("log")
}

/// Writes the bundle and starts its monitor, which starts the container.
///
/// # Errors
/// The folder, the bundle or the monitor cannot be made; then nothing runs.
pub(crate) fn start(start: &Start) -> Result<Running, Failure> {
    let folder = folder(&start.name);
    fs::create_dir_all(&folder).map_err(|error| failure("create", folder.display(), error))?;
    for stale in ["state.json", "monitor.json", "ended.json"] {
        let _ = fs::remove_file(folder.join(stale));
    }
    let spec = complete(start)?;
    let root = if start.declared.read_only { Root::ReadOnly } else { Root::Written { folder: written(start)? } };
    let orders = Orders {
        lower: start.lower.clone(),
        root,
        declaration: start.declaration.clone(),
        stop_signal: start.stop_signal,
        grace_ms: start.grace.as_millis() as u64,
    };
    record::write(&folder, "config.json", &spec).map_err(|error| failure("write", "config.json", error))?;
    record::write(&folder, "start.json", &orders).map_err(|error| failure("write", "start.json", error))?;
    let (started_at, monitor) =
        launch(&start.name, &folder).map_err(|error| failure("start the monitor of", &start.name, error))?;
    Ok(Running { name: start.name.clone(), declaration: start.declaration.clone(), started_at, monitor })
}

/// Fills in what only the node knows: a user by name, and which ids the container gets.
fn complete(start: &Start) -> Result<Spec, Failure> {
    let mut spec = start.spec.clone();
    let problem = |cause: &dyn fmt::Display| failure("make the specification of", &start.name, cause);
    if spec::names_user(&spec) {
        let file = |name: &str| start.lower.iter().find_map(|layer| read_inside(layer, name)).unwrap_or_default();
        spec::resolve_user(&mut spec, &file("etc/passwd"), &file("etc/group")).map_err(|refused| problem(&refused))?;
    }
    let user = spec.process.as_ref().map(|process| process.user.clone()).unwrap_or_default();
    volumes::make(&start.declared, &start.lower, &user)
        .map_err(|(path, error)| failure("make the volume", path.display(), error))?;
    leave_out_what_is_missing(&mut spec);
    let first = claim_ids(&start.name).map_err(|error| problem(&error))?;
    spec::map_ids(&mut spec, first);
    Ok(spec)
}

/// A node without a store or a network has no socket and no servers' names to share: its containers start without them.
fn leave_out_what_is_missing(spec: &mut Spec) {
    spec.mounts.retain(|mount: &Mount| {
        let bound = mount.kind.as_deref() == Some("bind");
        !bound || mount.source.as_ref().is_none_or(|source| Path::new(source).exists())
    });
}

/// A range of ids that no other container has: a link `.ids/<range>` that leads to the name.
fn claim_ids(name: &str) -> io::Result<u32> {
    let claims = Path::new(record::RUN).join(".ids");
    fs::create_dir_all(&claims)?;
    for range in 0..RANGES {
        let claim = claims.join(range.to_string());
        match std::os::unix::fs::symlink(name, &claim) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read_link(&claim).is_ok_and(|owner| owner == Path::new(name)) {
                    return Ok(FIRST_IDS + range * spec::IDS);
                }
            }
            made => return made.map(|()| FIRST_IDS + range * spec::IDS),
        }
    }
    Err(io::Error::new(io::ErrorKind::QuotaExceeded, "all ranges of user ids are taken"))
}

fn release_ids(name: &str) {
    let Ok(claims) = fs::read_dir(Path::new(record::RUN).join(".ids")) else { return };
    for claim in claims.flatten() {
        if fs::read_link(claim.path()).is_ok_and(|owner| owner == Path::new(name)) {
            let _ = fs::remove_file(claim.path());
        }
    }
}

/// The folder with what the container wrote in an earlier life. Over other layers than those it was written over it means nothing.
fn written(start: &Start) -> Result<PathBuf, Failure> {
    let folder = Path::new(KEPT).join(&start.name);
    let over: String = start.lower.iter().map(|layer| format!("{}\n", layer.display())).collect();
    let note = folder.join("layers");
    let make = || -> io::Result<()> {
        if fs::read_to_string(&note).unwrap_or_default() != over {
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir_all(&folder)?;
            fs::write(&note, &over)?;
        }
        fs::create_dir_all(folder.join("upper"))?;
        fs::create_dir_all(folder.join("work"))
    };
    make().map_err(|error| failure("create", folder.display(), error))?;
    Ok(folder)
}

/// Starts a monitor. It waits on its standard input for the word to begin, which comes when it is on record: a launcher that dies in
/// between leaves a monitor that ends by itself, and never a container that nobody knows.
fn launch(name: &str, folder: &Path) -> io::Result<(u64, OwnedFd)> {
    let group = cgroup::of_monitors()?;
    let arguments = ["hull-launcher", "monitor", name].map(|word| CString::new(word).unwrap_or_default());
    let (input, word) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let child = spawn::spawn(group.as_fd(), c"/proc/self/exe", &arguments, &input, &null)?;
    let pid = child.pid.as_raw_nonzero().get() as u32;
    let started_at_ms = now_ms();
    let identity = Identity { pid, start_ticks: record::start_ticks(pid).unwrap_or_default(), started_at_ms };
    record::write(folder, "monitor.json", &identity)?;
    std::fs::File::from(word).write_all(b"!")?;
    Ok((started_at_ms, child.pidfd))
}

impl Running {
    /// A descriptor that becomes readable when the monitor has ended.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn monitor_pidfd(&self) -> io::Result<OwnedFd> {
        self.monitor.try_clone()
    }

    /// Asks the monitor to stop the container: stop signal, grace, kill.
    pub(crate) fn stop(&self) {
        // It may have ended just now; that is what was wanted.
        let _ = rustix::process::pidfd_send_signal(&self.monitor, Signal::TERM);
    }

    /// What the monitor wrote last.
    pub(crate) fn state(&self) -> State {
        record::read(&folder(&self.name), "state.json").unwrap_or(State::Creating)
    }
}

impl Drop for Running {
    /// Reaps the monitor if it is this launcher's child; an adopted one is PID 1's.
    fn drop(&mut self) {
        let _ =
            rustix::process::waitid(WaitId::PidFd(self.monitor.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

impl Running {
    /// How it ended, once its monitor has.
    pub(crate) fn ending(&self) -> Ended {
        Ended { declaration: self.declaration.clone(), since_ms: self.started_at, ending: ending(&self.name) }
    }
}

/// How a container ended whose monitor is gone. One without a last word was killed, and its container with it.
fn ending(name: &str) -> Ending {
    match record::read(&folder(name), "state.json") {
        Ok(State::Exited(ending)) => ending,
        Ok(State::Failed { reason }) => Ending::NotStarted(reason),
        Ok(State::Creating | State::Running { .. }) | Err(_) => Ending::MonitorLost,
    }
}

/// Everything that an earlier launcher started.
pub(crate) fn adopt() -> Vec<Found> {
    let Ok(entries) = fs::read_dir(record::RUN) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).filter_map(adopt_one).collect()
}

/// `None` where only a log is left.
fn adopt_one(name: String) -> Option<Found> {
    let folder = folder(&name);
    if !folder.join("start.json").exists() {
        let ended = record::read(&folder, "ended.json").ok()?;
        return Some(Found::Ended { name, ended });
    }
    let read = || -> io::Result<(Identity, Orders)> {
        Ok((record::read(&folder, "monitor.json")?, record::read(&folder, "start.json")?))
    };
    let Ok((identity, orders)) = read() else { return Some(Found::Unclear { name }) };
    let declaration = orders.declaration;
    Some(match open_monitor(&identity) {
        Some(monitor) => Found::Running(Running { name, declaration, started_at: identity.started_at_ms, monitor }),
        None => {
            let ended = Ended { declaration, since_ms: identity.started_at_ms, ending: ending(&name) };
            Found::Ended { name, ended }
        }
    })
}

/// The monitor, if it lives.
fn open_monitor(identity: &Identity) -> Option<OwnedFd> {
    let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw)?;
    let monitor = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Checked after the descriptor is open: from here on the id cannot pass to another process unseen.
    (record::start_ticks(identity.pid) == Some(identity.start_ticks)).then_some(monitor)
}

/// Removes all of a container but its log, and notes how it ended. Whatever is left of its processes is killed.
pub(crate) fn remove(name: &str, ended: Option<&Ended>) {
    if let Err(error) = cgroup::of_container(name).remove() {
        eprintln!("remove the control group of container {name}: {error}");
    }
    if let Some(ended) = ended
        && let Err(error) = record::write(&folder(name), "ended.json", ended)
    {
        eprintln!("note how container {name} ended: {error}");
    }
    if let Err(failure) = Folder::of(Path::new(record::RUNTIME), name).and_then(|state| state.remove()) {
        eprintln!("forget container {name}: {failure}");
    }
    let Ok(entries) = fs::read_dir(folder(name)) else { return };
    for entry in entries.flatten() {
        let keep = ["log", "log.1", "ended.json"].iter().any(|kept| entry.file_name() == *kept);
        let removed = match entry.file_type() {
            _ if keep => Ok(()),
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
            _ => fs::remove_file(entry.path()),
        };
        if let Err(error) = removed {
            eprintln!("remove {}: {error}", entry.path().display());
        }
    }
    release_ids(name);
    forget_old_logs();
}

/// Removes what is kept of a container that is no longer declared, all but its log.
pub(crate) fn forget(name: &str) {
    let _ = fs::remove_file(folder(name).join("ended.json")); // it may have none
    let written = Path::new(KEPT).join(name);
    if !written.exists() {
        return;
    }
    // Out of the way at once, since it may be declared again; its content goes beside the event loop.
    let aside = Path::new(KEPT).join(format!(".{name}.{}", now_ms()));
    match fs::rename(&written, &aside) {
        Ok(()) => drop(std::thread::spawn(move || fs::remove_dir_all(aside))),
        Err(error) => eprintln!("remove {}: {error}", written.display()),
    }
}

/// Removes what was written by containers that were taken away while the node was down.
pub(crate) fn forget_others(wanted: &BTreeMap<String, Declaration>) {
    let Ok(entries) = fs::read_dir(KEPT) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if name.starts_with('.') {
            let _ = fs::remove_dir_all(Path::new(KEPT).join(name)); // half removed by an earlier launcher
        } else if !wanted.contains_key(&name) {
            forget(&name);
        }
    }
}

/// Removes the oldest logs of containers that are gone, beyond [`ENDED_LOGS`].
fn forget_old_logs() {
    let Ok(entries) = fs::read_dir(record::RUN) else { return };
    let ended = entries.flatten().map(|entry| entry.path()).filter(|path| !path.join("start.json").exists());
    let age = |path: PathBuf| Some((fs::metadata(path.join("log")).ok()?.modified().ok()?, path));
    let mut logs: Vec<_> = ended.filter_map(age).collect();
    logs.sort();
    let surplus = logs.len().saturating_sub(ENDED_LOGS);
    for (_, path) in &logs[..surplus] {
        let _ = fs::remove_dir_all(path);
    }
}
