//! The power fails at every write of stage, swap, mark-good and grow, and what was written since the last flush reaches the disk in
//! part, in any order: the machine always boots the old or the new system, whole.

mod common;

use common::{Disk, MIB, SECTOR, put, slots};
use hull_init_core::gpt::{Growth, LABEL_STATE, Step};
use hull_init_core::slots::{Choice, Entry, Failed, STAGE_ORDER, SlotName, StageStep, Standing, Wish, choose};
use hull_init_core::verity::{Digest, PartitionId};

/// Sectors of a root image and of a kernel in this model.
const ROOT_SECTORS: u64 = 6;
const KERNEL_SECTORS: u64 = 4;
/// Seeds of the orders in which pending writes reach the disk, besides none and all of them.
const SHUFFLES: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Old,
    New,
}

impl Release {
    fn root(self) -> Vec<u8> {
        vec![self as u8 + 1; ROOT_SECTORS as usize * SECTOR]
    }

    fn kernel(self) -> Vec<u8> {
        vec![self as u8 + 0x81; KERNEL_SECTORS as usize * SECTOR]
    }

    fn id(self) -> PartitionId {
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(&self.root()).0[..16]);
        PartitionId(id)
    }
}

/// Where a slot's kernel lies in the ESP of this model.
fn kernel_lba(name: SlotName) -> u64 {
    match name {
        SlotName::A => 2 * MIB,
        SlotName::B => 3 * MIB,
    }
}

fn root_lba(disk: &Disk, name: SlotName) -> u64 {
    disk.gpt().unwrap().partition(name.label()).unwrap().first
}

/// As shipped: the old release, good, in slot a.
fn shipped() -> Disk {
    let mut disk = Disk::by_sgdisk();
    disk.write(root_lba(&disk, SlotName::A), &Release::Old.root());
    disk.write(kernel_lba(SlotName::A), &Release::Old.kernel());
    let mut gpt = disk.gpt().unwrap();
    let table = slots(&gpt);
    put(&mut gpt, &table.writing(SlotName::A, Release::Old.id()).good(SlotName::A));
    // A fresh image gives slot a priority 1; `good` keeps the 0 of an empty slot, so stage it first.
    put(&mut gpt, &table.staged(SlotName::A, Release::Old.id(), 1).good(SlotName::A));
    disk.perform(&gpt.commit());
    disk
}

/// The table steps of a change to the slots of this disk.
fn table_steps(
    disk: &Disk,
    change: impl Fn(hull_init_core::slots::Slots) -> hull_init_core::slots::Slots,
) -> Vec<Step> {
    let mut gpt = disk.gpt().unwrap();
    let table = slots(&gpt);
    put(&mut gpt, &change(table));
    gpt.commit()
}

/// Every write of a stage of the new release into slot b, as the child mode `stage` orders them.
fn stage(disk: &Disk) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut shadow = disk.clone();
    for step in STAGE_ORDER {
        let more = match step {
            StageStep::Withdraw => table_steps(&shadow, |table| table.writing(SlotName::B, PartitionId([7; 16]))),
            StageStep::WriteRoot => written(root_lba(&shadow, SlotName::B), &Release::New.root()),
            StageStep::WriteKernel => written(kernel_lba(SlotName::B), &Release::New.kernel()),
            StageStep::ReadBack => Vec::new(),
            StageStep::Publish => table_steps(&shadow, |table| table.staged(SlotName::B, Release::New.id(), 1)),
        };
        shadow.perform(&more);
        steps.extend(more);
    }
    steps
}

fn written(lba: u64, bytes: &[u8]) -> Vec<Step> {
    vec![Step::Write { lba, bytes: bytes.to_vec() }, Step::Flush]
}

/// Cuts the power after each sector of `steps`, and calls `check` with each disk that may be left.
fn at_every_cut(disk: &Disk, steps: &[Step], mut check: impl FnMut(&Disk)) {
    let mut safe = disk.clone();
    let mut pending: Vec<(u64, Vec<u8>)> = Vec::new();
    for step in steps {
        match step {
            Step::Write { lba, bytes } => {
                for (sector, lba) in bytes.chunks(SECTOR).zip(*lba..) {
                    if pending.iter().all(|(other, _)| *other != lba) && safe.read(lba, 1).as_deref() == Ok(sector) {
                        continue; // changes nothing, whenever it arrives
                    }
                    pending.push((lba, sector.to_vec()));
                    for left in leftovers(&safe, &pending) {
                        check(&left);
                    }
                }
            }
            Step::Flush => {
                for (lba, sector) in pending.drain(..) {
                    safe.write(lba, &sector);
                }
                check(&safe);
            }
        }
    }
    assert!(pending.is_empty(), "the last write was not flushed");
}

/// What may be left of pending writes: all, all but the last one, and random parts in random order.
fn leftovers(safe: &Disk, pending: &[(u64, Vec<u8>)]) -> Vec<Disk> {
    let with = |chosen: &dyn Fn(usize) -> bool| {
        let mut disk = safe.clone();
        for (index, (lba, sector)) in pending.iter().enumerate() {
            if chosen(index) {
                disk.write(*lba, sector);
            }
        }
        disk
    };
    let last = pending.len() - 1;
    let mut disks = vec![with(&|_| true), with(&|index| index != last), with(&|index| index == last)];
    for seed in 0..SHUFFLES {
        disks.push(with(&|index| random(seed << 32 ^ (last as u64) << 16 ^ index as u64) & 1 == 1));
    }
    disks
}

/// SplitMix64.
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Starts the machine with the kernel of `firmware` and follows it to a root: which release runs, and as what. Everything on the way must
/// be whole.
fn boot(disk: &Disk, firmware: Release) -> (Release, Standing) {
    let mut disk = disk.clone();
    let mut running = firmware;
    let mut wish = Wish::default();
    for _ in 0..8 {
        let gpt = disk.gpt().expect("one of the two tables is whole");
        let table = slots(&gpt);
        match choose(&table, &wish, running.id(), Failed::default()) {
            Choice::Boot { slot, standing, .. } => {
                let root = disk.read(root_lba(&disk, slot), ROOT_SECTORS).unwrap();
                assert!(root == running.root(), "slot {slot} holds another root image than its kernel wants");
                return (running, standing);
            }
            Choice::Kexec { slot, entry, .. } => {
                let kernel = disk.read(kernel_lba(slot), KERNEL_SECTORS).unwrap();
                let found = [Release::Old, Release::New].into_iter().find(|release| release.kernel() == kernel);
                running = found.expect("the kernel of the chosen slot is whole");
                wish.hops += 1;
                wish.trial = None;
                if entry == Entry::Trial {
                    disk.perform(&table_steps(&disk, |table| table.tried(slot)));
                    wish.trial = Some(slot);
                }
            }
            Choice::GiveUp(reason) => panic!("{reason}"),
        }
    }
    panic!("no end");
}

fn boots_whole(disk: &Disk) -> Release {
    let by_old = boot(disk, Release::Old).0;
    assert_eq!(
        by_old,
        boot(disk, Release::New).0,
        "the choice does not depend on the kernel that the firmware started"
    );
    by_old
}

#[test]
fn a_power_cut_in_a_stage_leaves_the_old_system_or_the_whole_new_one() {
    let disk = shipped();
    let steps = stage(&disk);
    let mut seen = [0_u32; 2];
    at_every_cut(&disk, &steps, |left| seen[boots_whole(left) as usize] += 1);
    assert!(seen[0] > 0 && seen[1] > 0, "both outcomes occur: {seen:?}");
    let mut done = disk;
    done.perform(&steps);
    assert_eq!(boot(&done, Release::Old), (Release::New, Standing::OnTrial));
}

#[test]
fn a_stage_over_what_a_power_cut_left_of_a_stage_is_as_safe() {
    let disk = shipped();
    let mut lefts = Vec::new();
    at_every_cut(&disk, &stage(&disk), |left| lefts.push(left.clone()));
    for left in lefts.iter().step_by(61) {
        at_every_cut(left, &stage(left), |second| {
            boots_whole(second);
        });
    }
}

#[test]
fn a_stage_with_one_table_already_damaged_is_as_safe() {
    let end = shipped().sectors - 1;
    for damaged in [1, 2, end, end - 32] {
        let mut disk = shipped();
        disk.write(damaged, &[0xee; SECTOR]);
        at_every_cut(&disk, &stage(&disk), |left| {
            boots_whole(left);
        });
    }
}

#[test]
fn a_power_cut_in_a_swap_boots_old_or_tries_new_and_after_the_trial_old() {
    let mut disk = shipped();
    disk.perform(&stage(&disk));
    let spend = table_steps(&disk, |table| table.tried(SlotName::B));
    at_every_cut(&disk, &spend, |left| {
        boots_whole(left);
    });
    disk.perform(&spend);
    assert_eq!(boot(&disk, Release::Old), (Release::Old, Standing::Proved), "the trial ended in a power cut");
    assert_eq!(boot(&disk, Release::New), (Release::Old, Standing::Proved), "also by the new kernel");
}

#[test]
fn a_power_cut_in_mark_good_boots_old_or_new_and_afterwards_new() {
    let mut disk = shipped();
    disk.perform(&stage(&disk));
    disk.perform(&table_steps(&disk, |table| table.tried(SlotName::B)));
    let good = table_steps(&disk, |table| table.good(SlotName::B));
    let mut seen = [0_u32; 2];
    at_every_cut(&disk, &good, |left| seen[boots_whole(left) as usize] += 1);
    assert!(seen[0] > 0 && seen[1] > 0, "both outcomes occur: {seen:?}");
    disk.perform(&good);
    assert_eq!(boot(&disk, Release::Old), (Release::New, Standing::Proved));
}

#[test]
fn a_power_cut_while_the_state_partition_grows_keeps_every_partition() {
    let mut disk = shipped();
    disk.sectors = 2000 * MIB;
    let before = disk.gpt().unwrap();
    let mut gpt = before.clone();
    assert!(matches!(gpt.grow(LABEL_STATE), Growth::Grown { .. }));
    let mut seen = [0_u32; 2];
    at_every_cut(&disk, &gpt.commit(), |left| {
        assert_eq!(boots_whole(left), Release::Old);
        let table = left.gpt().unwrap();
        for label in ["esp", "hull-a", "hull-b"] {
            assert_eq!(table.partition(label), before.partition(label));
        }
        let state = table.partition(LABEL_STATE).unwrap();
        assert_eq!(state.first, before.partition(LABEL_STATE).unwrap().first);
        seen[usize::from(Some(state) == gpt.partition(LABEL_STATE))] += 1;
    });
    assert!(seen[0] > 0 && seen[1] > 0, "both outcomes occur: {seen:?}");
}
