//! Why no disk is there: controllers that this kernel has no driver for, read-only disks. sysfs-bus-pci, sysfs-block.

use std::fs;
use std::path::Path;

use super::trouble::Trouble;

const PCI_DEVICES: &str = "/sys/bus/pci/devices";
/// PCI base class of mass storage controllers (PCI Code and ID Assignment Specification, 1.1).
const STORAGE: &str = "0x01";
const NVME: &str = "0x0108";
const SATA: &str = "0x0106";

/// What to say when the kernel shows no disk at all.
pub(super) fn no_block_device() -> Trouble {
    let missing = without_driver();
    if missing.is_empty() {
        return Trouble::new("find", "the system disk", "there is no block device", "attach a disk with Hull's image");
    }
    let cause = format!("there is no block device, and this kernel has no driver for {}", missing.join(", "));
    Trouble::new("find", "the system disk", cause, "start the kernel for real machines (make image KERNEL=metal)")
}

/// Storage controllers on PCI that no driver took.
fn without_driver() -> Vec<String> {
    let Ok(entries) = fs::read_dir(PCI_DEVICES) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter(|entry| !entry.path().join("driver").exists())
        .filter_map(|entry| {
            let class = fs::read_to_string(entry.path().join("class")).ok()?;
            let class = class.trim().starts_with(STORAGE).then_some(class)?;
            Some(format!("{} {}", kind(&class), entry.file_name().to_string_lossy()))
        })
        .collect();
    found.sort();
    found
}

fn kind(class: &str) -> &'static str {
    match class.get(..NVME.len()) {
        Some(NVME) => "the NVMe disk",
        Some(SATA) => "the SATA controller",
        _ => "the storage controller",
    }
}

/// Whether the kernel lets nobody write to a device.
pub(super) fn is_read_only(device: &Path) -> bool {
    let Some(name) = device.file_name() else { return false };
    fs::read(Path::new("/sys/class/block").join(name).join("ro")).is_ok_and(|text| text.starts_with(b"1"))
}
