//! Events on their way to the daemon: one after the other, each until the daemon has it, so that their order is theirs. While the daemon
//! is down they wait.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::log::Log;
use crate::messages::event::{Envelope, Event, ForwardRequest};
use crate::messages::rpc::{Pair, Request, Response};
use crate::messages::{Any, Timestamp};
use crate::wire::{Connection, Frame, Kind};

/// How many events wait for a daemon that is down: those of a thousand short processes, some 200 kB. The oldest are left out then.
const WAITING_MAX: usize = 4096;

/// After which time a daemon that was down is looked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long one event may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The events that the daemon does not have yet.
pub(crate) struct Publisher {
    namespace: String,
    route: Route,
    waiting: VecDeque<Envelope>,
    /// When something is to be done that no descriptor tells.
    due: Option<Instant>,
    log: Log,
}

/// How events get to the daemon.
enum Route {
    /// By its socket.
    Socket { path: String, link: Option<Link> },
    /// By a program, a process an event: `containerd publish`.
    Program { program: PathBuf, address: String, pid: Option<u32> },
}

struct Link {
    connection: Connection,
    /// Number of the next call: odd, as a caller's are.
    next: u32,
    /// The call that is not answered.
    asked: Option<u32>,
}

impl Publisher {
    /// By the socket at `socket`, or by the program when there is none.
    pub(crate) fn new(namespace: &str, socket: &str, program: PathBuf, address: &str, log: Log) -> Publisher {
        let route = match socket.trim_start_matches("unix://") {
            "" => Route::Program { program, address: address.to_owned(), pid: None },
            path => Route::Socket { path: path.to_owned(), link: None },
        };
        Publisher { namespace: namespace.to_owned(), route, waiting: VecDeque::new(), due: None, log }
    }

    /// Tells an event, as soon as those before it are told.
    pub(crate) fn publish<E: Event>(&mut self, event: &E) {
        self.log.debug(|| format!("event {} {event:?}", E::TOPIC));
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.log.warning("the daemon takes no events: the oldest is left out");
        }
        self.waiting.push_back(Envelope {
            timestamp: Some(Timestamp::now()),
            namespace: self.namespace.clone(),
            topic: E::TOPIC.to_owned(),
            event: Some(Any { type_url: E::NAME.to_owned(), value: event.encode_to_vec() }),
        });
        self.advance();
    }

    /// Whether the daemon has all.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When [`Publisher::advance`] is to be called at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The connection, for poll(2).
    pub(crate) fn connection(&self) -> Option<&Connection> {
        match &self.route {
            Route::Socket { link: Some(link), .. } => Some(&link.connection),
            _ => None,
        }
    }

    /// Sends the next event, if it is its turn.
    pub(crate) fn advance(&mut self) {
        let now = Instant::now();
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        let late = self.due.take().is_some();
        let Some(envelope) = self.waiting.front() else { return };
        match &mut self.route {
            Route::Socket { path, link } => {
                if late && link.as_ref().is_some_and(|link| link.asked.is_some()) {
                    *link = None;
                }
                if link.is_none() {
                    *link = connect(path).ok().map(|socket| Link {
                        connection: Connection::new(socket),
                        next: 1,
                        asked: None,
                    });
                }
                let Some(open) = link else {
                    self.due = Some(now + AGAIN);
                    return;
                };
                if open.asked.is_some() {
                    return;
                }
                self.due = Some(now + if open.send(envelope).is_ok() { PATIENCE } else { AGAIN });
                if open.asked.is_none() {
                    *link = None;
                }
            }
            Route::Program { pid: Some(_), .. } => {}
            Route::Program { program, address, pid } => {
                *pid = run(program, address, envelope).ok();
                if pid.is_none() {
                    self.due = Some(now + AGAIN);
                }
            }
        }
    }

    /// The connection has something to say.
    pub(crate) fn receive(&mut self) {
        let Route::Socket { link, .. } = &mut self.route else { return };
        let Some(open) = link else { return };
        let frames = open.connection.flush().and_then(|()| open.connection.receive());
        let Ok(frames) = frames else {
            *link = None;
            self.due = Some(Instant::now() + AGAIN).filter(|_| !self.waiting.is_empty());
            return;
        };
        let answers = frames.into_iter().filter(|frame| frame.kind == Kind::Response);
        for frame in answers {
            if open.asked != Some(frame.stream) {
                continue;
            }
            open.asked = None;
            self.due = None;
            self.waiting.pop_front();
            let answer = Response::decode(&*frame.data).unwrap_or_default();
            if let Some(status) = answer.status.filter(|status| status.code != 0) {
                self.log.warning(&format!("the daemon refused an event: {}", status.message));
            }
        }
        if open.asked.is_none() {
            self.advance();
        }
    }

    /// A child has ended. Whether it was the one that published.
    pub(crate) fn ended(&mut self, ended: u32, status: u32) -> bool {
        let Route::Program { pid, .. } = &mut self.route else { return false };
        if *pid != Some(ended) {
            return false;
        }
        *pid = None;
        match status {
            0 => drop(self.waiting.pop_front()),
            _ => self.due = Some(Instant::now() + AGAIN),
        }
        self.advance();
        true
    }
}

impl Link {
    fn send(&mut self, envelope: &Envelope) -> std::io::Result<()> {
        let namespace = Pair { key: "containerd-namespace-ttrpc".to_owned(), value: envelope.namespace.clone() };
        let request = Request {
            service: "containerd.services.events.ttrpc.v1.Events".to_owned(),
            method: "Forward".to_owned(),
            payload: ForwardRequest { envelope: Some(envelope.clone()) }.encode_to_vec(),
            timeout: PATIENCE.as_nanos() as i64,
            metadata: vec![namespace],
        };
        let stream = self.next;
        self.next += 2;
        self.connection.send(&Frame { stream, kind: Kind::Request, data: request.encode_to_vec() })?;
        self.asked = Some(stream);
        Ok(())
    }
}

/// Connects without waiting: a daemon whose queue is full counts as down.
fn connect(path: &str) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn run(program: &PathBuf, address: &str, envelope: &Envelope) -> std::io::Result<u32> {
    let words = ["--address", address, "publish", "--topic", &envelope.topic, "--namespace", &envelope.namespace];
    let mut command = Command::new(program);
    let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let event = envelope.event.as_ref().map(Message::encode_to_vec).unwrap_or_default();
    if let Some(mut stdin) = child.stdin.take() {
        // Smaller than what a pipe holds; what a program that ends at once does not read is told by its status.
        let _ = stdin.write_all(&event);
    }
    Ok(child.id())
}
