//! A driver's turns, whichever thread takes them: gathers what is queued into one batch, writes it once, and looks after
//! snapshots.
use std::{
    collections::VecDeque,
    fmt, io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread::Builder,
    time::Duration,
};

use hull_kv_core::{Caller, Instant, Scrub};
use hull_kv_proto::hullpb::{Command, command::Op};
use prost::Message as _;
use tokio::sync::oneshot;

use super::{
    Driver, Fate, Moment, Outlet,
    thread::{Ended, Input, Shrink},
};
use crate::{
    limits::{MAX_BATCH, SCRUB_PAUSE},
    snapfile::{self, Effort, Written},
    sys::allocator,
};

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

/// What a round came to.
pub(super) enum Round {
    /// Nothing more is due for this long.
    Idle(Duration),
    /// The member ended.
    Ended(io::Result<Ended>),
}

/// Whether the member goes on. There is no way back from its end, though the runner outlives its thread.
enum Course {
    Runs,
    /// It ended, and its thread does not know yet.
    Ended(io::Result<Ended>),
    /// Its thread knows.
    Over,
}

/// A driver and what surrounds it.
pub(super) struct Runner {
    driver: Driver,
    outlet: Box<dyn Outlet + Send>,
    inputs: Sender<Input>,
    /// What came together and is not taken yet.
    queue: VecDeque<Input>,
    snapshot: Snapshot,
    /// Who asked for a snapshot that is not begun.
    shrinks: Vec<(Shrink, oneshot::Sender<()>)>,
    /// Who waits for the one that is being written.
    shrinking: Vec<oneshot::Sender<()>>,
    course: Course,
}

/// What a command takes in the log at most (bytes).
fn size(op: &Op, caller: &Caller) -> usize {
    let mut command = Command { id: u64::MAX, member: u64::MAX, ..Command::default() };
    caller.clone().sign(&mut command);
    command.encoded_len() + op.encoded_len()
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("driver", &self.driver).finish_non_exhaustive()
    }
}

impl Runner {
    pub(super) fn new(driver: Driver, outlet: Box<dyn Outlet + Send>, inputs: Sender<Input>) -> Self {
        Self {
            driver,
            outlet,
            inputs,
            queue: VecDeque::new(),
            snapshot: Snapshot::Idle,
            shrinks: Vec::new(),
            shrinking: Vec::new(),
            course: Course::Runs,
        }
    }

    /// Takes what came first and everything behind it, then a turn, then does some of what is due by itself.
    pub(super) fn round(&mut self, first: Result<Input, RecvTimeoutError>, receiver: &Receiver<Input>) -> Round {
        if let Course::Runs = self.course {
            let next = self.gather(first, receiver);
            self.turn(next);
        }
        match std::mem::replace(&mut self.course, Course::Over) {
            Course::Runs => {
                self.course = Course::Runs;
                Round::Idle(self.upkeep())
            }
            Course::Ended(outcome) => Round::Ended(outcome),
            Course::Over => Round::Ended(Ok(Ended::Asked)),
        }
    }

    /// Writes and applies one command; gives an input back that must go the usual way.
    pub(super) fn take_alone(&mut self, input: Input) -> Option<Input> {
        let Input::Propose(op, caller, _) = &input else { return Some(input) };
        let bytes = size(op, caller);
        let runs = matches!(self.course, Course::Runs);
        if !runs || !self.driver.is_fast(bytes) || !self.driver.alone() {
            return Some(input);
        }
        let next = self.take(input);
        self.turn(next);
        if let Course::Ended(_) = self.course {
            // Its thread waits for something to do.
            let _ = self.inputs.send(Input::Ended);
        }
        None
    }

    /// Does what was asked for.
    fn turn(&mut self, next: Next) {
        let now = self.driver.shared.now();
        self.driver.on_time(now);
        let outcome = match (self.driver.turn(now, &mut *self.outlet), next) {
            (Err(error), _) => Err(error),
            (Ok(Fate::Removed), _) => Ok(Ended::Removed),
            (Ok(Fate::Forgetful), _) => Ok(Ended::Forgetful),
            (Ok(Fate::Contradicted), _) => Ok(Ended::Contradicted),
            (Ok(Fate::Goes), Next::Stop) => Ok(Ended::Asked),
            (Ok(Fate::Goes), Next::Turn) => return,
        };
        self.driver.stop();
        self.shrinks.clear();
        self.shrinking.clear();
        // Who asked hears that nobody will answer.
        self.queue.clear();
        self.course = Course::Ended(outcome);
    }

    /// Takes what came first, and everything that is queued behind it, as far as it goes into one turn.
    fn gather(&mut self, first: Result<Input, RecvTimeoutError>, receiver: &Receiver<Input>) -> Next {
        match first {
            Ok(input) => self.queue_up(input),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Next::Stop,
        }
        for _ in 0..MAX_BATCH {
            if self.queue.is_empty()
                && let Ok(more) = receiver.try_recv()
            {
                self.queue_up(more);
            }
            let Some(input) = self.queue.pop_front() else { break };
            if self.take(input) == Next::Stop {
                return Next::Stop;
            }
            if self.driver.is_full() {
                break;
            }
        }
        Next::Turn
    }

    fn queue_up(&mut self, input: Input) {
        match input {
            // None of them is moved.
            Input::Many(inputs) if self.queue.is_empty() => self.queue = inputs.into(),
            Input::Many(inputs) => self.queue.extend(inputs),
            input => self.queue.push_back(input),
        }
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
            Input::Shrink(when, reply) => self.shrinks.push((when, reply)),
            // Taken apart when they came already.
            Input::Many(inputs) => self.queue.extend(inputs),
            Input::Alive(reply) => drop(reply.send(())),
            Input::Ended => {}
            Input::Stop => return Next::Stop,
        }
        Next::Turn
    }

    /// How long nothing will happen by itself.
    fn idle_for(&self) -> Duration {
        if !self.queue.is_empty() {
            return Duration::ZERO;
        }
        self.until(self.driver.next_deadline())
    }

    fn until(&self, then: Instant) -> Duration {
        Duration::from_millis(then.0.saturating_sub(self.driver.shared.now().0))
    }

    /// Does some of what is due by itself; answers how long nothing more will be.
    fn upkeep(&mut self) -> Duration {
        let snapshot_in = self.snapshot_in();
        if snapshot_in.is_zero() {
            self.begin_snapshot(Effort::Usual);
        }
        match self.scrub() {
            Scrub::More => self.idle_for().min(SCRUB_PAUSE),
            // One that could not begin is tried again with whatever comes next.
            Scrub::Done if snapshot_in.is_zero() => self.idle_for(),
            Scrub::Done => self.idle_for().min(snapshot_in),
        }
    }

    /// How long until the next snapshot begins, unless one is being written or something more comes.
    fn snapshot_in(&mut self) -> Duration {
        let now = self.driver.shared.now();
        let due = if self.snapshot == Snapshot::Idle { self.driver.snapshot_due(now) } else { None };
        due.map_or(Duration::MAX, |due| self.until(due))
    }

    /// Compaction waits while a snapshot is taken, since that reads what compaction removes.
    fn scrub(&mut self) -> Scrub {
        if self.snapshot != Snapshot::Idle {
            return Scrub::Done;
        }
        let held_up = self.driver.shared.is_read_for_others();
        let scrub = if held_up { Scrub::Done } else { self.driver.scrub() };
        // What is to become small is rid of what compaction makes superfluous first.
        if scrub == Scrub::Done {
            let may_begin = |when: Shrink| when == Shrink::Now || !held_up;
            let begin = self.shrinks.extract_if(.., |(when, _)| may_begin(*when));
            self.shrinking.extend(begin.map(|(_, reply)| reply));
            if !self.shrinking.is_empty() {
                self.begin_snapshot(Effort::Shrink);
            }
        }
        scrub
    }

    fn begin_snapshot(&mut self, effort: Effort) {
        let (disk, shared) = (Arc::clone(&self.driver.disk), Arc::clone(&self.driver.shared));
        let inputs = self.inputs.clone();
        let moment = match effort {
            Effort::Usual => self.driver.moment(self.driver.shared.now()),
            // Somebody waits for it, and wants all to be small.
            Effort::Shrink => Moment::Pause,
        };
        let work = move || {
            let result = snapfile::write(&*disk, &shared, effort);
            let _ = inputs.send(Input::Snapshot(result));
            if moment == Moment::Pause {
                allocator::give_back();
            }
        };
        match Builder::new().name("snapshot".into()).spawn(work) {
            Ok(_) => {
                self.snapshot = Snapshot::Writing(effort);
                self.driver.snapshot_begun(moment);
            }
            Err(error) => {
                eprintln!("hull-kv: start a thread for a snapshot: {error}; the log keeps growing until one can be")
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
            for reply in self.shrinking.drain(..) {
                let _ = reply.send(());
            }
        }
    }
}
