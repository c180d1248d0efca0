//! The performer: a copy of the shim that does one piece of work with the runtime's library, says how it went, and ends.
//!
//! Whatever takes long or much memory (hooks, a configuration, a terminal that is waited for) is not the shim's then: it never waits and
//! stays small. A process that the performer makes becomes the shim's child when the performer ends, since the shim is a subreaper.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hull_oci_core::oci::config::Process;
use hull_oci_core::oci::namespaces::{self, Kind};
use hull_oci_core::oci::plan::{self, Leave, Terminal};
use hull_oci_core::oci::process::Missed;
use hull_oci_core::oci::read;
use hull_runtime::cgroup::{Freezing, Hierarchies};
use hull_runtime::create::{self, Keyring, Life, Request, Start};
use hull_runtime::life::{self, Force};
use hull_runtime::state::Folder;
use hull_runtime::sys::clone::{self, Cloned, Parent};
use hull_runtime::sys::{descriptors, signals};
use hull_runtime::{Failure, clock, exchange, facts, join, update};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;

use crate::messages::report::Report;
use crate::messages::task::Mount;
use crate::refusal::{Code, Refusal};
use crate::stdio::{Logger, Streams, Tty};
use crate::{rootfs, sys};

/// How long a program that logs may take to be ready: containerd's own bound.
const LOGGER_PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A piece of work.
pub(crate) enum Work<'a> {
    /// Make the container.
    Create(Create<'a>),
    /// Let it execute its program.
    Start(&'a Folder),
    /// Execute another program in it.
    Join {
        /// The container.
        folder: &'a Folder,
        /// The specification's `process` as JSON.
        process: &'a [u8],
        /// Whether it has a terminal.
        terminal: Tty,
    },
    /// Remove it, and unmount its root.
    Delete(&'a Folder, &'a Path),
    /// Stop or continue all its processes.
    Freeze(&'a Folder, Freezing),
    /// Change its limits to these, the specification's `linux.resources` as JSON.
    Update(&'a Folder, &'a [u8]),
}

/// What a container is made of.
pub(crate) struct Create<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) bundle: &'a Path,
    pub(crate) rootfs: &'a [Mount],
    pub(crate) terminal: Tty,
    pub(crate) leave: Leave,
    pub(crate) keyring: Keyring,
    /// User and group of pipes and FIFOs among its streams, unless they are 0.
    pub(crate) owner: (u32, u32),
}

/// Starts a performer. What is returned tells its report, once.
///
/// # Errors
/// The kernel has no process or descriptor left.
pub(crate) fn begin(work: &Work<'_>, streams: Option<Streams>, console: Option<OwnedFd>) -> Result<OwnedFd, Refusal> {
    let told = |error: std::io::Error| Refusal::new(Code::Unknown, format!("begin the work: {error}"));
    let (mine, theirs) = exchange::pair().map_err(told)?;
    match clone::clone(None, 0, Parent::Caller).map_err(told)? {
        Cloned::Parent(_) => Ok(mine),
        Cloned::Child => {
            let report = prepare(&theirs, streams, console.as_ref())
                .and_then(|()| perform(work, console))
                .unwrap_or_else(|refusal| Report::failed(&refusal));
            let _ = rustix::net::send(&theirs, &report.to_packet(), rustix::net::SendFlags::NOSIGNAL);
            clone::leave(0)
        }
    }
}

/// Leaves nothing of the shim to what will be executed: no descriptor, no blocked signal.
fn prepare(theirs: &OwnedFd, streams: Option<Streams>, console: Option<&OwnedFd>) -> Result<(), Refusal> {
    let told = |error: std::io::Error| Refusal::new(Code::Unknown, format!("prepare the work: {error}"));
    signals::reset();
    let mut kept = vec![theirs.as_raw_fd()];
    kept.extend(console.map(AsRawFd::as_raw_fd));
    if let Some(Streams { input, output, errors, logger }) = streams {
        for (number, stream) in [&input, &output, &errors].into_iter().enumerate() {
            descriptors::place(stream.as_fd(), number as i32).map_err(told)?;
        }
        if let Some(logger) = logger {
            start_logger(logger)?;
        }
    }
    sys::close_all_but(&kept).map_err(told)
}

fn perform(work: &Work<'_>, console: Option<OwnedFd>) -> Result<Report, Refusal> {
    let done = |result: Result<(), Failure>| result.map(|()| Report::default()).map_err(Refusal::from);
    match work {
        Work::Create(work) => {
            rootfs::mount(work.rootfs, &work.bundle.join("rootfs"))?;
            make(work, console).inspect_err(|_| {
                if !work.rootfs.is_empty() {
                    let _ = rootfs::unmount(&work.bundle.join("rootfs"));
                }
            })
        }
        Work::Start(folder) => Ok(warned(life::start(folder)?)),
        Work::Join { folder, process, terminal } => enter(folder, process, *terminal, console),
        Work::Delete(folder, rootfs) => delete(folder, rootfs),
        Work::Freeze(folder, wanted) => done(folder.record().and_then(|record| record.groups().freeze(*wanted))),
        Work::Update(folder, resources) => {
            let resources = read::json(resources)
                .map_err(|refused| Refusal::new(Code::InvalidArgument, format!("resources: {refused}")))?;
            done(update::update(folder, resources))
        }
    }
}

fn make(work: &Create<'_>, console: Option<OwnedFd>) -> Result<Report, Refusal> {
    let file = work.bundle.join("config.json");
    let bytes = fs::read(&file).map_err(|error| Failure(format!("read {}: {error}", file.display())))?;
    let spec = read::spec(&bytes).map_err(Failure::from)?;
    let hierarchies = Hierarchies::find();
    let plan = plan::plan(&spec, &facts::facts(&hierarchies, work.leave)).map_err(Failure::from)?;
    match (plan.terminal, work.terminal) {
        (Terminal::None, Tty::None) | (Terminal::Wanted(_), Tty::Wanted) => {}
        _ => {
            let text = "config.json: process.terminal is not what the request's terminal says; make them the same";
            return Err(Refusal::new(Code::InvalidArgument, text));
        }
    }
    give_streams(work.owner);
    let (child, record) = create::create(Request {
        folder: work.folder,
        bundle: work.bundle,
        bytes: &bytes,
        spec: &spec,
        plan: &plan,
        hierarchies: &hierarchies,
        owner: facts::owner(),
        start: Start::Waits,
        console,
        preserve: 0,
        keyring: work.keyring,
        life: Life::OfItsOwn,
        user: "root".to_owned(),
        now: clock::now(),
        prepare: &create::nothing,
    })?;
    let pid = child.pid.as_raw_nonzero().get();
    // For people and tools that look into a bundle.
    let _ = fs::write(work.bundle.join("init.pid"), pid.to_string());
    let own =
        spec.linux.as_ref().map_or(Ok(namespaces::Namespaces::default()), |linux| namespaces::read(&linux.namespaces));
    let leads = own.is_ok_and(|own| own.is_new(Kind::Pid));
    let warnings = plan.identity.iter().flat_map(|identity| warnings(&identity.missed)).collect();
    Ok(Report { pid: pid as u32, group: record.cgroup, outlive: !leads, warnings, ..Report::default() })
}

/// Which capabilities are not given.
fn warnings(missed: &[Missed]) -> Vec<String> {
    missed.iter().map(Missed::to_string).collect()
}

/// The runtime gives them to the container's user, too; this is for who is asked for by options.
fn give_streams((user, group): (u32, u32)) {
    use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
    if (user, group) == (0, 0) {
        return;
    }
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if fstat(stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo) {
            let _ = fchown(stream, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        }
    }
}

fn enter(folder: &Folder, process: &[u8], terminal: Tty, console: Option<OwnedFd>) -> Result<Report, Refusal> {
    let mut process: Process =
        read::json(process).map_err(|refused| Refusal::new(Code::InvalidArgument, format!("process: {refused}")))?;
    process.terminal = terminal == Tty::Wanted;
    let (record, spec) = (folder.record()?, folder.spec()?);
    let facts = facts::facts(&Hierarchies::find(), Leave::Pivot);
    let (identity, program) = plan::joining(&spec, &process, &facts).map_err(Failure::from)?;
    let terminal = match terminal {
        Tty::None => Terminal::None,
        Tty::Wanted => Terminal::Wanted(process.console_size.as_ref().map(|size| (size.height, size.width))),
    };
    let child = join::join(join::Request {
        record: &record,
        spec: &spec,
        identity: &identity,
        program: &program,
        terminal,
        console,
        preserve: 0,
        cgroup: Vec::new(),
        processors: join::processors(&process)?,
    })
    .map_err(|failure| Failure(format!("exec failed: {failure}")))?;
    let pid = child.pid.as_raw_nonzero().get() as u32;
    Ok(Report { pid, warnings: warnings(&identity.missed), ..Report::default() })
}

/// Removes a container and unmounts its root. One that is not there, or half, is removed as far as it is.
pub(crate) fn delete(folder: &Folder, rootfs: &Path) -> Result<Report, Refusal> {
    let warnings = match folder.record() {
        Ok(_) => life::delete(folder, Force::Yes)?,
        Err(_) => life::discard(folder).map(|()| Vec::new())?,
    };
    rootfs::unmount(rootfs)?;
    Ok(warned(warnings))
}

/// Done, with hooks that failed.
fn warned(warnings: Vec<Failure>) -> Report {
    Report { warnings: warnings.into_iter().map(|failure| failure.0).collect(), ..Report::default() }
}

/// Starts a program that logs and waits until it is ready. It becomes the shim's child, and ends at the end of the streams.
fn start_logger(logger: Logger) -> Result<(), Refusal> {
    let Logger { program, arguments, of, output, errors } = logger;
    let told = |error: std::io::Error| Refusal::new(Code::Unknown, format!("start {}: {error}", program.display()));
    let (ready, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| told(error.into()))?;
    // Its end is closed where the program is executed; before that it tells why it is not.
    let (failed, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| told(error.into()))?;
    match clone::clone(None, 0, Parent::Caller).map_err(told)? {
        Cloned::Parent(_) => {}
        Cloned::Child => {
            let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 16);
            if let (Ok(output), Ok(errors), Ok(theirs), Ok(tell)) =
                (high(&output), high(&errors), high(&theirs), high(&tell))
            {
                let placed = [(output, 3), (errors, 4), (theirs, 5)]
                    .iter()
                    .all(|(fd, number)| descriptors::place(fd.as_fd(), *number).is_ok());
                if placed && descriptors::close_on_exec_from(6).is_ok() {
                    let null = || Stdio::null();
                    let mut command = Command::new(&program);
                    command.args(&arguments).envs([("CONTAINER_ID", of.id), ("CONTAINER_NAMESPACE", of.namespace)]);
                    let error = command.stdin(null()).stdout(null()).stderr(null()).exec();
                    let _ = rustix::io::write(&tell, &error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
                }
            }
            clone::leave(127)
        }
    }
    drop((theirs, tell));
    let mut number = [0; 4];
    if let Ok(4) = rustix::io::read(&failed, &mut number) {
        return Err(told(std::io::Error::from_raw_os_error(i32::from_ne_bytes(number))));
    }
    let mut wait = [PollFd::new(&ready, PollFlags::IN)];
    match poll(&mut wait, Some(&LOGGER_PATIENCE)) {
        Ok(0) => Err(Refusal::new(Code::Unknown, format!("start {}: not ready in time", program.display()))),
        _ => Ok(()),
    }
}

/// Where containers of a namespace are, below what the options name as root.
pub(crate) fn root(base: &str, namespace: &str) -> PathBuf {
    let base = if base.is_empty() { "/run/containerd/hull" } else { base };
    Path::new(base).join(namespace)
}
