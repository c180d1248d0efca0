//! The control socket: one request a connection, answers in packets, each connection as fast as its reader.
//!
//! An answer is never stored: a connection remembers where it is in it, and the next packet is made when the socket takes one.
#![allow(clippy::result_large_err, reason = "a refusal is plain text, and nothing here may allocate")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_init_core::control::{
    self, Follow, Node as NodeAnswer, Refusal, Request, Response, SOCKET, Service, ServiceState, SwapFrom,
    Trial as TrialAnswer, line,
};
use hull_init_core::health::Verdict;
use hull_init_core::limits::{LOG_PIECE_BYTES, MAX_CONNECTIONS, PACKET_BYTES};
use hull_init_core::log_ring::Ring;
use hull_init_core::shutdown::Goal;
use hull_init_core::supervisor::{Event, Id, Millis, State};
use rustix::event::epoll::EventFlags;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    send, socket_with,
};

use crate::jobs::Job;
use crate::node::Trial;
use crate::pid1::{Pid1, Source, now};

/// Packets one connection gets in one turn of the loop.
const SHARE: usize = 32;

/// Connections and what each is doing.
#[derive(Default)]
pub(crate) struct Connections {
    listener: Option<OwnedFd>,
    open: [Option<Connection>; MAX_CONNECTIONS],
    accepted: u64,
}

struct Connection {
    socket: OwnedFd,
    answer: Answer,
    serial: u64,
}

/// One client: its place in the table, and which of all that ever had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    index: usize,
    serial: u64,
}

/// After its request nothing more is read from a client: only its end is of interest.
const UNTIL_IT_HANGS_UP: EventFlags = EventFlags::RDHUP;

/// Where a connection is in its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing asked yet.
    Unasked,
    /// The next packet of `status`.
    Status { next: usize },
    /// The next byte of a log.
    Log { which: Which, position: u64, follow: Follow },
    /// A child mode answers.
    Job,
}

/// One of the logs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Init,
    Update,
    Service(Id),
}

/// What is sent next.
enum Next {
    Packet(Response, Answer),
    Last(Response),
    /// Nothing now; a follower waits for more.
    Later,
}

impl Connections {
    /// Its socket, as long as it is there.
    pub(crate) fn socket(&self, client: Client) -> Option<BorrowedFd<'_>> {
        let connection = self.open.get(client.index)?.as_ref()?;
        (connection.serial == client.serial).then_some(connection.socket.as_fd())
    }

    fn client(&self, index: usize) -> Option<Client> {
        Some(Client { index, serial: self.open.get(index)?.as_ref()?.serial })
    }
}

/// The listening socket: root only, by its mode and by [`Pid1::accept`].
fn listening() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let _ = rustix::fs::unlink(SOCKET); // usually there is none
    bind(&socket, &SocketAddrUnix::new(SOCKET)?)?;
    rustix::fs::chmod(SOCKET, Mode::from_raw_mode(0o600))?;
    listen(&socket, MAX_CONNECTIONS as i32)?;
    Ok(socket)
}

impl Pid1 {
    /// Starts to listen.
    pub(crate) fn open_control(&mut self) -> rustix::io::Result<()> {
        let listener = listening()?;
        self.watch(listener.as_fd(), Source::Control, EventFlags::IN)?;
        self.connections.listener = Some(listener);
        Ok(())
    }

    /// Takes connections; one too many, or one that is not root's, is closed at once.
    pub(crate) fn accept(&mut self) {
        for _ in 0..MAX_CONNECTIONS {
            let Some(listener) = &self.connections.listener else { return };
            let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
            let is_root = rustix::net::sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid.is_root());
            let free = self.connections.open.iter().position(Option::is_none);
            if let (true, Some(index)) = (is_root, free)
                && self.watch(socket.as_fd(), Source::Connection(index as u8), EventFlags::IN).is_ok()
            {
                self.connections.accepted += 1;
                let serial = self.connections.accepted;
                self.connections.open[index] = Some(Connection { socket, answer: Answer::Unasked, serial });
            }
        }
    }

    /// Something happened on a connection: a request, room for more, or its end.
    pub(crate) fn serve(&mut self, index: usize, flags: EventFlags) {
        let Some(connection) = self.connections.open.get(index).and_then(Option::as_ref) else { return };
        if connection.answer == Answer::Unasked {
            return self.take_request(index);
        }
        if flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR) {
            // A job goes on without its reader: what it changes is not undone by a closed terminal.
            return self.close(self.connections.client(index));
        }
        self.go_on_answering(index);
    }

    fn take_request(&mut self, index: usize) {
        let mut packet = [0; PACKET_BYTES];
        let Some(connection) = &self.connections.open[index] else { return };
        let length = match recv(&connection.socket, &mut packet[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => return,
            Ok((_, length)) if length > 0 => length,
            Ok(_) | Err(_) => return self.close(self.connections.client(index)),
        };
        let answer = match control::decode::<Request>(&packet[..length.min(PACKET_BYTES)]) {
            Ok(request) => self.begin(index, &request),
            Err(_) => Err(Refusal::new(
                "request",
                "understand it",
                "it is of another version",
                "use the hullctl of the running release",
            )),
        };
        match answer {
            Ok(answer) => {
                if let Some(connection) = &mut self.connections.open[index] {
                    connection.answer = answer;
                }
                self.go_on_answering(index);
            }
            Err(refusal) => self.answer_and_close(self.connections.client(index), &Response::Refused(refusal)),
        }
    }

    fn begin(&mut self, index: usize, request: &Request) -> Result<Answer, Refusal> {
        if self.shutdown.is_some() && !matches!(request, Request::Status | Request::Logs { .. }) {
            return Err(Refusal::new("node", "take the request", "it is stopping", "ask again when it is back"));
        }
        match request {
            Request::Status => return Ok(Answer::Status { next: 0 }),
            Request::Logs { name, follow } => {
                let which = self.log_of(name).ok_or_else(|| self.no_service(name, "show its log"))?;
                let position = self.ring(which).map_or(0, Ring::start);
                return Ok(Answer::Log { which, position, follow: *follow });
            }
            Request::UpdateStage { path } => return self.job(Job::Stage, &["stage", path], index),
            Request::UpdateStatus => return self.job(Job::Slots, &["slots"], index),
            Request::UpdateSwap { from } => {
                self.may_swap(*from)?;
                return self.job(Job::KexecLoad, &["kexec-load"], index);
            }
            Request::Restart { name } => {
                let id = self.table.find(name).ok_or_else(|| self.no_service(name, "restart"))?;
                self.log.info(format_args!("{name}: restart asked for"));
                self.step(Event::RestartAsked(id));
            }
            Request::Reboot => self.begin_end(Goal::Reboot, "hullctl reboot"),
            Request::Poweroff => self.begin_end(Goal::Poweroff, "hullctl poweroff"),
        }
        self.answer_and_close(self.connections.client(index), &Response::Done);
        Ok(Answer::Job)
    }

    /// What does not run on this system would fail the trial of the next one: nobody should find that out by an outage.
    fn may_swap(&self, from: SwapFrom) -> Result<(), Refusal> {
        let time = now();
        match (from, self.verdict(time, time)) {
            (SwapFrom::Whatever, _) | (SwapFrom::Healthy, Verdict::Good) => Ok(()),
            (SwapFrom::Healthy, Verdict::Failed(missing) | Verdict::Undecided(missing)) => Err(Refusal::new(
                "the staged slot",
                "swap to",
                &control::format_line(format_args!("the node is not healthy: {missing}")),
                "mend that first, for the trial would fail by it; `hullctl update swap --force` swaps all the same",
            )),
        }
    }

    fn job(&mut self, job: Job, arguments: &[&str], index: usize) -> Result<Answer, Refusal> {
        self.start_job(job, arguments, self.connections.client(index)).map(|()| Answer::Job)
    }

    fn no_service(&self, name: &str, operation: &str) -> Refusal {
        let mut known: heapless::String<200> = heapless::String::new();
        for entry in &self.table.entries {
            // What does not fit is in `hullctl status`.
            let _ = known.push_str(&entry.service.name).and_then(|()| known.push(' '));
        }
        let object = control::format_line(format_args!("service {name}"));
        let remedy = control::format_line(format_args!("name one of: {known}"));
        Refusal::new(&object, operation, "there is no such service", &remedy)
    }

    fn log_of(&self, name: &str) -> Option<Which> {
        match name {
            "init" => Some(Which::Init),
            "update" => Some(Which::Update),
            name => self.table.find(name).map(Which::Service),
        }
    }

    fn ring(&self, which: Which) -> Option<&Ring> {
        match which {
            Which::Init => Some(&self.log.ring),
            Which::Update => Some(&self.jobs.ring),
            Which::Service(id) => self.table.entries.get(id.index()).map(|entry| &entry.ring),
        }
    }

    /// Sends packets until the socket is full, the answer at its end or its share of the turn used.
    fn go_on_answering(&mut self, index: usize) {
        for _ in 0..SHARE {
            let Some(connection) = &self.connections.open[index] else { return };
            let (packet, after) = match self.next_packet(connection.answer) {
                Next::Packet(packet, after) => (packet, Some(after)),
                Next::Last(packet) => (packet, None),
                Next::Later => {
                    return self.rewatch(connection.socket.as_fd(), Source::Connection(index as u8), UNTIL_IT_HANGS_UP);
                }
            };
            let mut buffer = [0; PACKET_BYTES];
            let Ok(bytes) = control::encode(&packet, &mut buffer) else {
                return self.close(self.connections.client(index));
            };
            match (send(&connection.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL), after) {
                (Ok(_), Some(after)) => {
                    if let Some(connection) = &mut self.connections.open[index] {
                        connection.answer = after;
                    }
                }
                (Err(Errno::AGAIN), _) => break,
                (Ok(_), None) | (Err(_), _) => return self.close(self.connections.client(index)),
            }
        }
        if let Some(connection) = &self.connections.open[index] {
            let events = UNTIL_IT_HANGS_UP | EventFlags::OUT;
            self.rewatch(connection.socket.as_fd(), Source::Connection(index as u8), events);
        }
    }

    fn next_packet(&self, answer: Answer) -> Next {
        match answer {
            Answer::Unasked | Answer::Job => Next::Later,
            Answer::Status { next } => self.status_packet(next),
            Answer::Log { which, position, follow } => self.log_packet(which, position, follow),
        }
    }

    fn log_packet(&self, which: Which, position: u64, follow: Follow) -> Next {
        let mut piece: heapless::Vec<u8, LOG_PIECE_BYTES> = heapless::Vec::new();
        let Some(ring) = self.ring(which) else { return Next::Last(Response::Done) };
        let _ = piece.resize(LOG_PIECE_BYTES, 0); // to its capacity
        let read = ring.read(position, &mut piece);
        let after = |position| Answer::Log { which, position, follow };
        if read.lost > 0 {
            return Next::Packet(Response::LogLost { bytes: read.lost }, after(position + read.lost));
        }
        piece.truncate(read.copied);
        match (read.copied, follow) {
            (0, Follow::Forever) => Next::Later,
            (0, Follow::UntilNow) => Next::Last(Response::Done),
            (_, _) => Next::Packet(Response::Log(piece), after(read.next)),
        }
    }

    fn status_packet(&self, next: usize) -> Next {
        let (services, complaints) = (self.table.entries.len(), self.config.complaints());
        let packet = match next {
            0 => Response::Node(self.node_answer(now())),
            n if n - 1 < services => Response::Service(self.service_answer(Id((n - 1) as u8), now())),
            n if n - 1 - services < complaints.len() => Response::Complaint(complaints[n - 1 - services].clone()),
            n => match self.node.notes.get(n - 1 - services - complaints.len()) {
                Some(note) => Response::Note(note.clone()),
                None => return Next::Last(Response::Done),
            },
        };
        Next::Packet(packet, Answer::Status { next: next + 1 })
    }

    fn node_answer(&self, time: Millis) -> NodeAnswer {
        let node = &self.node;
        let network = self.table.entries.iter().find(|entry| entry.service.name == "network");
        NodeAnswer {
            name: node.name.clone(),
            version: node.version.clone(),
            root: node.root.clone(),
            uptime_ms: time.0,
            up_after_ms: node.up_at.map(|up| up.since(node.started)),
            state: node.state.clone(),
            addresses: network.map(|entry| entry.status.clone()).unwrap_or_default(),
            kv_endpoint: self.config.kv_listen(),
            trial: self.trial_answer(time),
            swap_gap_ms: node.swap_gap_ms,
            allocations_since_up: crate::sys::alloc::since_up(),
            orphans_reaped: node.orphans,
            resident_kib: resident_kib(),
            lost_messages: self.config.complaints_lost() + node.notes_lost,
        }
    }

    fn trial_answer(&self, time: Millis) -> TrialAnswer {
        match &self.node.trial {
            Trial::None => TrialAnswer::None,
            Trial::Running { deadline, .. } => {
                let waiting_for = match self.verdict(time, *deadline) {
                    Verdict::Good => line(""),
                    Verdict::Failed(missing) | Verdict::Undecided(missing) => missing,
                };
                TrialAnswer::Running { left_ms: deadline.since(time), waiting_for }
            }
            Trial::Marking { .. } => {
                TrialAnswer::Running { left_ms: 0, waiting_for: line("the disk: the slot is being marked good") }
            }
            Trial::Good => TrialAnswer::Good,
            Trial::Failed { reason } => TrialAnswer::Failed { reason: reason.clone() },
        }
    }

    fn service_answer(&self, id: Id, time: Millis) -> Service {
        let entry = &self.table.entries[id.index()];
        let watched = self.supervisor.get(id);
        let (pid, reason) = (entry.pid(), entry.reason.clone());
        let state = match watched.map_or(State::Waiting, |service| service.state) {
            State::Waiting => ServiceState::Waiting,
            State::HeldBack => ServiceState::HeldBack { reason },
            State::Starting { since } => ServiceState::Starting { pid, for_ms: time.since(since) },
            State::Ready { since, .. } => ServiceState::Ready { pid, for_ms: time.since(since) },
            State::BackingOff { restart_at, .. } => ServiceState::BackingOff { in_ms: restart_at.since(time), reason },
            State::Stopping { .. } => ServiceState::Stopping { pid },
            State::Stopped(_) => ServiceState::Stopped { reason },
        };
        Service {
            name: entry.service.name.clone(),
            state,
            restarts: watched.map_or(0, |service| service.restarts),
            status: entry.status.clone(),
            memory_bytes: entry.group.as_ref().and_then(crate::cgroups::Group::memory),
        }
    }

    /// New lines for those who follow a log.
    pub(crate) fn feed_followers(&mut self) {
        for index in 0..MAX_CONNECTIONS {
            let Some(connection) = &self.connections.open[index] else { continue };
            let Answer::Log { which, position, .. } = connection.answer else { continue };
            if self.ring(which).is_some_and(|ring| ring.end() > position) {
                self.go_on_answering(index);
            }
        }
    }

    /// Sends the last packet and closes. A reader that takes nothing misses it.
    pub(crate) fn answer_and_close(&mut self, client: Option<Client>, packet: &Response) {
        let mut buffer = [0; PACKET_BYTES];
        if let Some(socket) = client.and_then(|client| self.connections.socket(client))
            && let Ok(bytes) = control::encode(packet, &mut buffer)
        {
            let _ = send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        self.close(client);
    }

    /// Forgets a connection, and nobody else's that has its place by now. A job may hold a copy of the socket, with which epoll would
    /// go on, so it is told.
    pub(crate) fn close(&mut self, client: Option<Client>) {
        let Some(client) = client else { return };
        let Some(socket) = self.connections.socket(client) else { return };
        self.unwatch(socket);
        self.connections.open[client.index] = None;
    }
}

/// PID 1's own resident memory, proc_pid_statm(5).
fn resident_kib() -> u32 {
    let mut buffer = [0; 128];
    let text = crate::files::read("/proc/self/statm", &mut buffer).unwrap_or(b"");
    let pages =
        text.split(|byte| *byte == b' ').nth(1).and_then(|word| core::str::from_utf8(word).ok()?.parse::<u32>().ok());
    pages.unwrap_or(0) * 4
}
