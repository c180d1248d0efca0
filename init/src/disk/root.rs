//! From disk to root: chooses the slot, jumps to its kernel if that is another one, opens its root image through dm-verity.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hull_init_core::cmdline::Config;
use hull_init_core::hop::Hop;
use hull_init_core::manifest::Manifest;
use hull_init_core::slots::{Choice, Entry, Failed, SlotName, Standing, State, Why, Wish, choose};
use hull_init_core::verity::Verity;
use rustix::system::RebootCommand;

use super::boot_files::{self, EMBEDDED_ROOT};
use super::find::{self, Found};
use super::kernel;
use super::table::Disk;
use super::trouble::Trouble;
use super::{NoRoot, Root, RootChoice, Trial};
use crate::sys::{blk, dm, loopdev, reboot, watchdog};

/// Name of the verity device.
const VERITY: &str = "hull-root";

/// Where erofs keeps its superblock, and how that starts (`EROFS_SUPER_MAGIC_V1`, little-endian).
const EROFS_SUPER_OFFSET: usize = 1024;
const EROFS_MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();

/// See [`super::open_root`].
pub(super) fn open(config: &Config, wait: Duration) -> Result<RootChoice, NoRoot> {
    let embedded = Path::new(EMBEDDED_ROOT).exists();
    let manifest = boot_files::manifest().map_err(|trouble| NoRoot::NoSlot { reason: trouble.to_string() })?;
    let wait = if embedded { Duration::ZERO } else { wait };
    let missing = match find::find(manifest.root.partition_id(), wait) {
        Ok(found) => match Boot::new(config, &manifest, found).run() {
            Ok(root) => return Ok(root),
            Err(reason) => NoRoot::NoSlot { reason },
        },
        Err(trouble) => NoRoot::NoDisk { reason: trouble.to_string() },
    };
    if embedded { embedded_root(missing) } else { Err(missing) }
}

/// See [`super::leave_slot`].
pub(super) fn leave(config: &Config, slot: SlotName, reason: &str) -> String {
    let other = || -> Result<RootChoice, String> {
        let manifest = boot_files::manifest().map_err(|trouble| trouble.to_string())?;
        let found = find::find(manifest.root.partition_id(), Duration::ZERO).map_err(|trouble| trouble.to_string())?;
        let mut boot = Boot::new(config, &manifest, found);
        boot.found.notes.push(reason.to_owned());
        boot.mark_bad(slot);
        boot.failed = boot.failed.and(slot);
        boot.run()
    };
    match other() {
        Err(reason) => reason,
        // The same root image twice: what did not work once is not tried again.
        Ok(RootChoice { notes, .. }) => notes.join("; "),
    }
}

/// The root image inside the initramfs. That there is no disk is as expected; that there is one without a system is worth a line.
fn embedded_root(missing: NoRoot) -> Result<RootChoice, NoRoot> {
    let notes = match missing {
        NoRoot::NoDisk { .. } => Vec::new(),
        NoRoot::NoSlot { reason } => vec![reason],
    };
    match loopdev::attach(Path::new(EMBEDDED_ROOT)) {
        Ok(device) => Ok(RootChoice { root: Root::Embedded { device }, notes, system: None }),
        Err(error) => {
            let trouble = Trouble::new("open", EMBEDDED_ROOT, error, "build the initramfs again");
            Err(NoRoot::NoSlot { reason: trouble.to_string() })
        }
    }
}

struct Boot<'a> {
    config: &'a Config,
    manifest: &'a Manifest,
    found: Found,
    failed: Failed,
}

impl<'a> Boot<'a> {
    fn new(config: &'a Config, manifest: &'a Manifest, mut found: Found) -> Self {
        let mut failed = Failed::default();
        if let Some(slot) = config.boot_failed() {
            found.notes.push(format!("slot {slot} could not be opened and was left by kexec; stage a release into it"));
            failed = failed.and(slot);
        }
        Self { config, manifest, found, failed }
    }

    /// Follows the choices to a root. Each turn either ends or adds a slot to those that failed, of which there are two.
    fn run(mut self) -> Result<RootChoice, String> {
        let wish =
            Wish { force: self.config.boot_slot(), trial: self.config.boot_trial(), hops: self.config.boot_hops() };
        loop {
            let choice = choose(self.disk().slots(), &wish, self.manifest.root.partition_id(), self.failed);
            self.explain(&wish, &choice);
            let (slot, result) = match choice {
                Choice::Boot { slot, standing, .. } => match self.enter(slot, standing) {
                    Ok(root) => {
                        let Found { disk, notes } = self.found;
                        return Ok(RootChoice { root, notes, system: Some(disk) });
                    }
                    Err(trouble) => (slot, trouble),
                },
                Choice::Kexec { slot, entry, .. } => (slot, self.jump(slot, entry, wish.hops)),
                Choice::GiveUp(reason) => {
                    self.found.notes.push(reason.to_string());
                    return Err(self.found.notes.join("; "));
                }
            };
            self.found.notes.push(result.to_string());
            self.failed = self.failed.and(slot);
        }
    }

    fn disk(&self) -> &Disk {
        &self.found.disk
    }

    /// What people should hear about the choice.
    fn explain(&mut self, wish: &Wish, choice: &Choice) {
        let (slot, why) = match choice {
            Choice::Boot { slot, why, .. } | Choice::Kexec { slot, why, .. } => (*slot, *why),
            Choice::GiveUp(_) => return,
        };
        if let Some(forced) = wish.force.filter(|_| why != Why::Forced && why != Why::Trial) {
            self.found.notes.push(format!(
                "hull.boot.slot={forced}: slot {forced} is empty or cannot be opened; slot {slot} is used"
            ));
        }
        match why {
            Why::LastResort => self.found.notes.push(format!("no slot is good: slot {slot} is started as a last resort; stage a release")),
            Why::Hops { instead_of } => self.found.notes.push(format!(
                "slot {instead_of} would be better, but its kernel does not lead there; slot {slot} is used; stage the release again"
            )),
            Why::Best | Why::Forced | Why::Trial => {}
        }
    }

    fn enter(&mut self, slot: SlotName, standing: Standing) -> Result<Root, Trouble> {
        if standing == Standing::FirstTry {
            self.found.disk.change_slots(|slots| slots.tried(slot))?;
        }
        match self.open_verity(slot) {
            Ok(device) => {
                let trial = if standing == Standing::Proved { Trial::None } else { Trial::Running };
                let slot = if slot == SlotName::A { 'a' } else { 'b' };
                Ok(Root::Slot { device, slot, trial })
            }
            Err(trouble) => {
                self.mark_bad(slot);
                Err(trouble)
            }
        }
    }

    fn open_verity(&self, slot: SlotName) -> Result<PathBuf, Trouble> {
        open_verity(&self.disk().device(slot.label())?, &self.manifest.root)
    }

    /// Jumps; comes back only with the reason why not.
    fn jump(&mut self, slot: SlotName, entry: Entry, hops: u8) -> Trouble {
        let trial = (entry == Entry::Trial).then_some(slot);
        let hop = Hop { trial, hops: hops + 1, failed: self.failed.first() };
        if let Err(trouble) = kernel::load(self.disk(), slot, &hop) {
            if trial.is_some() {
                self.mark_bad(slot);
            }
            return trouble;
        }
        let mut armed = None;
        if trial.is_some() {
            if let Err(trouble) = self.found.disk.change_slots(|slots| slots.tried(slot)) {
                return trouble; // a trial that costs nothing could go on for ever
            }
            armed = self.config.watchdog().and_then(|timeout| watchdog::Watchdog::arm(timeout).ok());
        }
        self.tell_the_kernel_log();
        let error = reboot::end(RebootCommand::Kexec);
        drop(armed);
        Trouble::new("jump to", format_args!("slot {slot}"), error, "start the machine again")
    }

    /// What was noted so far ends with this kernel; its log is on the console, at least.
    fn tell_the_kernel_log(&self) {
        for note in &self.found.notes {
            let _ = std::fs::write("/dev/kmsg", format!("<3>hull-init: {note}\n")); // nobody else can be told
        }
    }

    fn mark_bad(&mut self, slot: SlotName) {
        let state = self.disk().slots().get(slot).map(|slot| slot.state());
        if matches!(state, None | Some(State::Spent { .. } | State::Empty)) {
            return;
        }
        match self.found.disk.change_slots(|slots| slots.bad(slot)) {
            Ok(()) => self.found.notes.push(format!("slot {slot} is marked bad")),
            Err(trouble) => self.found.notes.push(trouble.to_string()),
        }
    }
}

/// Opens a root image and reads its first block, so that a slot with other content is noticed while there is a choice.
fn open_verity(device: &Path, root: &Verity) -> Result<PathBuf, Trouble> {
    let number = std::fs::metadata(device)
        .map(|metadata| std::os::unix::fs::MetadataExt::rdev(&metadata))
        .map_err(|error| Trouble::new("open", device.display(), error, "check the disk"))?;
    let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    let mapped = dm::create_verity(VERITY, &root.table(&number), dm::sectors_of(root.data_blocks))
        .map_err(|error| Trouble::new("open through dm-verity", device.display(), error, "stage the release again"))?;
    let path = PathBuf::from(format!("/dev/dm-{}", mapped.minor));
    match starts_like_erofs(&path) {
        Ok(true) => {
            // Verity finds what is written anyway: this only tells a careless writer sooner, so its failure is none of the boot's.
            let _ = std::fs::File::open(device).and_then(|file| blk::set_read_only(&file));
            Ok(path)
        }
        other => {
            let _ = dm::remove(VERITY); // the slot is not used; an unused mapping does no harm
            let cause = match other {
                Err(error) => format!("{error}: the root image is not the one with root hash {}", root.root_hash),
                Ok(_) => "the root image is not an erofs".to_owned(),
            };
            Err(Trouble::new("read", device.display(), cause, "stage the release again"))
        }
    }
}

fn starts_like_erofs(device: &Path) -> std::io::Result<bool> {
    let mut block = [0; 4096];
    File::open(device)?.read_exact_at(&mut block, 0)?;
    Ok(block[EROFS_SUPER_OFFSET..].starts_with(&EROFS_MAGIC))
}
