//! `create` and `run`: a container out of a bundle. And `plan`, which only says how.

use std::cell::OnceCell;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_oci_core::oci::config::Spec;
use hull_oci_core::oci::plan::{self, Leave, Plan, Terminal};
use hull_oci_core::oci::read;
use hull_runtime::Failure;
use hull_runtime::cgroup::{Groups, Hierarchies};
use hull_runtime::create::{self, Keyring, Life, Request, Start};
use hull_runtime::life::{self, Force};
use hull_runtime::notify::{self, Listener};
use hull_runtime::state::Folder;
use hull_runtime::sys::clone::Child;
use hull_runtime::sys::{descriptors, signals};
use hull_runtime::{clock, exchange, facts, guard, terminal};
use lexopt::{Arg, Parser};
use rustix::process::{WaitId, WaitIdOptions};

use crate::exec::replace;
use crate::log;
use crate::options::{Flag, Global, flag, folder, next, number, path, take_id, unexpected};

/// Options of `create` and `run`.
struct Options {
    id: Option<String>,
    bundle: PathBuf,
    config: PathBuf,
    console: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    preserve: u32,
    leave: Leave,
    keyring: Keyring,
    after: After,
    end: End,
}

/// Where the runtime is while the container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It waits.
    Foreground,
    /// It is gone.
    Detached,
}

/// What happens to a container that has ended in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is deleted.
    Deleted,
    /// It stays.
    Kept,
}

fn options(parser: &mut Parser) -> Result<Options, Failure> {
    let mut options = Options {
        id: None,
        bundle: PathBuf::from("."),
        config: PathBuf::from("config.json"),
        console: None,
        pid_file: None,
        preserve: 0,
        leave: Leave::Pivot,
        keyring: Keyring::New,
        after: After::Foreground,
        end: End::Deleted,
    };
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("bundle") | Arg::Short('b') => options.bundle = path(parser)?,
            Arg::Long("config") | Arg::Short('f') => options.config = path(parser)?,
            Arg::Long("console-socket") => {
                options.console = Some(path(parser)?).filter(|path| !path.as_os_str().is_empty())
            }
            Arg::Long("pid-file") => options.pid_file = Some(path(parser)?),
            Arg::Long("preserve-fds") => options.preserve = number(parser, "--preserve-fds")?,
            Arg::Long("no-pivot") => set(parser, &mut options.leave, Leave::Move),
            Arg::Long("no-new-keyring") => set(parser, &mut options.keyring, Keyring::Callers),
            Arg::Long("detach") | Arg::Short('d') => set(parser, &mut options.after, After::Detached),
            Arg::Long("keep") => set(parser, &mut options.end, End::Kept),
            Arg::Long("no-subreaper") => drop(flag(parser)),
            Arg::Value(value) => take_id(&mut options.id, value)?,
            other => return Err(unexpected(&other)),
        }
    }
    options.preserve = options.preserve.saturating_add(listening());
    // A created container would keep the caller's other files open until it is started.
    descriptors::close_from(options.preserve.saturating_add(3));
    Ok(options)
}

/// How many sockets the caller listens on, which are handed through (sd_listen_fds(3)).
fn listening() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Tells the program of them: it is process 1, unless it shares the ids of others.
fn tell_listening(spec: &mut Spec) {
    let (count, names) = (listening(), std::env::var("LISTEN_FDNAMES").ok());
    if let Some(process) = spec.process.as_mut().filter(|_| count > 0) {
        replace(&mut process.env, &format!("LISTEN_FDS={count}"));
        replace(&mut process.env, "LISTEN_PID=1");
        if let Some(names) = names {
            replace(&mut process.env, &format!("LISTEN_FDNAMES={names}"));
        }
    }
}

/// Sets what a flag stands for.
fn set<T>(parser: &mut Parser, place: &mut T, value: T) {
    if flag(parser) == Flag::Set {
        *place = value;
    }
}

/// A bundle and what is to be done for it.
struct Bundle {
    folder: PathBuf,
    bytes: Vec<u8>,
    spec: Spec,
    plan: Plan,
    hierarchies: Hierarchies,
}

/// The configuration's path is from the bundle, unless it is absolute.
fn read_bundle(global: &Global, options: &Options, notified: Option<&Folder>) -> Result<Bundle, Failure> {
    let path = &options.bundle;
    let folder = fs::canonicalize(path).map_err(|error| Failure(format!("bundle {}: {error}", path.display())))?;
    let file = folder.join(&options.config);
    let bytes = fs::read(&file).map_err(|error| Failure(format!("read {}: {error}", file.display())))?;
    let mut spec = read::spec(&bytes)?;
    tell_listening(&mut spec);
    if let Some(container) = notified {
        notify::offer(&mut spec, container);
    }
    let hierarchies = Hierarchies::find();
    let plan = plan::plan(&spec, &facts::facts(&hierarchies, options.leave))?;
    log::missed(global, plan.identity.as_ref().map_or(&[], |identity| &identity.missed));
    Ok(Bundle { folder, bytes, spec, plan, hierarchies })
}

/// Prints the plan of a bundle.
pub(crate) fn plan(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let mut options = options(parser)?;
    if let Some(bundle) = options.id.take() {
        options.bundle = PathBuf::from(bundle);
    }
    crate::log::say_as_is!("{}", read_bundle(global, &options, None)?.plan);
    Ok(())
}

/// Makes a container that waits for `start`.
pub(crate) fn create(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    guard::protect()?;
    let options = options(parser)?;
    let folder = folder(global, options.id.clone())?;
    let address = notify::address();
    let bundle = read_bundle(global, &options, address.as_ref().map(|_| &folder))?;
    let console = console(&bundle.plan, &options, After::Detached)?;
    warn_of_company(global, &bundle);
    let prepare = || address.as_ref().map_or(Ok(()), |_| notify::make(&folder));
    let (child, _) = create::create(request(&folder, &bundle, &options, Start::Waits, console, &prepare))?;
    match write_pid(options.pid_file.as_deref(), child.pid.as_raw_nonzero().get()) {
        Ok(()) => Ok(()),
        Err(failure) => {
            let _ = life::delete(&folder, Force::Yes);
            Err(failure)
        }
    }
}

/// Makes a container, starts it, and in the foreground waits for its end and deletes it.
pub(crate) fn run(global: &Global, parser: &mut Parser) -> Result<u8, Failure> {
    guard::protect()?;
    let options = options(parser)?;
    let folder = folder(global, options.id.clone())?;
    let address = notify::address();
    let bundle = read_bundle(global, &options, address.as_ref().map(|_| &folder))?;
    if bundle.spec.process.is_none() {
        return Err(Failure("config.json: process: missing".to_owned()));
    }
    warn_of_company(global, &bundle);
    let signals = match options.after {
        // Before the container exists, so that no signal is lost.
        After::Foreground => Some(signals::all().map_err(|error| Failure(format!("block signals: {error}")))?),
        After::Detached => None,
    };
    let own_terminal =
        bundle.plan.terminal != Terminal::None && options.after == After::Foreground && options.console.is_none();
    let (mine, console) = match own_terminal {
        true => exchange::pair()
            .map(|(mine, theirs)| (Some(mine), Some(theirs)))
            .map_err(|error| Failure(error.to_string()))?,
        false => (None, console(&bundle.plan, &options, options.after)?),
    };
    let listener = OnceCell::new();
    let prepare = || match &address {
        None => Ok(()),
        Some(_) => notify::make(&folder)
            .and_then(|()| Listener::bind(&folder))
            .map(|bound| listener.set(bound).unwrap_or_default()),
    };
    let (child, record) = create::create(request(&folder, &bundle, &options, Start::AtOnce, console, &prepare))?;
    if let Err(failure) = write_pid(options.pid_file.as_deref(), child.pid.as_raw_nonzero().get()) {
        let _ = life::delete(&folder, Force::Yes);
        return Err(failure);
    }
    if !bundle.plan.hooks.poststart.is_empty() {
        life::after_start(&folder, &record).iter().for_each(|failure| log::warning(global, &failure.0));
    }
    if let (Some(listener), Some(address)) = (listener.into_inner(), address) {
        tell_when_ready(global, listener, &child, address, options.after)?;
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = wait(&child.pidfd, &signals, mine)?;
    if options.end == End::Deleted {
        life::delete(&folder, Force::Yes)?.iter().for_each(|failure| log::warning(global, &failure.0));
    }
    Ok(code)
}

/// Passes on that the container is ready: before a detached runtime ends, beside one that waits.
fn tell_when_ready(
    global: &Global,
    listener: Listener,
    child: &Child,
    address: String,
    after: After,
) -> Result<(), Failure> {
    let pid = child.pid.as_raw_nonzero().get();
    if after == After::Detached {
        return listener.forward(child.pidfd.as_fd(), pid, &address);
    }
    let process = child.pidfd.try_clone().map_err(|error| Failure(format!("copy a descriptor: {error}")))?;
    let global = global.clone();
    std::thread::spawn(move || {
        if let Err(failure) = listener.forward(process.as_fd(), pid, &address) {
            log::warning(&global, &failure.0);
        }
    });
    Ok(())
}

/// Says that a control group has processes already: limits and `kill --all` are theirs too.
fn warn_of_company(global: &Global, bundle: &Bundle) {
    let Some(group) = &bundle.plan.group else { return };
    let others = Groups::at(&bundle.hierarchies, group).processes().len();
    if others > 0 {
        log::warning(
            global,
            &format!("linux.cgroupsPath: container's cgroup is not empty: {others} process(es) found"),
        );
    }
}

/// Waits for the end of a child. Its exit status, 128 and the signal's number for one that was killed.
pub(crate) fn wait(pidfd: &OwnedFd, signals: &OwnedFd, console: Option<OwnedFd>) -> Result<u8, Failure> {
    use std::os::fd::AsFd;
    let told = |error: std::io::Error| Failure(format!("wait for the container: {error}"));
    let master = match &console {
        Some(console) => Some(exchange::receive_descriptor(console.as_fd()).map_err(told)?),
        None => None,
    };
    let raw = master.as_ref().map(|_| terminal::Raw::new());
    terminal::accompany(pidfd.as_fd(), signals, master.as_ref()).map_err(told)?;
    drop(raw);
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        .map_err(|error| told(error.into()))?;
    let code = status
        .and_then(|status| status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)));
    Ok(code.unwrap_or(255) as u8)
}

fn request<'a>(
    folder: &'a hull_runtime::state::Folder,
    bundle: &'a Bundle,
    options: &Options,
    start: Start,
    console: Option<OwnedFd>,
    prepare: &'a dyn Fn() -> Result<(), Failure>,
) -> Request<'a> {
    Request {
        folder,
        bundle: &bundle.folder,
        bytes: &bundle.bytes,
        spec: &bundle.spec,
        plan: &bundle.plan,
        hierarchies: &bundle.hierarchies,
        owner: facts::owner(),
        start,
        console,
        preserve: options.preserve,
        keyring: options.keyring,
        life: Life::OfItsOwn,
        user: owner_name(),
        now: clock::now(),
        prepare,
    }
}

/// Name of the user who runs this, by number when it has none.
fn owner_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    if uid == 0 {
        return "root".to_owned();
    }
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&number));
    line.and_then(|line| line.split(':').next()).map_or(number.clone(), str::to_owned)
}

/// Connects to where the terminal goes.
fn console(plan: &Plan, options: &Options, after: After) -> Result<Option<OwnedFd>, Failure> {
    match (plan.terminal, &options.console) {
        (Terminal::None, None) => Ok(None),
        (Terminal::None, Some(_)) => {
            Err(Failure("--console-socket: the container has no terminal; set process.terminal or leave it out".to_owned()))
        }
        (Terminal::Wanted(_), None) if after == After::Detached => {
            Err(Failure("process.terminal: cannot allocate tty if hull-oci will detach without setting console socket; give --console-socket".to_owned()))
        }
        (Terminal::Wanted(_), None) => Ok(None),
        (Terminal::Wanted(_), Some(path)) => create::connect(&path.to_string_lossy()).map(Some),
    }
}

/// Writes a process id to a file, whole or not at all.
pub(crate) fn write_pid(file: Option<&Path>, pid: i32) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    let new = file.with_file_name(name);
    fs::write(&new, pid.to_string())
        .and_then(|()| fs::rename(&new, file))
        .map_err(|error| Failure(format!("--pid-file: write {}: {error}", file.display())))
}
