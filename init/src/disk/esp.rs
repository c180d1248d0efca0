//! The EFI system partition, mounted where nobody else sees it: a detached mount that ends with its descriptor (fsmount(2)).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use hull_init_core::slots::SlotName;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, renameat, syncfs, unlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::trouble::Trouble;

const FOLDER: &str = "EFI/hull";
const REMEDY: &str = "check the ESP (fsck.vfat)";

/// Largest kernel file that is read: several times what ours has, and well below the smallest node's memory.
const MAX_BYTES: u64 = 48 << 20;

/// What may be done with the mount.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Look only: nothing on the disk changes, not even the dirty mark.
    Read,
    /// Write.
    Write,
}

/// The mounted ESP.
pub(crate) struct Esp {
    root: OwnedFd,
    device: String,
}

/// The two files of a slot.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// `a.efi`: kernel, initramfs and command line.
    Kernel,
    /// `a.json`: the signed metadata that covers it.
    Metadata,
}

/// `EFI/hull/a.efi` and the like.
pub(crate) fn path(slot: SlotName, kind: Kind) -> String {
    match kind {
        Kind::Kernel => format!("{FOLDER}/{slot}.efi"),
        Kind::Metadata => format!("{FOLDER}/{slot}.json"),
    }
}

impl Esp {
    /// Mounts the partition.
    pub(crate) fn mount(device: &Path, access: Access) -> Result<Self, Trouble> {
        let mount = || -> rustix::io::Result<OwnedFd> {
            let context = fsopen("vfat", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&context, "source", device)?;
            let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            if access == Access::Read {
                fsconfig_set_flag(&context, "ro")?;
                attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
            }
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        };
        let device = device.display().to_string();
        match mount() {
            Ok(root) => Ok(Self { root, device }),
            Err(error) => Err(Trouble::new("mount", format_args!("ESP {device}"), error, REMEDY)),
        }
    }

    /// Reads a whole file.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, Trouble> {
        let read = || -> std::io::Result<Vec<u8>> {
            let file = File::from(openat(&self.root, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
            let length = file.metadata()?.len().min(MAX_BYTES);
            let mut bytes = Vec::with_capacity(length as usize);
            file.take(MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| self.say("read", name, &error, "stage the release again"))
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Trouble> {
        match unlinkat(&self.root, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(self.say("remove", name, &error.into(), REMEDY)),
        }
    }

    /// Writes a file under another name, flushes it, and gives it its name.
    pub(crate) fn write(&self, name: &str, source: &mut dyn Read) -> Result<(), Trouble> {
        let temporary = format!("{name}.new");
        let mut write = || -> std::io::Result<()> {
            for folder in ["EFI", FOLDER] {
                match mkdirat(&self.root, folder, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
            let mut file = File::from(openat(&self.root, temporary.as_str(), flags, Mode::from_raw_mode(0o644))?);
            std::io::copy(source, &mut file)?;
            file.flush()?;
            file.sync_all()?;
            Ok(renameat(&self.root, temporary.as_str(), &self.root, name)?)
        };
        write().map_err(|error| {
            let _ = unlinkat(&self.root, temporary.as_str(), AtFlags::empty()); // the first error is the one to tell
            self.say("write", name, &error, "make room on the ESP, or check it (fsck.vfat)")
        })
    }

    /// Waits until everything written is on the disk.
    pub(crate) fn sync(&self) -> Result<(), Trouble> {
        // The descriptor of the mount itself is O_PATH, which syncfs(2) does not take.
        let folder = openat(&self.root, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        folder
            .and_then(|folder| syncfs(&folder))
            .map_err(|error| self.say("flush", "files", &error.into(), "check the disk"))
    }

    fn say(&self, operation: &'static str, name: &str, cause: &std::io::Error, remedy: &'static str) -> Trouble {
        Trouble::new(operation, format_args!("{name} on ESP {}", self.device), cause, remedy)
    }
}
