//! The choice of slot, over every combination of the bits of two slots: it always ends, and where it ends is right.

use hull_init_core::slots::{
    Attributes, Choice, Entry, Failed, GiveUp, MAX_HOPS, Slot, SlotName, Slots, Standing, State, Why, Wish, choose,
};
use hull_init_core::verity::PartitionId;

const ID_A: PartitionId = PartitionId([0xaa; 16]);
const ID_B: PartitionId = PartitionId([0xbb; 16]);
const FOREIGN: PartitionId = PartitionId([0xff; 16]);

fn bits(priority: u64, tries: u64, successful: u64) -> Attributes {
    Attributes(priority << 48 | tries << 52 | successful << 56)
}

fn slot(name: SlotName, id: PartitionId, attributes: Attributes) -> Slot {
    Slot { name, id, attributes }
}

fn dual(a: Attributes, b: Attributes) -> Slots {
    Slots::Dual { a: slot(SlotName::A, ID_A, a), b: slot(SlotName::B, ID_B, b) }
}

const GOOD: (u64, u64, u64) = (1, 0, 1);

fn good() -> Attributes {
    bits(GOOD.0, GOOD.1, GOOD.2)
}

/// What a machine does with a choice: it kexecs, chooses again, until something runs.
struct Machine {
    slots: Slots,
    wish: Wish,
    running: PartitionId,
    /// Slots whose kernel or root cannot be used.
    broken: Failed,
}

#[derive(Debug, PartialEq)]
enum End {
    Runs(SlotName, Standing),
    GaveUp(GiveUp),
}

impl Machine {
    fn new(slots: Slots, wish: Wish, running: PartitionId) -> Self {
        Self { slots, wish, running, broken: Failed::default() }
    }

    /// From one reset to the end; panics when there is no end.
    fn boot(&mut self) -> End {
        let mut failed = Failed::default();
        for _ in 0..12 {
            match choose(&self.slots, &self.wish, self.running, failed) {
                Choice::Boot { slot, .. } if self.broken.contains(slot) => failed = failed.and(slot),
                Choice::Boot { slot, standing, .. } => {
                    if standing == Standing::FirstTry {
                        self.slots = self.slots.tried(slot);
                    }
                    return End::Runs(slot, standing);
                }
                Choice::Kexec { slot, entry, .. } => {
                    assert!(self.wish.hops < MAX_HOPS, "a kexec too many");
                    self.running = self.slots.get(slot).expect("a slot that exists").id;
                    self.wish.hops += 1;
                    self.wish.trial = None;
                    if entry == Entry::Trial {
                        self.slots = self.slots.tried(slot);
                        self.wish.trial = Some(slot);
                    }
                    failed = Failed::default();
                }
                Choice::GiveUp(reason) => return End::GaveUp(reason),
            }
        }
        panic!("no end: {:?} {:?}", self.slots, self.wish);
    }
}

fn every_attribute() -> impl Iterator<Item = Attributes> {
    (0..16).flat_map(|priority| (0..16).flat_map(move |tries| (0..2).map(move |good| bits(priority, tries, good))))
}

fn few_attributes() -> impl Iterator<Item = Attributes> {
    [0, 1, 2, 15].into_iter().flat_map(|priority| {
        [0, 1, 15].into_iter().flat_map(move |tries| (0..2).map(move |good| bits(priority, tries, good)))
    })
}

#[test]
fn every_combination_of_bits_ends_in_the_best_slot_there_is() {
    for a in every_attribute() {
        for b in every_attribute() {
            for running in [ID_A, ID_B, FOREIGN] {
                let end = Machine::new(dual(a, b), Wish::default(), running).boot();
                check(a, b, running, &end);
            }
        }
    }
}

fn check(a: Attributes, b: Attributes, running: PartitionId, end: &End) {
    let usable = |state| matches!(state, State::Good { .. } | State::OnTrial { .. });
    let (a, b) = (a.state(), b.state());
    match end {
        End::Runs(name, standing) => {
            let (mine, other) = if *name == SlotName::A { (a, b) } else { (b, a) };
            if usable(other) {
                assert!(usable(mine) && mine.priority() >= other.priority(), "{a:?} {b:?} {end:?}");
            }
            let on_trial = matches!(mine, State::OnTrial { .. });
            assert_eq!(*standing != Standing::Proved, on_trial, "only a trial is on trial: {a:?} {b:?} {end:?}");
        }
        End::GaveUp(_) => assert!(a == State::Empty && b == State::Empty && running == FOREIGN, "{a:?} {b:?}"),
    }
}

#[test]
fn whatever_is_broken_forced_or_left_over_the_choice_ends() {
    let names = [None, Some(SlotName::A), Some(SlotName::B)];
    let broken = [Failed::default(), Failed::default().and(SlotName::A), Failed::default().and(SlotName::B)];
    for a in few_attributes() {
        for b in few_attributes() {
            for ids in [(ID_A, ID_B), (ID_A, ID_A)] {
                for (force, trial) in names.iter().flat_map(|force| names.iter().map(move |trial| (*force, *trial))) {
                    for running in [ID_A, ID_B, FOREIGN] {
                        for (hops, broken) in (0..=3).flat_map(|hops| broken.iter().map(move |broken| (hops, *broken)))
                        {
                            let slots = Slots::Dual { a: slot(SlotName::A, ids.0, a), b: slot(SlotName::B, ids.1, b) };
                            let mut machine = Machine::new(slots, Wish { force, trial, hops }, running);
                            machine.broken = broken;
                            if let End::Runs(name, _) = machine.boot() {
                                assert!(!broken.contains(name));
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_trial_that_fails_costs_its_tries_and_ends_on_the_old_slot() {
    for tries in 1..=15 {
        let mut slots = dual(good(), bits(0, 0, 0)).writing(SlotName::B, ID_B).staged(SlotName::B, ID_B, tries);
        for _ in 0..tries {
            let mut machine = Machine::new(slots, Wish::default(), ID_A);
            assert_eq!(machine.boot(), End::Runs(SlotName::B, Standing::OnTrial));
            slots = machine.slots;
        }
        let mut machine = Machine::new(slots, Wish::default(), ID_A);
        assert_eq!(machine.boot(), End::Runs(SlotName::A, Standing::Proved));
    }
}

#[test]
fn a_proved_trial_is_booted_from_then_on_and_the_next_release_goes_to_the_other_slot() {
    let slots = dual(good(), bits(0, 0, 0)).staged(SlotName::B, ID_B, 1).tried(SlotName::B).good(SlotName::B);
    assert_eq!(Machine::new(slots, Wish::default(), ID_A).boot(), End::Runs(SlotName::B, Standing::Proved));
    let next = slots.writing(SlotName::A, FOREIGN);
    assert_eq!(Machine::new(next, Wish::default(), ID_B).boot(), End::Runs(SlotName::B, Standing::Proved));
    let staged = next.staged(SlotName::A, ID_A, 1);
    assert_eq!(Machine::new(staged, Wish::default(), ID_B).boot(), End::Runs(SlotName::A, Standing::OnTrial));
}

#[test]
fn priorities_never_run_out() {
    let mut slots = dual(good(), bits(0, 0, 0));
    let mut name = SlotName::B;
    for _ in 0..40 {
        slots = slots.writing(name, ID_B).staged(name, ID_B, 1);
        let (new, old) = (slots.get(name).unwrap().state(), slots.get(name.other()).unwrap().state());
        assert!(new.priority() > old.priority() && old.priority() > 0, "{slots:?}");
        slots = slots.tried(name).good(name);
        name = name.other();
    }
}

#[test]
fn bits_that_are_not_ours_stay() {
    let foreign = Attributes(0b101 | 1 << 60 | 1 << 2);
    let slots =
        dual(good(), foreign).staged(SlotName::B, ID_B, 3).tried(SlotName::B).good(SlotName::B).bad(SlotName::B);
    assert_eq!(slots.get(SlotName::B).unwrap().attributes.0 & !(0x1ff << 48), foreign.0);
}

#[test]
fn a_kernel_that_belongs_to_no_slot_jumps_into_the_good_one() {
    let choice = choose(&dual(good(), bits(0, 0, 0)), &Wish::default(), FOREIGN, Failed::default());
    assert_eq!(choice, Choice::Kexec { slot: SlotName::A, entry: Entry::Plain, why: Why::Best });
}

#[test]
fn a_forced_slot_is_booted_even_if_it_is_bad_but_not_if_it_is_empty() {
    let forced = Wish { force: Some(SlotName::B), ..Wish::default() };
    let end = Machine::new(dual(good(), bits(2, 0, 0)), forced, ID_A).boot();
    assert_eq!(end, End::Runs(SlotName::B, Standing::Proved));
    let end = Machine::new(dual(good(), bits(0, 0, 0)), forced, ID_A).boot();
    assert_eq!(end, End::Runs(SlotName::A, Standing::Proved));
}

#[test]
fn a_trial_that_nobody_jumped_into_is_not_believed() {
    let typed = Wish { trial: Some(SlotName::B), ..Wish::default() };
    let end = Machine::new(dual(good(), bits(2, 0, 0)), typed, ID_B).boot();
    assert_eq!(end, End::Runs(SlotName::A, Standing::Proved));
}

#[test]
fn the_same_root_image_in_both_slots_is_still_tried_with_its_own_kernel() {
    let slots = Slots::Dual { a: slot(SlotName::A, ID_A, good()), b: slot(SlotName::B, ID_A, bits(0, 0, 0)) };
    let staged = slots.staged(SlotName::B, ID_A, 1);
    let choice = choose(&staged, &Wish::default(), ID_A, Failed::default());
    assert_eq!(choice, Choice::Kexec { slot: SlotName::B, entry: Entry::Trial, why: Why::Best });
    let mut machine = Machine::new(staged, Wish::default(), ID_A);
    assert_eq!(machine.boot(), End::Runs(SlotName::B, Standing::OnTrial));
    let mut after_reset = Machine::new(machine.slots, Wish::default(), ID_A);
    assert_eq!(after_reset.boot(), End::Runs(SlotName::A, Standing::Proved));
}

#[test]
fn a_slot_whose_kernel_is_another_s_ends_with_a_reason() {
    let mut wish = Wish::default();
    for _ in 0..MAX_HOPS {
        let choice = choose(&dual(good(), bits(0, 0, 0)), &wish, FOREIGN, Failed::default());
        assert!(matches!(choice, Choice::Kexec { .. }));
        wish.hops += 1;
    }
    let choice = choose(&dual(good(), bits(0, 0, 0)), &wish, FOREIGN, Failed::default());
    assert_eq!(choice, Choice::GiveUp(GiveUp::Hops { next: SlotName::A }));
}

#[test]
fn a_single_slot_boots() {
    let single = Slots::Single(slot(SlotName::A, ID_A, good()));
    assert_eq!(Machine::new(single, Wish::default(), ID_A).boot(), End::Runs(SlotName::A, Standing::Proved));
    assert_eq!(Machine::new(single, Wish::default(), FOREIGN).boot(), End::Runs(SlotName::A, Standing::Proved));
}
