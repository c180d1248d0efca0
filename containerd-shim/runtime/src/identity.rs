//! The last steps before a process is another program: limits, labels, user, capabilities, filter, and then execve(2). The same for a
//! container's first process and for one that joins.
//!
//! Without `no_new_privs` a filter is installed with CAP_SYS_ADMIN, and so before capabilities are dropped; with it, last of all.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hull_oci_core::oci::process::{Groups, Held, Identity, Label, Privileges, Program, User};
use hull_oci_core::oci::seccomp::Filter;
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use crate::exchange::{self, Message};
use crate::failure::{Failure, failed, failing};
use crate::inside::Never;
use crate::state::State;
use crate::sys::seccomp::{self, SharedNumber};
use crate::sys::{clone, descriptors, process, program};

/// Search path of a process whose environment has none (execvp(3)).
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Mask of a process that asks for none.
const UMASK: u32 = 0o022;

/// Version of what is told along with a seccomp descriptor (config-linux.md, The Container Process State), as others say it, too.
const SECCOMP_STATE: &str = "0.2.0";

/// The process id of this process as the host's /proc has it, while that is in sight: not what its own namespace counts.
pub(crate) fn seen_as() -> i32 {
    let name = std::fs::read_link("/proc/self").unwrap_or_default();
    name.to_str().and_then(|name| name.parse().ok()).unwrap_or_default()
}

/// A process that is where it shall be, and not yet who.
pub(crate) struct Ready<'a> {
    /// Who it becomes.
    pub(crate) identity: &'a Identity,
    /// What it executes.
    pub(crate) program: &'a Program,
    /// Opened by [`open_labels`], in the order of the labels.
    pub(crate) labels: Vec<OwnedFd>,
    /// Whether its limits were set from outside, where the right to raise them is.
    pub(crate) in_user_namespace: bool,
    /// Connected to who is told of filtered calls.
    pub(crate) listener: Option<OwnedFd>,
    /// The container's state, which that is told.
    pub(crate) state: State,
    /// The process id that the runtime knows it by, which that is told, too.
    pub(crate) seen_as: i32,
    /// Descriptors that stay open beside the standard streams.
    pub(crate) kept: Vec<i32>,
    /// Its terminal.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
}

/// Opens what labels are written to. By the host's /proc, which is in sight until the root is entered (CVE-2025-52881).
pub(crate) fn open_labels(identity: Option<&Identity>) -> Result<Vec<OwnedFd>, Failure> {
    let open = |label: &Label| {
        let own = match label {
            Label::AppArmor(_) => "/proc/thread-self/attr/apparmor/exec",
            Label::SeLinux(_) => "/proc/thread-self/attr/exec",
        };
        let open = |path: &str| rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        open(own).or_else(|_| open("/proc/thread-self/attr/exec")).map_err(failed(format!("open {own}")))
    };
    identity.map_or(Ok(Vec::new()), |identity| identity.labels.iter().map(open).collect())
}

/// Becomes the program. `wait` is called when everything that can fail by the specification's fault is done; it returns the connection on
/// which failures are told from then on. `last` is called by the process as it will be when it executes its program.
pub(crate) fn become_program(
    ready: Ready<'_>,
    connection: OwnedFd,
    wait: impl FnOnce(OwnedFd) -> Result<OwnedFd, Failure>,
    last: impl FnOnce() -> Result<(), Failure>,
) -> Result<Never, Failure> {
    let Ready { identity, program, .. } = &ready;
    schedule(identity)?;
    if !ready.in_user_namespace {
        for limit in &identity.limits {
            process::set_limit(0, limit).map_err(failing(|| {
                format!("process.rlimits: set {} to {} of {}", limit.name, limit.soft, limit.hard)
            }))?;
        }
    }
    for (label, file) in identity.labels.iter().zip(&ready.labels) {
        let text = match label {
            Label::AppArmor(profile) => format!("exec {profile}"),
            Label::SeLinux(label) => label.clone(),
        };
        rustix::io::write(file, text.as_bytes()).map_err(failing(|| format!("set the label {text}")))?;
    }
    // Tried as root first: the user may not be able to see it, or only the user may.
    let entered = enter(&program.folder);
    bound(identity.held.bounding).map_err(failed("process.capabilities.bounding"))?;
    become_user(&identity.user, ready.terminal)
        .map_err(failed(format!("process.user: become user {}", identity.user.uid)))?;
    if entered.is_err() {
        enter(&program.folder).map_err(failing(|| format!("process.cwd: chdir to {}", program.folder)))?;
    }
    if ready.terminal.is_none() {
        reopen_null();
    }
    let early = identity.privileges == Privileges::New && identity.filter.is_some();
    match early {
        true => raise_all().map_err(failed("process.capabilities"))?,
        false => hold(identity.held).map_err(failed("process.capabilities"))?,
    }
    if identity.privileges == Privileges::NoNew {
        rustix::thread::set_no_new_privs(true).map_err(failed("process.noNewPrivileges"))?;
    }
    let path = find(program)?;
    let words = words(program)?;
    ready
        .kept
        .iter()
        .try_for_each(|number| descriptors::keep_open(*number))
        .map_err(failed("keep descriptors open"))?;
    let connection = wait(connection)?;
    exchange::send(connection.as_fd(), &Message::Executes).map_err(failed("tell the runtime"))?;
    let finish = || -> Result<(), Failure> {
        if let Some(wanted) = &identity.filter {
            filter(wanted, &ready)?;
        }
        if early {
            hold(identity.held).map_err(failed("process.capabilities"))?;
        }
        last()?;
        let error = program::execute(&path, &words.0, &words.1);
        Err(Failure(format!("exec: {:?}: {error}", program.arguments[0])))
    };
    if let Err(Failure(cause)) = finish() {
        let _ = exchange::send(connection.as_fd(), &Message::Failed(cause));
    }
    clone::leave(1)
}

fn schedule(identity: &Identity) -> Result<(), Failure> {
    if let Some(wanted) = &identity.memory {
        process::set_memory_policy(wanted).map_err(failed("linux.memoryPolicy"))?;
    }
    if let Some(wanted) = &identity.scheduling {
        process::schedule(wanted).map_err(failed("process.scheduler"))?;
    }
    if let Some(wanted) = identity.io_priority {
        process::set_io_priority(wanted).map_err(failed("process.ioPriority"))?;
    }
    if let Some(domain) = identity.personality {
        process::set_personality(domain).map_err(failed("linux.personality"))?;
    }
    Ok(())
}

/// Has every descriptor from 3 on closed at exec. Those of the caller's among them that are to stay are left open last, once no hook is
/// executed any more; a number beyond what there can be means all, and never means one of the runtime's own.
pub(crate) fn close_all_but_the_callers(preserve: u32) -> io::Result<Vec<i32>> {
    const MOST: u32 = 1 << 20;
    let kept = descriptors::inherited(3 + preserve.min(MOST) as i32);
    descriptors::close_on_exec_from(3)?;
    Ok(kept)
}

/// Standard streams that are the host's `/dev/null` become the container's, for reading and writing: callers open it for one of them and use
/// it for all (go-runc's NullIO opens it for reading and has it be standard output). Where the container has none they stay as they are.
fn reopen_null() {
    let is_null = |fd: BorrowedFd<'_>| {
        rustix::fs::fstat(fd).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice
                && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (1, 3)
        })
    };
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (number, _) in streams.into_iter().enumerate().filter(|(_, stream)| is_null(*stream)) {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open("/dev/null", flags, Mode::empty()) {
            Ok(null) if is_null(null.as_fd()) => drop(descriptors::place(null.as_fd(), number as i32)),
            _ => return,
        }
    }
}

/// One capability each, by number.
fn each(bits: u64) -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|number| 1 << number).filter(move |bit| bits & bit != 0).map(CapabilitySet::from_bits_retain)
}

/// Drops all but these. The kernel refuses the number after its last capability: that is the end.
fn bound(bits: u64) -> io::Result<()> {
    for capability in each(!bits) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Err(Errno::INVAL) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

fn become_user(user: &User, terminal: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // Its standard streams are its own: a program may open /dev/stdout again. The terminal is its already.
    if terminal.is_none() && user.uid != 0 {
        own_streams(uid);
    }
    // What is permitted stays for the next step; what is in force goes.
    rustix::thread::set_keep_capabilities(true)?;
    if let Groups::Set(groups) = &user.groups {
        let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
        match rustix::thread::set_thread_groups(&groups) {
            // A user namespace without the right to set groups (user_namespaces(7)) leaves them as they are.
            Err(Errno::PERM) if groups.is_empty() => {}
            result => result?,
        }
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::process::umask(Mode::from_raw_mode(user.umask.unwrap_or(UMASK)));
    Ok(())
}

/// Gives pipes and sockets among the standard streams to the user. Files and devices stay whose they are.
fn own_streams(uid: Uid) {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for stream in streams {
        let kind = rustix::fs::fstat(stream).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode));
        if matches!(kind, Ok(rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket)) {
            let _ = rustix::fs::fchown(stream, Some(uid), None);
        }
    }
}

/// Puts everything that is permitted in force.
fn raise_all() -> io::Result<()> {
    let CapabilitySets { permitted, inheritable, .. } = rustix::thread::capabilities(None)?;
    Ok(rustix::thread::set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable })?)
}

/// Sets the four sets, as far as this process has what is asked for: nobody gives what they do not have.
fn hold(held: Held) -> io::Result<()> {
    let own = rustix::thread::capabilities(None)?.permitted;
    let set = |bits: u64| CapabilitySet::from_bits_retain(bits) & own;
    let (permitted, inheritable) = (set(held.permitted), CapabilitySet::from_bits_retain(held.inheritable));
    let inheritable = inheritable & (own | rustix::thread::capabilities(None)?.inheritable);
    let sets = CapabilitySets { effective: set(held.effective) & permitted, permitted, inheritable };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_keep_capabilities(false)?;
    match rustix::thread::clear_ambient_capability_set() {
        Err(Errno::INVAL) => {}
        result => result?,
    }
    // Ambient is what is permitted and inheritable, too (capabilities(7)).
    let ambient = CapabilitySet::from_bits_retain(held.ambient) & permitted & inheritable;
    for capability in each(ambient.bits()) {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// The kernel names a folder outside of the root `(unreachable)…` (getcwd(2)): CVE-2024-21626.
fn enter(path: &str) -> io::Result<()> {
    rustix::process::chdir(path)?;
    let here = rustix::process::getcwd(Vec::new())?;
    match here.as_bytes().first() {
        Some(b'/') => Ok(()),
        _ => Err(io::Error::other("the folder is not in the container's root")),
    }
}

/// Looks the program up as execvp(3) does, in its own search path.
fn find(program: &Program) -> Result<CString, Failure> {
    let name = &program.arguments[0];
    let c_string = |path: &str| CString::new(path).map_err(failed(format!("exec: {name:?}")));
    let look = |path: &str| -> io::Result<()> {
        if rustix::fs::stat(path)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory)
        {
            return Err(Errno::ACCESS.into());
        }
        Ok(rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, rustix::fs::AtFlags::EACCESS)?)
    };
    if name.contains('/') {
        look(name).map_err(|error| Failure(format!("exec: {name:?}: stat {name}: {}", said(&error))))?;
        return c_string(name);
    }
    let search = program.environment.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(SEARCH);
    let mut last = None;
    for folder in search.split(':') {
        let path = format!("{}/{name}", if folder.is_empty() { "." } else { folder });
        match look(&path) {
            Ok(()) => return c_string(&path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => last = Some(error),
            Err(_) => {}
        }
    }
    Err(match last {
        Some(error) => Failure(format!("exec: {name:?}: {}", said(&error))),
        None => Failure(format!("exec: {name:?}: executable file not found in $PATH: No such file or directory")),
    })
}

/// As Go says it: docker finds the words "no such file or directory" and "permission denied", in lower case, and makes 127 and 126 of them.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn words(program: &Program) -> Result<(Vec<CString>, Vec<CString>), Failure> {
    let words = |texts: &[String]| -> Result<Vec<CString>, Failure> {
        texts.iter().map(|text| CString::new(text.as_bytes()).map_err(failing(|| format!("{text:?}")))).collect()
    };
    let mut environment = words(&program.environment)?;
    if !program.environment.iter().any(|variable| variable.starts_with("HOME=")) {
        environment.push(home());
    }
    Ok((words(&program.arguments)?, environment))
}

/// Home folder of the user, from the container's own table.
fn home() -> CString {
    let uid = rustix::process::getuid().as_raw().to_string();
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = text
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&uid.as_str()));
    let folder =
        line.and_then(|fields| fields.get(5).map(|folder| (*folder).to_owned())).filter(|folder| !folder.is_empty());
    CString::new(format!("HOME={}", folder.unwrap_or_else(|| "/".to_owned()))).unwrap_or_default()
}

/// Installs the filter, and hands its descriptor to who listens.
fn filter(filter: &Filter, ready: &Ready<'_>) -> Result<(), Failure> {
    let told = |error: io::Error| Failure(format!("linux.seccomp: {error}"));
    let (Some(wanted), Some(listener)) = (&filter.listener, &ready.listener) else {
        return seccomp::filter(&filter.program, filter.flags).map_err(told);
    };
    // Handing it over takes calls that the filter may refuse: a helper without it does so, by the table of descriptors that both share.
    let (number, done) = (SharedNumber::new().map_err(told)?, SharedNumber::new().map_err(told)?);
    let state = serde_json::json!({
        "ociVersion": SECCOMP_STATE,
        "fds": ["seccompFd"],
        "pid": ready.seen_as,
        "metadata": wanted.metadata,
        "state": ready.state,
    })
    .to_string();
    let Some(helper) = clone::clone_with_descriptors().map_err(told)? else {
        hand_over(&number, listener, &state);
        done.set(1);
        clone::leave(0)
    };
    let result = seccomp::filter_with_listener(&filter.program, filter.flags);
    number.set(result.as_ref().map_or(-1, AsRawFd::as_raw_fd));
    while done.get() == 0 {
        std::hint::spin_loop();
    }
    seccomp::reap(helper);
    result.map(drop).map_err(told)
}

fn hand_over(number: &SharedNumber, listener: &OwnedFd, state: &str) {
    const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_micros(50);
    // A process that ended before it had a filter leaves nobody to wait for.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    while number.get() == 0 {
        std::thread::sleep(LOOK_AGAIN);
    }
    if let Ok(descriptor) = descriptors::copy(number.get()) {
        let _ = exchange::send_descriptor(listener.as_fd(), descriptor.as_fd(), state.as_bytes());
    }
}
