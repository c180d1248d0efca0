//! Events and their envelope (containerd `api/events/task.proto`, `api/services/ttrpc/events/v1/events.proto`).

use prost::Message;

use super::task::Mount;
use super::{Any, Timestamp};

/// What the daemon is sent.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ForwardRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) envelope: Option<Envelope>,
}

/// An event with its time and topic.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(string, tag = "3")]
    pub(crate) topic: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) event: Option<Any>,
}

/// A kind of event.
pub(crate) trait Event: Message + std::fmt::Debug {
    /// Where it is told.
    const TOPIC: &'static str;
    /// Name of its message.
    const NAME: &'static str;
}

macro_rules! events {
    ($($kind:ident $topic:literal)*) => {
        $(impl Event for $kind {
            const TOPIC: &'static str = $topic;
            const NAME: &'static str = concat!("containerd.events.", stringify!($kind));
        })*
    };
}

events! {
    TaskCreate "/tasks/create"
    TaskStart "/tasks/start"
    TaskExit "/tasks/exit"
    TaskDelete "/tasks/delete"
    TaskExecAdded "/tasks/exec-added"
    TaskExecStarted "/tasks/exec-started"
    TaskOOM "/tasks/oom"
    TaskPaused "/tasks/paused"
    TaskResumed "/tasks/resumed"
}

/// A container was made.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskCreate {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub(crate) io: Option<TaskIo>,
    #[prost(uint32, tag = "6")]
    pub(crate) pid: u32,
}

/// Its streams.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskIo {
    #[prost(string, tag = "1")]
    pub(crate) stdin: String,
    #[prost(string, tag = "2")]
    pub(crate) stdout: String,
    #[prost(string, tag = "3")]
    pub(crate) stderr: String,
    #[prost(bool, tag = "4")]
    pub(crate) terminal: bool,
}

/// It runs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskStart {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
}

/// A process has ended: the container's first one, whose id is the container's, or one that was added.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExit {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "5")]
    pub(crate) exited_at: Option<Timestamp>,
}

/// It is gone.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskDelete {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "4")]
    pub(crate) exited_at: Option<Timestamp>,
}

/// A process was added.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExecAdded {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
}

/// And runs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExecStarted {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
}

macro_rules! of_a_container {
    ($($(#[$doc:meta])* $kind:ident)*) => {
        $($(#[$doc])*
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $kind {
            #[prost(string, tag = "1")]
            pub(crate) container_id: String,
        })*
    };
}

of_a_container! {
    /// The kernel killed in it at the memory limit.
    TaskOOM
    /// It is frozen.
    TaskPaused
    /// It goes on.
    TaskResumed
}
