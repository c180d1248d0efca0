//! What all clients share on the way to the driver: what they ask in one turn of the event loop goes over together, so
//! that it is one batch and wakes the driver's thread once.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
    time::Instant,
};

use hull_kv_proto::hullpb::command::Op;
use tokio::{
    sync::{Notify, oneshot},
    task::yield_now,
};

use super::{
    Bounds,
    company::{Company, Turn},
};
use crate::{
    auth::Logins,
    driver::{
        Failed, Shortcut,
        thread::{Input, Running},
    },
    limits::LINGER,
    lock::lock,
    patience::{Late, OutOfPatience, Patience},
    room::likely,
};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The driver says so.
    Failed(Failed),
    /// It took too long.
    TooLate,
}

/// Whether an input is a client's write.
fn is_write(input: &Input) -> bool {
    matches!(input, Input::Propose(Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_), ..))
}

/// The way to the driver, and what does not differ from client to client.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) bounds: Bounds,
    pub(super) logins: Logins,
    inputs: Sender<Input>,
    shortcut: Shortcut,
    company: Company,
    connections: AtomicU64,
    queue: Mutex<Vec<Input>>,
    queued: Notify,
    patience: Patience,
}

impl Desk {
    /// Starts the tasks that a desk needs on the current event loop.
    pub(super) fn open(running: &Running, bounds: Bounds, logins: Logins) -> Arc<Self> {
        let desk = Arc::new(Self {
            bounds,
            logins,
            inputs: running.inputs.clone(),
            shortcut: running.shortcut.clone(),
            company: Company::default(),
            connections: AtomicU64::new(0),
            queue: Mutex::default(),
            queued: Notify::new(),
            patience: Patience::default(),
        });
        let (carrier, clock) = (Arc::clone(&desk), Arc::clone(&desk));
        tokio::spawn(async move { carrier.carry().await });
        tokio::spawn(async move { clock.patience.tick().await });
        desk
    }

    /// Hands over what is queued, whenever the tasks that were ready before have had their turn.
    async fn carry(&self) {
        // When the last write of a client that is alone was answered.
        let mut ended: Option<Instant> = None;
        loop {
            self.queued.notified().await;
            let comes_back_soon = ended.take().is_some_and(|at| at.elapsed() < LINGER);
            let queue = {
                let mut queue = lock(&self.queue);
                let room = Vec::with_capacity(likely(queue.len(), queue.capacity()));
                std::mem::replace(&mut *queue, room)
            };
            let turn = if let [input] = &*queue
                && is_write(input)
            {
                Turn::OneWrite
            } else {
                Turn::Other
            };
            let alone = self.company.hand_over(turn);
            // A driver that has stopped drops the replies in what it is sent, which says so to who asked.
            if alone {
                for input in queue.into_iter().filter_map(|input| self.shortcut.take(input)) {
                    let _ = self.inputs.send(input);
                }
            } else {
                let _ = self.inputs.send(Input::Many(queue));
            }
            if alone {
                let now = Instant::now();
                ended = Some(now);
                if comes_back_soon {
                    self.linger(now + LINGER).await;
                }
            }
        }
    }

    /// Looks for the next request without sleeping, which is half of what waking costs.
    async fn linger(&self, until: Instant) {
        while !self.company.is_asked() && Instant::now() < until {
            yield_now().await;
        }
    }

    /// A client asked for something, whatever it is, over this connection.
    pub(super) fn asked(&self, connection: u64) {
        self.company.ask(connection);
    }

    /// A number for a connection, which no other has.
    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells the driver's thread something.
    pub(super) fn put(&self, input: Input) {
        let mut queue = lock(&self.queue);
        queue.push(input);
        if queue.len() == 1 {
            self.queued.notify_one();
        }
    }

    /// Tells the driver's thread something that it answers straight to `who`, who hears when that takes too long.
    pub(super) fn ask_for(&self, input: Input, who: Arc<dyn Late>) {
        self.patience.mind(who);
        self.put(input);
    }

    /// Tells the driver's thread something that it answers.
    pub(super) fn ask<T>(
        &self,
        input: impl FnOnce(oneshot::Sender<Result<T, Failed>>) -> Input,
    ) -> impl Future<Output = Result<T, NoAnswer>> {
        let (reply, answer) = oneshot::channel();
        self.put(input(reply));
        // Only what waits is kept while it does: a call's task is small then.
        async move {
            match self.patience.wait(answer).await {
                Ok(Ok(result)) => result.map_err(NoAnswer::Failed),
                Ok(Err(_)) => Err(NoAnswer::Failed(Failed::Stopped)),
                Err(OutOfPatience) => Err(NoAnswer::TooLate),
            }
        }
    }
}
