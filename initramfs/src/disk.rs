//! The disk image: GPT with an ESP, two root slots and a small state partition that grows on the node.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fscommon::StreamSlice;

use crate::root::RootImage;
use crate::tool::{MKE2FS, SGDISK};

const MIB: u64 = 1 << 20;

/// Partition types: EFI system; CoreOS root (whose attribute bits Hull keeps its slot states in); Linux /var.
const TYPE_ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const TYPE_SLOT: &str = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";
const TYPE_STATE: &str = "4d21b016-b534-45c2-a9fb-5c16e091fd2d";

/// Fixed identities: two builds give the same bytes, and nothing on a node is found by these.
const GUID_DISK: &str = "48756c6c-0000-4000-8000-6469736b0000";
const GUID_ESP: &str = "48756c6c-0000-4000-8000-657370000000";
const GUID_EMPTY_SLOT: &str = "48756c6c-0000-4000-8000-656d70747900";
const GUID_STATE: &str = "48756c6c-0000-4000-8000-737461746500";

/// Where everything lies, in MiB; 1 MiB before and after for the partition tables.
const ESP: (u64, u64) = (1, 64);
const SLOT_A: (u64, u64) = (65, 128);
const SLOT_B: (u64, u64) = (193, 128);
const STATE: (u64, u64) = (321, 64);
const DISK: u64 = 386;

/// What the ESP holds: path and content.
pub(crate) type EspFile<'a> = (&'a str, &'a [u8]);

/// Writes the raw disk image, sparse.
///
/// # Errors
/// The root does not fit its slot, a tool failed, or the file could not be written.
pub(crate) fn write(path: &Path, root: &RootImage, esp: &[EspFile<'_>]) -> Result<()> {
    ensure!(
        root.bytes.len() as u64 <= SLOT_A.1 * MIB,
        "root image: {} bytes do not fit a slot of {} MiB",
        root.bytes.len(),
        SLOT_A.1
    );
    let _ = fs::remove_file(path);
    let disk = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let mut disk = disk.with_context(|| format!("create {}", path.display()))?;
    disk.set_len(DISK * MIB)?;
    partition(path, &root.partition_guid())?;
    disk.seek(SeekFrom::Start(SLOT_A.0 * MIB))?;
    disk.write_all(&root.bytes)?;
    write_state(&mut disk)?;
    write_esp(&disk, esp)?;
    disk.sync_all()?;
    Ok(())
}

fn partition(path: &Path, slot_a_guid: &str) -> Result<()> {
    let mut arguments =
        vec!["--clear".to_owned(), format!("--disk-guid={GUID_DISK}"), "--set-alignment=2048".to_owned()];
    let partitions = [
        (1, ESP, "esp", TYPE_ESP, GUID_ESP),
        (2, SLOT_A, "hull-a", TYPE_SLOT, slot_a_guid),
        (3, SLOT_B, "hull-b", TYPE_SLOT, GUID_EMPTY_SLOT),
        (4, STATE, "hull-state", TYPE_STATE, GUID_STATE),
    ];
    for (number, (start, size), label, kind, guid) in partitions {
        arguments.push(format!("--new={number}:{start}M:+{size}M"));
        arguments.push(format!("--change-name={number}:{label}"));
        arguments.push(format!("--typecode={number}:{kind}"));
        arguments.push(format!("--partition-guid={number}:{guid}"));
    }
    // Slot a starts as Good: priority 1 (bits 48-51), no tries left to spend (52-55), successful (56).
    arguments.push("--attributes=2:set:48".to_owned());
    arguments.push("--attributes=2:set:56".to_owned());
    arguments.push(path.display().to_string());
    SGDISK.run(&arguments)?;
    Ok(())
}

/// ext4, made once here so that no mkfs is needed on a node; the kernel grows it in place. One block in twenty is kept back for the store.
fn write_state(disk: &mut File) -> Result<()> {
    let work = tempfile::tempdir()?;
    let image = work.path().join("state");
    File::create(&image)?.set_len(STATE.1 * MIB)?;
    MKE2FS.run(&[
        "-q".as_ref(),
        "-t".as_ref(),
        "ext4".as_ref(),
        "-L".as_ref(),
        "hull-state".as_ref(),
        "-U".as_ref(),
        GUID_STATE.as_ref(),
        "-m5".as_ref(),
        "-J".as_ref(),
        "size=8".as_ref(),
        "-E".as_ref(),
        format!("hash_seed={GUID_STATE},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0").as_ref(),
        image.as_os_str(),
    ])?;
    copy_sparse(&fs::read(&image)?, disk, STATE.0 * MIB)
}

/// Copies without writing blocks of zeros, so that the image stays sparse.
fn copy_sparse(bytes: &[u8], disk: &mut File, offset: u64) -> Result<()> {
    const CHUNK: usize = 64 << 10;
    for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
        if chunk.iter().any(|byte| *byte != 0) {
            disk.seek(SeekFrom::Start(offset + (index * CHUNK) as u64))?;
            disk.write_all(chunk)?;
        }
    }
    Ok(())
}

fn write_esp(disk: &File, files: &[EspFile<'_>]) -> Result<()> {
    let slice = || StreamSlice::new(disk, ESP.0 * MIB, (ESP.0 + ESP.1) * MIB);
    let options = fatfs::FormatVolumeOptions::new()
        .volume_label(*b"HULL-ESP   ")
        .volume_id(0x4875_6c6c)
        .fat_type(fatfs::FatType::Fat16);
    fatfs::format_volume(&mut slice()?, options).context("format the ESP")?;
    let volume = fatfs::FileSystem::new(slice()?, fatfs::FsOptions::new()).context("open the ESP")?;
    for (path, content) in files {
        let mut folder = volume.root_dir();
        let mut parts: Vec<&str> = path.split('/').collect();
        let name = parts.pop().context("an ESP file has a name")?;
        for part in parts {
            folder = folder.create_dir(part)?;
        }
        folder.create_file(name)?.write_all(content).with_context(|| format!("write {path} to the ESP"))?;
    }
    volume.unmount()?;
    Ok(())
}
