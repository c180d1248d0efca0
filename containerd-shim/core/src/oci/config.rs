//! `config.json` as the runtime specification 1.2 has it (config.md, config-linux.md): what the reader takes, before anything is decided.
//!
//! The types are ours and not those of a crate: names that a kernel may or may not know (capabilities, limits, options) stay text until
//! the plan looks at them, so that a new name is passed over or refused by its field, and does not make the whole file unreadable.
//! Sections of other platforms (`windows`, `solaris`, `zos`, `freebsd`) are none of these types: they hold where the platform is theirs
//! (config.md, Platform-specific configuration), and here they are properties that nobody knows, which must be passed over (Extensibility).
//! A number without which its object says nothing has no default: the reader names the one that is missing.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

pub use super::config_linux::*;

/// Reads what need not be there, and is not when it is `null`, as some writers have it.
pub(super) fn or_empty<'a, D: Deserializer<'a>, T: Default + Deserialize<'a>>(reader: D) -> Result<T, D::Error> {
    Option::deserialize(reader).map(Option::unwrap_or_default)
}

/// Everything about one container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Version of the specification.
    pub oci_version: String,
    /// Its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Its root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Its host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Its NIS domain name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// What is mounted, in this order.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// What is executed around its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free text for others.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// A virtual machine: not honoured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<serde_json::Value>,
}

/// A program and what it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Process {
    /// Whether it has a terminal.
    #[serde(deserialize_with = "or_empty")]
    pub terminal: bool,
    /// Size of the terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who it is.
    #[serde(deserialize_with = "or_empty")]
    pub user: User,
    /// Its words.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Windows' command line: not honoured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Its environment, `KEY=VALUE`.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Its working directory.
    pub cwd: String,
    /// What it may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Its resource limits.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Whether no program that it executes gets more privileges.
    #[serde(deserialize_with = "or_empty")]
    pub no_new_privileges: bool,
    /// AppArmor profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// How soon it is killed when memory is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// SELinux label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// Scheduling policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// I/O class and priority.
    #[serde(rename = "ioPriority", skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// Processors of processes that join later.
    #[serde(rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

/// Size of a terminal in characters. Nothing in it is missing where there is no terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Lines.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Ids of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// File mode creation mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
    /// Windows' user name: not honoured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// The five sets of capabilities, by names such as `CAP_CHOWN`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Capabilities {
    /// What can ever be had.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub bounding: Vec<String>,
    /// In force.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<String>,
    /// Kept over exec by programs that have them, too.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub inheritable: Vec<String>,
    /// Can be in force.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub permitted: Vec<String>,
    /// Kept over exec by every program.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub ambient: Vec<String>,
}

/// A resource limit (setrlimit(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE`
    #[serde(rename = "type")]
    pub kind: String,
    /// Hard value.
    pub hard: u64,
    /// Soft value.
    pub soft: u64,
}

/// Scheduling policy (sched_setattr(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Scheduler {
    /// `SCHED_OTHER`
    pub policy: String,
    /// Niceness.
    pub nice: i32,
    /// Static priority.
    pub priority: i32,
    /// `SCHED_FLAG_RESET_ON_FORK`
    pub flags: Vec<String>,
    /// Of the deadline policy, in nanoseconds.
    pub runtime: u64,
    /// Of the deadline policy, in nanoseconds.
    pub deadline: u64,
    /// Of the deadline policy, in nanoseconds.
    pub period: u64,
}

/// I/O priority (ioprio_set(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_BE`
    pub class: String,
    /// 0 (first) to 7.
    pub priority: i32,
}

/// Processors of a process that joins a container, as lists such as `0-3,7`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ExecCpuAffinity {
    /// Before it is in the container's control group.
    pub initial: String,
    /// From then on.
    #[serde(rename = "final")]
    pub last: String,
}

/// The root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Root {
    /// A folder, from the bundle or absolute.
    pub path: String,
    /// Whether nothing can be written to it.
    #[serde(deserialize_with = "or_empty")]
    pub readonly: bool,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mount {
    /// Where.
    pub destination: String,
    /// Type of the file system.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Users of an idmapped mount.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Groups of an idmapped mount.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}

/// What is executed around a container's life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hooks {
    /// Old name of the next.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// On the host, before the root is entered.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before the root is entered.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// In the container, before its program.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// On the host, after its program was executed.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// On the host, after it was deleted.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

/// A program of the host's that is executed around a container's life, with the container's state as its input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Hook {
    /// Absolute path.
    pub path: String,
    /// Its words, its own name first.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds after which it has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}
