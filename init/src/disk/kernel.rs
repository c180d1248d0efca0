//! Loads the kernel of a slot for kexec, after checking it against the signed metadata beside it.

use std::fs::{self, File};
use std::io::Write;

use hull_init_core::hop::{Hop, command_line};
use hull_init_core::pe;
use hull_init_core::release::{Release, Target, UKI};
use hull_init_core::slots::SlotName;
use rustix::fs::{MemfdFlags, memfd_create};

use super::boot_files;
use super::esp::{self, Access, Esp, Kind};
use super::table::Disk;
use super::trouble::Trouble;
use crate::sys::kexec;

const STAGE_AGAIN: &str = "stage the release again";

/// Loads kernel and initramfs of a slot; the next kexec jumps there. Gives the release that was loaded.
pub(crate) fn load(disk: &Disk, slot: SlotName, hop: &Hop) -> Result<Release, Trouble> {
    let (release, file) = verified(disk, slot)?;
    let object = || format!("{} of slot {slot}", esp::path(slot, Kind::Kernel));
    let uki = pe::Uki::parse(&file).map_err(|error| Trouble::new("open", object(), error, STAGE_AGAIN))?;
    let line = next_command_line(hop)?;
    let copy = |name, range: std::ops::Range<usize>| {
        sealed(name, &file[range]).map_err(|error| Trouble::new("copy", object(), error, "free memory on the node"))
    };
    let (kernel, initramfs) = (copy("linux", uki.linux)?, copy("initrd", uki.initrd)?);
    drop(file);
    kexec::load(&kernel, &initramfs, &line).map_err(|error| {
        Trouble::new(
            "load",
            object(),
            format_args!("{error} (the kernel says more)"),
            "sign the kernel with a key in the running kernel's keyring",
        )
    })?;
    Ok(release)
}

/// Reads metadata and kernel of a slot; both belong together, are signed by a trusted key, and belong to the root image in the slot.
fn verified(disk: &Disk, slot: SlotName) -> Result<(Release, Vec<u8>), Trouble> {
    let esp = Esp::mount(&disk.device(hull_init_core::gpt::LABEL_ESP)?, Access::Read)?;
    let release = signed(&esp, slot)?;
    let file = esp.read(&esp::path(slot, Kind::Kernel))?;
    let path = esp::path(slot, Kind::Kernel);
    release.uki.check(UKI, &Target::of(&file)).map_err(|error| Trouble::new("verify", path, error, STAGE_AGAIN))?;
    let inside = disk.slots().get(slot).map(|slot| slot.id);
    if inside != Some(release.verity.partition_id()) {
        let cause = format!("its kernel is of version {}, its root image is another's", release.version);
        return Err(Trouble::new("verify", format_args!("slot {slot}"), cause, STAGE_AGAIN));
    }
    Ok((release, file))
}

/// Reads and checks the metadata of a slot.
pub(crate) fn signed(esp: &Esp, slot: SlotName) -> Result<Release, Trouble> {
    let path = esp::path(slot, Kind::Metadata);
    let bytes = esp.read(&path)?;
    boot_files::trust()?.release(&bytes).map_err(|error| Trouble::new("verify", path, error, STAGE_AGAIN))
}

fn next_command_line(hop: &Hop) -> Result<String, Trouble> {
    let current = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let bootconfig = fs::read_to_string("/proc/bootconfig").unwrap_or_default();
    command_line(&current, &bootconfig, hop).map_err(|error| {
        Trouble::new("build", "the next kernel command line", error, "shorten the kernel command line")
    })
}

/// A file in memory that nobody has open for writing: kexec_file_load(2) refuses others with ETXTBSY.
fn sealed(name: &str, content: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let read_only = File::open(path)?;
    drop(file);
    Ok(read_only)
}
