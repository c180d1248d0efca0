//! `update stage`: a verified release into the slot that is not in use.
//!
//! Everything is verified before the first write, and everything that was written is read back before the slot may be booted.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hull_init_core::gpt::LABEL_ESP;
use hull_init_core::pe::Uki;
use hull_init_core::release::{METADATA, METADATA_MAX_BYTES, ROOT, Refused, Release, Target, Timestamp, UKI};
use hull_init_core::slots::{STAGE_ORDER, Slot, SlotName, StageStep, State};
use hull_init_core::verity::{BLOCK, Digest, PartitionId, Tree, TreeBuilder};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::swap::System;
use crate::disk::boot_files;
use crate::disk::esp::{self, Access, Esp, Kind};
use crate::disk::trouble::Trouble;
use crate::sys::blk;

/// Bytes that are copied at once; also how often progress is told.
const CHUNK: usize = 1 << 20;

/// Written bytes after which the disk must keep up, so that a small node's memory is not full of them.
const FLUSH_EVERY: u64 = 16 << 20;

/// Largest kernel file that is accepted: the ESP must hold three.
const KERNEL_MAX_BYTES: u64 = 20 << 20;

const SLOT_REMEDY: &str = "the running slot is untouched; check the disk and stage again";

/// Stages the release in `directory`.
pub(super) fn run(answer: &Answer, directory: &str) -> Result<(), Trouble> {
    let system = System::open()?;
    let slot = free_slot(&system)?;
    let offer = Offer::verify(answer, &system, Path::new(directory), slot)?;
    let version = offer.release.version.clone();
    let mut stage = Stage { answer, system, slot, offer };
    for step in STAGE_ORDER {
        stage.perform(step)?;
    }
    answer.progress(&format!("release {version} is staged in slot {slot}"), 0, 0);
    Ok(())
}

/// The slot that may be overwritten.
fn free_slot(system: &System) -> Result<SlotName, Trouble> {
    let refuse = |cause: String, remedy| Err(Trouble::new("stage", "a release", cause, remedy));
    let Some(running) = system.running().and_then(|name| system.disk.slots().get(name)) else {
        return refuse("the node does not run from a slot of its disk".into(), "start it from its disk");
    };
    let name = running.name.other();
    let Some(other) = system.disk.slots().get(name) else {
        return refuse(format!("the disk has no slot {name}"), "write the disk image again");
    };
    let good = |slot: &Slot| matches!(slot.state(), State::Good { .. });
    if good(other) && !good(running) {
        let cause = format!("slot {} is not proved, and slot {name} is the only good one", running.name);
        return refuse(cause, "wait until the trial has ended, or start the good slot");
    }
    Ok(name)
}

/// A release whose every byte has been verified.
struct Offer {
    folder: PathBuf,
    release: Release,
    metadata: Vec<u8>,
    root: File,
    kernel: Vec<u8>,
}

impl Offer {
    fn verify(answer: &Answer, system: &System, folder: &Path, slot: SlotName) -> Result<Self, Trouble> {
        let refuse = |refused: Refused| {
            Trouble::new("stage", format_args!("release {}", folder.display()), refused, "nothing was changed")
        };
        answer.progress("verifying the signature", 0, 0);
        let metadata = read_bounded(&folder.join(METADATA), METADATA_MAX_BYTES as u64)?;
        let release = boot_files::trust()?.release(&metadata).map_err(refuse)?;
        release.may_be_staged(&system.manifest, wall_clock()).map_err(refuse)?;
        let kernel = read_bounded(&folder.join(UKI), KERNEL_MAX_BYTES)?;
        release.uki.check(UKI, &Target::of(&kernel)).map_err(refuse)?;
        let path = folder.join(UKI);
        Uki::parse(&kernel).map_err(|error| Trouble::new("stage", path.display(), error, "nothing was changed"))?;
        let root = open_file(&folder.join(ROOT))?;
        check_room(system, slot, &release)?;
        let (found, tree) = digest_root(answer, "verifying the root image", &root, &release, &folder.join(ROOT))?;
        release.root.check(ROOT, &found).map_err(refuse)?;
        if tree != release.verity.root_hash {
            return Err(refuse(Refused::RootHash { signed: release.verity.root_hash, found: tree }));
        }
        Ok(Self { folder: folder.to_owned(), release, metadata, root, kernel })
    }
}

fn check_room(system: &System, slot: SlotName, release: &Release) -> Result<(), Trouble> {
    let bytes = system.disk.bytes(&system.disk.partition(slot.label())?);
    let wanted = release.root.length.max(release.verity.image_blocks().saturating_mul(BLOCK as u64));
    if wanted > bytes || release.root.length != wanted {
        let cause = format!("root.img has {} bytes, its data and tree {wanted}, the slot {bytes}", release.root.length);
        return Err(Trouble::new(
            "stage",
            format_args!("release {}", release.version),
            cause,
            "make a smaller release",
        ));
    }
    Ok(())
}

/// Seconds since 1970. A clock that was never set is in the past, where nothing has expired.
fn wall_clock() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
}

fn open_file(path: &Path) -> Result<File, Trouble> {
    let say = |cause: String| {
        Trouble::new("open", path.display(), cause, "name a directory with targets.json, hull.efi and root.img")
    };
    let file =
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|error| say(error.to_string()))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(say("not a regular file".to_owned())),
        Err(error) => Err(say(error.to_string())),
    }
}

fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    let read = open_file(path)?.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| Trouble::new("read", path.display(), error, "check where the release lies"))?;
    if bytes.len() as u64 > most {
        let cause = format!("more than {most} bytes");
        return Err(Trouble::new("read", path.display(), cause, "make the release again"));
    }
    Ok(bytes)
}

/// Length, digest and verity root hash of what `file` holds in the length that was signed. A tree that is not the one of the data gives
/// a root hash of zeros, which nobody signs.
fn digest_root(
    answer: &Answer,
    step: &str,
    file: &File,
    release: &Release,
    path: &Path,
) -> Result<(Target, Digest), Trouble> {
    let total = release.root.length;
    let data = release.verity.data_blocks * BLOCK as u64;
    let (mut whole, mut tree, mut stored) = (Sha256::new(), TreeBuilder::new(&release.verity.salt), Vec::new());
    let mut length = 0;
    let mut chunk = vec![0; CHUNK];
    while length < total {
        answer.progress(step, length, total);
        let wanted = CHUNK.min((total - length) as usize);
        let read = read_full(file, &mut chunk[..wanted], length)
            .map_err(|error| Trouble::new("read", path.display(), error, "check where the release lies"))?;
        if read == 0 {
            break;
        }
        whole.update(&chunk[..read]);
        for (index, block) in chunk[..read].chunks(BLOCK).enumerate() {
            match block.try_into() {
                Ok(block) if length + ((index * BLOCK) as u64) < data => tree.push(block),
                _ => stored.extend_from_slice(block),
            }
        }
        length += read as u64;
    }
    let longer = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > total);
    let Tree { root_hash, bytes } = tree.finish();
    let found = Target { length: if longer { total + 1 } else { length }, sha256: Digest(whole.finalize().into()) };
    Ok((found, if bytes == stored { root_hash } else { Digest([0; 32]) }))
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

struct Stage<'a> {
    answer: &'a Answer,
    system: System,
    slot: SlotName,
    offer: Offer,
}

impl Stage<'_> {
    fn perform(&mut self, step: StageStep) -> Result<(), Trouble> {
        let slot = self.slot;
        match step {
            StageStep::Withdraw => {
                let id = random_id();
                self.system.disk.change_slots(|slots| slots.writing(slot, id))
            }
            StageStep::WriteRoot => self.write_root(),
            StageStep::WriteKernel => self.write_kernel(),
            StageStep::ReadBack => self.read_back(),
            StageStep::Publish => {
                let id = self.offer.release.verity.partition_id();
                let tries = self.system.config.update_tries();
                self.system.disk.change_slots(|slots| slots.staged(slot, id, tries))
            }
        }
    }

    /// Opened exclusively: a partition that anybody uses is not written (open(2), O_EXCL on block devices).
    fn write_root(&self) -> Result<(), Trouble> {
        let device = self.system.disk.device(self.slot.label())?;
        let say = |operation, error: std::io::Error| Trouble::new(operation, device.display(), error, SLOT_REMEDY);
        let target = File::options()
            .write(true)
            .custom_flags(libc::O_EXCL)
            .open(&device)
            .map_err(|error| say("open for writing", error))?;
        let total = self.offer.release.root.length;
        let step = format!("writing the root image to slot {}", self.slot);
        let mut chunk = vec![0; CHUNK];
        let mut done = 0;
        while done < total {
            self.answer.progress(&step, done, total);
            let wanted = CHUNK.min((total - done) as usize);
            let read = read_full(&self.offer.root, &mut chunk[..wanted], done);
            let path = self.offer.folder.join(ROOT);
            let read = read.map_err(|error| Trouble::new("read", path.display(), error, SLOT_REMEDY))?;
            if read == 0 {
                break; // it became shorter; the comparison below will say so
            }
            target.write_all_at(&chunk[..read], done).map_err(|error| say("write", error))?;
            done += read as u64;
            if done % FLUSH_EVERY == 0 {
                target.sync_data().map_err(|error| say("flush", error))?;
            }
        }
        target.sync_data().map_err(|error| say("flush", error))
    }

    fn write_kernel(&self) -> Result<(), Trouble> {
        self.answer.progress("writing the kernel to the ESP", 0, 0);
        let esp = Esp::mount(&self.system.disk.device(LABEL_ESP)?, Access::Write)?;
        let paths = [(Kind::Kernel, &self.offer.kernel), (Kind::Metadata, &self.offer.metadata)];
        for (kind, _) in paths {
            esp.remove(&esp::path(self.slot, kind))?; // nobody boots this slot now; makes room
        }
        for (kind, bytes) in paths {
            esp.write(&esp::path(self.slot, kind), &mut bytes.as_slice())?;
        }
        esp.sync()
    }

    /// From the disk, not from memory: the partition's cache is dropped, the ESP mounted anew.
    fn read_back(&self) -> Result<(), Trouble> {
        let (slot, release) = (self.slot, &self.offer.release);
        let refuse = |refused: Refused| Trouble::new("read back", format_args!("slot {slot}"), refused, SLOT_REMEDY);
        let device = self.system.disk.device(slot.label())?;
        let say = |error: std::io::Error| Trouble::new("read back", device.display(), error, SLOT_REMEDY);
        let file = File::open(&device).map_err(say)?;
        blk::forget_cache(&file).map_err(say)?;
        let (found, tree) = digest_root(self.answer, "reading the root image back", &file, release, &device)?;
        release.root.check(ROOT, &found).map_err(refuse)?;
        if tree != release.verity.root_hash {
            return Err(refuse(Refused::RootHash { signed: release.verity.root_hash, found: tree }));
        }
        let esp = Esp::mount(&self.system.disk.device(LABEL_ESP)?, Access::Read)?;
        let kernel = esp.read(&esp::path(slot, Kind::Kernel))?;
        release.uki.check(UKI, &Target::of(&kernel)).map_err(refuse)?;
        let metadata = esp.read(&esp::path(slot, Kind::Metadata))?;
        if metadata != self.offer.metadata {
            let cause = "other bytes than were written";
            return Err(Trouble::new("read back", esp::path(slot, Kind::Metadata), cause, SLOT_REMEDY));
        }
        Ok(())
    }
}

/// An identity that no root image has, for a slot that holds none.
fn random_id() -> PartitionId {
    let mut id = [0; 16];
    let _ = getrandom(&mut id, GetRandomFlags::INSECURE); // zeros would do, too
    PartitionId(id)
}
