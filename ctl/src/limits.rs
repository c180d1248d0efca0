//! Times and sizes of hullctl, each with its unit and its reason.

use std::time::Duration;

/// How long the store may take to connect and answer one request: seconds on a loaded machine, and a person waits.
pub(crate) const STORE_ANSWER: Duration = Duration::from_secs(10);

/// The same within `status`, which must show the rest of the node soon even when the store hangs.
pub(crate) const STORE_GLANCE: Duration = Duration::from_secs(2);

/// What takes longer than this shows how far it is.
pub(crate) const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// Shortest time between two drawings of a progress line: faster than this nobody reads.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Columns where the terminal does not say: serial consoles have no size.
pub(crate) const COLUMNS: usize = 80;

/// Lines that the console remembers.
pub(crate) const HISTORY: usize = 200;

/// Bytes of an archive sent to the launcher at once.
pub(crate) const PIECE: usize = 64 * 1024;
