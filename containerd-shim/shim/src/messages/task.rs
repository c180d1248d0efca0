//! The task service, versions 2 and 3, which have the same messages (containerd `api/runtime/task/v3/shim.proto`, `api/types`).

use prost::Message;

use super::{Any, Timestamp};

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mount {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) source: String,
    /// Below the root, empty for the root itself.
    #[prost(string, tag = "3")]
    pub(crate) target: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) options: Vec<String>,
}

/// Makes a container.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateTaskRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) rootfs: Vec<Mount>,
    #[prost(bool, tag = "4")]
    pub(crate) terminal: bool,
    #[prost(string, tag = "5")]
    pub(crate) stdin: String,
    #[prost(string, tag = "6")]
    pub(crate) stdout: String,
    #[prost(string, tag = "7")]
    pub(crate) stderr: String,
    #[prost(string, tag = "8")]
    pub(crate) checkpoint: String,
    #[prost(message, optional, tag = "10")]
    pub(crate) options: Option<Any>,
}

/// `containerd.runc.v1.Options`: what `CreateTaskRequest.options` holds, and what `start` reads.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Options {
    #[prost(bool, tag = "1")]
    pub(crate) no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    pub(crate) no_new_keyring: bool,
    #[prost(string, tag = "3")]
    pub(crate) shim_cgroup: String,
    #[prost(uint32, tag = "4")]
    pub(crate) io_uid: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) io_gid: u32,
    #[prost(string, tag = "6")]
    pub(crate) binary_name: String,
    #[prost(string, tag = "7")]
    pub(crate) root: String,
    #[prost(bool, tag = "9")]
    pub(crate) systemd_cgroup: bool,
}

/// `containerd.linux.runc.CreateOptions`: what clients of containerd 1 give to a runtime whose options they do not know.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateOptions {
    #[prost(bool, tag = "1")]
    pub(crate) no_pivot_root: bool,
    #[prost(bool, tag = "8")]
    pub(crate) no_new_keyring: bool,
    #[prost(string, tag = "9")]
    pub(crate) shim_cgroup: String,
    #[prost(uint32, tag = "10")]
    pub(crate) io_uid: u32,
    #[prost(uint32, tag = "11")]
    pub(crate) io_gid: u32,
}

impl From<CreateOptions> for Options {
    fn from(old: CreateOptions) -> Options {
        let CreateOptions { no_pivot_root, no_new_keyring, shim_cgroup, io_uid, io_gid } = old;
        Options { no_pivot_root, no_new_keyring, shim_cgroup, io_uid, io_gid, ..Options::default() }
    }
}

/// An answer that is a process id: of Create and of Start.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PidResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
}

/// A process, by container and, for one that was added, its own id: what State, Start, Delete and Wait ask for, and what Pause, Resume,
/// Pids, Stats and Connect ask for of a container.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
}

/// How one has ended.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) exited_at: Option<Timestamp>,
}

/// Adds a process.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExecProcessRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(bool, tag = "3")]
    pub(crate) terminal: bool,
    #[prost(string, tag = "4")]
    pub(crate) stdin: String,
    #[prost(string, tag = "5")]
    pub(crate) stdout: String,
    #[prost(string, tag = "6")]
    pub(crate) stderr: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) spec: Option<Any>,
}

/// Gives a terminal a size.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResizePtyRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) width: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) height: u32,
}

/// `containerd.v1.types.Status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Status {
    /// Being made.
    Unknown = 0,
    /// Waits for Start.
    Created = 1,
    /// Runs.
    Running = 2,
    /// Has ended.
    Stopped = 3,
    /// Is frozen.
    Paused = 4,
}

/// A process, seen from outside.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateResponse {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) bundle: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
    #[prost(enumeration = "Status", tag = "4")]
    pub(crate) status: i32,
    #[prost(string, tag = "5")]
    pub(crate) stdin: String,
    #[prost(string, tag = "6")]
    pub(crate) stdout: String,
    #[prost(string, tag = "7")]
    pub(crate) stderr: String,
    #[prost(bool, tag = "8")]
    pub(crate) terminal: bool,
    #[prost(uint32, tag = "9")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "10")]
    pub(crate) exited_at: Option<Timestamp>,
    #[prost(string, tag = "11")]
    pub(crate) exec_id: String,
}

/// Sends a signal.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KillRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) signal: u32,
    #[prost(bool, tag = "4")]
    pub(crate) all: bool,
}

/// Nothing more will be typed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CloseIoRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(bool, tag = "3")]
    pub(crate) stdin: bool,
}

/// All processes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PidsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) processes: Vec<ProcessInfo>,
}

/// `containerd.v1.types.ProcessInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessInfo {
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
    /// `containerd.runc.v1.ProcessDetails` of one that was added.
    #[prost(message, optional, tag = "2")]
    pub(crate) info: Option<Any>,
}

/// `containerd.runc.v1.ProcessDetails`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessDetails {
    #[prost(string, tag = "1")]
    pub(crate) exec_id: String,
}

/// Other limits.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UpdateTaskRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// The specification's `linux.resources` as JSON.
    #[prost(message, optional, tag = "2")]
    pub(crate) resources: Option<Any>,
}

/// Its end.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WaitResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) exited_at: Option<Timestamp>,
}

/// What it uses.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatsResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) stats: Option<Any>,
}

/// Who serves.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConnectResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) shim_pid: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) task_pid: u32,
    #[prost(string, tag = "3")]
    pub(crate) version: String,
}

/// `containerd.types.RuntimeInfo`, what `-info` prints.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) version: Option<RuntimeVersion>,
    #[prost(message, optional, tag = "3")]
    pub(crate) options: Option<Any>,
    /// The specification's features as JSON.
    #[prost(message, optional, tag = "4")]
    pub(crate) features: Option<Any>,
}

/// `containerd.types.RuntimeVersion`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeVersion {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(string, tag = "2")]
    pub(crate) revision: String,
}
