//! From PID 1 to a program: what a child does between clone and exec. It is a copy of PID 1, so it may allocate; PID 1 does not.

use std::ffi::CString;
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use hull_init_core::cmdline::Config;
use hull_init_core::services::{Output, Service, expand};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::sys::process::{Child, Cloned, clone_into, leave, move_fd};
use crate::sys::signal;

/// Exit code of a child that could not become its program; the reason is the last line of its log. systemd uses the same.
pub(crate) const NOT_BECOME: i32 = 203;

/// Open files a service may have: what a store with many watchers needs, far below the kernel's own bound.
const OPEN_FILES: u64 = 65_536;

/// Capabilities there are.
const CAPABILITIES: u32 = 41;

/// The program of PID 1 itself, for its child modes; works although the initramfs was emptied.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Starts a service in its cgroup. `log` takes its output, `sockets` are passed as sd_listen_fds(3) says.
pub(crate) fn service(
    service: &Service,
    config: &Config,
    cgroup: Option<BorrowedFd<'_>>,
    log: BorrowedFd<'_>,
    sockets: &[OwnedFd],
) -> io::Result<Child> {
    match clone_into(cgroup)? {
        Cloned::Parent(child) => Ok(child),
        Cloned::Child => {
            let Err(error) = become_service(service, config, log, sockets);
            fail(&service.name, &error)
        }
    }
}

/// Starts a child mode of PID 1 with descriptor 3 as given, output to `log`.
pub(crate) fn own_mode(arguments: &[&str], log: BorrowedFd<'_>, third: Option<BorrowedFd<'_>>) -> io::Result<Child> {
    match clone_into(None)? {
        Cloned::Parent(child) => Ok(child),
        Cloned::Child => {
            let Err(error) = become_own_mode(arguments, log, third);
            fail(arguments.first().unwrap_or(&""), &error)
        }
    }
}

fn fail(name: &str, error: &dyn Display) -> ! {
    eprintln!("{name}: {error}");
    leave(NOT_BECOME)
}

/// What a child tried, and why it did not work: `open /dev/null: ENOENT`.
#[derive(Debug)]
struct Failure {
    what: String,
    cause: io::Error,
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)
    }
}

trait Doing<T> {
    fn doing(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|cause| Failure { what: what.to_string(), cause: cause.into() })
    }
}

enum Never {}

fn become_service(
    service: &Service,
    config: &Config,
    log: BorrowedFd<'_>,
    sockets: &[OwnedFd],
) -> Result<Never, Failure> {
    own_session(service.output, log)?;
    let adjustment = service.oom_score_adj.to_string();
    std::fs::write("/proc/self/oom_score_adj", adjustment).doing("set oom_score_adj")?;
    let most = Some(OPEN_FILES);
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).doing("limit open files")?;
    for directory in &service.directories {
        make_directory(directory, service.uid, service.gid)?;
    }
    pass(sockets)?;
    let (arguments, environment) = (arguments(service, config)?, environment(service, config, sockets)?);
    drop_rights(service)?;
    exec(&arguments, &environment)
}

fn become_own_mode(arguments: &[&str], log: BorrowedFd<'_>, third: Option<BorrowedFd<'_>>) -> Result<Never, Failure> {
    own_session(Output::Log, log)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).doing("open /dev/null")?;
    move_fd(third.unwrap_or(null.as_fd()), 3).doing("pass the connection")?;
    let words = [OWN_PROGRAM].iter().chain(arguments);
    let arguments: Vec<CString> = words.map(|word| c_string(word)).collect::<Result<_, _>>()?;
    exec(&arguments, &[c_string("PATH=/usr/sbin:/usr/bin:/sbin:/bin")?])
}

/// Leaves everything of PID 1 behind: signals, session, standard streams.
fn own_session(output: Output, log: BorrowedFd<'_>) -> Result<(), Failure> {
    rustix::process::setsid().doing("begin a session")?;
    match output {
        Output::Log => {
            move_fd(log, 1).and_then(|()| move_fd(log, 2)).doing("connect the log")?;
            let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing("open /dev/null")?;
            move_fd(null.as_fd(), 0).doing("connect /dev/null")?;
        }
        Output::Console => {
            let path = crate::console::terminal();
            let terminal = open(path.as_str(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
            let terminal = terminal.doing(format_args!("open {path}"))?;
            // Without job control the program still works, so a console that cannot be taken is no failure.
            let _ = rustix::process::ioctl_tiocsctty(&terminal);
            for number in 0..=2 {
                move_fd(terminal.as_fd(), number).doing("connect the console")?;
            }
        }
    }
    signal::unblock_all();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::chdir("/").doing("enter /")
}

fn make_directory(path: &str, uid: u32, gid: u32) -> Result<(), Failure> {
    let doing = format!("make directory {path}");
    if let Some(parent) = std::path::Path::new(path).parent() {
        std::fs::create_dir_all(parent).doing(&doing)?;
    }
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error).doing(&doing),
    }
    let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    // Chowning what is right already would write to the disk at every start.
    let now = rustix::fs::stat(path).doing(&doing)?;
    if (now.st_uid, now.st_gid) != (uid, gid) {
        rustix::fs::chown(path, owner, group).doing(&doing)?;
    }
    Ok(())
}

/// Moves sockets to descriptors 3, 4, ...: first out of the way, for one of them may have such a number.
fn pass(sockets: &[OwnedFd]) -> Result<(), Failure> {
    const ABOVE: i32 = 64;
    let copies: Result<Vec<_>, _> =
        sockets.iter().map(|socket| rustix::io::fcntl_dupfd_cloexec(socket, ABOVE)).collect();
    for (number, socket) in (3..).zip(copies.doing("pass sockets")?.iter()) {
        move_fd(socket.as_fd(), number).doing("pass sockets")?;
    }
    Ok(())
}

fn arguments(service: &Service, config: &Config) -> Result<Vec<CString>, Failure> {
    service.exec.iter().map(|word| c_string(&expanded(word, config)?)).collect()
}

fn environment(service: &Service, config: &Config, sockets: &[OwnedFd]) -> Result<Vec<CString>, Failure> {
    let mut entries = vec![
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        "HOME=/".to_owned(),
        format!("NOTIFY_SOCKET={}{}", crate::table::NOTIFY_FOLDER, service.name),
    ];
    if service.output == Output::Console {
        entries.push("TERM=vt220".to_owned());
    }
    let pid = std::process::id();
    if service.watchdog_seconds > 0 {
        entries.push(format!("WATCHDOG_USEC={}", u64::from(service.watchdog_seconds) * 1_000_000));
        entries.push(format!("WATCHDOG_PID={pid}"));
    }
    if !sockets.is_empty() {
        let names: Vec<&str> = service.listen.iter().filter_map(|path| path.rsplit('/').next()).collect();
        entries.push(format!("LISTEN_FDS={}", sockets.len()));
        entries.push(format!("LISTEN_PID={pid}"));
        entries.push(format!("LISTEN_FDNAMES={}", names.join(":")));
    }
    for entry in &service.environment {
        entries.push(expanded(entry, config)?);
    }
    entries.iter().map(|entry| c_string(entry)).collect()
}

fn expanded(text: &str, config: &Config) -> Result<String, Failure> {
    let mut out = String::new();
    expand(text, |key| config.value_by_name(key), &mut |piece| out.push_str(piece)).map_err(|error| Failure {
        what: format!("expand {text}: {error:?}"),
        cause: io::ErrorKind::InvalidInput.into(),
    })?;
    Ok(out)
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).doing(format_args!("pass {text:?}"))
}

/// Keeps the capabilities that the service lists and nothing else, capabilities(7).
fn drop_rights(service: &Service) -> Result<(), Failure> {
    let bits = service.capability_bits().map_err(|fault| Failure {
        what: format!("set capabilities: {fault}"),
        cause: io::ErrorKind::InvalidInput.into(),
    })?;
    let kept = CapabilitySet::from_bits_truncate(bits);
    let everything = (0..CAPABILITIES).all(|number| bits & (1 << number) != 0);
    for number in (0..CAPABILITIES).filter(|number| bits & (1 << number) == 0) {
        remove_capability_from_bounding_set(one(number)).doing("narrow the bounding set")?;
    }
    set_thread_groups(&[]).doing("drop groups")?;
    let (uid, gid) = (Uid::from_raw(service.uid), Gid::from_raw(service.gid));
    set_thread_res_gid(gid, gid, gid).doing("set the group")?;
    set_keep_capabilities(true).doing("keep capabilities")?;
    set_thread_res_uid(uid, uid, uid).doing("set the user")?;
    set_keep_capabilities(false).doing("keep capabilities")?;
    if everything {
        return Ok(()); // whoever makes containers decides about privileges in them
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets).doing("set capabilities")?;
    for number in (0..CAPABILITIES).filter(|number| bits & (1 << number) != 0) {
        configure_capability_in_ambient_set(one(number), true).doing("set ambient capabilities")?;
    }
    set_no_new_privs(true).doing("renounce new privileges")
}

fn one(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}

fn exec(arguments: &[CString], environment: &[CString]) -> Result<Never, Failure> {
    let program =
        arguments.first().map(|word| std::ffi::OsStr::from_bytes(word.to_bytes()).to_owned()).unwrap_or_default();
    let error = crate::sys::process::exec(arguments, environment);
    Err(Failure { what: format!("exec {}", program.display()), cause: error })
}
