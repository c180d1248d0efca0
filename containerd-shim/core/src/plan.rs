//! Turns a runtime specification into the list of steps that make its container: `(specification, facts of the node) -> plan`.
//!
//! A plan can be printed and tested without a kernel; `containerd-shim/src/runtime` performs it. What this runtime does not honour is
//! refused here by the name of its field, before anything is made.
//!
//! ```text
//! by the runtime      control group with its limits -> clone3 into it and into new namespaces -> id maps, limits -> root file system
//! by the new process  mounts -> devices -> masks -> root -> identity -> capabilities -> filter -> program
//! ```

mod cgroup;
mod fields;
mod mounts;
mod show;

use std::fmt;

use oci_spec::runtime::{Capabilities, LinuxIdMapping, LinuxNamespaceType, PosixRlimit, Process, Spec};
use seccompiler::BpfProgram;

use crate::oci::capability;
use crate::seccomp;

pub use cgroup::{Need, Setting};
pub use mounts::{Attribute, Depth, Mount, Source};

/// What a plan must know of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Controllers that the parent of the container's control group hands down.
    pub controllers: Vec<String>,
    /// Highest capability that the kernel knows (`/proc/sys/kernel/cap_last_cap`).
    pub last_capability: u8,
}

/// A container, made step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Path of its control group below the mount point.
    pub group: String,
    /// What is written to the group before a process is in it.
    pub settings: Vec<Setting>,
    /// New namespaces of the process: flags `CLONE_NEW*`, all at once.
    pub namespaces: u64,
    /// Written to its `uid_map`; empty without a user namespace.
    pub uid_map: Vec<Ids>,
    /// Written to its `gid_map`.
    pub gid_map: Vec<Ids>,
    /// Set on the new process from outside, where the privilege for it is.
    pub limits: Vec<Limit>,
    /// Written to its `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// Whether the root is mounted read-only.
    pub root: Access,
    /// What the new process does, in this order.
    pub steps: Vec<Step>,
    /// What it becomes in the end.
    pub program: Program,
}

/// Whether something can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// A range of ids: `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// First id in the namespace.
    pub inside: u32,
    /// First id on the node.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A resource limit (setrlimit(2)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// As in the specification, `RLIMIT_NOFILE`.
    pub name: String,
    /// Soft value.
    pub soft: u64,
    /// Hard value.
    pub hard: u64,
}

/// The program and what it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its words; the first is looked up in `PATH`.
    pub arguments: Vec<String>,
    /// `KEY=VALUE`.
    pub environment: Vec<String>,
}

/// One thing that the new process does to itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Becomes root of its user namespace, once its id maps are written.
    BecomeRoot,
    /// Makes the control group it is in the root of what it sees. Not by clone3(2), which would take its parent's group.
    NewCgroupNamespace,
    /// Sets the host name.
    HostName(String),
    /// Sets the domain name.
    DomainName(String),
    /// Keeps its mounts to itself, while those of the node still arrive until the root is left.
    KeepMounts,
    /// Attaches the root file system that was made outside.
    AttachRoot,
    /// Mounts something.
    Mount(Mount),
    /// Gives it one of the node's devices.
    Device(&'static str),
    /// Makes a symbolic link.
    Link {
        /// Where it is.
        path: &'static str,
        /// Where it leads.
        target: &'static str,
    },
    /// Hides a file or folder, if it is there.
    Mask(String),
    /// Makes a file or folder read-only, if it is there.
    Seal(String),
    /// Makes the root file system the root, and leaves the node's behind.
    EnterRoot,
    /// Gives up the right to ever have other capabilities than these (bits by number).
    Bound(u64),
    /// Becomes the user of the program.
    User {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
        /// File mode creation mask.
        umask: u32,
    },
    /// Sets its capabilities (bits by number).
    Hold(Held),
    /// Enters the working directory, which must lie inside the root.
    WorkingDirectory(String),
    /// Makes no program that it executes more privileged (`no_new_privs`).
    NoNewPrivileges,
    /// Dies when the process that made it dies.
    DieWithParent,
    /// Filters its system calls.
    Filter(BpfProgram),
}

/// Four of the five capability sets, bits by number; the fifth is [`Step::Bound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// In force.
    pub effective: u64,
    /// Can be in force.
    pub permitted: u64,
    /// Stay over exec of a program that has them, too.
    pub inheritable: u64,
    /// Stay over exec of any program.
    pub ambient: u64,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A field that this runtime does not honour.
    Field {
        /// Its path in the specification.
        field: String,
    },
    /// A field without which there is no container.
    Missing {
        /// Its path in the specification.
        field: &'static str,
    },
    /// A value that makes no sense.
    Value {
        /// Path of the field.
        field: String,
        /// As given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A limit that the node cannot keep.
    Controller {
        /// Path of the field.
        field: &'static str,
        /// The controller that is missing.
        controller: &'static str,
    },
    /// The system call filter.
    Filter(seccomp::Refused),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field } => write!(f, "{field}: not supported by this runtime; leave it out"),
            Self::Missing { field } => write!(f, "{field}: missing"),
            Self::Value { field, value, expected } => write!(f, "{field}: {value:?} is not {expected}"),
            Self::Controller { field, controller } => {
                write!(f, "{field}: the control group has no controller {controller}; leave the limit out or enable it")
            }
            Self::Filter(refused) => refused.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

/// Devices that every container has (runtime specification, config-linux.md, default devices).
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Links that every container has.
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// What programs expect when the specification gives none.
const UMASK: u32 = 0o022;

/// Plans a container.
///
/// # Errors
/// Names the field that is missing, wrong, or not honoured.
pub fn plan(spec: &Spec, facts: &Facts) -> Result<Plan, Refused> {
    fields::check(spec)?;
    let linux = spec.linux().as_ref().ok_or(Refused::Missing { field: "linux" })?;
    let process = spec.process().as_ref().ok_or(Refused::Missing { field: "process" })?;
    let root = spec.root().as_ref().ok_or(Refused::Missing { field: "root" })?;
    let kinds = namespaces(spec)?;
    let group = linux.cgroups_path().as_ref().and_then(|path| path.to_str());
    Ok(Plan {
        group: cgroup::path(group.ok_or(Refused::Missing { field: "linux.cgroupsPath" })?)?,
        settings: cgroup::settings(linux.resources().as_ref(), facts)?,
        namespaces: flags(&kinds),
        uid_map: ids(linux.uid_mappings().as_deref()),
        gid_map: ids(linux.gid_mappings().as_deref()),
        limits: process.rlimits().iter().flatten().map(limit).collect(),
        oom_score_adj: process.oom_score_adj(),
        root: if root.readonly().unwrap_or(false) { Access::ReadOnly } else { Access::ReadWrite },
        steps: steps(spec, process, &kinds, facts)?,
        program: program(process)?,
    })
}

fn steps(spec: &Spec, process: &Process, kinds: &[LinuxNamespaceType], facts: &Facts) -> Result<Vec<Step>, Refused> {
    let linux = spec.linux().as_ref().ok_or(Refused::Missing { field: "linux" })?;
    let mut steps = vec![Step::DieWithParent];
    if kinds.contains(&LinuxNamespaceType::User) {
        steps.push(Step::BecomeRoot);
    }
    if kinds.contains(&LinuxNamespaceType::Cgroup) {
        steps.push(Step::NewCgroupNamespace);
    }
    steps.extend(spec.hostname().clone().map(Step::HostName));
    steps.extend(spec.domainname().clone().map(Step::DomainName));
    steps.extend([Step::KeepMounts, Step::AttachRoot]);
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        steps.push(Step::Mount(mounts::read(index, mount)?));
        // Into the fresh /dev, before something is mounted on one of its files.
        if mount.destination().to_str() == Some("/dev") {
            steps.extend(DEVICES.map(Step::Device));
            steps.extend(LINKS.map(|(path, target)| Step::Link { path, target }));
        }
    }
    steps.extend(linux.masked_paths().iter().flatten().cloned().map(Step::Mask));
    steps.extend(linux.readonly_paths().iter().flatten().cloned().map(Step::Seal));
    steps.push(Step::EnterRoot);
    let filter = linux.seccomp().as_ref().map(seccomp::compile).transpose().map_err(Refused::Filter)?.map(Step::Filter);
    let (early, late) = match process.no_new_privileges() {
        Some(true) => (None, filter),
        // Without it only CAP_SYS_ADMIN may install a filter, and that goes with the identity.
        _ => (filter, None),
    };
    steps.extend(early);
    steps.extend(identity(process, facts));
    steps.push(Step::WorkingDirectory(process.cwd().to_string_lossy().into_owned()));
    if process.no_new_privileges().unwrap_or(false) {
        steps.push(Step::NoNewPrivileges);
    }
    // Again: a change of identity has made the kernel forget it (prctl(2), PR_SET_PDEATHSIG).
    steps.push(Step::DieWithParent);
    steps.extend(late);
    Ok(steps)
}

fn identity(process: &Process, facts: &Facts) -> [Step; 3] {
    let known = u64::MAX >> (63 - u32::from(facts.last_capability).min(63));
    let (bounding, held) = match process.capabilities() {
        None => (0, Held::default()),
        Some(sets) => {
            let held = Held {
                effective: bits(sets.effective().as_ref()) & known,
                permitted: bits(sets.permitted().as_ref()) & known,
                inheritable: bits(sets.inheritable().as_ref()) & known,
                ambient: bits(sets.ambient().as_ref()) & known,
            };
            (bits(sets.bounding().as_ref()) & known, held)
        }
    };
    let user = process.user();
    [
        Step::Bound(bounding),
        Step::User {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().unwrap_or(UMASK),
        },
        Step::Hold(held),
    ]
}

fn bits(set: Option<&Capabilities>) -> u64 {
    let names: Vec<String> = set.into_iter().flatten().map(|capability| capability.to_string()).collect();
    capability::bits(&names)
}

/// The kinds of namespaces that are new.
fn namespaces(spec: &Spec) -> Result<Vec<LinuxNamespaceType>, Refused> {
    let all = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let kinds: Vec<_> = all.into_iter().flatten().map(|namespace| namespace.typ()).collect();
    if !kinds.contains(&LinuxNamespaceType::Mount) {
        return Err(Refused::Missing { field: "linux.namespaces: mount" });
    }
    Ok(kinds)
}

fn flags(kinds: &[LinuxNamespaceType]) -> u64 {
    kinds.iter().filter(|kind| **kind != LinuxNamespaceType::Cgroup).fold(0, |flags, kind| flags | *kind as u64)
}

fn ids(mappings: Option<&[LinuxIdMapping]>) -> Vec<Ids> {
    let read = |map: &LinuxIdMapping| Ids { inside: map.container_id(), outside: map.host_id(), count: map.size() };
    mappings.into_iter().flatten().map(read).collect()
}

fn limit(limit: &PosixRlimit) -> Limit {
    Limit { name: limit.typ().to_string(), soft: limit.soft(), hard: limit.hard() }
}

fn program(process: &Process) -> Result<Program, Refused> {
    let arguments = process.args().clone().unwrap_or_default();
    if arguments.first().is_none_or(String::is_empty) {
        return Err(Refused::Missing { field: "process.args" });
    }
    Ok(Program { arguments, environment: process.env().clone().unwrap_or_default() })
}

#[cfg(test)]
mod tests;
