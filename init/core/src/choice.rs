//! The choice itself: slot states, command line and what runs go in, one decision comes out. See [`crate::slots`].

use std::fmt;

use crate::slots::{Slot, SlotName, Slots, State};
use crate::verity::PartitionId;

/// Kexecs in a row that `choose` allows. One is usual: from the firmware's kernel to the chosen slot. The second leads back from a slot
/// whose root turned out to be unreadable. A third is a chase.
pub const MAX_HOPS: u8 = 2;

/// What the command line says about slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `hull.boot.slot`.
    pub force: Option<SlotName>,
    /// `hull.boot.trial`.
    pub trial: Option<SlotName>,
    /// `hull.boot.hops`.
    pub hops: u8,
}

/// Slots that could not be entered in this boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed(u8);

impl Failed {
    /// With one more.
    #[must_use]
    pub const fn and(self, name: SlotName) -> Self {
        Self(self.0 | Self::bit(name))
    }

    /// Whether this one is among them.
    pub const fn contains(self, name: SlotName) -> bool {
        self.0 & Self::bit(name) != 0
    }

    /// The first of them.
    pub fn first(self) -> Option<SlotName> {
        [SlotName::A, SlotName::B].into_iter().find(|name| self.contains(*name))
    }

    const fn bit(name: SlotName) -> u8 {
        match name {
            SlotName::A => 1,
            SlotName::B => 2,
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Go on with this kernel and this slot's root.
    Boot {
        /// Whose root.
        slot: SlotName,
        /// What it must prove.
        standing: Standing,
        /// Why this one.
        why: Why,
    },
    /// Start this slot's kernel.
    Kexec {
        /// Whose kernel.
        slot: SlotName,
        /// Whether a try is spent.
        entry: Entry,
        /// Why this one.
        why: Why,
    },
    /// There is nothing to boot.
    GiveUp(GiveUp),
}

/// What a slot that is booted must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Proved,
    /// Its health; the try is already spent.
    OnTrial,
    /// Its health; spend a try first. The firmware itself started the kernel of the slot on trial.
    FirstTry,
}

/// How a slot is entered by kexec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// As any other boot.
    Plain,
    /// Spend a try, arm the watchdog, add `hull.boot.trial`.
    Trial,
}

/// Why a slot was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The highest priority of those that may boot.
    Best,
    /// `hull.boot.slot`.
    Forced,
    /// `hull.boot.trial`.
    Trial,
    /// No slot is good or has tries left, but this one has a root image, and dm-verity lets through nothing else.
    LastResort,
    /// Too many kexecs in a row: what runs goes on instead of the better slot.
    Hops {
        /// The better one.
        instead_of: SlotName,
    },
}

/// Why nothing can be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Every slot is empty or failed in this boot.
    NothingToBoot {
        /// Those that failed.
        failed: Failed,
    },
    /// [`MAX_HOPS`] kexecs did not lead to a kernel that belongs to a slot.
    Hops {
        /// The slot that would have been next.
        next: SlotName,
    },
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToBoot { failed: Failed(0) } => {
                f.write_str("choose a slot: both are empty or bad; write the disk image again")
            }
            Self::NothingToBoot { .. } => {
                f.write_str("choose a slot: none could be opened (see above); write the disk image again")
            }
            Self::Hops { next } => write!(
                f,
                "choose a slot: {MAX_HOPS} kexecs in a row did not arrive in a slot, next would be {next}; its kernel does not belong to its root image, stage the release again"
            ),
        }
    }
}

/// Decides what to boot. `running` is the identity of the root image that the running initramfs belongs to; a slot that carries it is
/// the running slot. When both do (the same root image twice), a trial counts as the slot that `hull.boot.trial` names.
pub fn choose(slots: &Slots, wish: &Wish, running: PartitionId, failed: Failed) -> Choice {
    let view = View { slots, wish, running, failed };
    if let Some(choice) = view.in_trial() {
        return choice;
    }
    if let Some(slot) = wish.force.and_then(|name| view.enterable(name)) {
        return view.enter(slot, Why::Forced);
    }
    if let Some(slot) = view.best(|state| matches!(state, State::OnTrial { .. } | State::Good { .. })) {
        return view.enter(slot, Why::Best);
    }
    if let Some(slot) = view.best(|state| matches!(state, State::Spent { .. })) {
        return view.enter(slot, Why::LastResort);
    }
    match slots.iter().find(|slot| slot.id == running && !failed.contains(slot.name)) {
        Some(slot) => Choice::Boot { slot: slot.name, standing: Standing::Proved, why: Why::LastResort },
        None => Choice::GiveUp(GiveUp::NothingToBoot { failed }),
    }
}

struct View<'a> {
    slots: &'a Slots,
    wish: &'a Wish,
    running: PartitionId,
    failed: Failed,
}

impl View<'_> {
    fn enterable(&self, name: SlotName) -> Option<&Slot> {
        self.slots.get(name).filter(|slot| !self.failed.contains(name) && slot.state() != State::Empty)
    }

    /// We came here by a kexec that was meant as this slot's trial. Whoever types `hull.boot.trial` without a kexec is not believed.
    fn in_trial(&self) -> Option<Choice> {
        let slot = self.enterable(self.wish.trial?).filter(|slot| slot.id == self.running && self.wish.hops > 0)?;
        let standing = match slot.state() {
            State::Good { .. } => Standing::Proved,
            _ => Standing::OnTrial,
        };
        Some(Choice::Boot { slot: slot.name, standing, why: Why::Trial })
    }

    /// The slot with the highest priority of those whose state is acceptable; of equals the running one, then a.
    fn best(&self, acceptable: impl Fn(State) -> bool) -> Option<&Slot> {
        self.slots
            .iter()
            .filter(|slot| self.enterable(slot.name).is_some() && acceptable(slot.state()))
            .max_by_key(|slot| (slot.state().priority(), slot.id == self.running, slot.name == SlotName::A))
    }

    fn enter(&self, slot: &Slot, why: Why) -> Choice {
        let trial = matches!(slot.state(), State::OnTrial { .. });
        let twins = self.slots.iter().filter(|other| other.id == self.running).count() > 1;
        let name = slot.name;
        if slot.id == self.running && !(twins && trial) {
            return Choice::Boot { slot: name, standing: standing(slot), why };
        }
        if self.wish.hops < MAX_HOPS {
            return Choice::Kexec { slot: name, entry: if trial { Entry::Trial } else { Entry::Plain }, why };
        }
        let fallback = self.slots.iter().find(|other| other.id == self.running && !self.failed.contains(other.name));
        match fallback {
            Some(other) => {
                Choice::Boot { slot: other.name, standing: standing(other), why: Why::Hops { instead_of: name } }
            }
            None => Choice::GiveUp(GiveUp::Hops { next: name }),
        }
    }
}

/// What a slot whose kernel already runs must prove.
fn standing(slot: &Slot) -> Standing {
    match slot.state() {
        State::OnTrial { .. } => Standing::FirstTry,
        _ => Standing::Proved,
    }
}
