//! What the container's first process does to itself: the steps of the plan, one after the other, and then the program.
//!
//! It is a copy of a process with one thread, so it may allocate; it never returns, and what went wrong goes up the connection as text.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use hull_oci_core::plan::{Held, Mount, Plan, Source, Step};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::exchange;
use super::sources::Sources;
use super::tree::Tree;
use crate::sys::{clone, program};

/// Where the root file system is attached until it becomes the root: a folder that every node has, and that is not `/proc`, which must
/// stay in sight for a new `/proc` to be allowed in a user namespace (mount_namespaces(7)).
const LANDING: &str = "/run";

/// Search path of a container whose environment has none (execvp(3)).
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Performs the steps and becomes the program.
pub(super) fn run(plan: &Plan, sources: Sources, connection: &OwnedFd, output: &OwnedFd) -> ! {
    let problem = match become_program(plan, sources, connection, output) {
        Ok(never) => match never {},
        Err(problem) => problem,
    };
    exchange::send_text(connection, &problem);
    clone::leave(1)
}

/// There is no value of it: success does not return.
enum Never {}

fn become_program(plan: &Plan, sources: Sources, connection: &OwnedFd, output: &OwnedFd) -> Result<Never, String> {
    prepare(output).map_err(|error| format!("set up the standard streams: {error}"))?;
    let mut process = NewProcess { sources, connection, received: None, tree: None };
    for (index, step) in plan.steps.iter().enumerate() {
        process.perform(index, step).map_err(|error| format!("{step}: {error}"))?;
    }
    execute(&plan.program.arguments, &plan.program.environment)
}

/// A session of its own, empty input, output to the log, default signals, and nothing else open in the program.
fn prepare(output: &OwnedFd) -> io::Result<()> {
    rustix::process::setsid()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    clone::set_stdio(null.as_fd(), output.as_fd())?;
    clone::close_on_exec_from_3()?;
    clone::reset_signals();
    Ok(())
}

struct NewProcess<'a> {
    sources: Sources,
    connection: &'a OwnedFd,
    /// The root file system, until it is attached.
    received: Option<OwnedFd>,
    /// The root file system, once it is attached.
    tree: Option<Tree>,
}

impl NewProcess<'_> {
    fn perform(&mut self, index: usize, step: &Step) -> io::Result<()> {
        match step {
            Step::BecomeRoot => self.become_root(),
            Step::NewCgroupNamespace => clone::unshare(libc::CLONE_NEWCGROUP as u64),
            Step::HostName(name) => Ok(rustix::system::sethostname(name.as_bytes())?),
            Step::DomainName(name) => Ok(rustix::system::setdomainname(name.as_bytes())?),
            Step::KeepMounts => {
                let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
                Ok(rustix::mount::mount_change("/", flags)?)
            }
            Step::AttachRoot => self.attach_root(),
            Step::Mount(mount) => self.mount(index, mount),
            Step::Device(path) => {
                let bind = self.sources.take(index).ok_or(Errno::NODEV)?;
                Ok(self.tree()?.bind(path, &bind)?)
            }
            Step::Link { path, target } => Ok(self.tree()?.link(path, target)?),
            Step::Mask(path) => Ok(self.tree()?.mask(path)?),
            Step::Seal(path) => Ok(self.tree()?.seal(path)?),
            Step::EnterRoot => self.enter_root(),
            Step::Bound(bits) => bound(*bits),
            Step::User { uid, gid, groups, umask } => become_user(*uid, *gid, groups, *umask),
            Step::Hold(held) => hold(*held),
            Step::WorkingDirectory(path) => enter(path),
            Step::NoNewPrivileges => Ok(rustix::thread::set_no_new_privs(true)?),
            Step::DieWithParent => self.die_with_parent(),
            Step::Filter(filter) => program::filter(filter),
        }
    }

    /// The root file system comes when the id maps are written: until then this process is nobody.
    fn wait_for_root(&mut self) -> io::Result<()> {
        if self.received.is_none() && self.tree.is_none() {
            self.received = Some(exchange::receive_descriptor(self.connection)?);
        }
        Ok(())
    }

    fn become_root(&mut self) -> io::Result<()> {
        self.wait_for_root()?;
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        Ok(rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?)
    }

    fn attach_root(&mut self) -> io::Result<()> {
        self.wait_for_root()?;
        let mount = self.received.take().ok_or(Errno::INVAL)?;
        let landing = rustix::fs::open(LANDING, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        super::attach(mount.as_fd(), landing.as_fd())?;
        self.tree = Some(Tree::new(mount));
        Ok(())
    }

    fn tree(&mut self) -> io::Result<&mut Tree> {
        self.tree.as_mut().ok_or_else(|| Errno::INVAL.into())
    }

    fn mount(&mut self, index: usize, mount: &Mount) -> io::Result<()> {
        let bind = self.sources.take(index);
        let tree = self.tree()?;
        match (&mount.source, bind) {
            (Source::New { kind, name, options }, _) => {
                Ok(tree.mount_new(&mount.target, kind, name, options, &mount.attributes)?)
            }
            (Source::Bind { .. }, Some(bind)) => Ok(tree.bind(&mount.target, &bind)?),
            (Source::Bind { .. }, None) => Err(Errno::NOENT.into()),
        }
    }

    /// pivot_root(2), NOTES: with both paths `.` the old root ends up above the new one, where it is detached.
    fn enter_root(&mut self) -> io::Result<()> {
        // Dropped here with every descriptor of a mount: none is left that leads around the root.
        let tree = self.tree.take().ok_or(Errno::INVAL)?;
        let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::process::fchdir(tree.root())?;
        rustix::process::pivot_root(".", ".")?;
        rustix::process::fchdir(&old)?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir("/")?)
    }

    /// A parent that died before this call sends no signal any more; its end of the connection tells.
    fn die_with_parent(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut fds = [PollFd::new(self.connection, PollFlags::HUP)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        match fds[0].revents().contains(PollFlags::HUP) {
            true => Err(Errno::PIPE.into()),
            false => Ok(()),
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

fn become_user(uid: u32, gid: u32, groups: &[u32], umask: u32) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // What is permitted stays for the next step; what is in force goes.
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::process::umask(Mode::from_raw_mode(umask));
    Ok(())
}

fn hold(held: Held) -> io::Result<()> {
    let set = CapabilitySet::from_bits_retain;
    let sets = CapabilitySets {
        effective: set(held.effective),
        permitted: set(held.permitted),
        inheritable: set(held.inheritable),
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_keep_capabilities(false)?;
    rustix::thread::clear_ambient_capability_set()?;
    for capability in each(held.ambient) {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// The kernel names a folder outside of the root `(unreachable)…` (getcwd(2)): CVE-2024-21626.
fn enter(path: &str) -> io::Result<()> {
    rustix::process::chdir(path)?;
    let here = rustix::process::getcwd(Vec::new())?;
    if here.as_bytes().first() == Some(&b'/') { Ok(()) } else { Err(Errno::XDEV.into()) }
}

/// Looks the program up as execvp(3) does, in the container's own search path, and becomes it.
fn execute(arguments: &[String], environment: &[String]) -> Result<Never, String> {
    let name = arguments.first().map_or("", String::as_str);
    let paths: Vec<String> = match name.contains('/') {
        true => vec![name.to_owned()],
        false => {
            let search = environment.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(SEARCH);
            search.split(':').map(|folder| format!("{}/{name}", if folder.is_empty() { "." } else { folder })).collect()
        }
    };
    let words = |texts: &[String]| -> Result<Vec<CString>, String> {
        let zero = |text: &String| format!("execute {name}: {text:?} has a zero byte in it");
        texts.iter().map(|text| CString::new(text.as_bytes()).map_err(|_| zero(text))).collect()
    };
    let (arguments, environment) = (words(arguments)?, words(environment)?);
    let mut last = io::Error::from(Errno::NOENT);
    for path in words(&paths)? {
        let error = program::execute(&path, &arguments, &environment);
        match Errno::from_io_error(&error) {
            // Nothing of that name here: keep an error that says more.
            Some(Errno::NOENT | Errno::NOTDIR) => {}
            Some(Errno::ACCESS) => last = error,
            _ => return Err(format!("execute {name}: {error}")),
        }
    }
    Err(format!("execute {name}: {last}; is it in the image, together with the interpreter that it names?"))
}
