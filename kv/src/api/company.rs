//! Whether whoever asks is alone: one client that asks one thing after the other.
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::ALONE_AFTER;

/// What was asked since commands were handed over last, and for how long that was only ever one command.
#[derive(Debug, Default)]
pub(super) struct Company {
    asked: AtomicU32,
    alone_for: AtomicU32,
}

impl Company {
    /// Somebody asked for something.
    pub(super) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// So many commands are handed over. Whether whoever waits for them is the only client, and has been for a while.
    pub(super) fn hand_over(&self, commands: usize) -> bool {
        let asked = self.asked.swap(0, Ordering::Relaxed);
        let before = self.alone_for.load(Ordering::Relaxed);
        let alone_for = if asked <= 1 && commands == 1 { before.saturating_add(1) } else { 0 };
        self.alone_for.store(alone_for, Ordering::Relaxed);
        alone_for >= ALONE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_one_thing_after_the_other_is_alone_until_somebody_else_asks_anything() {
        let company = Company::default();
        let put = || {
            company.ask();
            company.hand_over(1)
        };
        assert!((1..ALONE_AFTER).all(|_| !put()), "not at once");
        assert!(put() && put());
        // A read of somebody else's, between two writes.
        company.ask();
        assert!((0..ALONE_AFTER).all(|_| !put()));
        assert!(put());
        company.ask();
        company.ask();
        assert!(!company.hand_over(2), "two at a time");
    }
}
