//! The disk as PID 1 sees it: find it, choose the slot, open the root through dm-verity, grow and find the state partition.
//!
//! `find` looks for the disk, `table` reads and writes its partition table, `root` follows the choice of slot to a root, `kernel` and
//! `esp` load the kernel of another slot, `state` grows the state partition, `firmware` keeps UEFI's boot order in step.
//!
//! Everything here may block and allocate: it runs before the node is up, or in a child mode.

pub(crate) mod boot_files;
mod controllers;
pub(crate) mod esp;
pub(crate) mod find;
pub(crate) mod firmware;
pub(crate) mod kernel;
mod root;
mod state;
pub(crate) mod table;
pub(crate) mod trouble;

use std::path::PathBuf;
use std::time::Duration;

use hull_init_core::cmdline::Config;
use hull_init_core::slots::SlotName;

/// What PID 1 may mount as its root.
pub(crate) enum Root {
    /// The erofs behind dm-verity of a slot: mount `device` (a block device, for example `/dev/dm-0`).
    Slot {
        /// What to mount as erofs.
        device: PathBuf,
        /// `a` or `b`.
        slot: char,
        /// Whether this boot is a trial, and until when it must be healthy.
        trial: Trial,
    },
    /// `/hull/root.erofs` of a diskless build: mount `device` (a read-only loop device).
    Embedded {
        /// What to mount as erofs.
        device: PathBuf,
    },
}

/// Whether this boot must prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// The slot was proved before.
    None,
    /// On trial: PID 1 judges its health and calls `mark_good`, or writes the reason and resets.
    Running,
}

/// What `open_root` found, and what people should hear about it.
pub(crate) struct RootChoice {
    /// What to mount.
    pub(crate) root: Root,
    /// The slot that PID 1 fell back from and why, a repaired GPT, a slot marked bad, ...: one line each, for console, log and status.
    pub(crate) notes: Vec<String>,
    /// The disk that has the slots, for [`grow_and_find_state`]: found and read once.
    pub(crate) system: Option<table::Disk>,
}

/// Why there is no root.
pub(crate) enum NoRoot {
    /// No disk with Hull's labels and no embedded root: PID 1 stays up, says so and looks again when a device appears.
    NoDisk {
        /// One line: object, operation, cause, remedy.
        reason: String,
    },
    /// A disk, but nothing to boot from it; PID 1 stays up and says so.
    NoSlot {
        /// One line: object, operation, cause, remedy.
        reason: String,
    },
}

/// Finds the disk by its GPT labels, decides the slot, kexecs if it is another one (then it does not return), opens verity.
/// Called before the root is switched: `/hull/manifest` and `/hull/root.json` are the initramfs' own. /dev, /proc, /sys are mounted.
/// `wait` is how long it may wait for a disk to appear (zero: look once).
pub(crate) fn open_root(config: &Config, wait: Duration) -> Result<RootChoice, NoRoot> {
    root::open(config, wait)
}

/// The root of a slot that was opened turned out to be none (`reason`): marks the slot bad and jumps to the other one. Comes back only
/// when there is no other one, with everything that was tried.
pub(crate) fn leave_slot(config: &Config, slot: SlotName, reason: &str) -> String {
    root::leave(config, slot, reason)
}

/// Where the state lives, after partition and file system were grown if the disk is larger.
pub(crate) struct StateDevice {
    /// What to mount as ext4 at /var.
    pub(crate) device: PathBuf,
    /// The partition was grown: call `resize_state` once it is mounted.
    pub(crate) grown: Grown,
    /// One line each, for console, log and status.
    pub(crate) notes: Vec<String>,
}

/// Whether the file system has to follow its partition.
pub(crate) enum Grown {
    /// Nothing to do.
    No,
    /// The file system is smaller than the partition: online resize after mounting.
    Resize,
}

/// Grows the state partition to the end of its disk and tells which device it is. Does not mount it.
/// Errors: one line (object, operation, cause, remedy); PID 1 then runs degraded with a tmpfs on /var.
pub(crate) fn grow_and_find_state(system: Option<table::Disk>) -> Result<StateDevice, String> {
    state::grow_and_find(system).map_err(|trouble| trouble.to_string())
}

/// Grows the mounted ext4 at `mount_point` to its partition (EXT4_IOC_RESIZE_FS).
pub(crate) fn resize_state(mount_point: &str) -> Result<(), String> {
    state::resize(mount_point).map_err(|trouble| trouble.to_string())
}
