//! The small steps of a swap: load the staged kernel, spend its try, mark it good, and tell what is in the slots.

use std::time::Duration;

use hull_init_core::cmdline::Config;
use hull_init_core::control::{Slot as Told, SlotContent, SlotName, SlotUsage, cut, line};
use hull_init_core::gpt::LABEL_ESP;
use hull_init_core::hop::Hop;
use hull_init_core::manifest::Manifest;
use hull_init_core::slots::{Slot, State};

use super::answer::Answer;
use crate::disk::esp::{Access, Esp};
use crate::disk::table::Disk;
use crate::disk::trouble::Trouble;
use crate::disk::{boot_files, find, firmware, kernel};

/// Where PID 1 notes which trial failed last, and why.
const FAILED: &str = "/var/lib/hull/init/failed-trial";

/// The system disk and what runs from it.
pub(super) struct System {
    pub(super) disk: Disk,
    pub(super) manifest: Manifest,
    pub(super) config: Config,
}

impl System {
    /// Opens the disk, which must be there: the node runs from it.
    pub(super) fn open() -> Result<Self, Trouble> {
        let manifest = boot_files::manifest()?;
        let disk = find::find(manifest.root.partition_id(), Duration::ZERO)?.disk;
        let line = std::fs::read("/proc/cmdline").unwrap_or_default();
        Ok(Self { disk, manifest, config: Config::parse(&line) })
    }

    /// The slot this system runs from: the one with its root image; of two the one on trial, or the better one.
    pub(super) fn running(&self) -> Option<SlotName> {
        let id = self.manifest.root.partition_id();
        let mut mine: Vec<&Slot> = self.disk.slots().iter().filter(|slot| slot.id == id).collect();
        mine.sort_by_key(|slot| (matches!(slot.state(), State::Good { .. }), slot.state().priority()));
        let trial = self.config.boot_trial().filter(|name| mine.iter().any(|slot| slot.name == *name));
        trial.or(mine.last().map(|slot| slot.name))
    }

    /// The slot that has been staged and not tried.
    fn staged(&self) -> Result<SlotName, Trouble> {
        let running = self.running();
        let staged = self
            .disk
            .slots()
            .iter()
            .find(|slot| Some(slot.name) != running && matches!(slot.state(), State::OnTrial { .. }));
        staged.map(|slot| slot.name).ok_or_else(|| {
            Trouble::new(
                "swap to",
                "the other slot",
                "no release is staged in it",
                "stage one: hullctl update stage DIRECTORY",
            )
        })
    }
}

/// Loads the staged slot's kernel for the jump.
pub(super) fn load(answer: &Answer) -> Result<(), Trouble> {
    let system = System::open()?;
    let slot = system.staged()?;
    answer.progress(&format!("verifying and loading the kernel of slot {slot}"), 0, 0);
    let release = kernel::load(&system.disk, slot, &Hop { trial: Some(slot), hops: 1, failed: None })?;
    println!("slot {slot}: release {} is loaded", release.version);
    Ok(())
}

/// Spends a try of the slot that was loaded.
pub(super) fn spend_try() -> Result<(), Trouble> {
    let mut system = System::open()?;
    let slot = system.staged()?;
    system.disk.change_slots(|slots| slots.tried(slot))
}

/// The slot is proved.
pub(super) fn mark_good(name: &str) -> Result<(), Trouble> {
    let slot = SlotName::parse(name)
        .ok_or_else(|| Trouble::new("mark good", format_args!("slot {name}"), "there is no such slot", "say a or b"))?;
    let mut system = System::open()?;
    system.disk.change_slots(|slots| slots.good(slot))?;
    println!("slot {slot}: marked good");
    if let Err(trouble) = firmware::prefer(&system.disk, slot) {
        eprintln!("{trouble}"); // the firmware's usual entry leads to this slot, too, by one kexec more
    }
    Ok(())
}

/// Tells what is in each slot.
pub(super) fn tell_slots(answer: &Answer) -> Result<(), Trouble> {
    let system = System::open()?;
    let esp = system.disk.device(LABEL_ESP).and_then(|device| Esp::mount(&device, Access::Read));
    for slot in system.disk.slots().iter() {
        answer.slot(told(&system, esp.as_ref().ok(), slot));
    }
    Ok(())
}

fn told(system: &System, esp: Option<&Esp>, slot: &Slot) -> Told {
    let running = system.running() == Some(slot.name);
    let on_trial = running && system.config.boot_trial() == Some(slot.name);
    let content = match slot.state() {
        State::Empty => SlotContent::Empty,
        State::Good { .. } => SlotContent::Good,
        State::OnTrial { tries, .. } if on_trial => SlotContent::Trying { tries },
        State::OnTrial { tries, .. } => SlotContent::Staged { tries },
        State::Spent { .. } if on_trial => SlotContent::Trying { tries: 0 },
        State::Spent { .. } => SlotContent::Bad,
    };
    let release = esp.and_then(|esp| kernel::signed(esp, slot.name).ok());
    let release = release.filter(|release| release.verity.partition_id() == slot.id && content != SlotContent::Empty);
    let mine = running.then_some((&system.manifest.version, system.manifest.root.root_hash));
    let known = release.as_ref().map(|release| (&release.version, release.verity.root_hash)).or(mine);
    let root_hash = match known {
        Some((_, hash)) => hash.to_string(),
        None if content == SlotContent::Empty => String::new(),
        None => slot.id.to_string().replace('-', ""),
    };
    Told {
        slot: slot.name,
        content,
        priority: slot.state().priority(),
        usage: if running { SlotUsage::Running } else { SlotUsage::Idle },
        version: cut(&known.map(|(version, _)| version.to_string()).unwrap_or_default()),
        root_hash: cut(&root_hash),
        reason: line(&if content == SlotContent::Bad { why_bad(slot.name) } else { String::new() }),
    }
}

/// What PID 1 noted of the last trial that failed, if it was this slot's.
fn why_bad(slot: SlotName) -> String {
    let text = std::fs::read_to_string(FAILED).unwrap_or_default();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let mine = value("slot") == Some(&slot.to_string());
    value("reason").filter(|_| mine).unwrap_or_default().to_owned()
}
