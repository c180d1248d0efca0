//! Where an answer goes: to a task that waits for it, or straight to whoever takes it, without a task.
use std::{fmt, sync::Arc};

use tokio::sync::oneshot;

use super::Failed;

/// Takes an answer where it is given, which may be on the driver's thread or on the event loop's: it must not block.
pub trait Recipient<T>: Send + Sync {
    /// Takes the answer; one that comes after another is passed over.
    fn take(&self, answer: Result<T, Failed>);
    /// Whether nobody wants an answer any more.
    fn is_gone(&self) -> bool;
}

/// Where an answer goes. Dropped without one, it says [`Failed::Stopped`].
pub struct Reply<T>(To<T>);

enum To<T> {
    Task(oneshot::Sender<Result<T, Failed>>),
    Recipient(Arc<dyn Recipient<T>>),
    /// The answer was given.
    Nobody,
}

impl<T> Reply<T> {
    /// Gives the answer. Whoever asked may have gone.
    pub(super) fn give(mut self, answer: Result<T, Failed>) {
        match std::mem::replace(&mut self.0, To::Nobody) {
            To::Task(sender) => drop(sender.send(answer)),
            To::Recipient(recipient) => recipient.take(answer),
            To::Nobody => {}
        }
    }

    /// Whether nobody wants an answer any more.
    pub(super) fn is_closed(&self) -> bool {
        match &self.0 {
            To::Task(sender) => sender.is_closed(),
            To::Recipient(recipient) => recipient.is_gone(),
            To::Nobody => true,
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        // A task learns it from its channel.
        if let To::Recipient(recipient) = &self.0 {
            recipient.take(Err(Failed::Stopped));
        }
    }
}

impl<T> From<oneshot::Sender<Result<T, Failed>>> for Reply<T> {
    fn from(sender: oneshot::Sender<Result<T, Failed>>) -> Self {
        Self(To::Task(sender))
    }
}

impl<T> From<Arc<dyn Recipient<T>>> for Reply<T> {
    fn from(recipient: Arc<dyn Recipient<T>>) -> Self {
        Self(To::Recipient(recipient))
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("is_closed", &self.is_closed()).finish()
    }
}
