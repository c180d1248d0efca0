//! What a container's first process does to itself: the steps of the plan one after the other, then who it is, and then the program.
//!
//! It is a copy of a process with one thread, so it may allocate; it never returns, and what went wrong goes up the connection as text.

mod console;
mod devices;
mod masks;
mod mounts;
mod tree;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use hull_oci_core::oci::mounts::propagation;
use hull_oci_core::oci::namespaces::Kind;
use hull_oci_core::oci::plan::{Leave, Place, Plan, Step};
use hull_oci_core::oci::process::Identity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{Gid, Uid};

use crate::cgroup;
use crate::create::{Life, type_of};
use crate::exchange::{self, Message};
use crate::identity::{self, Ready};
use crate::state::{Claim, State, Status};
use crate::sys::{clone, process, signals};
use crate::{Failure, hooks};
pub(crate) use console::{Console, become_terminal, open_in_root};
pub(crate) use devices::file_type;
pub(crate) use mounts::open_bind;
use tree::Tree;

/// What the new process inherits.
pub(crate) struct Ground {
    /// To the runtime.
    pub(crate) connection: OwnedFd,
    /// Namespaces to join, by kind.
    pub(crate) joins: Vec<(Kind, OwnedFd)>,
    /// For each step: the detached mount that the runtime has made for it.
    pub(crate) sources: Vec<Option<OwnedFd>>,
    /// Root file system on the host.
    pub(crate) rootfs: PathBuf,
    /// Folder of the control group by controller, where there is one.
    pub(crate) groups: Vec<(String, PathBuf)>,
    /// Control groups that it enters by itself.
    pub(crate) entrances: Vec<OwnedFd>,
    /// Where a terminal goes.
    pub(crate) console: Console,
    /// On which `start` comes; without it the program is executed at once.
    pub(crate) start: Option<OwnedFd>,
    /// Connected to who is told of filtered calls.
    pub(crate) listener: Option<OwnedFd>,
    /// Descriptors from 3 on that stay open for the program.
    pub(crate) preserve: u32,
    /// What becomes of it when the runtime ends.
    pub(crate) life: Life,
    /// Name of its session keyring.
    pub(crate) keyring: Option<String>,
    /// Its state, for hooks.
    pub(crate) state: State,
    /// On the container's folder, until it waits for its start.
    pub(crate) claim: Option<Claim>,
}

/// Performs the plan and becomes the program.
pub(crate) fn run(plan: &Plan, ground: Ground) -> ! {
    let connection = match ground.connection.try_clone() {
        Ok(connection) => connection,
        Err(_) => clone::leave(1),
    };
    let Failure(cause) = match become_program(plan, ground) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let _ = exchange::send(connection.as_fd(), &Message::Failed(cause));
    clone::leave(1)
}

/// There is no value of it: success does not return.
pub(crate) enum Never {}

fn become_program(plan: &Plan, mut ground: Ground) -> Result<Never, Failure> {
    signals::reset();
    let kept = identity::close_all_but_the_callers(ground.preserve).map_err(told("close descriptors at exec"))?;
    cgroup::enter(&ground.entrances).map_err(told("enter the control groups"))?;
    // Not held while it waits for its start.
    ground.entrances.clear();
    // Modes are as they are asked for; the program gets the usual mask back.
    rustix::process::umask(Mode::empty());
    wait_for_word(&ground).map_err(told("wait for the runtime"))?;
    let mut process = NewProcess { plan, ground, tree: None, terminal: None, labels: Vec::new(), kept, seen_as: 0 };
    if process.ground.listener.is_some() {
        process.seen_as = identity::seen_as();
    }
    process.labels = identity::open_labels(plan.identity.as_ref())?;
    for (index, step) in plan.steps.iter().enumerate() {
        process.perform(index, step).map_err(|error| match step {
            Step::Hooks => Failure(error.to_string()),
            step => Failure(match step.field() {
                Some(field) => format!("{field}: {step}: {error}"),
                None => format!("{step}: {error}"),
            }),
        })?;
    }
    rustix::process::setsid().map_err(|error| Failure(format!("make a session: {error}")))?;
    if let Some(terminal) = &process.terminal {
        console::become_terminal(terminal.as_fd()).map_err(told("make the terminal the standard streams"))?;
    }
    let (Some(own), Some(program)) = (&plan.identity, &plan.program) else {
        return Err(Failure("process: missing".to_owned()));
    };
    process.finish(own, program)
}

/// For `map_err`: what was done.
fn told(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

/// A caller that died before this call sends no signal any more; its end of the connection tells.
fn die_with_caller(connection: &OwnedFd) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let mut fds = [rustix::event::PollFd::new(connection, rustix::event::PollFlags::HUP)];
    rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    match fds[0].revents().contains(rustix::event::PollFlags::HUP) {
        true => Err(Errno::PIPE.into()),
        false => Ok(()),
    }
}

fn wait_for_word(ground: &Ground) -> io::Result<()> {
    match exchange::receive(ground.connection.as_fd())? {
        Message::Go => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

struct NewProcess<'a> {
    plan: &'a Plan,
    ground: Ground,
    /// The root file system, once it is attached and until it is the root.
    tree: Option<Tree>,
    /// The process's side of its terminal.
    terminal: Option<OwnedFd>,
    labels: Vec<OwnedFd>,
    /// The caller's descriptors that the program gets.
    kept: Vec<i32>,
    /// The process id that the runtime knows it by, where somebody is told.
    seen_as: i32,
}

impl NewProcess<'_> {
    fn perform(&mut self, index: usize, step: &Step) -> io::Result<()> {
        match step {
            Step::JoinNamespaces => self.join_namespaces(),
            Step::BecomeRoot => become_root(),
            Step::NewCgroupNamespace => clone::unshare(Kind::Cgroup.flag()),
            Step::NewTimeNamespace(offsets) => new_clocks(offsets),
            Step::Keyring => match &self.ground.keyring {
                Some(name) => keyring(name),
                None => Ok(()),
            },
            Step::HostName(name) => Ok(rustix::system::sethostname(name.as_bytes())?),
            Step::DomainName(name) => Ok(rustix::system::setdomainname(name.as_bytes())?),
            Step::Parameter { path, value, .. } => parameter(path, value),
            Step::AttachRoot(place) => self.attach_root(*place),
            Step::Mount(mount) => {
                let source = self.ground.sources.get_mut(index).and_then(Option::take);
                let groups = &self.ground.groups;
                let own = self.plan.namespaces.is_own(Kind::Cgroup);
                mounts::mount(tree(&mut self.tree)?, mount, source, groups, own)
            }
            Step::Device(node) => {
                let source = self.ground.sources.get_mut(index).and_then(Option::take);
                devices::make(tree(&mut self.tree)?, node, source)
            }
            Step::Link { path, target } => tree(&mut self.tree)?.link(path, target),
            Step::Folder(path) => {
                tree(&mut self.tree)?.working_folder(path);
                Ok(())
            }
            Step::Console => {
                let terminal = console::make(tree(&mut self.tree)?, &self.ground.console, self.plan)?;
                self.terminal = Some(terminal);
                Ok(())
            }
            Step::Hooks => self.hooks(),
            Step::Mask(path) => masks::mask(tree(&mut self.tree)?, path),
            Step::Seal(path) => masks::seal(tree(&mut self.tree)?, path),
            Step::Finish(path) => masks::finish(tree(&mut self.tree)?, path),
            Step::SealRoot => masks::seal_root(tree(&mut self.tree)?),
            Step::EnterRoot(how) => self.enter_root(*how),
            Step::Propagate(flags) => propagate("/", *flags),
            Step::ChangeRoot => {
                // Dropped here with every descriptor of a mount, as where the root is left.
                let tree = self.tree.take().ok_or(Errno::INVAL)?;
                rustix::process::fchdir(tree.root())?;
                rustix::process::chroot(".")?;
                Ok(rustix::process::chdir("/")?)
            }
        }
    }

    fn join_namespaces(&mut self) -> io::Result<()> {
        for (kind, namespace) in self.ground.joins.drain(..) {
            // The process was made in those.
            if matches!(kind, Kind::Pid | Kind::User) || is_in(kind, &namespace) {
                continue;
            }
            rustix::thread::move_into_link_name_space(namespace.as_fd(), type_of(kind))
                .map_err(|error| io::Error::other(format!("{}: {error}", kind.name())))?;
        }
        Ok(())
    }

    /// Puts this process's mounts apart and attaches the root file system to itself: pivot_root(2) wants a mount.
    fn attach_root(&mut self, place: Place) -> io::Result<()> {
        let wanted = self.plan.root.propagation;
        let (own, inwards) = (propagation::PRIVATE, propagation::SLAVE);
        if place == Place::Apart {
            // A view of what cannot be bound cannot be had: that is for the new root, and until then the mounts are nobody's peers.
            propagate("/", if wanted & propagation::UNBINDABLE != 0 { own | propagation::REC } else { wanted })?;
        }
        // What the host mounts below the root later is seen in it where that is asked for, and never the other way around.
        let root = if place == Place::Apart && wanted & inwards != 0 { inwards } else { own };
        let all_changed = wanted & propagation::REC != 0 && wanted & propagation::SHARED == 0;
        if place == Place::Apart && !all_changed {
            keep_to_itself(&self.ground.rootfs, root)?;
        }
        self.tree = Some(Tree::attach(&self.ground.rootfs, root)?);
        Ok(())
    }

    fn hooks(&mut self) -> io::Result<()> {
        let hooks = &self.plan.hooks;
        let connection = self.ground.connection.as_fd();
        if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
            exchange::send(connection, &Message::Hooks)?;
            wait_for_word(&self.ground)?;
        }
        if hooks.create_container.is_empty() {
            return Ok(());
        }
        // They find the container's files where they are.
        match &self.tree {
            Some(tree) => rustix::process::fchdir(tree.root())?,
            None => rustix::process::chdir(&self.ground.rootfs)?,
        }
        let state = self.state();
        hooks::run("createContainer", &hooks.create_container, &state).map_err(|failure| io::Error::other(failure.0))
    }

    /// The state, with the process id that hooks in the container's namespaces see.
    fn state(&self) -> State {
        State { pid: std::process::id() as i32, ..self.ground.state.clone() }
    }

    /// pivot_root(2), NOTES: with both paths `.` the old root ends up above the new one, where it is detached.
    fn enter_root(&mut self, how: Leave) -> io::Result<()> {
        // Dropped here with every descriptor of a mount: none is left that leads around the root.
        let tree = self.tree.take().ok_or(Errno::INVAL)?;
        let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::process::fchdir(tree.root())?;
        match how {
            Leave::Pivot => {
                rustix::process::pivot_root(".", ".")?;
                rustix::process::fchdir(&old)?;
                // What happens here to the old root and to all that is mounted in it must not happen on the host.
                propagate(".", propagation::SLAVE | propagation::REC)?;
                rustix::mount::unmount(".", UnmountFlags::DETACH)?;
            }
            Leave::Move => {
                uncover(&self.ground.rootfs)?;
                rustix::mount::mount_move(".", "/")?;
                rustix::process::chroot(".")?;
            }
        }
        Ok(rustix::process::chdir("/")?)
    }

    fn finish(mut self, own: &Identity, program: &hull_oci_core::oci::process::Program) -> Result<Never, Failure> {
        let connection = self.ground.connection.try_clone().map_err(|error| Failure(error.to_string()))?;
        let state = self.state();
        let hooks = &self.plan.hooks.start_container;
        let ready = Ready {
            identity: own,
            program,
            labels: std::mem::take(&mut self.labels),
            in_user_namespace: self.plan.namespaces.is_own(Kind::User),
            listener: self.ground.listener.take(),
            state: State { pid: self.seen_as, ..state.clone() },
            seen_as: self.seen_as,
            kept: std::mem::take(&mut self.kept),
            terminal: self.terminal.as_ref().map(AsFd::as_fd),
        };
        let (start, life, claim) = (self.ground.start.take(), self.ground.life, self.ground.claim.take());
        let wait = |connection| {
            // After its last change of user, which undoes it, and before a filter that may refuse it.
            if life == Life::WithCaller {
                die_with_caller(&connection).map_err(told("die with the caller"))?;
            }
            // Nothing that leads to the host is open while others may look into this process.
            drop(claim);
            match start {
                None => Ok(connection),
                Some(start) => wait_for_start(connection, &start),
            }
        };
        // In the container, and so with what its program has. It is created by then, and about to be started.
        let created = State { status: Status::Created.name(), ..state };
        let last = || hooks::run_with("startContainer", hooks, &created, Some(&program.environment));
        identity::become_program(ready, connection, wait, last)
    }
}

/// Tells the runtime that all is there, and waits for `start` to connect. What goes wrong from then on is told to that.
fn wait_for_start(connection: OwnedFd, start: &OwnedFd) -> Result<OwnedFd, Failure> {
    let told = |error: io::Error| Failure(format!("wait for start: {error}"));
    exchange::send(connection.as_fd(), &Message::Ready).map_err(told)?;
    drop(connection);
    loop {
        match rustix::net::accept_with(start, rustix::net::SocketFlags::CLOEXEC) {
            Ok(connection) => return Ok(connection),
            Err(Errno::INTR) => {}
            Err(error) => return Err(told(error.into())),
        }
    }
}

/// Whether this process is in a namespace already. By the host's /proc, which is in sight until the root is entered.
fn is_in(kind: Kind, namespace: &OwnedFd) -> bool {
    let own = rustix::fs::stat(format!("/proc/self/ns/{}", kind.file()));
    let number = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    own.is_ok_and(|own| rustix::fs::fstat(namespace).is_ok_and(|that| number(own) == number(that)))
}

/// What the root file system is attached to must be nobody's peer, whatever the mounts above it are: pivot_root(2) wants that, and nothing of
/// it shall be seen on the host. `how` is private, or inwards only.
fn keep_to_itself(rootfs: &std::path::Path, how: u64) -> io::Result<()> {
    for folder in rootfs.ancestors() {
        match propagate(&folder.to_string_lossy(), how) {
            // No mount begins here.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {}
            done => return done,
        }
    }
    Ok(())
}

fn tree(tree: &mut Option<Tree>) -> io::Result<&mut Tree> {
    tree.as_mut().ok_or_else(|| Errno::INVAL.into())
}

fn become_root() -> io::Result<()> {
    // Where setgroups is denied the groups stay as they are: nobody's.
    match rustix::thread::set_thread_groups(&[]) {
        Err(Errno::PERM) => {}
        result => result?,
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    Ok(rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?)
}

/// time_namespaces(7): offsets are written before a process is in it; setns(2) then moves this one.
fn new_clocks(offsets: &str) -> io::Result<()> {
    clone::unshare(Kind::Time.flag())?;
    if !offsets.is_empty() {
        std::fs::write("/proc/self/timens_offsets", offsets)?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::open("/proc/self/ns/time_for_children", flags, Mode::empty())?;
    Ok(rustix::thread::move_into_link_name_space(namespace.as_fd(), type_of(Kind::Time))?)
}

/// A kernel without keys, or a filter around the runtime that refuses them, is no reason not to run.
fn keyring(name: &str) -> io::Result<()> {
    match process::join_session_keyring(name) {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOSYS | Errno::PERM | Errno::DQUOT)) => Ok(()),
        result => result,
    }
}

/// By the host's own /proc, which no container has furnished, and only where that is one (CVE-2025-52881).
fn parameter(path: &str, value: &str) -> io::Result<()> {
    const PROC: u64 = 0x9fa0;
    let file = rustix::fs::open(format!("/proc/sys/{path}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::fstatfs(&file)?.f_type as u64 != PROC {
        return Err(Errno::XDEV.into());
    }
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// What is moved over stays in the namespace: with a whole /proc or /sys among it the kernel would let a user namespace in the container
/// mount a new one, without the masks. So those go before. Nothing of it must happen on the host, nor must it see what is moved over its root.
fn uncover(rootfs: &std::path::Path) -> io::Result<()> {
    const COVERED: [Errno; 3] = [Errno::INVAL, Errno::NOENT, Errno::NOTDIR];
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let of = |line: &str| {
        let (mount, system) = line.split_once(" - ")?;
        let place = PathBuf::from(mount.split(' ').nth(4)?.replace("\\040", " "));
        let kernel = system.starts_with("proc ") || system.starts_with("sysfs ");
        (!place.starts_with(rootfs)).then_some((place, kernel))
    };
    let places: Vec<(PathBuf, bool)> = text.lines().filter_map(of).collect();
    for (place, _) in &places {
        match propagate(&place.to_string_lossy(), propagation::SLAVE) {
            // Covered by another: neither it nor anything below can be reached.
            Err(error) if COVERED.map(Some).contains(&Errno::from_io_error(&error)) => {}
            done => done?,
        }
    }
    for (place, _) in places.iter().rev().filter(|(_, kernel)| *kernel) {
        match rustix::mount::unmount(place, UnmountFlags::DETACH) {
            // Locked, or gone with another.
            Err(Errno::INVAL | Errno::NOENT) => {}
            done => done?,
        }
    }
    Ok(())
}

fn propagate(path: &str, flags: u64) -> io::Result<()> {
    let flags = MountPropagationFlags::from_bits_retain(MountFlags::from_bits_retain(flags as u32).bits());
    Ok(rustix::mount::mount_change(path, flags)?)
}
