//! What PID 1 knows about the node as a whole: for `hullctl status`, for the banner, for the judgement on a trial.

use std::fmt::Arguments;

use heapless::{String, Vec};
use hull_init_core::control::{Line, Name, RunningRoot, SlotName, State, format_line};
use hull_init_core::limits::MAX_NOTES;
use hull_init_core::supervisor::Millis;

/// Time after which the banner is shown even if services are still missing, in ms.
const PATIENCE_MS: u64 = 10_000;
/// Time that the banner waits for an address when all else is ready, in ms: a DHCP server that is there answers within it.
const ADDRESS_MS: u64 = 3_000;
/// Pause between two attempts to mark a slot good, in ms.
const MARK_AGAIN_MS: u64 = 5_000;

/// Judgement on this boot.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one a node, and nothing here may allocate")]
pub(crate) enum Trial {
    /// The slot was proved before.
    None,
    /// Must be healthy until the deadline.
    Running { slot: SlotName, deadline: Millis },
    /// Healthy; the slot is being marked good, or will be tried again then.
    Marking { slot: SlotName, again_at: Option<Millis> },
    /// Proved.
    Good,
    /// Failed: the machine resets.
    Failed { reason: Line },
}

/// How far the console was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// Nothing yet.
    Nothing,
    /// The banner, with something missing.
    Incomplete,
    /// The banner, everything ready.
    Up,
}

/// The state partition is larger than its file system, which has to follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateGrown;

/// When a swap stopped the old system's store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopped {
    /// Milliseconds since 1970.
    pub(crate) ms: u64,
    /// Time stamp counter.
    pub(crate) tsc: u64,
}

/// The node.
pub(crate) struct Node {
    pub(crate) name: String<64>,
    pub(crate) version: Name,
    pub(crate) root: RunningRoot,
    pub(crate) state: State,
    pub(crate) notes: Vec<Line, MAX_NOTES>,
    pub(crate) notes_lost: u32,
    /// When PID 1 started, and the time stamp counter then.
    pub(crate) started: Millis,
    pub(crate) started_tsc: u64,
    /// When every service was ready first.
    pub(crate) up_at: Option<Millis>,
    pub(crate) orphans: u64,
    pub(crate) trial: Trial,
    pub(crate) announced: Announced,
    pub(crate) grown: Option<StateGrown>,
    pub(crate) swap: Option<Stopped>,
    pub(crate) swap_gap_ms: Option<u64>,
}

impl Node {
    pub(crate) fn new(started: Millis) -> Self {
        Self {
            name: String::new(),
            version: Name::new(),
            root: RunningRoot::Missing { reason: Line::new() },
            state: State::Memory,
            notes: Vec::new(),
            notes_lost: 0,
            started,
            started_tsc: crate::sys::tsc::now(),
            up_at: None,
            orphans: 0,
            trial: Trial::None,
            announced: Announced::Nothing,
            grown: None,
            swap: None,
            swap_gap_ms: None,
        }
    }

    /// Keeps a note for `hullctl status`.
    pub(crate) fn note(&mut self, what: Arguments<'_>) {
        if self.notes.push(format_line(what)).is_err() {
            self.notes_lost += 1;
        }
    }

    /// When the loop must look at the node again.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let trial = match self.trial {
            Trial::Running { deadline, .. } => Some(deadline),
            Trial::Marking { again_at, .. } => again_at,
            Trial::None | Trial::Good | Trial::Failed { .. } => None,
        };
        let announce = match (self.announced, self.up_at) {
            (Announced::Nothing, Some(up)) => Some(up.plus(ADDRESS_MS)),
            (Announced::Nothing, None) => Some(self.started.plus(PATIENCE_MS)),
            (Announced::Incomplete | Announced::Up, _) => None,
        };
        trial.into_iter().chain(announce).min()
    }

    /// Whether the banner has waited long enough.
    pub(crate) fn patience_is_over(&self, now: Millis) -> bool {
        match self.up_at {
            Some(up) => now >= up.plus(ADDRESS_MS),
            None => now >= self.started.plus(PATIENCE_MS),
        }
    }

    /// The slot could not be marked: when to try again.
    pub(crate) fn mark_again(&mut self, now: Millis) {
        if let Trial::Marking { again_at, .. } = &mut self.trial {
            *again_at = Some(now.plus(MARK_AGAIN_MS));
        }
    }

    /// The store answers: how long nobody answered, if this boot is the end of a swap.
    pub(crate) fn store_is_ready(&mut self, now: Millis, unix_ms: u64) {
        let Some(stopped) = self.swap.take() else { return };
        let tsc = crate::sys::tsc::now();
        let per_ms = tsc.wrapping_sub(self.started_tsc) / now.since(self.started).max(1);
        // The time stamp counter goes on over a kexec; the kernel's clock came anew from the RTC, to the second.
        self.swap_gap_ms = Some(match tsc.checked_sub(stopped.tsc) {
            Some(ticks) if per_ms > 0 && stopped.tsc > 0 => ticks / per_ms,
            _ => unix_ms.saturating_sub(stopped.ms),
        });
    }
}
