//! Makes a container: `create` and the first half of `run`.
//!
//! ```text
//! parent                                      child
//! state folder, control groups, limits
//! namespaces to join, mounts of others' ids
//! clone3 ───────────────────────────────────> enters version 1 groups, waits
//! id maps, oom score ────────────────────Go─> steps of the plan
//! hooks prestart, createRuntime <──Hooks───── (when there are any)
//!                               ───Go───────> rest of the plan, identity
//! state.json <────────────────Ready or Executes
//! ```
//! When a step fails nothing is left: no process, no control group, no folder.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_oci_core::oci::config::{IdMapping, Spec};
use hull_oci_core::oci::mounts::{Depth, Source};
use hull_oci_core::oci::namespaces::{Join, Kind};
use hull_oci_core::oci::plan::{Owner, Plan, Step};
use hull_oci_core::oci::process::Identity;
use hull_oci_core::oci::seccomp::Need;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;
use rustix::thread::LinkNameSpaceType;

use crate::among;
use crate::cgroup::{Freezing, Groups, Hierarchies};
use crate::devices;
use crate::exchange::{self, Message};
use crate::failure::{Failure, failed, failing};
use crate::hooks;
use crate::inside::{self, Console, Ground};
use crate::life;
use crate::net_devices;
use crate::state::{self, Claim, Folder, Record, Status};
use crate::sys::clone::{self, Child, Cloned, Parent};
use crate::sys::mount::{self as sys_mount, Reach};
use crate::sys::namespace as sys_namespace;
use crate::sys::seccomp::{self, SharedNumber};
use crate::sys::{descriptors, process};

/// What is asked for.
pub struct Request<'a> {
    /// Folder of the container.
    pub folder: &'a Folder,
    /// The bundle, absolute.
    pub bundle: &'a Path,
    /// `config.json` as it is.
    pub bytes: &'a [u8],
    /// And as it is read.
    pub spec: &'a Spec,
    /// And planned.
    pub plan: &'a Plan,
    /// The host's control groups.
    pub hierarchies: &'a Hierarchies,
    /// Who the runtime is.
    pub owner: Owner,
    /// Whether its program waits.
    pub start: Start,
    /// Socket that gets the terminal.
    pub console: Option<OwnedFd>,
    /// Descriptors from 3 on that stay open.
    pub preserve: u32,
    /// Session keyring.
    pub keyring: Keyring,
    /// What becomes of it when the caller ends.
    pub life: Life,
    /// Who asks, for the record.
    pub user: String,
    /// Now, RFC 3339, for the record.
    pub now: String,
    /// What the caller puts into the folder once the id is its own.
    pub prepare: &'a dyn Fn() -> Result<(), Failure>,
}

/// A caller that puts nothing there.
///
/// # Errors
/// None.
pub fn nothing() -> Result<(), Failure> {
    Ok(())
}

/// Whether the program waits for `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It does.
    Waits,
    /// It is executed at once.
    AtOnce,
}

/// Whether a container outlives the process that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It does.
    OfItsOwn,
    /// The kernel kills it when that ends (PR_SET_PDEATHSIG).
    WithCaller,
}

/// Which session keyring the container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyring {
    /// One of its own.
    New,
    /// The caller's.
    Callers,
}

/// Makes the container.
///
/// # Errors
/// Says which step failed.
pub fn create(request: Request<'_>) -> Result<(Child, Record), Failure> {
    let folder = request.folder;
    let (plan, bundle) = (request.plan, request.bundle);
    let rootfs = rootfs(plan, bundle)?;
    let mut claim = Some(claim(folder)?);
    let group = plan.group.clone().unwrap_or_else(|| format!("/{}", folder.id));
    let mut groups = Groups::at(request.hierarchies, &group);
    let mut record = Record {
        oci_version: request.spec.oci_version.clone(),
        id: folder.id.clone(),
        bundle: bundle.to_string_lossy().into_owned(),
        rootfs: rootfs.to_string_lossy().into_owned(),
        created: request.now.clone(),
        owner: request.user.clone(),
        cgroup: group,
        annotations: request.spec.annotations.clone(),
        ..Record::default()
    };
    if !plan.namespaces.is_own(Kind::Mount) {
        record.mount_before = among::mount_of(&rootfs);
    }
    let made = (request.prepare)().and_then(|()| make(request, &mut groups, &mut record, rootfs, &mut claim));
    if made.is_err() {
        among::detach_new(&record);
        let _ = groups.made().remove();
        let _ = folder.remove();
    }
    made.map(|child| (child, record))
}

/// An id that only a killed runtime has used is free, once what is left of that is gone.
fn claim(folder: &Folder) -> Result<Claim, Failure> {
    folder.claim().or_else(|taken| life::reclaim(folder).map_err(|_| taken).and_then(|()| folder.claim()))
}

fn rootfs(plan: &Plan, bundle: &Path) -> Result<PathBuf, Failure> {
    let path = bundle.join(&plan.root.path);
    let path = fs::canonicalize(&path).map_err(failing(|| format!("config.json: root.path: {}", path.display())))?;
    match path.is_dir() {
        true => Ok(path),
        false => Err(Failure(format!("config.json: root.path: {} is not a folder", path.display()))),
    }
}

fn make(
    mut request: Request<'_>,
    groups: &mut Groups,
    record: &mut Record,
    rootfs: PathBuf,
    claim: &mut Option<Claim>,
) -> Result<Child, Failure> {
    let plan = request.plan;
    request.folder.write("config.json", request.bytes)?;
    match groups.make() {
        // Without limits and without a group of its own a container may run in the caller's.
        Err(_) if request.owner == Owner::Rootless && plan.settings.is_empty() => *groups = Groups::at(&none(), "/"),
        made => made?,
    }
    record.cgroup_paths = groups.folders();
    if groups.freezing() == Freezing::Frozen {
        // Its process would never get as far as its program.
        return Err(Failure(format!(
            "linux.cgroupsPath: container's cgroup unexpectedly frozen: thaw {}",
            record.cgroup
        )));
    }
    groups.limit(&plan.settings)?;
    groups.limit_devices(&plan.device_rules)?;
    groups.delegate(plan)?;
    let (mine, theirs) = exchange::pair().map_err(failed("make a pair of sockets"))?;
    let ground = Ground {
        connection: theirs,
        joins: joins(plan)?,
        sources: sources(plan, request.owner, request.folder)?,
        rootfs,
        groups: groups.folders().into_iter().collect(),
        entrances: groups.entrances()?,
        console: request.console.take().map_or(Console::None, Console::Socket),
        start: if request.start == Start::Waits { Some(listen(request.folder)?) } else { None },
        listener: listener(plan)?,
        preserve: request.preserve,
        life: request.life,
        keyring: (request.keyring == Keyring::New).then(|| format!("_ses.{}", request.folder.id)),
        state: record.state(Status::Creating),
        claim: None,
    };
    let (child, mine) = spawn(plan, groups, ground, mine, claim)?;
    match accompany(&child, &request, record, &mine) {
        Ok(()) => Ok(child),
        Err(failure) => {
            let _ = crate::sys::signals::send(child.pidfd.as_fd(), libc::SIGKILL);
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(child.pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            );

            Err(explain(failure, groups))
        }
    }
}

fn none() -> Hierarchies {
    Hierarchies { version: crate::cgroup::Version::Two, mounted: Vec::new() }
}

/// A process that is gone without a word was killed: by the memory limit, if the kernel says so.
fn explain(failure: Failure, groups: &Groups) -> Failure {
    match groups.out_of_memory_kills() {
        0 => failure,
        _ => Failure(format!(
            "{failure}: the container ran out of memory before its program: linux.resources.memory.limit is too small"
        )),
    }
}

/// Makes the process. When a process id namespace is joined the runtime's children are in it for that moment. `mine` is the runtime's end
/// of the connection: the new process does not keep it, and so learns when the runtime has ended. The claim both keep.
fn spawn(
    plan: &Plan,
    groups: &Groups,
    ground: Ground,
    mine: OwnedFd,
    claim: &mut Option<Claim>,
) -> Result<(Child, OwnedFd), Failure> {
    let not_by_clone = Kind::Cgroup.flag() | Kind::Time.flag();
    let namespaces = plan.namespaces.new & !not_by_clone;
    let joined = ground.joins.iter().find(|(kind, _)| *kind == Kind::Pid).map(|(_, namespace)| namespace.try_clone());
    let own = match joined {
        None => None,
        Some(namespace) => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let own = rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())
                .map_err(failed("open /proc/self/ns/pid"))?;
            let namespace = namespace.map_err(failed("copy a descriptor"))?;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), type_of(Kind::Pid))
                .map_err(failed("linux.namespaces: join pid"))?;
            Some(own)
        }
    };
    let group = groups.open();
    let others = ground.joins.iter().any(|(kind, _)| !matches!(kind, Kind::Pid | Kind::Mount));
    let cloned = match plan.namespaces.is_own(Kind::User) && others {
        false => clone::clone(group.as_ref().map(AsFd::as_fd), namespaces, Parent::Caller),
        true => clone_among(&ground.joins, group.as_ref().map(AsFd::as_fd), namespaces),
    }
    .map_err(failed("clone3 into new namespaces"));
    // Before anything that can fail: the new process must not go on as the runtime, least of all clean up after it.
    if let Ok(Cloned::Child) = cloned {
        drop(mine);
        inside::run(plan, Ground { claim: claim.take(), ..ground })
    }
    if let Some(own) = own {
        rustix::thread::move_into_link_name_space(own.as_fd(), type_of(Kind::Pid))
            .map_err(failed("leave the joined pid namespace"))?;
    }
    match cloned? {
        Cloned::Child => clone::leave(1),
        Cloned::Parent(child) => Ok((child, mine)),
    }
}

/// Makes the process among others, with users of its own: in the namespaces to join that need the runtime's rights, and in the user
/// namespace to join, if there is one, so that its new namespaces are of that one: only so may it mount what shows them. A helper joins,
/// since there is no way back, and makes the process a child of this one; they share the table of descriptors for its pidfd.
fn clone_among(joins: &[(Kind, OwnedFd)], group: Option<BorrowedFd<'_>>, namespaces: u64) -> std::io::Result<Cloned> {
    let (pid, pidfd) = (SharedNumber::new()?, SharedNumber::new()?);
    let Some(helper) = clone::clone_with_descriptors()? else {
        let join =
            |kind: &Kind, file: &OwnedFd| rustix::thread::move_into_link_name_space(file.as_fd(), type_of(*kind));
        for (kind, file) in joins.iter().filter(|(kind, _)| !matches!(kind, Kind::Pid | Kind::Mount | Kind::User)) {
            // What only its own users may join the new process joins itself, or tells why not.
            let _ = join(kind, file);
        }
        let users = joins.iter().find(|(kind, _)| *kind == Kind::User);
        let joined = users.map_or(Ok(()), |(kind, file)| join(kind, file));
        match joined.map_err(Into::into).and_then(|()| clone::clone(group, namespaces, Parent::Grandparent)) {
            Ok(Cloned::Child) => return Ok(Cloned::Child),
            Ok(Cloned::Parent(child)) => {
                pid.set(child.pid.as_raw_nonzero().get());
                pidfd.set(child.pidfd.into_raw_fd());
            }
            Err(error) => pid.set(-error.raw_os_error().unwrap_or(libc::EPERM)),
        }
        clone::leave(0)
    };
    seccomp::reap(helper);
    match Pid::from_raw(pid.get().max(0)) {
        // The helper that owned it is gone.
        Some(pid) => Ok(Cloned::Parent(Child { pid, pidfd: descriptors::take(pidfd.get())? })),
        None => Err(std::io::Error::from_raw_os_error(-pid.get())),
    }
}

/// The kind as setns(2) wants it: a file that is of another one is then refused, and not joined in its place.
pub(crate) fn type_of(kind: Kind) -> Option<LinkNameSpaceType> {
    Some(match kind {
        Kind::User => LinkNameSpaceType::User,
        Kind::Pid => LinkNameSpaceType::ProcessID,
        Kind::Mount => LinkNameSpaceType::Mount,
        Kind::Network => LinkNameSpaceType::Network,
        Kind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        Kind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        Kind::Cgroup => LinkNameSpaceType::ControlGroup,
        Kind::Time => LinkNameSpaceType::Time,
    })
}

/// Opens the namespaces to join. A file that is none, or of another kind, is refused as setns(2) would refuse it: later nobody knows which.
fn joins(plan: &Plan) -> Result<Vec<(Kind, OwnedFd)>, Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let open = |join: &Join| {
        let field = || format!("linux.namespaces: {} {}", join.kind.name(), join.path);
        let file = rustix::fs::open(&join.path, flags, Mode::empty()).map_err(failing(field))?;
        match sys_namespace::kind(file.as_fd()) {
            Ok(kind) if kind == join.kind.flag() => Ok((join.kind, file)),
            Ok(_) => Err(Failure(format!("{}: a namespace of another kind: {}", field(), Errno::INVAL))),
            Err(_) => Err(Failure(format!("{}: not a namespace: {}", field(), Errno::INVAL))),
        }
    };
    plan.namespaces.join.iter().map(open).collect()
}

/// What of the host is mounted into a container whose users are not the host's: opened here, where there is the right to see it and to
/// take a mount of the host apart.
fn sources(plan: &Plan, owner: Owner, folder: &Folder) -> Result<Vec<Option<OwnedFd>>, Failure> {
    let theirs = plan.namespaces.is_own(Kind::User);
    plan.steps
        .iter()
        .map(|step| match step {
            Step::Mount(mount) => match (&mount.source, &mount.ids) {
                (Source::Bind { path, depth }, Some(ids)) => idmapped(path, *depth, ids, plan).map(Some),
                (Source::Bind { path, depth }, None) if theirs && owner == Owner::Root => {
                    inside::open_bind(path, *depth).map(Some).map_err(failing(|| format!("mounts: open {path}")))
                }
                _ => Ok(None),
            },
            // Without the host's rights the new process is who may: it is root of its namespaces.
            Step::Device(node) if theirs && owner == Owner::Root => devices::open(node, plan, folder).map(Some),
            _ => Ok(None),
        })
        .collect()
}

/// A mount whose files have other ids: those of the mapping, or of the container's user namespace.
fn idmapped(
    path: &str,
    depth: Depth,
    ids: &hull_oci_core::oci::mounts::Idmap,
    plan: &Plan,
) -> Result<OwnedFd, Failure> {
    let field = &ids.field;
    let told = |error: std::io::Error| Failure(format!("{field}: map the ids of {path}: {error}"));
    let bind = inside::open_bind(path, depth).map_err(failing(|| format!("{field}.source: open {path}")))?;
    let own = plan.namespaces.join.iter().find(|join| join.kind == Kind::User && ids.users.is_empty());
    let namespace = match own {
        Some(join) => rustix::fs::open(&join.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| told(error.into()))?,
        None if ids.users.is_empty() => user_namespace("linux", &plan.uid_map, &plan.gid_map)?,
        None => user_namespace(field, &ids.users, &ids.groups)?,
    };
    let reach = if ids.depth == Depth::Tree { Reach::Tree } else { Reach::One };
    sys_mount::map_ids(bind.as_fd(), namespace.as_fd(), reach).map_err(told)?;
    Ok(bind)
}

/// A user namespace that nobody lives in: a mapping of ids, for mounts. `whose` in the specification the maps are, `linux` or `mounts[3]`.
///
/// # Errors
/// There is no mapping, or the kernel refuses it.
pub fn user_namespace(whose: &str, users: &[IdMapping], groups: &[IdMapping]) -> Result<OwnedFd, Failure> {
    if users.is_empty() {
        return Err(Failure("mounts: idmap without a user namespace needs uidMappings and gidMappings".to_owned()));
    }
    match clone::clone(None, Kind::User.flag(), Parent::Caller).map_err(failed("clone3 into a user namespace"))? {
        Cloned::Child => {
            // It must not outlive a runtime that is killed.
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            loop {
                rustix::event::pause();
            }
        }
        Cloned::Parent(child) => {
            let pid = child.pid.as_raw_nonzero().get();
            let made = write_maps(pid, whose, users, groups).and_then(|()| {
                let path = format!("/proc/{pid}/ns/user");
                rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(failed(format!("open {path}")))
            });
            let _ = crate::sys::signals::send(child.pidfd.as_fd(), libc::SIGKILL);
            let wait = rustix::process::WaitId::PidFd(child.pidfd.as_fd());
            let _ = rustix::process::waitid(wait, rustix::process::WaitIdOptions::EXITED);
            made
        }
    }
}

/// The socket on which the created process waits for `start`. Below the state folder, which is root's; the path by descriptor, since an
/// address is short (unix(7)).
fn listen(folder: &Folder) -> Result<OwnedFd, Failure> {
    let told = |error: rustix::io::Errno| Failure(format!("listen on {}: {error}", folder.start_socket().display()));
    let open = rustix::fs::open(&folder.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(told)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(told)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/start", open.as_raw_fd())).map_err(told)?;
    rustix::net::bind(&socket, &address).map_err(told)?;
    rustix::net::listen(&socket, 1).map_err(told)?;
    Ok(socket)
}

/// Connects to a stream socket by its path.
///
/// # Errors
/// Nobody listens there.
pub fn connect(path: &str) -> Result<OwnedFd, Failure> {
    let told = |error: rustix::io::Errno| Failure(format!("connect to {path}: {error}"));
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(told)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).map_err(told)?).map_err(told)?;
    Ok(socket)
}

/// Connected before the process exists, which could not find it any more.
fn listener(plan: &Plan) -> Result<Option<OwnedFd>, Failure> {
    plan.identity.as_ref().map_or(Ok(None), listener_of)
}

/// Connects to who is told of the calls that an identity's filter tells of.
pub(crate) fn listener_of(identity: &Identity) -> Result<Option<OwnedFd>, Failure> {
    let Some(listener) = identity.filter.as_ref().and_then(|filter| filter.listener.as_ref()) else { return Ok(None) };
    match connect(&listener.path) {
        Err(_) if listener.need == Need::IfThere => Ok(None),
        Err(failure) => {
            Err(Failure(format!("linux.seccomp.listenerPath: failed to connect with seccomp agent: {failure}")))
        }
        connected => connected.map(Some),
    }
}

/// What the parent does for the child, until it waits for `start` or has executed its program.
fn accompany(child: &Child, request: &Request<'_>, record: &mut Record, connection: &OwnedFd) -> Result<(), Failure> {
    let (plan, pid) = (request.plan, child.pid.as_raw_nonzero().get());
    record.pid = pid;
    record.started = state::alive(pid).unwrap_or(0);
    request.folder.begin(record)?;
    write_maps(pid, "linux", &plan.uid_map, &plan.gid_map)?;
    let joined = plan.namespaces.join.iter().find(|join| join.kind == Kind::Network).map(|join| join.path.clone());
    net_devices::give(&plan.net_devices, &joined.unwrap_or_else(|| format!("/proc/{pid}/ns/net")))?;
    if let Some(identity) = &plan.identity {
        if let Some(score) = identity.oom_score_adj {
            set_oom_score(pid, score)?;
        }
        if plan.namespaces.is_own(Kind::User) {
            for limit in &identity.limits {
                process::set_limit(pid, limit).map_err(failing(|| format!("process.rlimits: set {}", limit.name)))?;
            }
        }
    }
    let go = || exchange::send(connection.as_fd(), &Message::Go).map_err(failed("let the new process go on"));
    // If it has ended before, what it says explains why.
    let went = go();
    loop {
        match exchange::receive(connection.as_fd()).map_err(failed("wait for the new process"))? {
            Message::Hooks => {
                let state = record.state(Status::Creating);
                // The old point of the two, whose programs expect the state that they were always told.
                hooks::run("prestart", &plan.hooks.prestart, &record.state(Status::Created))?;
                hooks::run("createRuntime", &plan.hooks.create_runtime, &state)?;
                go()?;
            }
            Message::Ready => return request.folder.finish(),
            Message::Executes => {
                request.folder.finish()?;
                return executed(connection);
            }
            Message::Failed(cause) => return Err(Failure(cause)),
            Message::End => {
                went?;
                return Err(Failure("the new process was killed before it was whole".to_owned()));
            }
            Message::Go => {}
        }
    }
}

/// Waits until the program is executed: then the connection ends.
pub(crate) fn executed(connection: &OwnedFd) -> Result<(), Failure> {
    match exchange::receive(connection.as_fd()).map_err(failed("wait for the program"))? {
        Message::Failed(cause) => Err(Failure(cause)),
        _ => Ok(()),
    }
}

fn set_oom_score(pid: i32, score: i32) -> Result<(), Failure> {
    let path = format!("/proc/{pid}/oom_score_adj");
    // Not to lower what it has takes no right.
    let current = fs::read_to_string(&path).unwrap_or_default();
    if current.trim() == score.to_string() {
        return Ok(());
    }
    fs::write(&path, score.to_string()).map_err(failing(|| format!("process.oomScoreAdj: write {score} to {path}")))
}

fn write_maps(pid: i32, whose: &str, users: &[IdMapping], groups: &[IdMapping]) -> Result<(), Failure> {
    if users.is_empty() {
        return Ok(());
    }
    let lines = |map: &[IdMapping]| -> String {
        map.iter().map(|ids| format!("{} {} {}\n", ids.container_id, ids.host_id, ids.size)).collect()
    };
    let root = rustix::process::geteuid().is_root();
    if !root && fs::write(format!("/proc/{pid}/uid_map"), lines(users)).is_err() {
        return by_helper(pid, "newuidmap", users).and_then(|()| by_helper(pid, "newgidmap", groups));
    }
    if !root {
        // Whoever is not root gives up to set groups before the map of groups (user_namespaces(7)).
        return match fs::write(format!("/proc/{pid}/setgroups"), "deny")
            .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), lines(groups)))
        {
            Ok(()) => Ok(()),
            Err(_) => by_helper(pid, "newgidmap", groups),
        };
    }
    for (file, field, map) in [("uid_map", "uidMappings", users), ("gid_map", "gidMappings", groups)] {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, lines(map)).map_err(failing(|| format!("{whose}.{field}: write {path}")))?;
    }
    Ok(())
}

/// The set-user-id programs that know which ids a user owns (subuid(5)).
fn by_helper(pid: i32, program: &str, map: &[IdMapping]) -> Result<(), Failure> {
    let mut command = std::process::Command::new(program);
    command.arg(pid.to_string());
    for ids in map {
        command.args([ids.container_id, ids.host_id, ids.size].map(|number| number.to_string()));
    }
    let output = command.output().map_err(failing(|| format!("execute {program}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))),
    }
}
