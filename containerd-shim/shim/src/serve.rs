//! The shim itself: one thread, one loop. It waits for whatever may happen next, does it, and never waits for anything else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use hull_runtime::Failure;
use hull_runtime::failure::failed;
use hull_runtime::sys::signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketFlags;

use crate::arguments::Arguments;
use crate::log::Log;
use crate::publish::Publisher;
use crate::shim::Shim;
use crate::sys::{self, memory::Text};

/// The descriptor of the listening socket that `start` hands over.
pub(crate) const LISTENER: i32 = 3;

/// What may happen.
enum Source {
    /// Somebody connects.
    Listener,
    /// A child ends.
    Signals,
    /// A connection has something to say, or takes more.
    Connection(u64),
    /// Work is done.
    Job(u64),
    /// Something is said to a process of a container, or by its terminal.
    Stream(String, String),
    /// The kernel killed in a container.
    Memory(String),
    /// The daemon answers.
    Daemon,
}

/// Serves until the daemon says that it is over.
///
/// # Errors
/// The kernel refuses what the loop needs.
pub(crate) fn serve(arguments: Arguments) -> Result<(), Failure> {
    let listener = sys::inherited(LISTENER).map_err(failed("take the socket that start hands over"))?;
    let signals = signals::all().map_err(failed("block signals"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(failed("become a subreaper"))?;
    let _ = rustix::thread::set_name(c"containerd-shim");
    let log = Log { detail: arguments.detail };
    let daemon = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
    let Arguments { namespace, address, publisher, .. } = arguments;
    let publisher = Publisher::new(&namespace, &daemon, publisher, &address, log);
    let mut shim = Shim::new(namespace, publisher, log);
    let text = Text::of_this_program();
    while !shim.is_over() {
        if shim.has_rested() {
            text.give_back();
        }
        let ready = wait(&shim, &listener, &signals).map_err(failed("wait"))?;
        for source in ready {
            happen(&mut shim, source, &listener, &signals);
        }
        shim.publisher.advance();
    }
    if let Ok(address) = rustix::net::getsockname(&listener)
        && let Ok(address) = rustix::net::SocketAddrUnix::try_from(address)
        && let Some(path) = address.path()
    {
        let _ = std::fs::remove_file(Path::new(&*String::from_utf8_lossy(path.to_bytes())));
    }
    Ok(())
}

/// Everything that is waited for.
fn sources<'a>(
    shim: &'a Shim,
    listener: &'a OwnedFd,
    signals: &'a OwnedFd,
) -> Vec<(Source, BorrowedFd<'a>, PollFlags)> {
    let mut sources =
        vec![(Source::Listener, listener.as_fd(), PollFlags::IN), (Source::Signals, signals.as_fd(), PollFlags::IN)];
    let flags = |full: bool| if full { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    for (number, connection) in &shim.connections {
        sources.push((Source::Connection(*number), connection.socket().as_fd(), flags(connection.is_full())));
    }
    for (number, job) in &shim.jobs {
        sources.push((Source::Job(*number), job.report.as_fd(), PollFlags::IN));
    }
    if let Some(connection) = shim.publisher.connection() {
        sources.push((Source::Daemon, connection.socket().as_fd(), flags(connection.is_full())));
    }
    for (id, container) in &shim.containers {
        if let Some(watch) = &container.watch {
            sources.push((Source::Memory(id.clone()), watch.fired().as_fd(), PollFlags::IN));
        }
        let first = [("", &container.first)].into_iter();
        let all = first.chain(container.added.iter().map(|(exec, process)| (exec.as_str(), process)));
        for (exec, process) in all {
            for (fd, interest) in process.interests() {
                sources.push((Source::Stream(id.clone(), exec.to_owned()), fd.as_fd(), interest));
            }
        }
    }
    sources
}

/// Waits until something happens, or something is due.
fn wait(shim: &Shim, listener: &OwnedFd, signals: &OwnedFd) -> rustix::io::Result<Vec<Source>> {
    let sources = sources(shim, listener, signals);
    let mut polled: Vec<PollFd<'_>> =
        sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    let due = [shim.publisher.due(), shim.ending].into_iter().flatten().min();
    let timeout = due.map(|due| {
        let left = due.saturating_duration_since(Instant::now());
        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
    });
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    let happened: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
    Ok(sources.into_iter().zip(happened).filter(|(_, happened)| *happened).map(|((source, ..), _)| source).collect())
}

fn happen(shim: &mut Shim, source: Source, listener: &OwnedFd, signals: &OwnedFd) {
    match source {
        Source::Listener => {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            if let Ok(socket) = rustix::net::accept_with(listener, flags) {
                shim.connected(socket);
            }
        }
        Source::Signals => {
            // Which one it was does not matter: a shim ends when the daemon says so, or by SIGKILL.
            while signals::next(signals.as_fd()).is_some() {}
            shim.reap();
        }
        Source::Connection(number) => shim.serve(number),
        Source::Job(number) => shim.look_at_job(number),
        Source::Stream(id, exec) => {
            if let Some(process) = shim.containers.get_mut(&id).and_then(|container| container.process(&exec)) {
                process.pump();
            }
        }
        Source::Memory(id) => shim.look_at_memory(&id),
        Source::Daemon => shim.publisher.receive(),
    }
}
