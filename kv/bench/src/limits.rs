//! The benchmark's numbers.
use std::time::Duration;

/// Runs of each workload and subject.
pub(crate) const ROUNDS: usize = 5;
/// Keys of the smaller filled store.
pub(crate) const SOME_KEYS: u64 = 100_000;
/// Keys of the larger one.
pub(crate) const MANY_KEYS: u64 = 1_000_000;
/// Bytes of a key and its value when a store is filled: 64 and 256.
pub(crate) const KEY_BYTES: u64 = 64;
/// See [`KEY_BYTES`].
pub(crate) const VALUE_BYTES: u64 = 256;
/// A server that does not answer after this long is broken; etcd takes 12 s with a million keys.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a server that starts or a leader that comes.
pub(crate) const LOOK: Duration = Duration::from_millis(2);
/// Watchers of the fan-out.
pub(crate) const WATCHERS: usize = 1_000;
/// Connections that carry them.
pub(crate) const WATCH_CONNECTIONS: usize = 10;
/// Puts of the fan-out.
pub(crate) const WATCHED_PUTS: usize = 100;
/// Starts of the store with the many keys.
pub(crate) const RESTARTS: usize = 5;
/// Leaders that are killed.
pub(crate) const KILLS: usize = 5;
/// One try to write while there may be no leader.
pub(crate) const WRITE_TRY: Duration = Duration::from_millis(100);
