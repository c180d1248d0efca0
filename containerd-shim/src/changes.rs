//! Waits for changes of the files in a folder, inotify(7).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::sys::readiness;

/// Room for a batch of events: each has 16 bytes and a name (NAME_MAX is 255).
const EVENTS: usize = 4096;

/// A folder under watch.
pub(crate) struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// Watches a folder for files that are written to or renamed into it.
    ///
    /// # Errors
    /// There is no such folder, or too many watches exist.
    pub(crate) fn of(folder: &Path) -> io::Result<Changes> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, folder, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
        Ok(Changes(readiness::watch(watch)?))
    }

    /// Waits until something has changed since the last call; what, is for the caller to look at.
    ///
    /// # Errors
    /// The folder can no longer be watched.
    pub(crate) async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            match rustix::io::read(self.0.get_ref(), &mut [0; EVENTS]) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
