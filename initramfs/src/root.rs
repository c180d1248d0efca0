//! The root image: a staged tree, packed as erofs, followed by its dm-verity hash tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::tool::{EPOCH, MKFS_EROFS, VERITYSETUP};

/// Block size of erofs, of the verity data and of the verity tree, in bytes.
pub(crate) const BLOCK: u64 = 4096;

/// Mount points and folders that exist in every root.
const FOLDERS: &[&str] =
    &["dev", "etc", "proc", "run", "sys", "tmp", "usr/bin", "usr/lib/hull", "usr/share/hull/images", "var"];

/// The identity of the erofs volume is fixed: what tells roots apart is their root hash.
const EROFS_UUID: &str = "48756c6c-0000-4000-8000-726f6f740000";

/// A root file system under construction in a temporary folder.
pub(crate) struct Tree {
    folder: tempfile::TempDir,
}

/// A packed root and what a reader must know to verify it.
pub(crate) struct RootImage {
    /// erofs, padded to a block, then the hash tree.
    pub(crate) bytes: Vec<u8>,
    /// 4 KiB blocks of erofs before the tree.
    pub(crate) data_blocks: u64,
    /// SHA-256 of the tree's top block.
    pub(crate) hash: [u8; 32],
}

impl Tree {
    /// An empty root with its mount points.
    pub(crate) fn new() -> Result<Tree> {
        let tree = Tree { folder: tempfile::tempdir().context("create a temporary folder for the root image")? };
        for folder in FOLDERS {
            fs::create_dir_all(tree.path(folder))?;
        }
        Ok(tree)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Adds a file with the given mode, making its folders.
    pub(crate) fn file(&self, inside: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.path(inside);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("write {inside} into the root image"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Adds an executable that exists as a file outside.
    pub(crate) fn program(&self, inside: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(inside, &content, 0o755)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&self, inside: &str, target: &str) -> Result<()> {
        symlink(target, self.path(inside)).with_context(|| format!("link {inside} in the root image"))
    }

    /// Copies a folder from outside over the tree; what is there already is replaced.
    pub(crate) fn overlay(&self, from: &Path, inside: &str) -> Result<()> {
        copy_folder(from, &self.path(inside))
    }

    /// Packs the tree. The same tree gives the same bytes.
    pub(crate) fn pack(&self) -> Result<RootImage> {
        normalise_folders(self.folder.path())?;
        let work = tempfile::tempdir()?;
        let erofs = work.path().join("root.erofs");
        MKFS_EROFS.run(&[
            "-zlz4hc,12".as_ref(),
            "-C131072".as_ref(),
            "-x-1".as_ref(),
            format!("-T{EPOCH}").as_ref(),
            format!("-U{EROFS_UUID}").as_ref(),
            "--all-root".as_ref(),
            "--quiet".as_ref(),
            erofs.as_os_str(),
            self.folder.path().as_os_str(),
        ])?;
        let mut bytes = fs::read(&erofs)?;
        // Two blocks at least: the tree over a single one has no block of its own.
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize).max(2 * BLOCK as usize), 0);
        append_verity(bytes, work.path())
    }
}

/// Appends the dm-verity tree (format 1, SHA-256, no salt, no superblock: the manifest carries its parameters).
fn append_verity(mut bytes: Vec<u8>, work: &Path) -> Result<RootImage> {
    let data_blocks = bytes.len() as u64 / BLOCK;
    let (data, tree) = (work.join("data"), work.join("tree"));
    fs::write(&data, &bytes)?;
    fs::write(&tree, b"")?;
    let printed = VERITYSETUP.run(&[
        "format".as_ref(),
        "--no-superblock".as_ref(),
        "--hash=sha256".as_ref(),
        "--salt=-".as_ref(),
        "--data-block-size=4096".as_ref(),
        "--hash-block-size=4096".as_ref(),
        data.as_os_str(),
        tree.as_os_str(),
    ])?;
    let hash = printed
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .with_context(|| format!("veritysetup printed no root hash:\n{printed}"))?;
    let hash = hex::decode(hash.trim())?.try_into().map_err(|_| anyhow::anyhow!("root hash is not 32 bytes"))?;
    let tree = fs::read(&tree)?;
    ensure!(!tree.is_empty(), "veritysetup wrote an empty tree");
    bytes.extend_from_slice(&tree);
    bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
    Ok(RootImage { bytes, data_blocks, hash })
}

impl RootImage {
    /// The erofs part alone, as a diskless node carries it in its initramfs.
    pub(crate) fn erofs(&self) -> &[u8] {
        &self.bytes[..(self.data_blocks * BLOCK) as usize]
    }

    /// The first 128 bits of the root hash as a partition GUID (Discoverable Partitions Specification).
    pub(crate) fn partition_guid(&self) -> String {
        let h = hex::encode(&self.hash[..16]);
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

/// Folder modes must not depend on the umask of whoever builds.
fn normalise_folders(folder: &Path) -> Result<()> {
    let mode = if folder.ends_with("tmp") { 0o1777 } else { 0o755 };
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            normalise_folders(&entry.path())?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            copy_folder(&source, &target)?;
            continue;
        }
        let _ = fs::remove_file(&target);
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            fs::copy(&source, &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        } else {
            bail!("{}: only files, folders and symbolic links can go into a root image", source.display());
        }
    }
    Ok(())
}
