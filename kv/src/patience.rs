//! How long requests wait for an answer, without a timer for each: one clock ticks while somebody waits.
use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
};

use tokio::sync::Notify;

use crate::{
    limits::{PATIENCE_TICK, REQUEST_TIMEOUT},
    lock::lock,
};

/// Ticks after which a request waits no more: at least [`REQUEST_TIMEOUT`], at most a tick longer.
const LIMIT: u64 = REQUEST_TIMEOUT.as_millis().div_ceil(PATIENCE_TICK.as_millis()) as u64;

/// Nothing came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfPatience;

/// One who waits without a task.
pub(crate) trait Late: Send + Sync {
    /// Whether the answer came.
    fn is_answered(&self) -> bool;
    /// Told once it is too late for an answer; after one it means nothing.
    fn tell(&self);
}

/// Those who wait without a task, the longest first, and the tick at which each began.
type Queue = VecDeque<(u64, Arc<dyn Late>)>;

/// The clock of all who wait.
#[derive(Default)]
pub(crate) struct Patience {
    ticks: AtomicU64,
    ticked: Notify,
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    /// Told when the first begins to wait.
    begun: Notify,
}

/// One who waits.
struct Waiting<'a>(&'a Patience);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// Answers mostly come in order: so many who have theirs are forgotten whenever one more begins to wait, and the queue
/// stays as short as the number of those who wait.
const FORGOTTEN_AT_ONCE: usize = 4;

impl Patience {
    /// Ticks while somebody waits, forever.
    pub(crate) async fn tick(&self) {
        loop {
            if self.is_idle() {
                self.begun.notified().await;
            }
            tokio::time::sleep(PATIENCE_TICK).await;
            let now = self.ticks.fetch_add(1, Ordering::AcqRel) + 1;
            self.ticked.notify_waiters();
            for late in self.take_late(now) {
                late.tell();
            }
        }
    }

    /// Has `who` told when it has waited too long. It is told on the event loop.
    pub(crate) fn mind(&self, who: Arc<dyn Late>) {
        let begun = self.ticks.load(Ordering::Acquire);
        let mut queue = lock(&self.queue);
        for _ in 0..FORGOTTEN_AT_ONCE {
            match queue.front() {
                Some((_, first)) if first.is_answered() => drop(queue.pop_front()),
                _ => break,
            }
        }
        if queue.is_empty() {
            self.begun.notify_one();
        }
        queue.push_back((begun, who));
    }

    /// Those whose time is over; who has an answer is forgotten.
    fn take_late(&self, now: u64) -> Vec<Arc<dyn Late>> {
        let mut queue = lock(&self.queue);
        queue.retain(|(_, who)| !who.is_answered());
        let on_time = queue.iter().position(|(begun, _)| now <= begun + LIMIT).unwrap_or(queue.len());
        queue.drain(..on_time).map(|(_, who)| who).collect()
    }

    fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0 && lock(&self.queue).is_empty()
    }

    /// Waits for `answer`, but not forever.
    ///
    /// # Errors
    /// It took longer than [`REQUEST_TIMEOUT`].
    pub(crate) async fn wait<T>(&self, mut answer: impl Future<Output = T> + Unpin) -> Result<T, OutOfPatience> {
        let _waiting = self.begin();
        // In a box, and only if there is something to wait for: what waits is kept in a task a call, which is small so.
        let mut late = None;
        poll_fn(|context| match Pin::new(&mut answer).poll(context) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => {
                let late = late.get_or_insert_with(|| Box::pin(self.late()));
                late.as_mut().poll(context).map(|()| Err(OutOfPatience))
            }
        })
        .await
    }

    fn begin(&self) -> Waiting<'_> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            self.begun.notify_one();
        }
        Waiting(self)
    }

    async fn late(&self) {
        let end = self.ticks.load(Ordering::Acquire) + LIMIT;
        loop {
            let ticked = self.ticked.notified();
            if self.ticks.load(Ordering::Acquire) > end {
                return;
            }
            ticked.await;
        }
    }
}

const _: () =
    assert!(PATIENCE_TICK.as_millis() * 4 <= REQUEST_TIMEOUT.as_millis(), "a tick is a small part of the wait");

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_hears_so_and_nobody_before() {
        let patience = std::sync::Arc::new(Patience::default());
        let clock = std::sync::Arc::clone(&patience);
        let clock = tokio::spawn(async move { clock.tick().await });
        for _ in 0..2 {
            let begun = tokio::time::Instant::now();
            assert_eq!(patience.wait(pending::<()>()).await, Err(OutOfPatience));
            assert!((REQUEST_TIMEOUT..REQUEST_TIMEOUT + 2 * PATIENCE_TICK).contains(&begun.elapsed()));
            assert_eq!(patience.wait(ready(5)).await, Ok(5));
            tokio::time::sleep(4 * REQUEST_TIMEOUT).await;
        }
        clock.abort();
    }

    /// Counts how often it was told that it is late.
    #[derive(Default)]
    struct Client {
        answered: std::sync::atomic::AtomicBool,
        late: AtomicUsize,
    }

    impl Late for Client {
        fn is_answered(&self) -> bool {
            self.answered.load(Ordering::Acquire) || self.late.load(Ordering::Acquire) > 0
        }

        fn tell(&self) {
            self.late.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_without_a_task_hears_so_too_and_who_was_answered_is_forgotten() {
        let patience = Arc::new(Patience::default());
        let clock = Arc::clone(&patience);
        let clock = tokio::spawn(async move { clock.tick().await });
        let clients: Vec<Arc<Client>> = (0..100).map(|_| Arc::default()).collect();
        for (number, client) in clients.iter().enumerate() {
            patience.mind(Arc::clone(client) as Arc<dyn Late>);
            // All but one in ten have their answer before the next one asks.
            client.answered.store(number % 10 != 0, Ordering::Release);
        }
        tokio::time::sleep(REQUEST_TIMEOUT - PATIENCE_TICK).await;
        assert!(clients.iter().all(|client| client.late.load(Ordering::Acquire) == 0), "nobody is late yet");
        assert_eq!(lock(&patience.queue).len(), 10, "only those who wait are kept");
        tokio::time::sleep(3 * PATIENCE_TICK).await;
        let late = |number: usize| clients[number].late.load(Ordering::Acquire);
        assert!((0..100).all(|number| late(number) == usize::from(number % 10 == 0)));
        assert!(patience.is_idle());
        clock.abort();
    }
}
