//! Whether whoever asks is alone: one client that writes one thing after the other, while nobody asks for anything else.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::limits::ALONE_AFTER;

/// What the next turn hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// One write of a client.
    OneWrite,
    /// Anything else.
    Other,
}

/// What was asked since the last turn, by whom, and for how many turns it was only ever one write of one client.
#[derive(Debug, Default)]
pub(super) struct Company {
    asked: AtomicU32,
    /// The connection that asked last.
    from: AtomicU64,
    alone_for: AtomicU32,
}

impl Company {
    /// Somebody asked for something, over connection `from`.
    pub(super) fn ask(&self, from: u64) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.from.swap(from, Ordering::Relaxed) != from {
            self.alone_for.store(0, Ordering::Relaxed);
        }
    }

    /// Whether anybody asked for anything since commands were handed over last.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Commands are handed over. Whether whoever waits for them is the only client, and has been for a while.
    pub(super) fn hand_over(&self, turn: Turn) -> bool {
        let asked = self.asked.swap(0, Ordering::Relaxed);
        let before = self.alone_for.load(Ordering::Relaxed);
        let alone_for = if asked == 1 && turn == Turn::OneWrite { before.saturating_add(1) } else { 0 };
        self.alone_for.store(alone_for, Ordering::Relaxed);
        alone_for >= ALONE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(company: &Company, from: u64) -> bool {
        company.ask(from);
        company.hand_over(Turn::OneWrite)
    }

    #[test]
    fn who_writes_one_thing_after_the_other_is_alone_until_somebody_asks_anything() {
        let company = Company::default();
        assert!((1..ALONE_AFTER).all(|_| !put(&company, 1)), "not at once");
        assert!(put(&company, 1) && put(&company, 1));
        // A read of its own between two writes.
        company.ask(1);
        assert!((0..ALONE_AFTER).all(|_| !put(&company, 1)));
        assert!(put(&company, 1));
        // A keep-alive, or a change of users, handed over.
        company.ask(1);
        assert!(!company.hand_over(Turn::Other) && !put(&company, 1));
    }

    #[test]
    fn two_who_take_turns_are_not_alone() {
        let company = Company::default();
        assert!((0..10 * ALONE_AFTER).all(|turn| !put(&company, u64::from(turn % 2))));
    }
}
