//! The partition table: read what a known tool wrote, survive what never should be there, grow, and keep what is not ours.

mod common;

use common::{Disk, MIB, SECTOR, SECTORS};
use hull_init_core::gpt::{CopyError, Geometry, Gpt, Growth, LABEL_ESP, LABEL_STATE, NoTable, Source, Step};
use hull_init_core::slots::{Attributes, State};
use hull_init_core::verity::PartitionId;
use proptest::prelude::*;

#[test]
fn a_table_that_sgdisk_wrote_is_read() {
    let gpt = Disk::by_sgdisk().gpt().unwrap();
    assert_eq!(gpt.source(), &Source::Primary);
    let a = gpt.partition("hull-a").unwrap();
    assert_eq!((a.number, a.first, a.last), (2, 65 * MIB, 193 * MIB - 1));
    assert_eq!(a.id.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    assert_eq!(Attributes(a.attributes).state(), State::Good { priority: 1 });
    assert_eq!(Attributes(gpt.partition("hull-b").unwrap().attributes).state(), State::Empty);
    assert_eq!(gpt.partition(LABEL_ESP).unwrap().number, 1);
    assert_eq!(gpt.partition("hull"), None, "a label is compared whole");
}

#[test]
fn writing_an_unchanged_table_changes_nothing() {
    let before = Disk::by_sgdisk();
    let mut after = before.clone();
    after.perform(&before.gpt().unwrap().commit());
    for lba in (0..40).chain(SECTORS - 40..SECTORS) {
        assert_eq!(before.read(lba, 1), after.read(lba, 1), "sector {lba}");
    }
}

#[test]
fn a_disk_of_zeros_has_no_table() {
    let error = Disk::blank(SECTORS).gpt().unwrap_err();
    assert_eq!(error, NoTable { primary: CopyError::NoSignature, backup: CopyError::NoSignature });
}

#[test]
fn disks_of_any_size_down_to_nothing_are_survived() {
    for sectors in 0..80 {
        assert!(Disk::blank(sectors).gpt().is_err());
    }
    let huge = Geometry { sector_bytes: 4096, sectors: u64::MAX };
    assert!(Gpt::read(huge, |_, _| Ok(vec![0; 4096])).is_err());
}

#[test]
fn either_copy_is_enough_and_the_other_is_repaired() {
    for (lost, intact) in [(1, SECTORS - 1), (2, SECTORS - 1), (SECTORS - 1, 1), (SECTORS - 33, 1)] {
        let mut disk = Disk::by_sgdisk();
        disk.write(lost, &[0xee; SECTOR]);
        let gpt = disk.gpt().unwrap();
        assert_eq!(matches!(gpt.source(), Source::Backup { .. }), intact != 1, "lost {lost}");
        assert!(gpt.partition("hull-b").is_some());
        disk.perform(&gpt.commit());
        disk.write(intact, &[0; SECTOR]);
        assert!(disk.gpt().unwrap().partition("hull-b").is_some(), "the repaired copy stands alone");
    }
}

#[test]
fn both_copies_damaged_are_both_named() {
    let mut disk = Disk::by_sgdisk();
    disk.write(2, &[0xee; SECTOR]);
    disk.write(SECTORS - 1, &[0; SECTOR]);
    let error = disk.gpt().unwrap_err();
    assert_eq!(error, NoTable { primary: CopyError::BadEntries, backup: CopyError::NoSignature });
}

#[test]
fn a_disk_that_was_made_smaller_says_so() {
    let mut disk = Disk::by_sgdisk();
    disk.sectors = 300 * MIB;
    let error = disk.gpt().unwrap_err();
    assert_eq!(error.primary, CopyError::Shrunk { described: SECTORS, sectors: 300 * MIB });
}

#[test]
fn a_larger_disk_gives_its_room_to_the_state_partition() {
    let mut disk = Disk::by_sgdisk();
    disk.sectors = 1000 * MIB;
    let mut gpt = disk.gpt().unwrap();
    let grown = gpt.grow(LABEL_STATE);
    assert_eq!(grown, Growth::Grown { from: 64 * MIB, to: (999 - 321) * MIB });
    disk.perform(&gpt.commit());
    assert_eq!(disk.gpt().unwrap().partition(LABEL_STATE).unwrap().last, 999 * MIB - 1);
    assert_eq!(disk.gpt().unwrap().grow(LABEL_STATE), Growth::Whole, "once is enough");
    disk.write(1, &[0; SECTOR]);
    let from_backup = disk.gpt().unwrap();
    assert_eq!(from_backup.partition(LABEL_STATE).unwrap().last, 999 * MIB - 1);
    assert_eq!(from_backup.partition("hull-a"), Disk::by_sgdisk().gpt().unwrap().partition("hull-a"));
}

#[test]
fn a_disk_that_is_larger_by_a_few_sectors_stays_as_it_is() {
    let mut disk = Disk::by_sgdisk();
    disk.sectors += 16;
    assert_eq!(disk.gpt().unwrap().grow(LABEL_STATE), Growth::Whole);
}

#[test]
fn a_partition_with_another_behind_it_does_not_grow() {
    let mut disk = Disk::by_sgdisk();
    disk.sectors = 1000 * MIB;
    assert_eq!(disk.gpt().unwrap().grow(LABEL_ESP), Growth::NotLast { behind: 2 });
}

#[test]
fn an_edit_touches_one_partition_only() {
    let mut disk = Disk::by_sgdisk();
    let before = disk.gpt().unwrap();
    let mut gpt = before.clone();
    let id = PartitionId(*b"0123456789abcdef");
    gpt.set("hull-b", id, 7 << 48);
    disk.perform(&gpt.commit());
    let after = disk.gpt().unwrap();
    let b = after.partition("hull-b").unwrap();
    assert_eq!((b.id, b.attributes), (id, 7 << 48));
    for label in ["esp", "hull-a", "hull-state"] {
        assert_eq!(after.partition(label), before.partition(label));
    }
}

#[test]
fn a_lost_sector_0_is_written_again_and_a_good_one_is_left_alone() {
    let gpt = Disk::by_sgdisk().gpt().unwrap();
    let Some(Step::Write { lba: 0, bytes }) = gpt.protect(&[0; SECTOR]) else { panic!("not written") };
    assert_eq!((bytes.len(), &bytes[510..], bytes[450]), (SECTOR, &[0x55, 0xaa][..], 0xee));
    assert_eq!(gpt.protect(&bytes), None);
}

proptest! {
    #[test]
    fn any_edit_is_read_back_and_the_copies_agree(id: [u8; 16], attributes: u64, extra in 0_u64..4000, primary_lost: bool) {
        let mut disk = Disk::by_sgdisk();
        let lost = if primary_lost { 1 } else { SECTORS - 1 };
        disk.write(lost, &[0; SECTOR]);
        if !primary_lost {
            disk.sectors += extra * MIB / 4;
        }
        let mut gpt = disk.gpt().unwrap();
        gpt.set("hull-b", PartitionId(id), attributes);
        gpt.grow(LABEL_STATE);
        disk.perform(&gpt.commit());
        let primary = disk.gpt().unwrap();
        prop_assert_eq!(primary.source(), &Source::Primary);
        disk.write(1, &[0; SECTOR]);
        let backup = disk.gpt().unwrap();
        for label in ["esp", "hull-a", "hull-b", "hull-state"] {
            prop_assert_eq!(primary.partition(label), backup.partition(label));
        }
        let b = primary.partition("hull-b").unwrap();
        prop_assert_eq!((b.id, b.attributes), (PartitionId(id), attributes));
        let state = primary.partition(LABEL_STATE).unwrap();
        prop_assert!(state.last < disk.sectors - 33 && state.last > 385 * MIB - 2);
    }

    #[test]
    fn garbage_never_panics_and_never_passes(sectors in 0_u64..100, garbage in proptest::collection::vec(any::<u8>(), SECTOR * 4)) {
        let mut disk = Disk::blank(sectors.max(8));
        disk.write(0, &garbage);
        prop_assert!(disk.gpt().is_err());
    }

    #[test]
    fn one_damaged_byte_never_changes_what_is_read(offset in 0_usize..SECTOR * 3, flip in 1_u8..) {
        let mut disk = Disk::by_sgdisk();
        let lba = 1 + (offset / SECTOR) as u64;
        let mut sector = disk.read(lba, 1).unwrap();
        sector[offset % SECTOR] ^= flip;
        disk.write(lba, &sector);
        let (read, whole) = (disk.gpt().unwrap(), Disk::by_sgdisk().gpt().unwrap());
        for label in ["esp", "hull-a", "hull-b", "hull-state"] {
            prop_assert_eq!(read.partition(label), whole.partition(label));
        }
    }
}
