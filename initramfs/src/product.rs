//! From inputs to every byte of an image: root, manifest, initramfs, unified kernel image, signed metadata.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::Inputs;
use crate::archive::{self, Entry};
use crate::keys::Keys;
use crate::root::{RootImage, Tree};
use crate::{example, services, uki};

/// Where the programs go in the root image.
const PROGRAMS: &[(&str, &str)] = &[
    ("hull-kv", "usr/lib/hull/hull-kv"),
    ("hull-launcher", "usr/lib/hull/hull-launcher"),
    ("hullctl", "usr/bin/hullctl"),
];

/// Files of the root that never change.
const PASSWD: &str = "root:x:0:0:root:/:/usr/bin/hullctl\nkv:x:900:900:store:/var/lib/hull/kv:/nonexistent\nnobody:x:65534:65534:nobody:/:/nonexistent\n";
const GROUP: &str = "root:x:0:\nkv:x:900:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n";

/// Everything that an image or a release is written from.
pub(crate) struct Product {
    pub(crate) version: String,
    pub(crate) root: RootImage,
    pub(crate) manifest: String,
    pub(crate) initramfs: Vec<u8>,
    /// The same with the root inside, for a node without a disk.
    pub(crate) diskless: Vec<u8>,
    pub(crate) uki: Vec<u8>,
    /// Signed targets metadata.
    pub(crate) targets: Vec<u8>,
    /// Signed root metadata: the public keys.
    pub(crate) root_metadata: Vec<u8>,
}

impl Product {
    /// Builds all of it in memory.
    ///
    /// # Errors
    /// An input is missing or wrong, or a tool failed.
    pub(crate) fn build(inputs: &Inputs) -> Result<Product> {
        let keys = Keys::open_or_create(&inputs.keys)?;
        let signer = inputs.sign_with.as_deref().map(Keys::open_stranger).transpose()?;
        let os_release = os_release(&inputs.version);
        let root = tree(inputs, &os_release)?.pack()?;
        let manifest = manifest(inputs, &root);
        let root_metadata = keys.root_metadata().to_vec();
        let init = inputs.init.clone().unwrap_or_else(|| inputs.programs.join("hull-init"));
        let initramfs = initramfs(&read(&init)?, &manifest, &root_metadata)?;
        let diskless =
            [initramfs.clone(), archive::cpio(&[Entry::file("hull/root.erofs", 0o444, root.erofs())])?].concat();
        let kernel = read(&inputs.kernel)?;
        let uki = uki::build(&uki::Parts {
            os_release: &os_release,
            command_line: &inputs.command_line,
            kernel: &kernel,
            initramfs: &initramfs,
        })?;
        let targets = signer.as_ref().unwrap_or(&keys).sign_release(inputs, &root, &uki)?;
        Ok(Product {
            version: inputs.version.clone(),
            root,
            manifest,
            initramfs,
            diskless,
            uki,
            targets,
            root_metadata,
        })
    }
}

fn tree(inputs: &Inputs, os_release: &str) -> Result<Tree> {
    let tree = Tree::new()?;
    if let Some(folder) = &inputs.root_from {
        tree.overlay(folder, "")?;
        return Ok(tree);
    }
    for (program, inside) in PROGRAMS {
        tree.program(inside, &inputs.programs.join(program))?;
    }
    tree.file("usr/lib/os-release", os_release.as_bytes(), 0o644)?;
    tree.link("etc/os-release", "../usr/lib/os-release")?;
    tree.link("etc/resolv.conf", "/run/hull/resolv.conf")?;
    tree.file("etc/passwd", PASSWD.as_bytes(), 0o644)?;
    tree.file("etc/group", GROUP.as_bytes(), 0o644)?;
    tree.file("etc/hosts", HOSTS.as_bytes(), 0o644)?;
    for (path, content) in example::layout(&inputs.programs.join("hull-hello"))? {
        tree.file(&format!("usr/share/hull/images/hello/{path}"), &content, 0o644)?;
    }
    if let Some(folder) = &inputs.extra_root {
        tree.overlay(folder, "")?;
    }
    // After the extra files, so that they may bring services of their own.
    let more =
        inputs.extra_root.as_ref().map(|folder| folder.join("etc/hull/services")).filter(|folder| folder.is_dir());
    let compiled = services::compile(&[Some(inputs.services.clone()), more].into_iter().flatten().collect::<Vec<_>>())?;
    tree.file("usr/lib/hull/services.bin", &compiled, 0o644)?;
    Ok(tree)
}

fn os_release(version: &str) -> String {
    format!(
        "NAME=Hull\nID=hull\nVERSION_ID={version}\nPRETTY_NAME=\"Hull {version}\"\nIMAGE_ID=hull\nIMAGE_VERSION={version}\n"
    )
}

/// What PID 1 knows of its own root; read by `hull_init_core::manifest`.
fn manifest(inputs: &Inputs, root: &RootImage) -> String {
    format!(
        "version={}\nroot.hash={}\nroot.salt=\nroot.data-blocks={}\nfloor={}\n",
        inputs.version,
        hex::encode(root.hash),
        root.data_blocks,
        inputs.floor()
    )
}

fn initramfs(init: &[u8], manifest: &str, root_metadata: &[u8]) -> Result<Vec<u8>> {
    let entries = [
        Entry::file("init", 0o755, init),
        Entry::folder("hull"),
        Entry::file("hull/manifest", 0o444, manifest.as_bytes()),
        Entry::file("hull/root.json", 0o444, root_metadata),
    ];
    archive::compress(&archive::cpio(&entries)?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_the_user_that_the_state_partition_keeps_room_for() {
        let line = format!("kv:x:{}:", hull_init_core::limits::STORE_UID);
        assert!(PASSWD.lines().any(|entry| entry.starts_with(&line)));
    }
}
