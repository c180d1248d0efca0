//! The driver's thread: gathers what is queued into one batch, writes it once, and looks after snapshots.
use std::{
    fmt, io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use hull_kv_core::{Caller, Scrub};
use hull_kv_proto::hullpb::{command::Op, question::About};
use raft::eraftpb::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{AnswerReply, Driver, Fate, MoveReply, Outlet, ProposalReply, ReadReply, Sent};
use crate::{
    limits::MAX_BATCH,
    peer::Word,
    snapfile::{self, Arrived, Effort, Written},
};

/// What the thread is told.
#[derive(Debug)]
pub enum Input {
    /// A command for the log.
    Propose(Op, Caller, ProposalReply),
    /// A read that must see every acknowledged write waits for this.
    Read(ReadReply),
    /// A question for the leader.
    Ask(About, AnswerReply),
    /// A word of another member, and the room it takes until it is heard.
    Heard(u64, Word, OwnedSemaphorePermit),
    /// That member cannot be reached at the moment.
    Unreachable(u64),
    /// That member closed its connection: it ended, most likely.
    Gone(u64),
    /// The cluster removed this member, says another one.
    Dismissed,
    /// The leader's snapshot, and the message it came with.
    Arrived(Box<(Message, Arrived)>),
    /// A snapshot for that member was sent.
    Sent(u64, Sent),
    /// Move leadership to that member; 0: to any, before a planned stop.
    MoveLeader(u64, MoveReply),
    /// A snapshot was written, or could not be.
    Snapshot(io::Result<Written>),
    /// Take a snapshot now; the answer comes once it is durable and the log is shorter.
    Shrink(oneshot::Sender<()>),
    /// Asks whether the thread turns.
    Alive(oneshot::Sender<()>),
    /// Finish what is queued and stop.
    Stop,
}

/// Why the thread ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Asked,
    /// The cluster removed this member.
    Removed,
    /// The disk lost what this member had acknowledged.
    Forgetful,
}

/// The thread, and how to reach it.
#[derive(Debug)]
pub struct Running {
    /// Where inputs go.
    pub inputs: Sender<Input>,
    thread: JoinHandle<io::Result<Ended>>,
}

impl Running {
    /// Waits until the thread has stopped.
    ///
    /// # Errors
    /// Why it stopped on its own.
    pub fn join(self) -> io::Result<Ended> {
        drop(self.inputs);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the log's thread panicked")))
    }
}

/// Where inputs come from, before there is a thread that takes them.
#[derive(Debug)]
pub struct Inputs {
    /// Where inputs go.
    pub sender: Sender<Input>,
    receiver: Receiver<Input>,
}

impl Default for Inputs {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

/// Starts the thread. `stopped` is told when it ends, for whatever reason.
///
/// # Errors
/// No thread can be started, or the first election could not be written.
pub fn start(
    mut driver: Driver,
    inputs: Inputs,
    mut outlet: Box<dyn Outlet + Send>,
    stopped: oneshot::Sender<()>,
) -> io::Result<Running> {
    if driver.alone() {
        driver.campaign();
    }
    driver.members_changed(&mut *outlet);
    let now = driver.shared.now();
    driver.turn(now, &mut *outlet)?;
    driver.introduce();
    driver.turn(now, &mut *outlet)?;
    let Inputs { sender, receiver } = inputs;
    let runner =
        Runner { driver, outlet, receiver, inputs: sender.clone(), snapshot: Snapshot::Idle, shrinks: Vec::new() };
    let thread = Builder::new().name("log".into()).spawn(move || {
        let result = runner.run();
        let _ = stopped.send(());
        result
    })?;
    Ok(Running { inputs: sender, thread })
}

/// Whether a snapshot is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Snapshot {
    Idle,
    Writing(Effort),
}

/// Whether the thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Turn,
    Stop,
}

struct Runner {
    driver: Driver,
    outlet: Box<dyn Outlet + Send>,
    receiver: Receiver<Input>,
    inputs: Sender<Input>,
    snapshot: Snapshot,
    shrinks: Vec<oneshot::Sender<()>>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("driver", &self.driver).finish_non_exhaustive()
    }
}

impl Runner {
    fn run(mut self) -> io::Result<Ended> {
        let mut scrub = Scrub::Done;
        loop {
            let next = self.gather(scrub);
            let now = self.driver.shared.now();
            self.driver.on_time(now);
            let fate = self.driver.turn(now, &mut *self.outlet)?;
            let ended = match (fate, next) {
                (Fate::Removed, _) => Some(Ended::Removed),
                (Fate::Forgetful, _) => Some(Ended::Forgetful),
                (Fate::Goes, Next::Stop) => Some(Ended::Asked),
                (Fate::Goes, Next::Turn) => None,
            };
            if let Some(ended) = ended {
                self.driver.stop();
                return Ok(ended);
            }
            scrub = self.upkeep();
        }
    }

    /// Waits for something to do, then takes everything that is queued.
    fn gather(&mut self, scrub: Scrub) -> Next {
        let wait = if scrub == Scrub::More { Duration::ZERO } else { self.idle_for() };
        let mut input = match self.receiver.recv_timeout(wait) {
            Ok(input) => input,
            Err(RecvTimeoutError::Timeout) => return Next::Turn,
            Err(RecvTimeoutError::Disconnected) => return Next::Stop,
        };
        for _ in 0..MAX_BATCH {
            if self.take(input) == Next::Stop {
                return Next::Stop;
            }
            match self.receiver.try_recv() {
                Ok(more) if !self.driver.is_full() => input = more,
                Ok(last) => return self.take(last),
                Err(_) => break,
            }
        }
        Next::Turn
    }

    fn take(&mut self, input: Input) -> Next {
        match input {
            Input::Propose(op, caller, reply) => self.driver.propose(op, caller, Some(reply)),
            Input::Read(reply) => self.driver.read(reply),
            Input::Ask(about, reply) => self.driver.ask(about, reply),
            Input::Heard(from, word, _room) => {
                let now = self.driver.shared.now();
                self.driver.hear(from, word, now, &mut *self.outlet);
            }
            Input::Unreachable(id) => self.driver.unreachable(id),
            Input::Gone(id) => self.driver.suspect(id),
            Input::Dismissed => self.driver.dismissed(),
            Input::Arrived(snapshot) => {
                let (message, arrived) = *snapshot;
                self.driver.arrive(message, arrived);
            }
            Input::Sent(to, sent) => self.driver.snapshot_sent(to, sent),
            Input::MoveLeader(to, reply) => self.driver.move_leader(to, reply),
            Input::Snapshot(result) => self.snapshot_ended(result),
            Input::Shrink(reply) => {
                self.shrinks.push(reply);
            }
            Input::Alive(reply) => drop(reply.send(())),
            Input::Stop => return Next::Stop,
        }
        Next::Turn
    }

    /// How long nothing will happen by itself.
    fn idle_for(&self) -> Duration {
        let now = self.driver.shared.now();
        Duration::from_millis(self.driver.next_deadline().0.saturating_sub(now.0))
    }

    /// Compaction waits while a snapshot is taken, since that reads what compaction removes.
    fn upkeep(&mut self) -> Scrub {
        if self.snapshot == Snapshot::Idle && self.driver.wants_snapshot() {
            self.begin_snapshot(Effort::Usual);
        }
        if self.snapshot != Snapshot::Idle {
            return Scrub::Done;
        }
        let scrub = if self.driver.shared.is_read_for_others() { Scrub::Done } else { self.driver.scrub() };
        // What is to become small is rid of what compaction makes superfluous first.
        if scrub == Scrub::Done && !self.shrinks.is_empty() {
            self.begin_snapshot(Effort::Shrink);
        }
        scrub
    }

    fn begin_snapshot(&mut self, effort: Effort) {
        let (disk, shared) = (Arc::clone(&self.driver.disk), Arc::clone(&self.driver.shared));
        let inputs = self.inputs.clone();
        let work = move || {
            let result = snapfile::write(&*disk, &shared, effort);
            let _ = inputs.send(Input::Snapshot(result));
        };
        match Builder::new().name("snapshot".into()).spawn(work) {
            Ok(_) => {
                self.snapshot = Snapshot::Writing(effort);
                self.driver.snapshot_begun();
            }
            Err(error) => {
                eprintln!("hull-kv: start a thread for a snapshot: {error}; tried again after the next write")
            }
        }
    }

    fn snapshot_ended(&mut self, result: io::Result<Written>) {
        let ended = std::mem::replace(&mut self.snapshot, Snapshot::Idle);
        match result {
            Ok(written) => {
                if ended == Snapshot::Writing(Effort::Shrink) {
                    self.driver.renew_log();
                }
                self.driver.snapshot_done(written);
            }
            Err(error) => {
                eprintln!("hull-kv: write a snapshot: {error}; the log keeps growing until one succeeds");
                self.driver.snapshot_failed();
            }
        }
        if ended == Snapshot::Writing(Effort::Shrink) {
            for reply in self.shrinks.drain(..) {
                let _ = reply.send(());
            }
        }
    }
}
