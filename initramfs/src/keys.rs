//! The release key: made once, kept outside the checkout, or given.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use hull_init_core::release::{Release, ReleaseKey, Target, Timestamp, sign_root, sign_targets};
use hull_init_core::verity::{Digest, Verity};

use crate::Inputs;
use crate::root::RootImage;

/// The secret: 32 bytes in hex (an RFC 8032 seed).
const SEED_FILE: &str = "release.key";

/// End of the validity of what is signed. Fixed, since the same inputs must give the same bytes.
const EXPIRES: &str = "2036-01-01T00:00:00Z";

/// The key pair and its public description.
pub(crate) struct Keys {
    key: ReleaseKey,
    root_metadata: Vec<u8>,
}

impl Keys {
    /// Reads the key of a folder, or makes one there.
    ///
    /// # Errors
    /// The folder cannot be read or written, or the key in it is not one.
    pub(crate) fn open_or_create(folder: &Path) -> Result<Keys> {
        let path = folder.join(SEED_FILE);
        if !path.exists() {
            create(folder, &path)?;
        }
        Keys::open_stranger(&path)
    }

    /// Reads a key from a file.
    pub(crate) fn open_stranger(path: &Path) -> Result<Keys> {
        let text = fs::read_to_string(path).with_context(|| format!("read release key {}", path.display()))?;
        let seed = hex::decode(text.trim()).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        let seed = seed.with_context(|| format!("{}: expected 64 hex digits", path.display()))?;
        let keys = [ReleaseKey::from_seed(&seed)];
        let root_metadata = sign_root(&keys, 1, expires()?)?;
        let [key] = keys;
        Ok(Keys { key, root_metadata })
    }

    /// `root.json`: whose signature counts.
    pub(crate) fn root_metadata(&self) -> &[u8] {
        &self.root_metadata
    }

    /// `targets.json` for a release of these bytes.
    pub(crate) fn sign_release(&self, inputs: &Inputs, root: &RootImage, uki: &[u8]) -> Result<Vec<u8>> {
        let version: semver::Version = inputs.version.parse().context("--version")?;
        let release = Release {
            metadata_version: version.major * 1_000_000 + version.minor * 1_000 + version.patch,
            version,
            expires: expires()?,
            floor: inputs.floor().parse().context("--floor")?,
            uki: Target::of(uki),
            root: Target::of(&root.bytes),
            verity: Verity { root_hash: Digest(root.hash), data_blocks: root.data_blocks, salt: Vec::new() },
        };
        Ok(sign_targets(&self.key, &release)?)
    }
}

fn expires() -> Result<Timestamp> {
    Timestamp::parse(EXPIRES).ok_or_else(|| anyhow!("{EXPIRES} is not a time"))
}

fn create(folder: &Path, path: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    // Under another name first: two builds at once must end with one key.
    let beside = folder.join(format!("{SEED_FILE}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(file, "{}", hex::encode(seed))?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if !path.exists() => Err(error).with_context(|| format!("create {}", path.display())),
        _ => Ok(()),
    }
}
