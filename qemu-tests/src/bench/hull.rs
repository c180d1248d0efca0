//! Hull's own machines: the shipped images plus the probe as one more service, built by bench.sh below `out/bench`.

use super::limits::{MEMORY, SMALL_MEMORY, SWAP_PATIENCE};
use super::machine::{Disk, Machine, Waiting};
use super::marks::{self, Missing, Start, Swap};
use std::path::{Path, PathBuf};

/// What a node is told: the example's container. Everything else is the default: store on loopback, DHCP on the network card.
const APPEND: &str = "quiet hull.run=hello";

/// Hull's images with the probe.
#[derive(Debug, Clone)]
pub(super) struct Hull {
    out: PathBuf,
    release: PathBuf,
}

impl Hull {
    /// The images in `out`, and the second release in the folder `release`.
    pub(super) fn new(out: &Path, release: &Path) -> Self {
        Self { out: out.into(), release: release.into() }
    }

    /// A node without a disk: its root comes in the initramfs, its state is in memory.
    pub(super) fn in_memory(&self, like: &Machine) -> Machine {
        Machine {
            initramfs: Some(self.out.join("initramfs-diskless.cpio.zst")),
            append: format!("{APPEND} bench.mode=value"),
            ..like.clone()
        }
    }

    /// A node on a copy of this disk image.
    pub(super) fn on_disk(&self, disk: &Path, like: &Machine) -> Machine {
        Machine {
            initramfs: Some(self.out.join("initramfs.cpio.zst")),
            append: format!("{APPEND} bench.mode=value"),
            disk: Disk::CopyOf(disk.into()),
            waiting: Waiting::Passes,
            ..like.clone()
        }
    }

    /// The disk as it is built: no node has started from it yet.
    pub(super) fn fresh_disk(&self) -> PathBuf {
        self.out.join("disk.img")
    }

    /// Makes `disk` what a node leaves behind that started once and was switched off in order.
    pub(super) fn settle(&self, disk: &Path, like: &Machine) -> Result<(), Missing> {
        let mut machine = self.on_disk(&self.fresh_disk(), like);
        super::machine::run("cp", &["--sparse=always".as_ref(), self.fresh_disk().as_os_str(), disk.as_os_str()])?;
        machine.disk = Disk::Kept(disk.into());
        machine.append = format!("{APPEND} bench.mode=settle");
        let console = machine.console_until_off()?;
        marks::one_start(&console).map(|_| ())
    }

    /// The node with the least memory.
    pub(super) fn small(&self, like: &Machine) -> Result<Start, Missing> {
        let machine = Machine { memory_mib: SMALL_MEMORY, ..self.on_disk(&self.fresh_disk(), like) };
        marks::one_start(&machine.console()?)
    }

    /// Starts from `disk`, stages the second release and swaps to it.
    pub(super) fn swap(&self, disk: &Path, like: &Machine) -> Result<Swap, Missing> {
        let machine = Machine {
            append: format!("{APPEND} hull.host.share=host bench.mode=swap"),
            share: Some(self.release.clone()),
            patience: SWAP_PATIENCE,
            memory_mib: MEMORY,
            ..self.on_disk(disk, like)
        };
        marks::swap(&machine.console()?)
    }
}
