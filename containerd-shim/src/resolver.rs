//! Shares the node's list of name servers with containers. The node replaces its file by renaming; a container has a file bound into it,
//! which must stay the same file: so it gets a copy, which is written over.

use std::fs;
use std::io;
use std::path::Path;

use crate::changes::Changes;
use hull_oci_core::spec::RESOLV_CONF as SHARED;

/// The folder of the node's own list.
const FOLDER: &str = "/run/hull";

/// The node's own list in it, written by the network.
const NODE: &str = "/run/hull/resolv.conf";

/// Copies the list now.
pub(crate) fn share() {
    let copy = || -> io::Result<()> {
        if let Some(folder) = Path::new(SHARED).parent() {
            fs::create_dir_all(folder)?;
        }
        let list = fs::read(NODE).unwrap_or_default();
        if fs::read(SHARED).ok().as_ref() != Some(&list) {
            fs::write(SHARED, list)?;
        }
        Ok(())
    };
    if let Err(error) = copy() {
        eprintln!("write {SHARED}: {error}; containers do not learn of name servers");
    }
}

/// Copies it after every change, for ever.
pub(crate) async fn follow() {
    if let Err(error) = watch().await {
        eprintln!("watch {NODE}: {error}; containers keep the name servers they have");
    }
}

async fn watch() -> io::Result<()> {
    let changes = Changes::of(Path::new(FOLDER))?;
    loop {
        share();
        changes.next().await?;
    }
}
