//! What is known of a container between two commands: a folder of its own below the runtime's root, written atomically.
//!
//! ```text
//! <root>/<id>/   made first: two containers of one id cannot be; locked by whoever is making one
//!     config.json   as it was at creation
//!     state.json    this file's `Record`; state.json.new while it is being created
//!     start         socket on which the created process waits
//! ```
//! ```text
//! creating -> created -(start)-> running <-(pause, resume)-> paused
//!                 \------------------\-> stopped -(delete)-> gone
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hull_oci_core::oci::{id, read};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Freezing, Groups, Hierarchies};
use crate::failure::{Failure, failed, failing};

/// What is written of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// Version of the specification that its configuration is of.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// Its first process.
    #[serde(rename = "initProcessPid")]
    pub pid: i32,
    /// When that started, in clock ticks since boot: tells it from a later process of the same id.
    #[serde(rename = "initProcessStart")]
    pub started: u64,
    /// Its bundle.
    pub bundle: String,
    /// Its root file system.
    pub rootfs: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Who created it.
    pub owner: String,
    /// Path of its control group.
    pub cgroup: String,
    /// Its control group's folder by controller.
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// What was mounted where its root file system is, if its mounts are among the runtime's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_before: Option<u64>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not whole yet.
    Creating,
    /// Waits for `start`.
    Created,
    /// Runs its program.
    Running,
    /// Is frozen.
    Paused,
    /// Has ended.
    Stopped,
}

impl Status {
    /// As the specification has it.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// Held while a container is being made: by the runtime, and by the new process until it waits for its start. The kernel lets it go with the
/// last of them, however they end (flock(2)): a folder without it that has no record is one that a killed runtime has left.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held, and closed")] OwnedFd);

/// How often an id is tried for that is being freed at the moment.
const ATTEMPTS: u32 = 10;

/// The folder of one container.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// Whose.
    pub id: String,
}

impl Folder {
    /// The folder of an id, whether it exists or not.
    ///
    /// # Errors
    /// The id is a path or empty.
    pub fn of(root: &Path, id: &str) -> Result<Folder, Failure> {
        id::check(id).map_err(|refused| Failure(refused.to_string()))?;
        Ok(Folder { path: root.join(id), id: id.to_owned() })
    }

    /// Makes it: from then on the id is taken.
    ///
    /// # Errors
    /// The id is taken already.
    pub fn claim(&self) -> Result<Claim, Failure> {
        for _ in 0..ATTEMPTS {
            self.make()?;
            // Without a lock it looks as if it were left, and may be gone again.
            if let Some(claim) = self.lock()? {
                return Ok(claim);
            }
        }
        Err(Failure(format!("create {}: it is removed each time", self.path.display())))
    }

    /// The claim on what a runtime has left that was killed while it made a container, if that is what it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reclaim(&self) -> Result<Option<Claim>, Failure> {
        let claim = self.lock()?;
        // Looked at with the claim: until then it may have become whole.
        Ok(claim.filter(|_| !self.path.join("state.json").exists()))
    }

    /// Locks it, unless it is not there or somebody has locked it.
    fn lock(&self) -> Result<Option<Claim>, Failure> {
        let told = |error: Errno| Failure(format!("lock {}: {error}", self.path.display()));
        let folder = match rustix::fs::open(&self.path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            folder => folder.map_err(told)?,
        };
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            locked => locked.map_err(told)?,
        }
        // By the time it was locked another one may have been made in its place.
        let number = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let locked = rustix::fs::fstat(&folder).map(number).map_err(told)?;
        let there = rustix::fs::stat(&self.path).map(number);
        Ok((there == Ok(locked)).then_some(Claim(folder)))
    }

    fn make(&self) -> Result<(), Failure> {
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        match builder.create(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = self.path.parent().unwrap_or(Path::new("/"));
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o711)
                    .create(parent)
                    .map_err(failing(|| format!("create {}", parent.display())))?;
                builder.create(&self.path).map_err(failing(|| format!("create {}", self.path.display())))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure(format!("container with id exists: {}: container ID already exists", self.id)))
            }
            made => made.map_err(failing(|| format!("create {}", self.path.display()))),
        }
    }

    /// Path of the socket on which the created process waits.
    pub fn start_socket(&self) -> PathBuf {
        self.path.join("start")
    }

    /// Reads the record; the configuration it was made with is in `config.json` beside it.
    ///
    /// # Errors
    /// There is no such container.
    pub fn record(&self) -> Result<Record, Failure> {
        let file = self.path.join("state.json");
        match fs::read(&file) {
            Ok(bytes) => read::json(&bytes).map_err(failing(|| format!("read {}", file.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Failure(format!("container {:?} does not exist", self.id)))
            }
            Err(error) => Err(Failure(format!("read {}: {error}", file.display()))),
        }
    }

    /// Writes a file of it, whole or not at all.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.write_new(name, bytes).and_then(|()| self.put_in_place(name))
    }

    fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let new = self.path.join(format!("{name}.new"));
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
        opened.and_then(|mut file| file.write_all(bytes)).map_err(failing(|| format!("write {}", new.display())))
    }

    fn put_in_place(&self, name: &str) -> Result<(), Failure> {
        let file = self.path.join(name);
        fs::rename(self.path.join(format!("{name}.new")), &file)
            .map_err(failing(|| format!("write {}", file.display())))
    }

    /// Writes the record of a container that is not whole yet: whose process it is that a runtime leaves which is killed.
    ///
    /// # Errors
    /// The disk is full.
    pub fn begin(&self, record: &Record) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(record).map_err(failed("write state.json"))?;
        self.write_new("state.json", &bytes)
    }

    /// Has it be the record: from then on there is a container.
    ///
    /// # Errors
    /// The folder is gone.
    pub fn finish(&self) -> Result<(), Failure> {
        self.put_in_place("state.json")
    }

    /// What is known of a container that is not whole, as far as it had come.
    pub fn unfinished(&self) -> Option<Record> {
        fs::read(self.path.join("state.json.new")).ok().and_then(|bytes| read::json(&bytes).ok())
    }

    /// The configuration as it was at creation.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn spec(&self) -> Result<hull_oci_core::oci::config::Spec, Failure> {
        let file = self.path.join("config.json");
        let bytes = fs::read(&file).map_err(failing(|| format!("read {}", file.display())))?;
        Ok(read::spec(&bytes)?)
    }

    /// Removes it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> Result<(), Failure> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure(format!("remove {}: {error}", self.path.display())))
            }
            _ => Ok(()),
        }
    }
}

impl Record {
    /// Its control groups: those that it was given.
    pub fn groups(&self) -> Groups {
        Groups::at(&Hierarchies::find(), &self.cgroup).of(&self.cgroup_paths)
    }

    /// Its first process, if that still runs.
    pub fn process(&self) -> Option<OwnedFd> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at after the descriptor is there: it is of the process that the record means, or it is of none.
        match alive(self.pid) {
            Some(started) if started == self.started => Some(pidfd),
            _ => None,
        }
    }

    /// Where in its life it is.
    pub fn status(&self, folder: &Folder) -> Status {
        match alive(self.pid) {
            Some(started) if started == self.started => {}
            _ => return Status::Stopped,
        }
        if folder.start_socket().exists() {
            return Status::Created;
        }
        match self.groups().freezing() {
            Freezing::Frozen => Status::Paused,
            Freezing::Thawed => Status::Running,
        }
    }

    /// The state as the specification has it, for hooks.
    pub fn state(&self, status: Status) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status: status.name(),
            bundle: self.bundle.clone(),
            rootfs: None,
            created: None,
            annotations: self.annotations.clone(),
            owner: None,
        }
    }

    /// And as other runtimes show it: with where, when and by whom it was made.
    pub fn shown(&self, status: Status) -> State {
        let (rootfs, created) = (Some(self.rootfs.clone()), Some(self.created.clone()));
        State { rootfs, created, owner: Some(self.owner.clone()), ..self.state(status) }
    }
}

/// A container's state (runtime.md, state), its fields in the order in which others show them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// Its first process, 0 when it has ended.
    pub pid: i32,
    /// Where in its life it is.
    pub status: &'static str,
    /// Its bundle.
    pub bundle: String,
    /// Its root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<String>,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Who created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl State {
    /// As JSON on one line.
    pub fn to_json(&self) -> String {
        // Text and numbers only: there is nothing that cannot be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// When the process started, in clock ticks since boot, unless it has ended (proc_pid_stat(5)).
pub fn alive(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in brackets, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    match *fields.first()? {
        "Z" | "X" | "x" => None,
        _ => fields.get(19)?.parse().ok(),
    }
}

/// The ids of all containers below a root.
///
/// # Errors
/// The root cannot be read.
pub fn all(root: &Path) -> Result<Vec<String>, Failure> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failing(|| format!("read {}", root.display())))?,
    };
    let mut ids: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("state.json").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_no_process_is_not() {
        assert!(alive(std::process::id() as i32).is_some());
        assert_eq!(alive(0), None);
        assert_eq!(alive(i32::MAX), None);
    }

    #[test]
    fn an_id_is_taken_once_and_free_again_when_it_is_removed() {
        let root = std::env::temp_dir().join(format!("hull-state-{}", std::process::id()));
        let folder = Folder::of(&root, "web").unwrap();
        folder.claim().unwrap();
        assert!(folder.claim().unwrap_err().0.contains("already exists"));
        let record = Record { id: "web".into(), pid: 1, ..Record::default() };
        folder.begin(&record).unwrap();
        assert_eq!(folder.unfinished().as_ref(), Some(&record));
        assert!(folder.record().is_err());
        folder.finish().unwrap();
        assert_eq!(folder.record().unwrap(), record);
        assert_eq!(all(&root).unwrap(), ["web"]);
        folder.remove().unwrap();
        assert!(folder.record().unwrap_err().0.contains("does not exist"));
        fs::remove_dir(&root).unwrap();
    }

    #[test]
    fn what_was_left_is_reclaimed_and_what_is_being_made_is_not() {
        let root = std::env::temp_dir().join(format!("hull-claim-{}", std::process::id()));
        let folder = Folder::of(&root, "web").unwrap();
        let claim = folder.claim().unwrap();
        assert!(folder.reclaim().unwrap().is_none(), "it is being made");
        drop(claim);
        assert!(folder.reclaim().unwrap().is_some());
        folder.begin(&Record::default()).unwrap();
        assert!(folder.reclaim().unwrap().is_some(), "it is not whole");
        folder.finish().unwrap();
        assert!(folder.reclaim().unwrap().is_none(), "it is whole");
        folder.remove().unwrap();
        assert!(folder.reclaim().unwrap().is_none(), "it is not there");
        fs::remove_dir(&root).unwrap();
    }

    #[test]
    fn a_path_is_no_id() {
        assert!(Folder::of(Path::new("/run"), "../etc").is_err());
    }
}
