//! Finds Hull's disk: the one whose partition table has `hull-a` or `hull-b`, whatever it is called and wherever it hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_init_core::slots::SlotName;
use hull_init_core::verity::PartitionId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use super::controllers;
use super::table::Disk;
use super::trouble::Trouble;

const BLOCK_DEVICES: &str = "/sys/class/block";

/// Whole disks that carry no partition table of ours: memory and what is stacked on other devices.
const VIRTUAL: [&str; 6] = ["loop", "ram", "zram", "dm-", "md", "sr"];

/// Looks at most so long at a time, should a message of the kernel be missed.
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// What a search found.
pub(crate) struct Found {
    /// The disk.
    pub(crate) disk: Disk,
    /// A repaired table, other disks with the same labels.
    pub(crate) notes: Vec<String>,
}

/// Looks for the disk, and goes on looking until `wait` is over. With several, the one that holds the root image `wanted`.
pub(crate) fn find(wanted: PartitionId, wait: Duration) -> Result<Found, Trouble> {
    let deadline = Instant::now() + wait;
    let mut listener = None;
    loop {
        let trouble = match look(wanted) {
            Ok(found) => return Ok(found),
            Err(trouble) => trouble,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(trouble);
        }
        if listener.is_none() {
            // Between the look above and this socket a disk may have appeared: look again before waiting.
            listener =
                socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(KOBJECT_UEVENT))
                    .ok()
                    .filter(|socket| bind(socket, &SocketAddrNetlink::new(0, 1)).is_ok());
            if listener.is_some() {
                continue;
            }
        }
        wait_for_event(listener.as_ref(), left.min(LONGEST_LOOK));
    }
}

fn wait_for_event(listener: Option<&std::os::fd::OwnedFd>, time: Duration) {
    let Some(socket) = listener else { return std::thread::sleep(time.min(Duration::from_millis(50))) };
    let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout)); // an error only makes us look again
    let mut drain = [0; 4096];
    while rustix::net::recv(socket, &mut drain, rustix::net::RecvFlags::DONTWAIT).is_ok() {}
}

/// One look at what is there.
fn look(wanted: PartitionId) -> Result<Found, Trouble> {
    let mut notes = Vec::new();
    let labelled = disks_by_label();
    let mut candidates: Vec<Disk> = open_all(&labelled, &mut notes);
    if candidates.is_empty() {
        candidates = rescue(&labelled, &mut notes);
    }
    let best = candidates.iter().position(|disk| holds(disk, wanted)).unwrap_or(0);
    if candidates.len() > 1 {
        let names: Vec<String> = candidates.iter().map(|disk| disk.path().display().to_string()).collect();
        notes.push(format!("several disks have Hull's labels ({}): {} is used", names.join(", "), names[best]));
    }
    if candidates.is_empty() {
        if whole_disks().is_empty() {
            return Err(controllers::no_block_device());
        }
        let cause =
            if notes.is_empty() { "no disk has a partition hull-a or hull-b".to_owned() } else { notes.join("; ") };
        return Err(Trouble::new("find", "the system disk", cause, "attach a disk with Hull's image"));
    }
    Ok(Found { disk: candidates.swap_remove(best), notes })
}

fn holds(disk: &Disk, wanted: PartitionId) -> bool {
    disk.slots().iter().any(|slot| slot.id == wanted)
}

/// Whole disks of which the kernel itself says that they have a partition with one of our labels.
fn disks_by_label() -> Vec<PathBuf> {
    let labels = [SlotName::A, SlotName::B].map(SlotName::label);
    let ours = |name: &String| label(name).is_some_and(|label| labels.contains(&label.as_str()));
    let mut disks: Vec<PathBuf> =
        block_devices().iter().filter(|name| ours(name)).filter_map(|name| parent(name)).collect();
    disks.dedup(); // the partitions of a disk are neighbours in the list
    disks
}

fn open_all(disks: &[PathBuf], notes: &mut Vec<String>) -> Vec<Disk> {
    let mut open = Vec::new();
    for path in disks {
        match Disk::open(path) {
            Ok(disk) => open.push(disk),
            Err(trouble) => notes.push(trouble.to_string()),
        }
    }
    open
}

/// The kernel sees no partitions of ours. When only the backup table of a disk is whole it looks at neither: read both, and repair.
fn rescue(known: &[PathBuf], notes: &mut Vec<String>) -> Vec<Disk> {
    let mut rescued = Vec::new();
    for name in whole_disks() {
        let path = Path::new("/dev").join(&name);
        if known.contains(&path) {
            continue;
        }
        match Disk::open(&path).and_then(|disk| disk.make_visible().map(|()| disk)) {
            Ok(disk) => {
                notes.push(format!("{}: its partition table was damaged and is repaired", path.display()));
                rescued.push(disk);
            }
            Err(trouble) => notes.push(trouble.to_string()),
        }
    }
    rescued
}

/// Devices that may carry a partition table of ours.
fn whole_disks() -> Vec<String> {
    let is_virtual = |name: &str| VIRTUAL.iter().any(|prefix| name.starts_with(prefix));
    let is_partition = |name: &str| Path::new(BLOCK_DEVICES).join(name).join("partition").exists();
    block_devices().into_iter().filter(|name| !is_virtual(name) && !is_partition(name)).collect()
}

fn block_devices() -> Vec<String> {
    let Ok(entries) = fs::read_dir(BLOCK_DEVICES) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The label that the kernel read from the partition table, if this is a partition that has one.
fn label(name: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(BLOCK_DEVICES).join(name).join("uevent")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(str::to_owned)
}

/// The disk of a partition: the folder above it in sysfs.
fn parent(partition: &str) -> Option<PathBuf> {
    let target = fs::canonicalize(Path::new(BLOCK_DEVICES).join(partition)).ok()?;
    Some(Path::new("/dev").join(target.parent()?.file_name()?))
}

/// The device of partition `number` of a disk.
pub(crate) fn partition_device(disk: &Path, number: u32) -> Result<PathBuf, Trouble> {
    let name = disk.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let folder = Path::new(BLOCK_DEVICES).join(name);
    let wanted = number.to_string();
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    for entry in entries {
        let at = entry.path().join("partition");
        if fs::read_to_string(at).is_ok_and(|text| text.trim() == wanted) {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(Trouble::new(
        "find",
        format_args!("partition {number} of {}", disk.display()),
        "the kernel does not show it",
        "check the partition table (sgdisk -v)",
    ))
}
