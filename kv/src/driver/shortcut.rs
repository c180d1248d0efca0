//! The way of a client that is alone: its command is written and applied on the thread that took it.
use std::sync::{Arc, Mutex, TryLockError};

use super::{runner::Runner, thread::Input};

/// Lets a client's thread take a turn itself, instead of waking the log's thread and being woken by it: that is most of what a
/// write costs whose client is alone. While the disk is written to, that thread does nothing else: only for a member that is
/// alone, on a disk that is fast.
#[derive(Debug, Clone)]
pub struct Shortcut(Arc<Mutex<Runner>>);

impl Shortcut {
    pub(super) fn new(runner: Arc<Mutex<Runner>>) -> Self {
        Self(runner)
    }

    /// Writes and applies one command before it comes back; gives an input back that must go the usual way.
    pub fn take(&self, input: Input) -> Option<Input> {
        match self.0.try_lock() {
            Ok(mut runner) => runner.take_alone(input),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take_alone(input),
            Err(TryLockError::WouldBlock) => Some(input),
        }
    }
}
