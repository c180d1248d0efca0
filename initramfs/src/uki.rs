//! The unified kernel image: systemd's EFI stub with kernel, initramfs and command line as PE sections
//! (UAPI Group specification, "Unified Kernel Image").

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hull_init_core::pe;

use crate::tool::OBJCOPY;

/// Where Debian's package systemd-boot-efi puts the stub.
pub(crate) const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// Sections start on this boundary in memory.
const ALIGNMENT: u64 = 0x10000;

/// What goes into a unified kernel image.
pub(crate) struct Parts<'a> {
    /// `os-release` text.
    pub(crate) os_release: &'a str,
    /// Command line for a start by firmware.
    pub(crate) command_line: &'a str,
    /// bzImage.
    pub(crate) kernel: &'a [u8],
    /// zstd-compressed cpio.
    pub(crate) initramfs: &'a [u8],
}

/// Joins the parts into one EFI program.
///
/// # Errors
/// The stub is not installed, or objcopy failed.
pub(crate) fn build(parts: &Parts<'_>) -> Result<Vec<u8>> {
    let stub = fs::read(STUB).with_context(|| format!("read {STUB}: install the package systemd-boot-efi"))?;
    let mut address = pe::end_of_sections(&stub).context("the EFI stub is not a PE file")?.next_multiple_of(ALIGNMENT);
    let work = tempfile::tempdir()?;
    let sections: [(&str, &[u8]); 4] = [
        (".osrel", parts.os_release.as_bytes()),
        (".cmdline", parts.command_line.as_bytes()),
        (".initrd", parts.initramfs),
        (".linux", parts.kernel),
    ];
    let mut arguments = Vec::new();
    for (name, content) in sections {
        let file = work.path().join(&name[1..]);
        fs::write(&file, content)?;
        arguments.push(format!("--add-section={name}={}", file.display()));
        arguments.push(format!("--change-section-vma={name}={address:#x}"));
        address = (address + content.len() as u64).next_multiple_of(ALIGNMENT);
    }
    let output = work.path().join("hull.efi");
    arguments.push(STUB.to_owned());
    arguments.push(path_text(&output));
    OBJCOPY.run(&arguments)?;
    let mut bytes = fs::read(output)?;
    forget_when(&mut bytes).context("objcopy made no PE file")?;
    Ok(bytes)
}

/// Zeroes the time stamp and the checksum over it (Microsoft PE Format, "COFF File Header" and "Optional Header"): objcopy
/// writes the time of the build, and the same inputs must give the same bytes. Firmware reads neither.
fn forget_when(image: &mut [u8]) -> Option<()> {
    /// Where the DOS header says where the PE signature is.
    const LFANEW: usize = 0x3c;
    /// Of TimeDateStamp and CheckSum, counted from the PE signature; bytes.
    const FIELDS: [usize; 2] = [8, 24 + 64];
    let signature = u32::from_le_bytes(image.get(LFANEW..LFANEW + 4)?.try_into().ok()?) as usize;
    for field in FIELDS {
        image.get_mut(signature + field..signature + field + 4)?.fill(0);
    }
    Some(())
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
