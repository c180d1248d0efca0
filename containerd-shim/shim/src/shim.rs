//! What the shim knows: its containers, the work that goes on, who waits for an answer. And what it does when a process has ended.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hull_oci_core::oci::plan::Leave;
use hull_runtime::cgroup::{Freezing, Groups, Hierarchies};
use hull_runtime::create::Keyring;
use hull_runtime::state::Folder;
use prost::Message;
use rustix::event::PollFlags;
use rustix::process::WaitOptions;

use crate::console::Console;
use crate::input::{Feed, Input, More};
use crate::life::{Exit, Life, hold_back};
use crate::log::Log;
use crate::messages::event::{Event, TaskExit, TaskOOM};
use crate::messages::rpc::{Response, Status};
use crate::messages::task::{CreateTaskRequest, WaitResponse};
use crate::messages::{Timestamp, report::Report};
use crate::oom::Watch;
use crate::publish::Publisher;
use crate::refusal::{Code, Refusal};
use crate::stdio::{Behind, Held, Io};
use crate::wire::{Connection, Frame, Kind};

/// How long a shim that was told to end waits until its last events and answers are taken.
const FAREWELL: Duration = Duration::from_secs(3);

/// Who gets an answer: a call of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Number of the connection.
    pub(crate) connection: u64,
    /// The call.
    pub(crate) stream: u32,
}

/// What a call is answered with.
pub(crate) enum Answer {
    /// This message.
    Now(Vec<u8>),
    /// What comes of work that goes on.
    Later,
}

/// A process.
pub(crate) struct Process {
    pub(crate) io: Io,
    pub(crate) life: Life,
    pub(crate) held: Held,
    pub(crate) console: Option<Console>,
    /// Who waits for its end.
    pub(crate) waiting: Vec<Caller>,
    /// What it will be, as JSON, while it is only added.
    pub(crate) spec: Vec<u8>,
}

impl Process {
    pub(crate) fn new(io: Io, life: Life, spec: Vec<u8>) -> Process {
        Process { io, life, held: Held::default(), console: None, waiting: Vec::new(), spec }
    }

    fn input(&mut self) -> Option<&mut Input> {
        let fed = self.held.input.as_mut().map(Feed::input);
        fed.or_else(|| self.console.as_mut().and_then(Console::input))
    }

    /// From now on it reads what is said to it.
    pub(crate) fn begin_input(&mut self) {
        if let Some(input) = self.input() {
            input.begin();
        }
    }

    /// Nothing more will be said to it.
    pub(crate) fn close_input(&mut self) {
        if let Some(input) = self.input() {
            input.close();
        }
        self.pump();
    }

    /// Moves what is there, to it and from it.
    pub(crate) fn pump(&mut self) {
        if self.held.input.as_mut().is_some_and(|feed| feed.pump() == More::Never) {
            self.held.input = None;
        }
        if let Some(console) = &mut self.console {
            console.pump();
        }
    }

    /// What is waited for on its streams.
    pub(crate) fn interests(&self) -> Vec<(&OwnedFd, PollFlags)> {
        let mut wanted = self.console.as_ref().map(Console::interests).unwrap_or_default();
        wanted.extend(self.held.input.as_ref().and_then(Feed::interest));
        wanted
    }

    /// Lets go of its streams: their readers see the end.
    fn let_go(&mut self) {
        self.held = Held::default();
        self.pump();
    }
}

/// What happens to processes of a container whose first one has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// The kernel ends them.
    EndWithIt,
    /// They are to be killed.
    Outlive,
}

/// A container.
pub(crate) struct Container {
    pub(crate) bundle: PathBuf,
    pub(crate) folder: Folder,
    /// Path of its control group.
    pub(crate) group: String,
    pub(crate) others: Others,
    pub(crate) freezing: Freezing,
    pub(crate) watch: Option<Watch>,
    pub(crate) leave: Leave,
    pub(crate) keyring: Keyring,
    pub(crate) owner: (u32, u32),
    pub(crate) first: Process,
    /// By their ids.
    pub(crate) added: BTreeMap<String, Process>,
}

impl Container {
    /// A process of it, the first one by an empty id.
    pub(crate) fn process(&mut self, id: &str) -> Option<&mut Process> {
        if id.is_empty() { Some(&mut self.first) } else { self.added.get_mut(id) }
    }

    /// Its control groups.
    pub(crate) fn groups(&self) -> Groups {
        Groups::at(&Hierarchies::find(), &self.group)
    }
}

/// Work that goes on.
pub(crate) struct Job {
    /// Tells the report.
    pub(crate) report: OwnedFd,
    pub(crate) caller: Caller,
    /// Whose.
    pub(crate) id: String,
    pub(crate) kind: JobKind,
}

/// Which work.
pub(crate) enum JobKind {
    /// A container is made of this request; the terminal comes from the socket.
    Create(Box<CreateTaskRequest>, Option<(OwnedFd, Behind)>),
    /// Its program is executed.
    Start,
    /// A process enters, by its id; the terminal comes from the socket.
    Join(String, Option<(OwnedFd, Behind)>),
    /// It is removed.
    Delete,
    /// It is stopped or goes on.
    Freeze(Freezing),
    /// It gets other limits.
    Update,
}

/// Whether memory may be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// Something was done since it was.
    Worked,
    /// It was.
    Rested,
}

/// The shim.
pub(crate) struct Shim {
    pub(crate) namespace: String,
    pub(crate) log: Log,
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) jobs: BTreeMap<u64, Job>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) publisher: Publisher,
    /// When it ends at the latest.
    pub(crate) ending: Option<Instant>,
    effort: Effort,
    next: u64,
}

impl Shim {
    /// Without any container.
    pub(crate) fn new(namespace: String, publisher: Publisher, log: Log) -> Shim {
        let (containers, jobs, connections) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Shim { namespace, log, containers, jobs, connections, publisher, ending: None, effort: Effort::Worked, next: 0 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Somebody has connected.
    pub(crate) fn connected(&mut self, socket: OwnedFd) {
        let number = self.number();
        self.connections.insert(number, Connection::new(socket));
    }

    /// Work has begun.
    pub(crate) fn began(&mut self, job: Job) {
        let number = self.number();
        self.jobs.insert(number, job);
    }

    /// A connection is gone, and whoever waited on it.
    pub(crate) fn disconnect(&mut self, number: u64) {
        self.connections.remove(&number);
        for container in self.containers.values_mut() {
            for process in container.added.values_mut().chain([&mut container.first]) {
                process.waiting.retain(|caller| caller.connection != number);
            }
        }
    }

    /// Answers a call.
    pub(crate) fn answer(&mut self, caller: Caller, result: Result<Vec<u8>, Refusal>) {
        let response = match result {
            Ok(payload) => Response { status: None, payload },
            Err(refusal) => {
                self.log.debug(|| format!("refused: {}", refusal.message));
                let status = Status { code: refusal.code as i32, message: refusal.message };
                Response { status: Some(status), payload: Vec::new() }
            }
        };
        let Some(connection) = self.connections.get_mut(&caller.connection) else { return };
        let frame = Frame { stream: caller.stream, kind: Kind::Response, data: response.encode_to_vec() };
        if connection.send(&frame).is_err() {
            self.disconnect(caller.connection);
        }
    }

    /// Tells an event.
    pub(crate) fn publish<E: Event>(&mut self, event: &E) {
        self.publisher.publish(event);
    }

    /// Takes the report of work, if it is there.
    pub(crate) fn look_at_job(&mut self, number: u64) {
        let Some(job) = self.jobs.get(&number) else { return };
        let mut bytes = vec![0; 8192];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let report = match rustix::net::recv(&job.report, &mut bytes[..], flags) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Ok((length, _)) => Report::from_packet(&bytes[..length]),
            Err(_) => None,
        };
        let Some(job) = self.jobs.remove(&number) else { return };
        let killed = || format!("{}: the process that did the work was killed; see the kernel's log", job.id);
        let result = match report {
            Some(report) => report.result(),
            None => Err(Refusal::new(Code::Unknown, killed())),
        };
        self.finish(job, result);
    }

    /// Takes all reports that are there.
    pub(crate) fn look_at_jobs(&mut self) {
        let numbers: Vec<u64> = self.jobs.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.look_at_job(number));
    }

    /// Reaps what has ended. Reports come first: a process is known before its end is seen, however fast that comes, since a performer
    /// reports before it ends and only then do its children become the shim's.
    pub(crate) fn reap(&mut self) {
        self.look_at_jobs();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get() as u32;
            let signal = || status.terminating_signal().map(|signal| 128 + signal as u32);
            let status = status.exit_status().map(|status| status as u32).or_else(signal).unwrap_or(255);
            if self.publisher.ended(pid, status) {
                continue;
            }
            self.look_at_jobs();
            self.exited(pid, Exit { status, at: Timestamp::now() });
        }
    }

    fn exited(&mut self, pid: u32, exit: Exit) {
        let owns = |container: &Container| {
            let mut all = container.added.values().chain([&container.first]);
            all.any(|process| process.life.is_alive() && process.life.pid() == pid)
        };
        let Some(id) = self.containers.iter().find(|(_, container)| owns(container)).map(|(id, _)| id.clone()) else {
            return;
        };
        // What killed it is told before its end.
        self.look_at_memory(&id);
        let Some(container) = self.containers.get_mut(&id) else { return };
        if container.first.life.pid() == pid {
            container.first.life.exited(exit);
            container.first.let_go();
            if container.others == Others::Outlive {
                container.groups().signal(libc::SIGKILL);
            }
        } else if let Some(process) = container.added.values_mut().find(|process| process.life.pid() == pid) {
            process.life.exited(exit);
            process.let_go();
        }
        self.tell_ends(&id);
    }

    /// Tells the ends of a container's processes that may be told, its first one's last.
    pub(crate) fn tell_ends(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let mut told = Vec::new();
        for (exec, process) in &mut container.added {
            if let Some((pid, exit)) = process.life.tell() {
                told.push((exec.clone(), pid, exit, std::mem::take(&mut process.waiting)));
            }
        }
        if !hold_back(container.added.values().map(|process| &process.life))
            && let Some((pid, exit)) = container.first.life.tell()
        {
            told.push((id.to_owned(), pid, exit, std::mem::take(&mut container.first.waiting)));
        }
        for (process, pid, exit, waiting) in told {
            self.publish(&TaskExit {
                container_id: id.to_owned(),
                id: process,
                pid,
                exit_status: exit.status,
                exited_at: Some(exit.at),
            });
            self.answer_waiting(waiting, exit);
        }
    }

    /// Answers who waits for an end.
    pub(crate) fn answer_waiting(&mut self, waiting: Vec<Caller>, exit: Exit) {
        let answer = WaitResponse { exit_status: exit.status, exited_at: Some(exit.at) }.encode_to_vec();
        waiting.into_iter().for_each(|caller| self.answer(caller, Ok(answer.clone())));
    }

    /// Tells that the kernel killed at the memory limit, if it did.
    pub(crate) fn look_at_memory(&mut self, id: &str) {
        let watch = self.containers.get_mut(id).and_then(|container| container.watch.as_mut());
        if watch.is_some_and(Watch::take) {
            self.publish(&TaskOOM { container_id: id.to_owned() });
        }
    }

    /// No container is left and the daemon has said so: what is on the way goes out, then it ends.
    pub(crate) fn end(&mut self) {
        self.ending.get_or_insert_with(|| Instant::now() + FAREWELL);
    }

    /// Whether it has just come to rest: no work goes on and every event is told.
    pub(crate) fn has_rested(&mut self) -> bool {
        let rests = self.effort == Effort::Worked && self.jobs.is_empty() && self.publisher.is_idle();
        if rests {
            self.effort = Effort::Rested;
        }
        rests
    }

    /// Whether it ends now.
    pub(crate) fn is_over(&self) -> bool {
        let taken = self.publisher.is_idle() && self.connections.values().all(|connection| !connection.is_full());
        self.ending.is_some_and(|deadline| taken || Instant::now() >= deadline)
    }

    /// A connection has something to say, or takes more.
    pub(crate) fn serve(&mut self, number: u64) {
        self.effort = Effort::Worked;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let frames: io::Result<Vec<Frame>> = connection.flush().and_then(|()| connection.receive());
        let Ok(frames) = frames else {
            self.disconnect(number);
            return;
        };
        for frame in frames.into_iter().filter(|frame| frame.kind == Kind::Request) {
            self.call(Caller { connection: number, stream: frame.stream }, &frame.data);
        }
    }
}
