//! Describes a virtual machine before it starts.

use crate::alarm::Alarm;
use crate::disk::Disk;
use crate::limits::MEMORY_MIB;
use crate::vm::Vm;
use std::path::{Path, PathBuf};

/// How a machine reaches its first instruction of Linux.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// QEMU loads kernel and initramfs itself.
    Kernel { kernel: PathBuf, initramfs: PathBuf },
    /// UEFI firmware finds the loader on the disk.
    Firmware,
}

/// Whether the machine has a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// QEMU's user network: DHCP, forwarded ports.
    User,
    /// No network card at all.
    Absent,
}

/// A virtual machine to be started: what `make run` would have, unless said otherwise.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(crate) start: Start,
    pub(crate) append: Vec<String>,
    pub(crate) disk: Option<(PathBuf, PathBuf)>,
    pub(crate) memory_mib: u32,
    pub(crate) processors: u32,
    pub(crate) link: Link,
    pub(crate) forwards: Vec<u16>,
    pub(crate) share: Option<PathBuf>,
    pub(crate) tolerated: Vec<Alarm>,
}

impl Machine {
    /// A machine whose kernel and initramfs QEMU loads.
    pub fn direct(kernel: &Path, initramfs: &Path) -> Self {
        Self::new(Start::Kernel { kernel: kernel.into(), initramfs: initramfs.into() })
    }

    /// A machine that boots from its disk by UEFI firmware; it keeps the firmware's variables with the disk.
    pub fn firmware(disk: &Disk) -> Self {
        Self::new(Start::Firmware).disk(disk)
    }

    fn new(start: Start) -> Self {
        Self {
            start,
            append: Vec::new(),
            disk: None,
            memory_mib: MEMORY_MIB,
            processors: 1,
            link: Link::User,
            forwards: Vec::new(),
            share: None,
            tolerated: Vec::new(),
        }
    }

    /// Adds words to the kernel command line of a direct boot.
    pub fn append(mut self, words: &str) -> Self {
        self.append.push(words.into());
        self
    }

    /// Puts `disk` in, as a virtio block device that writes through to the file.
    pub fn disk(mut self, disk: &Disk) -> Self {
        self.disk = Some((disk.path(), disk.variables()));
        self
    }

    /// Memory of the guest, MiB.
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Number of virtual processors.
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// With or without a network card.
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Forwards a free port of the loopback to `guest`; [`Vm::port`] tells which.
    pub fn forward(mut self, guest: u16) -> Self {
        self.forwards.push(guest);
        self
    }

    /// Shows `directory` of the host to the guest, read-only, as 9p tag `host`.
    pub fn share(mut self, directory: &Path) -> Self {
        self.share = Some(directory.into());
        self
    }

    /// Declares that this test expects `alarm` on the console.
    pub fn expects(mut self, alarm: Alarm) -> Self {
        self.tolerated.push(alarm);
        self
    }

    /// Starts the machine, waiting for a free place first.
    ///
    /// # Panics
    /// When QEMU does not start: with its arguments and its reason.
    pub fn start(self) -> Vm {
        Vm::start(self)
    }
}
