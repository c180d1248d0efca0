//! Performs a plan: the only part of the runtime that touches the kernel. It is called by a process with one thread, which becomes the
//! container's parent.
//!
//! ```text
//! parent                                   child
//! control group, limits, bind sources
//! clone3 ────────────────────────────────> waits
//! id maps, limits, root file system ─fd──> steps of the plan, exec
//! end of the connection: executed <─────── or a text: what went wrong
//! ```

mod child;
mod exchange;
mod root;
mod sources;
mod tree;

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_oci_core::plan::{Facts, Ids, Limit, Need, Plan, Step};
use rustix::fs::{Gid, Uid};
use rustix::mount::MountPropagationFlags;
use rustix::process::{Resource, Rlimit};

use crate::cgroup::Group;
use crate::sys::clone::{self, Child, Cloned};

pub(crate) use root::Layers;

/// Why there is no container: operation, object and cause.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// For `map_err`: what was done to what.
pub(crate) fn failed<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

/// What a plan must know of this node, for a container whose group is made below `parent`.
pub(crate) fn facts(parent: &Group) -> Facts {
    let controllers = parent.controllers();
    let text = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    // Without the file: CAP_CHECKPOINT_RESTORE, the last one since Linux 5.9.
    const LAST_CAPABILITY: u8 = 40;
    Facts { controllers, last_capability: text.trim().parse().unwrap_or(LAST_CAPABILITY) }
}

/// Makes the container of a plan. On success its program was executed.
///
/// # Errors
/// Says which step failed; then nothing of it runs, and its control group is gone.
pub(crate) fn start(plan: &Plan, layers: &Layers, output: &OwnedFd) -> Result<Child, Failure> {
    let group = Group::at(&plan.group);
    // Whatever an earlier life left in it must not share the new one's limits, nor outlive its end.
    group.remove().map_err(failed(format!("empty the control group {}", plan.group)))?;
    let started = start_in(&group, plan, layers, output);
    if started.is_err() {
        let _ = group.remove();
    }
    started
}

fn start_in(group: &Group, plan: &Plan, layers: &Layers, output: &OwnedFd) -> Result<Child, Failure> {
    let folder = group.make().map_err(failed(format!("make the control group {}", plan.group)))?;
    for setting in &plan.settings {
        match group.set(setting.file, &setting.value) {
            Err(error) if setting.need == Need::Must || error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure(format!("write {} to {} of {}: {error}", setting.value, setting.file, plan.group)));
            }
            _ => {}
        }
    }
    // Layers are attached here, where the node does not see them, and go with this process.
    clone::unshare(libc::CLONE_NEWNS as u64).map_err(failed("unshare the mount namespace"))?;
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(failed("keep mounts to itself"))?;
    let sources = sources::open(&plan.steps)?;
    layers.skeleton(&plan.steps, &sources)?;
    give_to_user(output, plan)?;
    let (mine, theirs) = exchange::pair().map_err(failed("make a pair of sockets"))?;
    match clone::clone_into(folder.as_fd(), plan.namespaces).map_err(failed("clone3"))? {
        Cloned::Child => {
            drop(mine);
            child::run(plan, sources, &theirs, output)
        }
        Cloned::Parent(child) => {
            drop(theirs);
            match accompany(&child, plan, layers, &mine) {
                Ok(()) => Ok(child),
                Err(failure) => {
                    group.kill();
                    Err(failure)
                }
            }
        }
    }
}

/// The container's user owns its output: a program may open `/dev/stdout` again.
fn give_to_user(output: &OwnedFd, plan: &Plan) -> Result<(), Failure> {
    let user = plan
        .steps
        .iter()
        .find_map(|step| if let Step::User { uid, gid, .. } = step { Some((*uid, *gid)) } else { None });
    let Some((uid, gid)) = user else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(on_the_node(uid, &plan.uid_map)), Gid::from_raw(on_the_node(gid, &plan.gid_map)));
    rustix::fs::fchown(output, Some(uid), Some(gid)).map_err(failed("give the output to the container's user"))
}

fn on_the_node(id: u32, map: &[Ids]) -> u32 {
    let ids = map.iter().find(|ids| id.checked_sub(ids.inside).is_some_and(|offset| offset < ids.count));
    ids.map_or(id, |ids| ids.outside + (id - ids.inside))
}

/// What the parent does for the child, until it has executed its program.
fn accompany(child: &Child, plan: &Plan, layers: &Layers, connection: &OwnedFd) -> Result<(), Failure> {
    let process = format!("/proc/{}", child.pid.as_raw_nonzero());
    write_map(&format!("{process}/uid_map"), &plan.uid_map)?;
    write_map(&format!("{process}/gid_map"), &plan.gid_map)?;
    if let Some(score) = plan.oom_score_adj {
        let path = format!("{process}/oom_score_adj");
        fs::write(&path, score.to_string()).map_err(failed(format!("write {score} to {path}")))?;
    }
    for limit in &plan.limits {
        set_limit(child, limit)?;
    }
    let ids = match plan.uid_map.is_empty() {
        true => None,
        false => {
            let path = format!("{process}/ns/user");
            Some(fs::File::open(&path).map_err(failed(format!("open {path}")))?)
        }
    };
    let root = layers.mount(plan.root, ids.as_ref().map(AsFd::as_fd), on_the_node(0, &plan.uid_map))?;
    // If it has ended before, what it says explains why.
    let sent = exchange::send_descriptor(connection, root.as_fd());
    match exchange::read_to_end(connection).map_err(failed("wait for the new process"))? {
        text if !text.is_empty() => Err(Failure(text)),
        _ => sent.map_err(failed("hand the root file system to the new process")),
    }
}

fn write_map(path: &str, map: &[Ids]) -> Result<(), Failure> {
    if map.is_empty() {
        return Ok(());
    }
    let lines: String = map.iter().map(|ids| format!("{} {} {}\n", ids.inside, ids.outside, ids.count)).collect();
    fs::write(path, lines).map_err(failed(format!("write {path}")))
}

fn set_limit(child: &Child, limit: &Limit) -> Result<(), Failure> {
    let resource = match limit.name.as_str() {
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_STACK" => Resource::Stack,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        other => return Err(Failure(format!("process.rlimits: {other} is not a limit"))),
    };
    let value = Rlimit { current: Some(limit.soft), maximum: Some(limit.hard) };
    rustix::process::prlimit(Some(child.pid), resource, value)
        .map(|_| ())
        .map_err(failed(format!("set {} to {} of {}", limit.name, limit.soft, limit.hard)))
}

/// Opens a file or folder for a mount, following links: paths of the node are trusted.
fn open_tree(path: &Path, recursive: rustix::mount::OpenTreeFlags) -> Result<OwnedFd, Failure> {
    use rustix::mount::OpenTreeFlags;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursive;
    rustix::mount::open_tree(rustix::fs::CWD, path, flags).map_err(failed(format!("open the tree {}", path.display())))
}

/// Attaches a mount to an open file or folder.
fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    use rustix::mount::MoveMountFlags;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags)
}
