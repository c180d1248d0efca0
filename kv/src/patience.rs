//! How long requests wait for an answer, without a timer for each: one clock ticks while somebody waits.
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    task::Poll,
};

use tokio::sync::Notify;

use crate::limits::{PATIENCE_TICK, REQUEST_TIMEOUT};

/// Ticks after which a request waits no more: at least [`REQUEST_TIMEOUT`], at most a tick longer.
const LIMIT: u64 = REQUEST_TIMEOUT.as_millis().div_ceil(PATIENCE_TICK.as_millis()) as u64;

/// Nothing came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfPatience;

/// The clock of all who wait.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    ticks: AtomicU64,
    ticked: Notify,
    waiting: AtomicUsize,
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

impl Patience {
    /// Ticks while somebody waits, forever.
    pub(crate) async fn tick(&self) {
        loop {
            if self.waiting.load(Ordering::Acquire) == 0 {
                self.begun.notified().await;
            }
            tokio::time::sleep(PATIENCE_TICK).await;
            self.ticks.fetch_add(1, Ordering::AcqRel);
            self.ticked.notify_waiters();
        }
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
}
