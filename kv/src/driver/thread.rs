//! The driver's thread: gathers what is queued into one batch, writes it once, and looks after leases and snapshots.
use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use hull_kv_core::{Caller, Scrub};
use hull_kv_proto::hullpb::command::Op;
use raft::eraftpb::Message;
use tokio::sync::oneshot;

use super::{Driver, Reply};
use crate::{
    limits::{LEASE_CHECK, MAX_BATCH, SPACE_CHECK, TICK},
    shared::Shared,
    snapfile::{self, Written},
};

/// What the thread is told.
#[derive(Debug)]
pub enum Input {
    /// A command for the log.
    Propose(Op, Caller, Reply),
    /// A message of another member.
    Peer(Message),
    /// A snapshot was written, or could not be.
    Snapshot(io::Result<Written>),
    /// Take a snapshot now; the answer comes once it is durable and the log is shorter.
    Shrink(oneshot::Sender<()>),
    /// Finish what is queued and stop.
    Stop,
}

/// The thread, and how to reach it.
#[derive(Debug)]
pub struct Running {
    /// Where inputs go.
    pub inputs: Sender<Input>,
    thread: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Waits until the thread has stopped.
    ///
    /// # Errors
    /// Why it stopped on its own.
    pub fn join(self) -> io::Result<()> {
        drop(self.inputs);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the log's thread panicked")))
    }
}

/// Starts the thread. `stopped` is told when it ends, for whatever reason.
///
/// # Errors
/// No thread can be started, or the first election could not be written.
pub fn start(mut driver: Driver, stopped: oneshot::Sender<()>) -> io::Result<Running> {
    if crate::lock::read(&driver.shared.store).members().only(driver.shared.member) {
        driver.campaign();
    }
    let now = driver.shared.now();
    // There are no peers yet to send to.
    let _messages = driver.turn(now)?;
    driver.introduce();
    let (inputs, receiver) = channel();
    let runner = Runner {
        driver,
        receiver,
        inputs: inputs.clone(),
        snapshot: Snapshot::Idle,
        shrinks: Vec::new(),
        next_tick: Instant::now() + TICK,
        next_lease_check: Instant::now() + LEASE_CHECK,
        // Not at once: a member that starts has better things to do.
        next_space_check: Instant::now() + SPACE_CHECK,
    };
    let thread = Builder::new().name("log".into()).spawn(move || {
        let result = runner.run();
        let _ = stopped.send(());
        result
    })?;
    Ok(Running { inputs, thread })
}

/// Whether a snapshot is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Snapshot {
    Idle,
    Writing,
}

/// Whether the thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Turn,
    Stop,
}

struct Runner {
    driver: Driver,
    receiver: Receiver<Input>,
    inputs: Sender<Input>,
    snapshot: Snapshot,
    shrinks: Vec<oneshot::Sender<()>>,
    next_tick: Instant,
    next_lease_check: Instant,
    next_space_check: Instant,
}

impl Runner {
    fn run(mut self) -> io::Result<()> {
        let mut scrub = Scrub::Done;
        loop {
            let next = self.gather(scrub);
            self.clockwork();
            let now = self.driver.shared.now();
            // Peers get these once there is a transport; a cluster of one sends none.
            let _messages = self.driver.turn(now)?;
            if next == Next::Stop {
                self.driver.stop();
                return Ok(());
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
                Ok(more) => input = more,
                Err(_) => break,
            }
        }
        Next::Turn
    }

    fn take(&mut self, input: Input) -> Next {
        match input {
            Input::Propose(op, caller, reply) => self.driver.propose(op, caller, Some(reply)),
            Input::Peer(message) => self.driver.step(message),
            Input::Snapshot(result) => self.snapshot_ended(result),
            Input::Shrink(reply) => {
                self.shrinks.push(reply);
                self.begin_snapshot();
            }
            Input::Stop => return Next::Stop,
        }
        Next::Turn
    }

    /// How long nothing will happen by itself. A member that is alone needs no heartbeats.
    fn idle_for(&self) -> Duration {
        let until = if self.alone() { self.next_lease_check } else { self.next_lease_check.min(self.next_tick) };
        until.saturating_duration_since(Instant::now())
    }

    fn alone(&self) -> bool {
        crate::lock::read(&self.driver.shared.store).members().only(self.driver.shared.member)
    }

    fn clockwork(&mut self) {
        let now = Instant::now();
        while self.next_tick <= now {
            if !self.alone() {
                self.driver.tick();
            }
            self.next_tick = now + TICK;
        }
        if self.next_lease_check <= now {
            self.next_lease_check = now + LEASE_CHECK;
            let clock = self.driver.shared.now();
            self.driver.end_leases(clock);
        }
        if self.next_space_check <= now {
            self.next_space_check = now + SPACE_CHECK;
            self.driver.mind_space();
        }
        self.driver.raise_alarms();
    }

    /// Compaction waits while a snapshot is taken, since that reads what compaction removes.
    fn upkeep(&mut self) -> Scrub {
        if self.snapshot == Snapshot::Writing {
            return Scrub::Done;
        }
        if self.driver.wants_snapshot() {
            self.begin_snapshot();
            return Scrub::Done;
        }
        self.driver.scrub()
    }

    fn begin_snapshot(&mut self) {
        if self.snapshot == Snapshot::Writing {
            return;
        }
        let (disk, shared) = (Arc::clone(&self.driver.disk), Arc::clone(&self.driver.shared));
        let inputs = self.inputs.clone();
        let work = move || {
            let result = write_snapshot(&disk, &shared);
            let _ = inputs.send(Input::Snapshot(result));
        };
        match Builder::new().name("snapshot".into()).spawn(work) {
            Ok(_) => {
                self.snapshot = Snapshot::Writing;
                self.driver.snapshot_begun();
            }
            Err(error) => {
                eprintln!("hull-kv: start a thread for a snapshot: {error}; tried again after the next write")
            }
        }
    }

    fn snapshot_ended(&mut self, result: io::Result<Written>) {
        self.snapshot = Snapshot::Idle;
        match result {
            Ok(written) => self.driver.snapshot_done(written),
            Err(error) => eprintln!("hull-kv: write a snapshot: {error}; the log keeps growing until one succeeds"),
        }
        for reply in self.shrinks.drain(..) {
            let _ = reply.send(());
        }
    }
}

fn write_snapshot(disk: &Arc<dyn crate::disk::Disk>, shared: &Shared) -> io::Result<Written> {
    snapfile::write(&**disk, &shared.store)
}
