//! The control groups of one container, on hosts of both versions: made, limited, joined, frozen, killed, removed.
//!
//! ```text
//! version 2  one folder below /sys/fs/cgroup
//! version 1  one folder in each mounted hierarchy; what is written goes to the one whose controller it is of
//! ```

mod delegate;
mod hierarchy;
mod stats;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_oci_core::oci::cgroup::{Need, Setting};
use hull_oci_core::oci::devices::{self, Rule};
use hull_oci_core::oci::devices_v1;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::failure::{Failure, failed, failing};
use crate::sys;

pub use hierarchy::{Hierarchies, Mounted, Version};
pub use stats::stats;

/// How long killed processes may take to be gone. The kernel needs microseconds, unless one hangs in a broken device.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a version 1 group, which tells nobody when it is empty.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The groups of a container.
#[derive(Debug, Clone)]
pub struct Groups {
    /// Version of the host's groups.
    pub version: Version,
    /// One on version 2, one a hierarchy on version 1; none where there are no control groups.
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    hierarchy: Mounted,
    folder: PathBuf,
    origin: Origin,
}

/// What became of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// The kernel has it.
    Taken,
    /// The kernel does not know it.
    Unknown,
}

/// Who made a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It was there, or nobody knows.
    Before,
    /// [`Groups::make`].
    Made,
}

/// Moves this process, which has one thread, through [`Groups::entrances`].
///
/// # Errors
/// The group takes no more processes, or its controller refuses.
pub fn enter(entrances: &[OwnedFd]) -> io::Result<()> {
    for entrance in entrances {
        rustix::io::write(entrance, b"0")?;
    }
    Ok(())
}

impl Groups {
    /// The groups at a path of the hierarchies, whether they exist or not.
    pub fn at(hierarchies: &Hierarchies, path: &str) -> Groups {
        let part = |hierarchy: &Mounted| Part {
            folder: hierarchy.folder.join(path.trim_start_matches('/')),
            hierarchy: hierarchy.clone(),
            origin: Origin::Before,
        };
        Groups { version: hierarchies.version, parts: hierarchies.mounted.iter().map(part).collect() }
    }

    /// The groups below these that `--cgroup` names: `PATH`, or on version 1 `CONTROLLER[,CONTROLLER]:PATH` for some of them.
    ///
    /// # Errors
    /// The path leads out, or names what is not there.
    pub fn below(&self, wanted: &[String]) -> Result<Groups, Failure> {
        let mut below = self.clone();
        for text in wanted {
            let (controllers, path) =
                text.split_once(':').map_or((None, text.as_str()), |(names, path)| (Some(names), path));
            if path.split('/').any(|part| part == "..") {
                return Err(Failure(format!("--cgroup: {path} is not a sub cgroup path")));
            }
            let named = |part: &Part| {
                controllers.is_none_or(|names| {
                    names.split(',').any(|name| part.hierarchy.controllers.iter().any(|own| own == name))
                })
            };
            let path = path.trim_start_matches('/');
            let parts: Vec<&mut Part> = below.parts.iter_mut().filter(|part| named(part)).collect();
            if parts.is_empty() {
                return Err(Failure(format!(
                    "--cgroup {text}: unknown controller {}",
                    controllers.unwrap_or_default()
                )));
            }
            parts.into_iter().filter(|_| !path.is_empty()).for_each(|part| part.folder.push(path));
        }
        match below.parts.iter().find(|part| !part.folder.is_dir()) {
            Some(part) => Err(Failure(format!(
                "--cgroup: adding pid to {}/cgroup.procs: no such file or directory",
                part.folder.display()
            ))),
            None => Ok(below),
        }
    }

    /// Where each controller's group is, by controller; version 2's under the empty name.
    pub fn folders(&self) -> BTreeMap<String, PathBuf> {
        let names = |part: &Part| match self.version {
            Version::Two => vec![String::new()],
            Version::One => part.hierarchy.controllers.clone(),
        };
        self.parts.iter().flat_map(|part| names(part).into_iter().map(|name| (name, part.folder.clone()))).collect()
    }

    /// The folder of a controller.
    pub fn folder(&self, controller: &str) -> Option<&Path> {
        let of = |part: &&Part| match self.version {
            Version::Two => true,
            Version::One => part.hierarchy.controllers.iter().any(|own| own == controller),
        };
        self.parts.iter().find(of).map(|part| part.folder.as_path())
    }

    /// Makes them, parents included. A hierarchy of version 1 that is not to be written to is left out: limits there fail later, by name.
    ///
    /// # Errors
    /// Says which could not be made.
    pub fn make(&mut self) -> Result<(), Failure> {
        let version = self.version;
        let mut made = Vec::new();
        for mut part in std::mem::take(&mut self.parts) {
            let was_there = part.folder.is_dir();
            let result = match version {
                Version::Two => make_v2(&part),
                Version::One => make_v1(&part),
            };
            match result {
                Ok(()) => {
                    part.origin = if was_there { Origin::Before } else { Origin::Made };
                    made.push(part);
                }
                Err(error) if unwritable(&error) && version == Version::One => {}
                Err(error) => {
                    let folder = part.folder.display().to_string();
                    self.parts = made;
                    return Err(Failure(format!("make the control group {folder}: {error}")));
                }
            }
        }
        self.parts = made;
        Ok(())
    }

    /// Those of them whose controllers are in a map as of [`folders`](Groups::folders).
    pub fn of(mut self, folders: &BTreeMap<String, PathBuf>) -> Groups {
        let version = self.version;
        self.parts.retain(|part| match version {
            Version::Two => !folders.is_empty(),
            Version::One => part.hierarchy.controllers.iter().any(|name| folders.contains_key(name)),
        });
        self
    }

    /// Those of them that [`make`](Groups::make) has made: what was there before belongs to somebody else.
    pub fn made(&self) -> Groups {
        let parts = self.parts.iter().filter(|part| part.origin == Origin::Made).cloned().collect();
        Groups { version: self.version, parts }
    }

    /// Opens the version 2 group for clone3(2).
    pub fn open(&self) -> Option<OwnedFd> {
        let part = self.parts.first().filter(|_| self.version == Version::Two)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&part.folder, flags, Mode::empty()).ok()
    }

    /// Moves a process in, where clone3(2) could not.
    ///
    /// # Errors
    /// Says which group did not take it.
    pub fn join(&self, pid: i32) -> Result<(), Failure> {
        for part in &self.parts {
            let file = part.folder.join("cgroup.procs");
            write(&file, &pid.to_string()).map_err(failing(|| format!("write {pid} to {}", file.display())))?;
        }
        Ok(())
    }

    /// Opens what a process of one thread writes `0` to, to move itself in: version 1's `tasks`. The kernel then need not stop every fork
    /// of the host (`cgroup_threadgroup_rwsem`), which costs a grace period of RCU, milliseconds, for `cgroup.procs`. None on version 2,
    /// where clone3(2) makes the process inside.
    ///
    /// # Errors
    /// Says which group is not to be written to.
    pub fn entrances(&self) -> Result<Vec<OwnedFd>, Failure> {
        let open = |part: &Part| {
            let file = part.folder.join("tasks");
            rustix::fs::open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failing(|| format!("open {}", file.display())))
        };
        match self.version {
            Version::One => self.parts.iter().map(open).collect(),
            Version::Two => Ok(Vec::new()),
        }
    }

    /// Writes limits. One that the kernel refuses because of another (memory below what the sum is, a quota above the period) is tried
    /// again after the others.
    ///
    /// # Errors
    /// Says which limit failed.
    pub fn limit(&self, settings: &[Setting]) -> Result<(), Failure> {
        let (mut again, mut taken) = (Vec::new(), Vec::new());
        for setting in settings {
            match self.set(setting) {
                Err((Errno::INVAL | Errno::BUSY, _)) => again.push(setting),
                Err((_, failure)) => return Err(failure),
                Ok(Done::Taken) => taken.push(&setting.field),
                Ok(Done::Unknown) => {}
            }
        }
        for setting in again {
            if self.set(setting).map_err(|(_, failure)| failure)? == Done::Taken {
                taken.push(&setting.field);
            }
        }
        let lost = |setting: &&Setting| setting.need == Need::OneOfItsField && !taken.contains(&&setting.field);
        let Some(Setting { field, .. }) = settings.iter().find(lost) else { return Ok(()) };
        let files = settings.iter().filter(|setting| setting.field == *field);
        let files: Vec<_> = files.map(|setting| format!("{} ({})", setting.file, setting.value)).collect();
        Err(Failure(format!(
            "{field}: this host's kernel or disks take neither {}; leave it out or choose a scheduler of disks with weights",
            files.join(" nor ")
        )))
    }

    fn set(&self, setting: &Setting) -> Result<Done, (Errno, Failure)> {
        let folder = self.folder(setting.controller);
        let result = match folder {
            Some(folder) => write(&folder.join(&setting.file), &setting.value),
            None => Err(Errno::NOENT.into()),
        };
        // A kernel without the file, without swap accounting, or an I/O scheduler without weights.
        let unknown = |error: &io::Error| {
            error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::OPNOTSUPP)
        };
        match result {
            Ok(()) => Ok(Done::Taken),
            Err(error) if setting.need != Need::Must && unknown(&error) => Ok(Done::Unknown),
            Err(error) => {
                let Setting { field, file, value, .. } = setting;
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                let hint = match (errno, file.as_str()) {
                    (Errno::BUSY, "memory.limit_in_bytes") => "; it is below what is in use",
                    _ => "",
                };
                let folder = folder.map(|folder| folder.display().to_string()).unwrap_or_default();
                Err((errno, Failure(format!("{field}: write {value} to {folder}/{file}: {error}{hint}"))))
            }
        }
    }

    /// Allows and denies devices.
    ///
    /// # Errors
    /// The kernel has no device controller, or the runtime may not.
    pub fn limit_devices(&self, rules: &[Rule]) -> Result<(), Failure> {
        if rules.is_empty() || self.parts.is_empty() {
            return Ok(());
        }
        match self.version {
            Version::Two => {
                let group = self.open().ok_or_else(|| Failure("open the control group".to_owned()))?;
                sys::bpf::limit_devices(std::os::fd::AsFd::as_fd(&group), &devices::program(rules))
                    .map_err(failed("linux.resources.devices: attach the device filter to the control group"))
            }
            Version::One => {
                let folder = self.folder("devices").ok_or_else(|| {
                    Failure("linux.resources.devices: this host has no device controller; mount it".to_owned())
                })?;
                for (file, line) in devices_v1::lines(rules)? {
                    write(&folder.join(file), &line).map_err(failing(|| {
                        format!("linux.resources.devices: write {line} to {}/{file}", folder.display())
                    }))?;
                }
                Ok(())
            }
        }
    }

    /// Process ids in them and in groups below.
    pub fn processes(&self) -> Vec<i32> {
        // More than one: something may have been moved away in one hierarchy.
        let wanted = ["freezer", "pids", "devices"];
        let mut folders: Vec<&Path> = wanted.iter().filter_map(|controller| self.folder(controller)).collect();
        folders.extend(self.parts.first().map(|part| part.folder.as_path()));
        folders.sort_unstable();
        folders.dedup();
        let mut pids = Vec::new();
        folders.into_iter().for_each(|folder| gather(folder, &mut pids));
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Stops or continues every process.
    ///
    /// # Errors
    /// There is no freezer, or a process does not stop.
    pub fn freeze(&self, wanted: Freezing) -> Result<(), Failure> {
        let (controller, file, value) = match (self.version, wanted) {
            (Version::Two, Freezing::Frozen) => ("", "cgroup.freeze", "1"),
            (Version::Two, Freezing::Thawed) => ("", "cgroup.freeze", "0"),
            (Version::One, Freezing::Frozen) => ("freezer", "freezer.state", "FROZEN"),
            (Version::One, Freezing::Thawed) => ("freezer", "freezer.state", "THAWED"),
        };
        let folder = self.folder(controller).ok_or_else(|| Failure("this host has no freezer; mount it".to_owned()))?;
        let deadline = Instant::now() + KILL_PATIENCE;
        loop {
            // Version 1 may miss a process that is just being made: it is asked until it says so.
            write(&folder.join(file), value)
                .map_err(failing(|| format!("write {value} to {}/{file}", folder.display())))?;
            if self.freezing() == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Failure(format!("write {value} to {}/{file}: it does not happen", folder.display())));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Whether it is stopped.
    pub fn freezing(&self) -> Freezing {
        let frozen = match self.version {
            Version::Two => self.folder("").is_some_and(|folder| {
                fs::read_to_string(folder.join("cgroup.events")).is_ok_and(|text| text.contains("frozen 1"))
            }),
            Version::One => self.folder("freezer").is_some_and(|folder| {
                fs::read_to_string(folder.join("freezer.state")).is_ok_and(|text| text.trim() == "FROZEN")
            }),
        };
        if frozen { Freezing::Frozen } else { Freezing::Thawed }
    }

    /// Sends a signal to every process in them.
    pub fn signal(&self, signal: i32) {
        let at_once = self.version == Version::Two && signal == libc::SIGKILL;
        if at_once && self.folder("").is_some_and(|folder| write(&folder.join("cgroup.kill"), "1").is_ok()) {
            return;
        }
        for pid in self.processes() {
            // One that has ended meanwhile needs none.
            let _ = sys::process::kill(pid, signal);
        }
    }

    /// Kills everything in them, waits until they are empty, and removes them.
    ///
    /// # Errors
    /// A process does not go away, for instance because it waits for a broken device.
    pub fn remove(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + KILL_PATIENCE;
        while self.parts.iter().any(|part| !remove_tree(&part.folder)) {
            self.signal(libc::SIGKILL);
            self.thaw_all();
            if Instant::now() > deadline {
                return Err(self.stuck("its processes do not go away"));
            }
            match self.version {
                Version::Two => self.wait_until_empty(deadline),
                Version::One => std::thread::sleep(LOOK_AGAIN),
            }
        }
        Ok(())
    }

    /// Removes them where nothing is left in them. Processes that are, are not this container's: it has ended, and with the first process
    /// of a process id namespace everything in it.
    ///
    /// # Errors
    /// They are empty and the kernel does not let them go.
    pub fn leave(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + KILL_PATIENCE;
        while self.parts.iter().any(|part| !remove_tree(&part.folder)) {
            if !self.processes().is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.stuck("the kernel still holds them"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn stuck(&self, why: &str) -> Failure {
        let folders: Vec<String> = self.parts.iter().map(|part| part.folder.display().to_string()).collect();
        Failure(format!("remove {}: {why}", folders.join(", ")))
    }

    /// Thaws them and what the container has frozen below them: what is frozen does not die. A process that was moved to another group of
    /// version 1's freezer is fetched back.
    pub(crate) fn thaw_all(&self) {
        let (controller, file, value) = match self.version {
            Version::Two => ("", "cgroup.freeze", "0"),
            Version::One => ("freezer", "freezer.state", "THAWED"),
        };
        let Some(folder) = self.folder(controller) else { return };
        write_below(folder, file, value);
        if self.version == Version::One {
            let strangers = self.processes().into_iter().filter(|pid| !is_in_freezer(*pid, folder));
            strangers.for_each(|pid| drop(write(&folder.join("cgroup.procs"), &pid.to_string())));
        }
    }

    /// The kernel tells of a change of `cgroup.events` by POLLPRI (cgroup-v2.rst).
    fn wait_until_empty(&self, deadline: Instant) {
        let Some(mut file) = self.folder("").and_then(|folder| fs::File::open(folder.join("cgroup.events")).ok())
        else {
            return;
        };
        let mut text = String::new();
        // Read through the same descriptor: a change is told once after each read.
        if file.seek(SeekFrom::Start(0)).is_err()
            || file.read_to_string(&mut text).is_err()
            || text.contains("populated 0")
        {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let _ = poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&timeout));
    }

    /// How many of its processes the kernel killed at the memory limit.
    pub fn out_of_memory_kills(&self) -> u64 {
        let file = match self.version {
            Version::Two => "memory.events",
            Version::One => "memory.oom_control",
        };
        let text =
            self.folder("memory").and_then(|folder| fs::read_to_string(folder.join(file)).ok()).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }
}

/// Whether processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezing {
    /// They are stopped.
    Frozen,
    /// They run.
    Thawed,
}

fn unwritable(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ROFS | Errno::ACCESS | Errno::PERM))
}

/// Writes a control file in one call. Not created: a file that is missing is a controller that is missing.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// Every group on the way hands down what its parent has.
fn make_v2(part: &Part) -> io::Result<()> {
    let inner = part.folder.strip_prefix(&part.hierarchy.folder).unwrap_or(Path::new(""));
    let mut folder = part.hierarchy.folder.clone();
    for name in inner {
        if !part.hierarchy.controllers.is_empty() {
            hand_down(&folder, &part.hierarchy.controllers);
        }
        folder.push(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A controller that cannot be handed down (real time, threads) is missed by the limit that needs it, which names it.
fn hand_down(folder: &Path, controllers: &[String]) {
    let file = folder.join("cgroup.subtree_control");
    let known = fs::read_to_string(&file).unwrap_or_default();
    let missing = controllers.iter().filter(|name| !known.split_ascii_whitespace().any(|known| known == *name));
    for name in missing {
        let _ = write(&file, &format!("+{name}"));
    }
}

/// A new group of processors has none until its parent's are written to it.
fn make_v1(part: &Part) -> io::Result<()> {
    let cpuset = part.hierarchy.controllers.iter().any(|name| name == "cpuset");
    if !cpuset {
        return fs::create_dir_all(&part.folder);
    }
    let inner = part.folder.strip_prefix(&part.hierarchy.folder).unwrap_or(Path::new(""));
    let mut folder = part.hierarchy.folder.clone();
    for name in inner {
        let parent = folder.clone();
        folder.push(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(folder.join(file))?.trim().is_empty() {
                write(&folder.join(file), fs::read_to_string(parent.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

/// Whether a process is in a group of version 1's freezer, or below it (cgroups(7), /proc/PID/cgroup).
fn is_in_freezer(pid: i32, folder: &Path) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == "freezer").then_some(path)
    });
    path.is_none_or(|path| {
        let mut up = Path::new(path).ancestors().filter(|path| path.parent().is_some());
        up.any(|path| folder.ends_with(path.strip_prefix("/").unwrap_or(path)))
    })
}

fn gather(folder: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // The kernel writes 0 for a process that this one's namespace does not see: as the number of a process that is this one's own group.
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            gather(&entry.path(), pids);
        }
    }
}

/// Writes a file of a group and of those below, where that is possible.
fn write_below(folder: &Path, file: &str, value: &str) {
    let _ = write(&folder.join(file), value);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            write_below(&entry.path(), file, value);
        }
    }
}

/// Removes a group and those below. Whether it is gone.
fn remove_tree(folder: &Path) -> bool {
    match fs::remove_dir(folder) {
        Ok(()) => return true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
        Err(_) => {}
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    matches!(fs::remove_dir(folder), Ok(())) || !folder.exists()
}
