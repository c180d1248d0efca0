//! `hull-image`: builds the initramfs, the root image, the disk image and signed releases, the same bytes each time.

mod archive;
mod disk;
mod example;
mod keys;
mod product;
mod root;
mod services;
mod tool;
mod uki;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::product::Product;

/// Builds Hull's initramfs, root image, disk image and releases.
#[derive(Parser)]
#[command(name = "hull-image", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Create the release key and the root metadata in a folder, when they are not there yet.
    Keys {
        /// The folder of the keys.
        folder: PathBuf,
    },
    /// Build everything a machine starts from: initramfs, root image, unified kernel image, disk image.
    Image(Inputs),
    /// Build and sign a release directory, OUT/release-VERSION.
    Release(Inputs),
}

/// What an image is made of.
#[derive(Args)]
pub(crate) struct Inputs {
    /// Folder with the built programs.
    #[arg(long)]
    pub(crate) programs: PathBuf,
    /// The program that becomes /init [default: PROGRAMS/hull-init].
    #[arg(long)]
    pub(crate) init: Option<PathBuf>,
    /// bzImage, signed for kexec.
    #[arg(long)]
    pub(crate) kernel: PathBuf,
    /// Folder of the release key and the root metadata, made when missing.
    #[arg(long)]
    pub(crate) keys: PathBuf,
    /// Sign with this key instead of the one in KEYS (a release from a stranger, for tests).
    #[arg(long)]
    pub(crate) sign_with: Option<PathBuf>,
    /// Version of the release, MAJOR.MINOR.PATCH.
    #[arg(long)]
    pub(crate) version: String,
    /// Oldest version that this image will agree to stage [default: its own version].
    #[arg(long)]
    floor: Option<String>,
    /// Kernel command line for a start by firmware.
    #[arg(long, default_value = "")]
    pub(crate) command_line: String,
    /// Folder of the service files.
    #[arg(long, default_value = "initramfs/services")]
    pub(crate) services: PathBuf,
    /// Files to add to the root image, laid over it.
    #[arg(long)]
    pub(crate) extra_root: Option<PathBuf>,
    /// Take this folder as the whole root instead (for tests).
    #[arg(long, conflicts_with = "extra_root")]
    pub(crate) root_from: Option<PathBuf>,
    /// Where the results go.
    #[arg(long, default_value = "out")]
    pub(crate) out: PathBuf,
}

impl Inputs {
    /// Oldest version that the image will agree to stage. Without a word nothing older than itself: who can replay an old release that was
    /// signed once could bring its flaws back.
    pub(crate) fn floor(&self) -> &str {
        self.floor.as_deref().unwrap_or(&self.version)
    }
}

fn main() -> Result<()> {
    match Cli::parse().verb {
        Verb::Keys { folder } => keys::Keys::open_or_create(&folder).map(|_| ()),
        Verb::Image(inputs) => write_image(&Product::build(&inputs)?, &inputs.out),
        Verb::Release(inputs) => write_release(&Product::build(&inputs)?, &inputs.out),
    }
}

fn write_image(product: &Product, out: &Path) -> Result<()> {
    // The signed metadata covers every byte: the same metadata is the same image, and the files keep their times.
    let same = fs::read(out.join("targets.json")).is_ok_and(|old| old == product.targets);
    if same && out.join("disk.img").is_file() {
        println!("  {} holds this image already", out.display());
        return Ok(());
    }
    let _ = fs::remove_file(out.join("targets.json"));
    let files: [(&str, &[u8]); 6] = [
        ("root.img", &product.root.bytes),
        ("manifest", product.manifest.as_bytes()),
        ("initramfs.cpio.zst", &product.initramfs),
        ("initramfs-diskless.cpio.zst", &product.diskless),
        ("hull.efi", &product.uki),
        ("root.json", &product.root_metadata),
    ];
    fs::create_dir_all(out)?;
    for (name, content) in files {
        replace(&out.join(name), content)?;
        println!("  {name:<28} {:>9} bytes", content.len());
    }
    let esp: [disk::EspFile<'_>; 3] = [
        ("EFI/BOOT/BOOTX64.EFI", &product.uki),
        ("EFI/hull/a.efi", &product.uki),
        ("EFI/hull/a.json", &product.targets),
    ];
    disk::write(&out.join("disk.img"), &product.root, &esp)?;
    // Last: it says that everything else is there.
    replace(&out.join("targets.json"), &product.targets)?;
    println!("  {:<28} root hash {}", "disk.img", hex::encode(product.root.hash));
    Ok(())
}

fn write_release(product: &Product, out: &Path) -> Result<()> {
    let folder = out.join(format!("release-{}", product.version));
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    replace(&folder.join("hull.efi"), &product.uki)?;
    replace(&folder.join("root.img"), &product.root.bytes)?;
    replace(&folder.join("targets.json"), &product.targets)?;
    println!("{}", folder.display());
    Ok(())
}

/// Writes beside the old file and renames, so that no reader sees half of it.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, content).with_context(|| format!("write {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("rename {} to {}", beside.display(), path.display()))
}
