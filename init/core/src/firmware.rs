//! Boot entries of UEFI firmware: `EFI_LOAD_OPTION` and `BootOrder` (UEFI specification 2.10, 3.1.3 and 3.3; device paths: chapter 10).

use crate::slots::SlotName;
use crate::verity::PartitionId;

/// `LOAD_OPTION_ACTIVE`.
const ACTIVE: u32 = 1;
/// Media device path: hard drive, and file; end of the path.
const HARD_DRIVE: [u8; 4] = [4, 1, 42, 0];
const FILE_PATH: [u8; 2] = [4, 4];
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
/// A GPT, whose partition is named by its unique GUID.
const GPT_BY_GUID: [u8; 2] = [2, 2];

/// The ESP as device paths name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspLocation {
    /// From 1.
    pub number: u32,
    /// First sector.
    pub first: u64,
    /// Sectors.
    pub sectors: u64,
    /// Unique GUID.
    pub id: PartitionId,
}

/// What firmware shows to people; also how Hull knows its own entries again.
pub const fn description(slot: SlotName) -> &'static str {
    match slot {
        SlotName::A => "Hull a",
        SlotName::B => "Hull b",
    }
}

/// The content of a `Boot####` variable that starts the kernel of a slot.
pub fn load_option(slot: SlotName, esp: &EspLocation) -> Vec<u8> {
    let path = utf16(&format!("\\EFI\\hull\\{slot}.efi"));
    let mut list = HARD_DRIVE.to_vec();
    list.extend(esp.number.to_le_bytes());
    list.extend(esp.first.to_le_bytes());
    list.extend(esp.sectors.to_le_bytes());
    list.extend(esp.id.on_disk());
    list.extend(GPT_BY_GUID);
    list.extend(FILE_PATH);
    list.extend((path.len() as u16 + 4).to_le_bytes());
    list.extend(path);
    list.extend(END);
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend((list.len() as u16).to_le_bytes());
    option.extend(utf16(description(slot)));
    option.extend(list);
    option
}

/// Whose entry this is, if it is one of Hull's.
pub fn owner(option: &[u8]) -> Option<SlotName> {
    [SlotName::A, SlotName::B]
        .into_iter()
        .find(|slot| option.get(6..).is_some_and(|rest| rest.starts_with(&utf16(description(*slot)))))
}

/// `BootOrder` with `first` before `second` before everything else that was in it, each once.
pub fn order(first: u16, second: Option<u16>, before: &[u8]) -> Vec<u8> {
    let mut numbers = vec![first];
    let rest = before.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    for number in second.into_iter().chain(rest) {
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers.into_iter().flat_map(u16::to_le_bytes).collect()
}

/// With the final zero.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESP: EspLocation = EspLocation {
        number: 1,
        first: 2048,
        sectors: 131_072,
        id: PartitionId(*b"\x48\x75\x6c\x6c\0\0\x40\0\x80\0\x65\x73\x70\0\0\0"),
    };

    #[test]
    fn an_entry_is_laid_out_as_the_specification_says() {
        // Attributes, length of the list, description; hard drive node; file node; end.
        let expected = hex::decode(concat!(
            "01000000",
            "5200",
            "480075006c006c00200062000000",
            "04012a00",
            "01000000",
            "0008000000000000",
            "0000020000000000",
            "6c6c754800000040800065737000000002",
            "02",
            "0404",
            "2400",
            "5c004500460049005c00680075006c006c005c0062002e006500660069000000",
            "7fff0400"
        ));
        assert_eq!(hex::encode(load_option(SlotName::B, &ESP)), hex::encode(expected.unwrap()));
    }

    #[test]
    fn own_entries_are_known_again_and_others_are_not() {
        for slot in [SlotName::A, SlotName::B] {
            assert_eq!(owner(&load_option(slot, &ESP)), Some(slot));
        }
        assert_eq!(owner(b""), None);
        assert_eq!(owner(&[&[1, 0, 0, 0, 0, 0][..], &utf16("Hull base")].concat()), None);
    }

    #[test]
    fn the_proved_slot_comes_first_and_nothing_is_lost() {
        let before: Vec<u8> = [3_u16, 7, 0, 1].into_iter().flat_map(u16::to_le_bytes).collect();
        let numbers = |bytes: Vec<u8>| -> Vec<u8> { bytes.chunks(2).map(|pair| pair[0]).collect() };
        assert_eq!(numbers(order(7, Some(8), &before)), [7, 8, 3, 0, 1]);
        assert_eq!(numbers(order(1, None, &before)), [1, 3, 7, 0]);
        assert_eq!(numbers(order(1, None, &[])), [1]);
    }
}
