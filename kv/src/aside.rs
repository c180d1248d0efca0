//! Work that takes a thread for a while, off the event loop.
use std::sync::{Arc, Mutex};

use crate::lock::lock;

/// Does work on a thread where it may block; `None` if it panicked or the runtime ends.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let result = Arc::new(Mutex::new(None));
    let to = Arc::clone(&result);
    // Boxed and without a result of its own, so that the runtime's part of it is in the program once and not for each
    // kind of work.
    let work: Box<dyn FnOnce() + Send> = Box::new(move || {
        let done = work();
        *lock(&to) = Some(done);
    });
    tokio::task::spawn_blocking(work).await.ok()?;
    lock(&result).take()
}
