//! `delete`: cleans up after a shim that is gone, and prints how the container ended. The daemon may be dead, too.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use hull_runtime::Failure;
use hull_runtime::failure::failed;
use hull_runtime::state::Folder;
use prost::Message;

use crate::arguments::Arguments;
use crate::messages::Timestamp;
use crate::messages::task::DeleteResponse;
use crate::perform;

/// The status of what is killed: 128 and SIGKILL.
const KILLED: u32 = 137;

/// Kills what runs, removes the container, unmounts its root, and prints the answer.
///
/// # Errors
/// Something of it cannot be removed.
pub(crate) fn delete(arguments: &Arguments) -> Result<(), Failure> {
    let bundle = match &arguments.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(failed("find the bundle"))?,
    };
    let root = fs::read_to_string(bundle.join("hull-root"))
        .map_or_else(|_| perform::root("", &arguments.namespace), PathBuf::from);
    let folder = Folder::of(&root, &arguments.id)?;
    let pid = folder.record().map_or(0, |record| record.pid);
    let report = perform::delete(&folder, &bundle.join("rootfs")).map_err(|refusal| Failure(refusal.message))?;
    report.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    remove_socket(&bundle);
    let answer = DeleteResponse { pid: pid as u32, exit_status: KILLED, exited_at: Some(Timestamp::now()) };
    std::io::stdout().write_all(&answer.encode_to_vec()).map_err(failed("write the answer"))
}

/// The socket of a shim that is gone. One that serves others of the pod stays.
fn remove_socket(bundle: &Path) {
    let address = fs::read_to_string(bundle.join("address")).unwrap_or_default();
    let Some(path) = address.strip_prefix("unix://") else { return };
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = fs::remove_file(path);
    }
}
