//! Keeps the number of machines that run at once small, whatever the number of test threads.

use crate::limits::MACHINES;
use std::sync::{Condvar, Mutex};

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The right to run one machine; given back when dropped.
pub(crate) struct Permit(());

impl Permit {
    /// Waits until fewer than [`MACHINES`] machines run in this process.
    pub(crate) fn take() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while *running >= MACHINES {
            running = FREED.wait(running).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        *running += 1;
        Self(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) -= 1;
        FREED.notify_one();
    }
}
