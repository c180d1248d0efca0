//! Keeps the firmware's boot entries in step with the slots, so that it starts the proved one itself: efivarfs.
//!
//! Nothing depends on it: whatever the firmware starts looks at the slots and jumps to the right one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use hull_init_core::firmware::{EspLocation, load_option, order, owner};
use hull_init_core::gpt::LABEL_ESP;
use hull_init_core::slots::SlotName;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::table::Disk;
use super::trouble::Trouble;

const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// `EFI_GLOBAL_VARIABLE`.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, for boot services and at run time: what these variables must have.
const ATTRIBUTES: u32 = 7;

/// Puts the slot first in BootOrder, and the other one second if the firmware knows it. Without UEFI there is nothing to do.
pub(crate) fn prefer(disk: &Disk, slot: SlotName) -> Result<(), Trouble> {
    if !Path::new(VARIABLES).join(format!("BootOrder-{GLOBAL}")).exists() {
        return Ok(());
    }
    let partition = disk.partition(LABEL_ESP)?;
    let location = EspLocation {
        number: partition.number,
        first: partition.first,
        sectors: partition.last + 1 - partition.first,
        id: partition.id,
    };
    let entries = entries();
    let number =
        |name: SlotName| entries.iter().find(|(_, option)| owner(option) == Some(name)).map(|(number, _)| *number);
    let free = || (0..=u16::MAX).find(|number| entries.iter().all(|(used, _)| used != number)).unwrap_or(u16::MAX);
    let first = number(slot).unwrap_or_else(free);
    write(&format!("Boot{first:04X}"), &load_option(slot, &location))?;
    let before = read(&path("BootOrder")).unwrap_or_default();
    write("BootOrder", &order(first, number(slot.other()), &before))
}

/// Every `Boot####`.
fn entries() -> Vec<(u16, Vec<u8>)> {
    let files = fs::read_dir(VARIABLES).into_iter().flatten().flatten();
    let number = |name: &str| -> Option<u16> {
        let digits = name.strip_prefix("Boot")?.strip_suffix(GLOBAL)?.strip_suffix('-')?;
        (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    files.filter_map(|file| Some((number(file.file_name().to_str()?)?, read(&file.path())?))).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(VARIABLES).join(format!("{name}-{GLOBAL}"))
}

/// The value behind the attributes.
fn read(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()?.get(4..).map(<[u8]>::to_vec)
}

/// Writes a variable unless it has the value already: its flash memory wears.
fn write(name: &str, value: &[u8]) -> Result<(), Trouble> {
    let path = path(name);
    if read(&path).as_deref() == Some(value) {
        return Ok(());
    }
    let write = || -> std::io::Result<()> {
        if let Ok(file) = File::open(&path) {
            // efivarfs protects variables against `rm -rf /`.
            let flags = ioctl_getflags(&file)?;
            ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
        }
        // A variable is written by one write(2), attributes first.
        let content = [&ATTRIBUTES.to_le_bytes()[..], value].concat();
        let mut file = File::options().write(true).create(true).truncate(false).open(&path)?;
        (file.write(&content)? == content.len()).then_some(()).ok_or(std::io::ErrorKind::WriteZero.into())
    };
    write().map_err(|error| {
        Trouble::new(
            "write",
            format_args!("firmware variable {name}"),
            error,
            "set the boot order in the firmware's own menu",
        )
    })
}
