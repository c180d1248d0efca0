//! What a container's monitor writes down for whichever launcher runs: files in `/run/hull/containers/<name>/`, each whole or not there.
//!
//! ```text
//! config.json   the runtime specification (this folder is an OCI bundle)
//! start.json    what else the monitor needs: layers, stop signal, grace
//! monitor.json  written by the launcher before the monitor may begin: who it is
//! state.json    written by the monitor: running, exited, failed
//! ended.json    written by the launcher: how its last life ended
//! log, log.1    output, the newer and the older part; these and ended.json stay when the container has ended
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hull_oci_core::reconcile::Ending;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Where containers have their folders.
pub(crate) const RUN: &str = "/run/hull/containers";

/// Where the runtime library keeps its state of them, as `hull-oci --root` does.
pub(crate) const RUNTIME: &str = "/run/hull/runtime";

/// The folder of a container; its name was checked when it was declared.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(RUN).join(name)
}

/// What the monitor needs besides the specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Unpacked layers, topmost first.
    pub(crate) lower: Vec<PathBuf>,
    /// Where what the container writes is kept, and how its root is mounted.
    pub(crate) root: Root,
    /// As it was declared, for the launcher that adopts it.
    pub(crate) declaration: String,
    /// Signal number.
    pub(crate) stop_signal: i32,
    /// Between the stop signal and the kill, in milliseconds.
    pub(crate) grace_ms: u64,
}

/// Whether the container's root can be written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Root {
    /// It cannot.
    ReadOnly,
    /// What is written is kept in this folder.
    Written {
        /// On the state partition.
        folder: PathBuf,
    },
}

impl Root {
    /// Where what is written is kept.
    pub(crate) fn written(&self) -> Option<&Path> {
        match self {
            Self::ReadOnly => None,
            Self::Written { folder } => Some(folder),
        }
    }
}

/// Which process a monitor is. A process id alone may be somebody else's by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Process id on the node.
    pub(crate) pid: u32,
    /// Start time in clock ticks since boot (proc_pid_stat(5), field 22).
    pub(crate) start_ticks: u64,
    /// The same in milliseconds of CLOCK_BOOTTIME as the launcher saw it.
    pub(crate) started_at_ms: u64,
}

/// How a container's last life ended, for a launcher that did not see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// As it was declared.
    pub(crate) declaration: String,
    /// Since when it ran, milliseconds of CLOCK_BOOTTIME.
    pub(crate) since_ms: u64,
    /// How it ended.
    pub(crate) ending: Ending,
}

/// How far a container is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum State {
    /// Its namespaces and mounts are made.
    Creating,
    /// Its program was executed.
    Running {
        /// Process id on the node.
        pid: u32,
        /// Since when, milliseconds of CLOCK_BOOTTIME.
        since_ms: u64,
    },
    /// It ended.
    Exited(Ending),
    /// It could not be started.
    Failed {
        /// Object, operation, cause.
        reason: String,
    },
}

/// Writes a document whole: beside its place, then renamed. `/run` is memory: nothing needs to be synced.
///
/// # Errors
/// The folder is gone or memory is full.
pub(crate) fn write<T: Serialize>(folder: &Path, name: &str, document: &T) -> io::Result<()> {
    let beside = folder.join(format!(".{name}"));
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(document)?)?;
    fs::rename(&beside, folder.join(name))
}

/// Reads a document.
///
/// # Errors
/// It is not there or is none.
pub(crate) fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(folder.join(name))?)?)
}

/// The start time of a live process, in clock ticks since boot: the 22nd field of `/proc/<pid>/stat`.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    ticks_of(&text)
}

/// The second field is a name in parentheses that may hold anything: fields count from the last one.
fn ticks_of(stat: &str) -> Option<u64> {
    const FIELD: usize = 22 - 3;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(FIELD)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_named_to_deceive_has_its_own_start_time() {
        let stat = "7 (a) R 1 2 3) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(ticks_of(stat), Some(4711));
        assert!(start_ticks(std::process::id()).is_some_and(|ticks| ticks > 0));
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("hull-record-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for state in [
            State::Creating,
            State::Running { pid: 7, since_ms: 9 },
            State::Exited(Ending::Code(3)),
            State::Exited(Ending::OutOfMemory),
            State::Failed { reason: "exec /hello: ENOENT".into() },
        ] {
            write(&folder, "state.json", &state).unwrap();
            assert_eq!(read::<State>(&folder, "state.json").unwrap(), state);
        }
        assert!(read::<State>(&folder, "nothing.json").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
