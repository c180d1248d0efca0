//! Which slot to boot: one pure decision over slot states, command line and what runs.
//!
//! The state of a slot lives in the attribute bits of its partition, as ChromeOS and CoreOS use them:
//! bits 48-51 priority, 52-55 tries left, 56 successful.
//! ```text
//!            writing()             staged(tries)               good()
//!   any ----------------> Empty ----------------> OnTrial ----------------> Good
//!                           ^                     |  ^  |                    |
//!                           |            tried()  +--+  | last try, bad()    | bad()
//!                           |                           v                    |
//!                           +------------------------- Spent <---------------+
//! ```
//! `Spent` is what `Bad` looks like on disk: no try left and never successful. While its last try runs, a slot is `Spent`, too: the
//! system on trial knows by `hull.boot.trial` that it is meant, and after a reset nobody does, which is the whole rollback.
//!
//! Invariant: every change is one table written once, so a power cut sees the state before or after it.
//! Invariant: [`choose`] looks at nothing else than its arguments, and every path through it ends: a trial costs a try, a slot that
//! failed in this boot is not chosen again, and a chase over kexecs ends after [`MAX_HOPS`].

pub use crate::choice::{Choice, Entry, Failed, GiveUp, MAX_HOPS, Standing, Why, Wish, choose};
pub use crate::control::SlotName;
use crate::verity::PartitionId;

/// Largest number of tries that four bits hold.
pub const MAX_TRIES: u8 = 15;

const PRIORITY_SHIFT: u32 = 48;
const TRIES_SHIFT: u32 = 52;
const SUCCESSFUL: u64 = 1 << 56;
const NIBBLE: u64 = 0xf;
const SLOT_BITS: u64 = (NIBBLE << PRIORITY_SHIFT) | (NIBBLE << TRIES_SHIFT) | SUCCESSFUL;

impl SlotName {
    /// Label of the slot's partition.
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "hull-a",
            Self::B => "hull-b",
        }
    }

    /// The slot beside this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }
}

/// The attribute bits of a slot's partition. Bits that are not Hull's are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub u64);

/// What the bits of a slot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing that may boot, or half written.
    Empty,
    /// A verified release that has to prove itself.
    OnTrial {
        /// 1 to 15; the higher one is booted.
        priority: u8,
        /// 1 to 15.
        tries: u8,
    },
    /// Every try is spent: bad, unless it is the one that runs right now.
    Spent {
        /// 1 to 15.
        priority: u8,
    },
    /// Proved.
    Good {
        /// 0 to 15.
        priority: u8,
    },
}

impl Attributes {
    /// Reads the bits.
    pub fn state(self) -> State {
        let priority = (self.0 >> PRIORITY_SHIFT & NIBBLE) as u8;
        let tries = (self.0 >> TRIES_SHIFT & NIBBLE) as u8;
        match (self.0 & SUCCESSFUL != 0, priority, tries) {
            (true, priority, _) => State::Good { priority },
            (false, 0, _) => State::Empty,
            (false, priority, 0) => State::Spent { priority },
            (false, priority, tries) => State::OnTrial { priority, tries },
        }
    }

    fn with(self, state: State) -> Self {
        let (priority, tries, successful) = match state {
            State::Empty => (0, 0, 0),
            State::OnTrial { priority, tries } => (priority, tries, 0),
            State::Spent { priority } => (priority, 0, 0),
            State::Good { priority } => (priority, 0, SUCCESSFUL),
        };
        debug_assert!(priority <= 15 && tries <= MAX_TRIES, "priority and tries have four bits each");
        let bits = u64::from(priority) << PRIORITY_SHIFT | u64::from(tries) << TRIES_SHIFT | successful;
        Self(self.0 & !SLOT_BITS | bits)
    }
}

/// A slot of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which.
    pub name: SlotName,
    /// Tells which root image it holds.
    pub id: PartitionId,
    /// Its state, and bits that are not Hull's.
    pub attributes: Attributes,
}

impl Slot {
    /// What its bits say.
    pub fn state(&self) -> State {
        self.attributes.state()
    }
}

/// The slots of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    /// Only one: a system that cannot be updated in place.
    Single(Slot),
    /// The usual two.
    Dual {
        /// `hull-a`.
        a: Slot,
        /// `hull-b`.
        b: Slot,
    },
}

impl Slots {
    /// Puts together what was found; `None` if that is nothing.
    pub fn new(a: Option<Slot>, b: Option<Slot>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Self::Dual { a, b }),
            (Some(only), None) | (None, Some(only)) => Some(Self::Single(only)),
            (None, None) => None,
        }
    }

    /// The slot of this name, if the disk has it.
    pub fn get(&self, name: SlotName) -> Option<&Slot> {
        self.iter().find(|slot| slot.name == name)
    }

    /// Every slot.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        let (first, second) = match self {
            Self::Single(only) => (only, None),
            Self::Dual { a, b } => (a, Some(b)),
        };
        std::iter::once(first).chain(second)
    }

    /// About to be overwritten: from now on nobody boots it.
    #[must_use]
    pub fn writing(self, name: SlotName, id: PartitionId) -> Self {
        self.edit(name, |slot| Slot { id, attributes: slot.attributes.with(State::Empty), ..slot })
    }

    /// Written and read back: it is tried before the other one, `tries` times (1 to 15).
    #[must_use]
    pub fn staged(self, name: SlotName, id: PartitionId, tries: u8) -> Self {
        let tries = tries.clamp(1, MAX_TRIES);
        let other = self.get(name.other()).map_or(0, |slot| slot.state().priority());
        let (slots, priority) = if other < 15 { (self, other + 1) } else { (self.lowered(name.other()), 2) };
        slots.edit(name, |slot| Slot {
            id,
            attributes: slot.attributes.with(State::OnTrial { priority, tries }),
            ..slot
        })
    }

    /// One try less, before the jump. A slot that is not on trial stays as it is.
    #[must_use]
    pub fn tried(self, name: SlotName) -> Self {
        self.edit_state(name, |state| match state {
            State::OnTrial { priority, tries: 1 } => State::Spent { priority },
            State::OnTrial { priority, tries } => State::OnTrial { priority, tries: tries - 1 },
            other => other,
        })
    }

    /// Proved.
    #[must_use]
    pub fn good(self, name: SlotName) -> Self {
        self.edit_state(name, |state| State::Good { priority: state.priority() })
    }

    /// Not to be booted as long as there is another one.
    #[must_use]
    pub fn bad(self, name: SlotName) -> Self {
        self.edit_state(name, |state| match state {
            State::Empty => State::Empty,
            other => State::Spent { priority: other.priority().max(1) },
        })
    }

    fn lowered(self, name: SlotName) -> Self {
        self.edit_state(name, |state| match state {
            State::Empty => State::Empty,
            State::OnTrial { tries, .. } => State::OnTrial { priority: 1, tries },
            State::Spent { .. } => State::Spent { priority: 1 },
            State::Good { .. } => State::Good { priority: 1 },
        })
    }

    fn edit_state(self, name: SlotName, change: impl Fn(State) -> State) -> Self {
        self.edit(name, |slot| Slot { attributes: slot.attributes.with(change(slot.state())), ..slot })
    }

    fn edit(self, name: SlotName, change: impl Fn(Slot) -> Slot) -> Self {
        let change = |slot: Slot| if slot.name == name { change(slot) } else { slot };
        match self {
            Self::Single(only) => Self::Single(change(only)),
            Self::Dual { a, b } => Self::Dual { a: change(a), b: change(b) },
        }
    }
}

impl State {
    /// 0 for an empty slot.
    pub fn priority(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::OnTrial { priority, .. } | Self::Spent { priority } | Self::Good { priority } => priority,
        }
    }
}

/// A step of staging a release into the slot that is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageStep {
    /// The table says [`Slots::writing`], flushed.
    Withdraw,
    /// Root image to the slot's partition, flushed.
    WriteRoot,
    /// Kernel and metadata to the ESP, flushed.
    WriteKernel,
    /// Everything is read back from the disk and compared with what was signed.
    ReadBack,
    /// The table says [`Slots::staged`], flushed.
    Publish,
}

/// The order that a power cut cannot hurt: nobody boots the slot from the first step's end until the last step's.
pub const STAGE_ORDER: [StageStep; 5] =
    [StageStep::Withdraw, StageStep::WriteRoot, StageStep::WriteKernel, StageStep::ReadBack, StageStep::Publish];
