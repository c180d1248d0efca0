//! `exec`: a process that enters a running container.
//!
//! The runtime moves into the container's process id namespace, so that its child is born in there; the child joins the rest by the pidfd
//! of the container's first process, all at once, and then becomes who it shall be.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use hull_oci_core::oci::config::{Process, Spec};
use hull_oci_core::oci::namespaces::{self, Kind, Namespaces};
use hull_oci_core::oci::plan::{Owner, Terminal};
use hull_oci_core::oci::process::{Identity, Program};
use rustix::io::Errno;

use rustix::thread::{CpuSet, Gid, ThreadNameSpaceType, Uid};

use crate::create::executed;
use crate::exchange::{self, Message};
use crate::facts;
use crate::failure::{Failure, failed, failing};
use crate::identity::{self, Ready};
use crate::inside::{self, Console, Never};
use crate::state::{Record, Status};
use crate::sys::clone::{self, Child, Cloned, Parent};
use crate::sys::{process, signals};

/// What is asked for.
pub struct Request<'a> {
    /// The container.
    pub record: &'a Record,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Who the process is.
    pub identity: &'a Identity,
    /// Its program.
    pub program: &'a Program,
    /// Whether it has a terminal.
    pub terminal: Terminal,
    /// Socket that gets the terminal.
    pub console: Option<OwnedFd>,
    /// Descriptors from 3 on that stay open.
    pub preserve: u32,
    /// Group below the container's that it goes to; empty: the container's own.
    pub cgroup: Vec<String>,
    /// Processors before and after it is in the control group.
    pub processors: (Option<CpuSet>, Option<CpuSet>),
}

/// Makes the process. On success its program was executed.
///
/// # Errors
/// Says which step failed; then no process is left.
pub fn join(mut request: Request<'_>) -> Result<Child, Failure> {
    let target = request.record.process().ok_or_else(|| Failure("cannot exec in a stopped container".to_owned()))?;
    let linux = request.spec.linux.as_ref();
    let own = linux.map_or(Ok(Namespaces::default()), |linux| namespaces::read(&linux.namespaces))?;
    let listener = crate::create::listener_of(request.identity)?;
    let labels = identity::open_labels(Some(request.identity))?;
    let (mine, theirs) = exchange::pair().map_err(failed("make a pair of sockets"))?;
    let entered = enter_first(&own, &target)?;
    if let Some(processors) = &request.processors.0 {
        rustix::thread::sched_setaffinity(None, processors).map_err(failed("process.execCPUAffinity.initial"))?;
    }
    let groups = request.record.groups().below(&request.cgroup)?;
    let (group, entrances) = (groups.open(), groups.entrances()?);
    let by_clone = clone::clone(group.as_ref().map(AsFd::as_fd), 0, Parent::Caller);
    let (cloned, place) = match by_clone {
        Ok(cloned) => (cloned, Place::Inside),
        // The container has made groups below its own, which then takes no processes: it goes to where its first process is.
        Err(_) => (clone::clone(None, 0, Parent::Caller).map_err(failed("clone3"))?, Place::Follows),
    };
    match cloned {
        Cloned::Child => {
            drop(mine);
            let console = request.console.take().map_or(Console::None, Console::Socket);
            let place = Entrance { target, entered, groups: entrances };
            enter(&request, &own, place, console, (labels, listener), theirs)
        }
        Cloned::Parent(child) => {
            drop((theirs, listener));
            match accompany(&child, &request, &own, place, &mine) {
                Ok(()) => Ok(child),
                Err(failure) => {
                    let _ = signals::send(child.pidfd.as_fd(), libc::SIGKILL);
                    let wait = rustix::process::WaitId::PidFd(child.pidfd.as_fd());
                    let _ = rustix::process::waitid(wait, rustix::process::WaitIdOptions::EXITED);
                    Err(failure)
                }
            }
        }
    }
}

/// Joins what the new process is to be born in: the process ids, and for a user without rights the user namespace, in which there are some.
fn enter_first(own: &Namespaces, target: &OwnedFd) -> Result<ThreadNameSpaceType, Failure> {
    let mut first = ThreadNameSpaceType::empty();
    if own.is_own(Kind::Pid) {
        first |= ThreadNameSpaceType::PROCESS_ID;
    }
    if own.is_own(Kind::User) && facts::owner() == Owner::Rootless {
        first |= ThreadNameSpaceType::USER;
    }
    if !first.is_empty() {
        rustix::thread::move_into_thread_name_spaces(target.as_fd(), first)
            .map_err(failed("join the container's pid namespace"))?;
    }
    Ok(first)
}

/// What the new process goes through.
struct Entrance {
    /// The container's first process.
    target: OwnedFd,
    /// Namespaces that it is in already.
    entered: ThreadNameSpaceType,
    /// Control groups of version 1.
    groups: Vec<OwnedFd>,
}

/// How the process gets into the control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It was made there, or moves itself.
    Inside,
    /// It is moved to where the container's first process is.
    Follows,
}

fn accompany(
    child: &Child,
    request: &Request<'_>,
    own: &Namespaces,
    place: Place,
    connection: &OwnedFd,
) -> Result<(), Failure> {
    let pid = child.pid.as_raw_nonzero().get();
    if place == Place::Follows {
        follow(pid, request.record.pid)?;
    }
    if let Some(score) = request.identity.oom_score_adj {
        let path = format!("/proc/{pid}/oom_score_adj");
        let current = fs::read_to_string(&path).unwrap_or_default();
        if current.trim() != score.to_string() {
            fs::write(&path, score.to_string())
                .map_err(failing(|| format!("process.oomScoreAdj: write {score} to {path}")))?;
        }
    }
    if own.is_own(Kind::User) {
        for limit in &request.identity.limits {
            process::set_limit(pid, limit).map_err(failing(|| format!("process.rlimits: set {}", limit.name)))?;
        }
    }
    let sent = exchange::send(connection.as_fd(), &Message::Go);
    match exchange::receive(connection.as_fd()).map_err(failed("wait for the new process"))? {
        Message::Executes => executed(connection),
        Message::Failed(cause) => Err(Failure(cause)),
        _ => {
            sent.map_err(failed("let the new process go on"))?;
            Err(Failure("the new process was killed before it was whole".to_owned()))
        }
    }
}

/// Moves a process to the group of another.
fn follow(pid: i32, other: i32) -> Result<(), Failure> {
    let text =
        fs::read_to_string(format!("/proc/{other}/cgroup")).map_err(failed("read the container's control group"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let file = format!("/sys/fs/cgroup{path}/cgroup.procs");
    fs::write(&file, pid.to_string()).map_err(failing(|| format!("write {pid} to {file}")))
}

/// The new process.
fn enter(
    request: &Request<'_>,
    own: &Namespaces,
    place: Entrance,
    console: Console,
    listeners: (Vec<OwnedFd>, Option<OwnedFd>),
    connection: OwnedFd,
) -> ! {
    let copy = match connection.try_clone() {
        Ok(copy) => copy,
        Err(_) => clone::leave(1),
    };
    let entered = crate::cgroup::enter(&place.groups).map_err(failed("enter the container's control groups"));
    let Failure(cause) =
        match entered.and_then(|()| become_program(request, own, place, console, listeners, connection)) {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
    let _ = exchange::send(copy.as_fd(), &Message::Failed(cause));
    clone::leave(1)
}

fn become_program(
    request: &Request<'_>,
    own: &Namespaces,
    place: Entrance,
    console: Console,
    (labels, listener): (Vec<OwnedFd>, Option<OwnedFd>),
    connection: OwnedFd,
) -> Result<Never, Failure> {
    signals::reset();
    let kept = identity::close_all_but_the_callers(request.preserve).map_err(failed("close descriptors at exec"))?;
    match exchange::receive(connection.as_fd()).map_err(failed("wait for the runtime"))? {
        Message::Go => {}
        _ => clone::leave(1),
    }
    if let Some(processors) = &request.processors.1 {
        rustix::thread::sched_setaffinity(None, processors).map_err(failed("process.execCPUAffinity.final"))?;
    }
    let seen_as = if listener.is_some() { identity::seen_as() } else { 0 };
    let flags = Kind::ALL
        .into_iter()
        .filter(|kind| own.is_own(*kind) && *kind != Kind::Pid)
        .fold(0, |flags, kind| flags | kind.flag());
    let flags = ThreadNameSpaceType::from_bits_retain(flags as u32) - place.entered;
    if !flags.is_empty() {
        rustix::thread::move_into_thread_name_spaces(place.target.as_fd(), flags)
            .map_err(failed("join the container's namespaces"))?;
    }
    drop(place);
    if own.is_own(Kind::User) {
        become_root().map_err(failed("become root of the user namespace"))?;
    }
    if !own.is_own(Kind::Mount) {
        rustix::process::chdir(request.record.rootfs.as_str()).map_err(failed("enter the root file system"))?;
        rustix::process::chroot(".").map_err(failed("change the root"))?;
    }
    rustix::process::setsid().map_err(failed("make a session"))?;
    let terminal = match request.terminal {
        Terminal::None => None,
        wanted => {
            let terminal = inside::open_in_root(&console, wanted).map_err(failed("make a terminal"))?;
            let _ = rustix::fs::fchown(&terminal, Some(Uid::from_raw(request.identity.user.uid)), None);
            inside::become_terminal(terminal.as_fd()).map_err(failed("make the terminal the standard streams"))?;
            Some(terminal)
        }
    };
    let ready = Ready {
        identity: request.identity,
        program: request.program,
        labels,
        in_user_namespace: own.is_own(Kind::User),
        listener,
        state: request.record.state(Status::Running),
        seen_as,
        kept,
        terminal: terminal.as_ref().map(AsFd::as_fd),
    };
    identity::become_program(ready, connection, Ok, || Ok(()))
}

fn become_root() -> rustix::io::Result<()> {
    match rustix::thread::set_thread_groups(&[]) {
        Err(Errno::PERM) => {}
        result => result?,
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// Processors before and after the process is in the container's control group. Without a list for after it is on all of the group's again,
/// as the specification asks: the kernel takes those out of all that there are.
///
/// # Errors
/// A list is none.
pub fn processors(process: &Process) -> Result<(Option<CpuSet>, Option<CpuSet>), Failure> {
    let Some(affinity) = &process.exec_cpu_affinity else { return Ok((None, None)) };
    let read = |field: &str, text: &str| match text.is_empty() {
        true => Ok(None),
        false => hull_oci_core::oci::process::processors(text)
            .map(|list| Some(set(list)))
            .ok_or_else(|| Failure(format!("process.execCPUAffinity.{field}: {text:?} is not a list such as 0-3,7"))),
    };
    let (initial, last) = (read("initial", &affinity.initial)?, read("final", &affinity.last)?);
    let all = initial.as_ref().map(|_| set(0..CpuSet::MAX_CPU));
    Ok((initial, last.or(all)))
}

fn set(processors: impl IntoIterator<Item = usize>) -> CpuSet {
    let mut set = CpuSet::new();
    processors.into_iter().for_each(|processor| set.set(processor));
    set
}
