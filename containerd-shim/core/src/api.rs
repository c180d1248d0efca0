//! The language of `/run/hull/launcher.sock`: one JSON request on a line, then JSON replies, a line each.
//!
//! The last line is always [`Reply::Done`] or [`Reply::Refused`]. `ImageLoad` is followed by exactly `bytes` bytes of archive on the
//! same connection, after the launcher has answered [`Reply::Ready`].

use serde::{Deserialize, Serialize};

/// Where the launcher listens; root only.
pub const SOCKET: &str = "/run/hull/launcher.sock";

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Answered by a `Container` each.
    Ps,
    /// Answered by `Log` lines, oldest first.
    Logs {
        /// The container.
        name: String,
        /// Whether to go on when everything kept was sent.
        #[serde(default)]
        follow: Follow,
    },
    /// Loads an OCI archive (tar). Answered by `Ready`, then `Progress`, then an `Image`.
    ImageLoad {
        /// Name to keep it under; empty takes the archive's own reference.
        #[serde(default)]
        name: String,
        /// Length of the archive that follows.
        bytes: u64,
    },
    /// Answered by an `Image` each.
    ImageList,
}

/// Whether `Logs` ends with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Follow {
    /// Ends when everything kept was sent.
    #[default]
    UntilNow,
    /// Goes on until the reader hangs up.
    Forever,
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// One container.
    Container(Container),
    /// One image.
    Image(Image),
    /// A piece of a container's output; `text` has bytes that are not UTF-8 replaced.
    Log {
        /// One or more lines.
        text: String,
    },
    /// Send the bytes now.
    Ready,
    /// How far it is.
    Progress {
        /// Bytes so far.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// Last line: not done, and everything is as it was.
    Refused(Refusal),
    /// Last line: done.
    Done,
}

/// A declared container and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// The image it is declared with.
    pub image: String,
    /// Who declared it.
    pub declared_by: DeclaredBy,
    /// What it does now.
    pub state: State,
    /// Times it was started again by itself.
    pub restarts: u32,
}

/// Where a declaration came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclaredBy {
    /// A key under `/hull/containers/`.
    Store,
    /// `hull.run=` on the kernel command line.
    CommandLine,
}

/// What a container does now. Times are milliseconds of CLOCK_BOOTTIME.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Its image is unpacked, or its namespaces are made.
    Starting,
    /// It runs.
    Running {
        /// Process id on the node.
        pid: u32,
        /// Since when.
        since_ms: u64,
    },
    /// It ended and starts again later.
    BackingOff {
        /// How it ended.
        reason: String,
        /// When it starts again.
        until_ms: u64,
    },
    /// It ended and its restart policy leaves it so.
    Ended {
        /// How.
        reason: String,
    },
    /// It is asked to stop.
    Stopping,
    /// It cannot be started as declared; a changed declaration or a loaded image is tried again.
    Refused {
        /// Object, operation, cause, remedy.
        reason: String,
    },
}

/// An image that the node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name declarations use.
    pub name: String,
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
    /// Sum of its blobs in bytes.
    pub bytes: u64,
    /// Where it came from.
    pub origin: Origin,
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The verified root image.
    Root,
    /// `hullctl image load`.
    Loaded,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What it was about.
    pub object: String,
    /// What was asked.
    pub operation: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}: {}; {}", self.operation, self.object, self.cause, self.remedy)
    }
}

impl core::error::Error for Refusal {}
