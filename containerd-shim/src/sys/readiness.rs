//! Descriptors in the event loop.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Lets the event loop wait for a descriptor.
///
/// # Errors
/// The kernel cannot wait for this kind of file, or memory is full.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is one open descriptor, always the same, until it is dropped; the AsyncFd owns it.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}
