//! The services as the shell sees them: processes, pipes, sockets, logs. Their states are the supervisor's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_init_core::cmdline::Config;
use hull_init_core::control::Line;
use hull_init_core::limits::LOG_BYTES;
use hull_init_core::log_ring::Ring;
use hull_init_core::services::{Health, Output, Ready, Restart, Service, StateNeed};
use hull_init_core::supervisor::Id;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cgroups::Group;
use crate::sys::process::Child;

/// Where the services' notify sockets are.
pub(crate) const NOTIFY_FOLDER: &str = "/run/hull/notify/";

/// Connections that may wait in a service's socket while it starts: what the kernel allows anyway.
const BACKLOG: i32 = 4096;

/// A pipe whose read end never blocks and whose write end does: a program that writes faster than PID 1 reads waits.
pub(crate) struct LogPipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

impl LogPipe {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&read, fcntl_getfl(&read)? | OFlags::NONBLOCK)?;
        Ok(Self { read, write })
    }
}

/// One service.
pub(crate) struct Entry {
    pub(crate) service: Service,
    pub(crate) child: Option<Child>,
    pub(crate) pipe: LogPipe,
    pub(crate) notify: OwnedFd,
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) group: Option<Group>,
    pub(crate) ring: Ring,
    /// Its last STATUS=.
    pub(crate) status: Line,
    /// Why it is not healthy, ended or is held back.
    pub(crate) reason: Line,
}

impl Entry {
    /// Makes everything a service needs before its first start. Error: one line, what and why.
    pub(crate) fn new(service: Service) -> Result<Self, String> {
        let told = |what: &str| {
            let name = service.name.clone();
            let what = what.to_owned();
            move |error: rustix::io::Errno| format!("service {name}: {what}: {error}; it is left out")
        };
        let pipe = LogPipe::new().map_err(told("make its log pipe"))?;
        let notify = notify_socket(&service).map_err(told("bind its notify socket"))?;
        let mut sockets = Vec::new();
        for path in &service.listen {
            sockets.push(listening_socket(path).map_err(told(&format!("bind {path}")))?);
        }
        // Without control groups services still run, in PID 1's own.
        let group = Group::of_service(&service.name, service.memory_bytes()).ok();
        let ring = Ring::new(LOG_BYTES);
        Ok(Self { service, child: None, pipe, notify, sockets, group, ring, status: Line::new(), reason: Line::new() })
    }

    /// Starts it.
    pub(crate) fn spawn(&mut self, config: &Config) -> Result<(), i32> {
        let group = self.group.as_ref().map(Group::folder);
        let log: BorrowedFd<'_> = self.pipe.write.as_fd();
        match crate::spawn::service(&self.service, config, group, log, &self.sockets) {
            Ok(child) => {
                self.child = Some(child);
                self.status.clear();
                Ok(())
            }
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::EAGAIN)),
        }
    }

    /// Sends a signal to its main process, if there is one.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        if let Some(child) = &self.child {
            let _ = rustix::process::pidfd_send_signal(&child.pidfd, signal); // it may be gone already
        }
    }

    /// Asks it to stop. What has a terminal is told that it hangs up, for an interactive shell ignores SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
        if self.service.output == Output::Console {
            self.signal(rustix::process::Signal::HUP);
        }
    }

    /// SIGKILL to all of it.
    pub(crate) fn kill(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
        self.signal(rustix::process::Signal::KILL);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, |child| child.pid.as_raw_nonzero().get() as u32)
    }
}

fn notify_socket(service: &Service) -> rustix::io::Result<OwnedFd> {
    let path = crate::files::path(&[NOTIFY_FOLDER, &service.name]);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    let _ = rustix::fs::unlink(path.as_str()); // of an earlier life; usually there is none
    bind(&socket, &SocketAddrUnix::new(path.as_str())?)?;
    rustix::fs::chmod(path.as_str(), Mode::from_raw_mode(0o600))?;
    let (uid, gid) = (rustix::process::Uid::from_raw(service.uid), rustix::process::Gid::from_raw(service.gid));
    rustix::fs::chown(path.as_str(), Some(uid), Some(gid))?;
    Ok(socket)
}

fn listening_socket(path: &str) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let _ = rustix::fs::unlink(path); // of an earlier life; usually there is none
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// All services, at the supervisor's indices.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

impl Table {
    pub(crate) fn find(&self, name: &str) -> Option<Id> {
        self.entries.iter().position(|entry| entry.service.name == name).map(|index| Id(index as u8))
    }

    pub(crate) fn get(&mut self, id: Id) -> Option<&mut Entry> {
        self.entries.get_mut(id.index())
    }

    pub(crate) fn find_pid(&self, pid: rustix::process::Pid) -> Option<Id> {
        let is_it = |entry: &Entry| entry.child.as_ref().is_some_and(|child| child.pid == pid);
        self.entries.iter().position(is_it).map(|index| Id(index as u8))
    }
}

/// The services that PID 1 brings along: the network, and the console's program if one is wanted.
pub(crate) fn built_in(config: &Config) -> Vec<Service> {
    let mut services = vec![own("network", &["/proc/self/exe", "net"])];
    services[0].health = Health::Ignored;
    let words: Vec<&str> = config.console().collect();
    let program = match words.as_slice() {
        [] => return services,
        ["hullctl"] => vec!["/usr/bin/hullctl", "console"],
        words => words.to_vec(),
    };
    let mut console = own("console", &program);
    (console.output, console.ready, console.health) = (Output::Console, Ready::Started, Health::Ignored);
    console.oom_score_adj = 0;
    services.push(console);
    services
}

fn own(name: &str, exec: &[&str]) -> Service {
    let text = |word: &&str| hull_init_core::control::cut(word);
    Service {
        name: hull_init_core::control::cut(name),
        exec: exec.iter().take(hull_init_core::limits::MAX_ARGUMENTS).map(text).collect(),
        environment: heapless::Vec::new(),
        uid: 0,
        gid: 0,
        capabilities: [hull_init_core::control::cut("all")].into_iter().collect(),
        after: heapless::Vec::new(),
        ready: Ready::Notify,
        health: Health::Ready,
        restart: Restart::Always,
        state: StateNeed::Any,
        directories: heapless::Vec::new(),
        listen: heapless::Vec::new(),
        stop_seconds: 2,
        watchdog_seconds: 0,
        start_seconds: 0, // whoever offers addresses may come later
        memory_max: heapless::String::new(),
        oom_score_adj: -500,
        output: Output::Log,
    }
}
