//! The driver's thread: waits until something is asked for or due, then takes a turn.
use std::{
    io,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use hull_kv_core::Caller;
use hull_kv_proto::hullpb::{command::Op, question::About};
use raft::eraftpb::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    AnswerReply, Driver, MoveReply, Outlet, ProposalReply, ReadReply, Sent, Shortcut,
    runner::{Round, Runner},
};
use crate::{
    lock::lock,
    peer::Word,
    snapfile::{Arrived, Written},
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
    /// Take a snapshot; the answer comes once it is durable and the log is shorter.
    Shrink(Shrink, oneshot::Sender<()>),
    /// All of these, in their order.
    Many(Vec<Input>),
    /// Asks whether the thread turns.
    Alive(oneshot::Sender<()>),
    /// The member ended in a turn that another thread took ([`Shortcut`]).
    Ended,
    /// Finish what is queued and stop.
    Stop,
}

/// When a snapshot is taken that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrink {
    /// At once, unless compaction is at work.
    Now,
    /// When compaction is through, also if that waits for a snapshot that another member is sent.
    Compacted,
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
    /// A majority of the others no longer has what this member knows to be committed.
    Contradicted,
}

/// The thread, and how to reach it.
#[derive(Debug)]
pub struct Running {
    /// Where inputs go.
    pub inputs: Sender<Input>,
    /// For a client that is alone.
    pub shortcut: Shortcut,
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
    let runner = Arc::new(Mutex::new(Runner::new(driver, outlet, sender.clone())));
    let shortcut = Shortcut::new(Arc::clone(&runner));
    let thread = Builder::new().name("log".into()).spawn(move || {
        let result = run(&runner, &receiver);
        let _ = stopped.send(());
        result
    })?;
    Ok(Running { inputs: sender, shortcut, thread })
}

/// Waits for something to do, and does it; until the member ends.
fn run(runner: &Mutex<Runner>, receiver: &Receiver<Input>) -> io::Result<Ended> {
    let mut wait = Duration::ZERO;
    loop {
        let first = receiver.recv_timeout(wait);
        match lock(runner).round(first, receiver) {
            Round::Idle(duration) => wait = duration,
            Round::Ended(outcome) => return outcome,
        }
    }
}
