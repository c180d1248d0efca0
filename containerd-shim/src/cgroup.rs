//! Control groups (version 2) of containers: made, limited, killed, waited for, removed.
//!
//! ```text
//! hull.containers/            made by PID 1; everything below survives the launcher and is stopped by PID 1 at the node's end
//!     .monitors               the monitors of all containers, without limits
//!     <name>                  the container itself, with its limits
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

/// Where version 2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Group of the monitors. No container can have this name: names begin with a letter or digit.
const MONITORS: &str = "/hull.containers/.monitors";

/// How long killed processes may take to be gone. The kernel needs microseconds, unless one hangs in a broken device.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A group by its path below the root.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// The group of a path such as `/hull.containers/web`, whether it exists or not.
    pub(crate) fn at(path: &str) -> Group {
        Group { path: Path::new(ROOT).join(path.trim_start_matches('/')) }
    }

    /// The group of a container.
    pub(crate) fn of_container(name: &str) -> Group {
        Group::at(&format!("{}{name}", hull_oci_core::spec::CGROUP))
    }

    /// The group of the monitors.
    pub(crate) fn of_monitors() -> Group {
        Group::at(MONITORS)
    }

    /// Makes it, parents included, and opens it for clone3(2).
    ///
    /// # Errors
    /// `/sys/fs/cgroup` is not version 2, or too many groups exist.
    pub(crate) fn make(&self) -> io::Result<OwnedFd> {
        fs::create_dir_all(&self.path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.path, flags, Mode::empty())?)
    }

    /// Controllers that groups below it have.
    pub(crate) fn controllers(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path.join("cgroup.subtree_control")).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// Writes one of its control files.
    ///
    /// # Errors
    /// The controller is not there (ENOENT), or the value makes no sense to it (EINVAL).
    pub(crate) fn set(&self, file: &str, value: &str) -> io::Result<()> {
        // Not created: a file that is missing is a controller that is missing.
        let mut control = fs::OpenOptions::new().write(true).open(self.path.join(file))?;
        io::Write::write_all(&mut control, value.as_bytes())
    }

    /// SIGKILL to everything in it (cgroup.kill). A group that does not exist has nothing to kill.
    pub(crate) fn kill(&self) {
        let _ = self.set("cgroup.kill", "1");
    }

    /// Kills everything in it, waits until it is empty, and removes it.
    ///
    /// # Errors
    /// A process does not go away, for instance because it waits for a broken device.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.kill();
        self.wait_until_empty(KILL_PATIENCE)?;
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// The kernel tells of a change of `cgroup.events` by POLLPRI (cgroup-v2.rst).
    fn wait_until_empty(&self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        let Ok(mut file) = File::open(self.path.join("cgroup.events")) else { return Ok(()) };
        loop {
            // Read through the same descriptor: a change is told once after each read.
            let mut text = String::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_string(&mut text)?;
            if !text.contains("populated 1") {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "its processes do not go away"));
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&timeout))?;
        }
    }

    /// Whether the kernel killed one of its processes at the memory limit.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let text = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.is_some_and(|count| count.trim() != "0")
    }
}
