//! Numbers of the server, each with its unit and reason.
use std::time::Duration;

/// Bytes of log in one file. A file is read whole at start, so this bounds memory then; it is also the grain in which
/// space comes back after a snapshot.
pub const WAL_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of log, or of keys and values, since the last snapshot that ask for the next one in the next pause. They are what is in
/// memory besides the index, and what a start reads.
pub const SNAPSHOT_AFTER_BYTES: u64 = 16 * 1024 * 1024;

/// So long next to nothing was written: a snapshot takes neither processor nor disk from those who write.
pub const SNAPSHOT_QUIET: Duration = Duration::from_millis(500);

/// Bytes of log that are next to nothing: a store that is written to now and then has its pauses, too.
pub const SNAPSHOT_TRICKLE: u64 = 64 * 1024;

/// Bytes that ask for the next snapshot at once, on a machine with enough memory and disk, or a share of what the store holds
/// ([`SNAPSHOT_SHARE`]) if that is more. About what etcd lets gather, whose `--snapshot-count` is 100,000 entries.
pub const SNAPSHOT_BURST_BYTES: u64 = 64 * 1024 * 1024;

/// One in so many bytes of the memory may gather, but [`SNAPSHOT_AFTER_BYTES`] always.
pub const SNAPSHOT_MEMORY_SHARE: u64 = 32;

/// One in so many bytes that are free on the disk may gather, but [`SNAPSHOT_AFTER_BYTES`] always.
pub const SNAPSHOT_DISK_SHARE: u64 = 4;

/// A snapshot is also worth a share of what the store holds: one in so many bytes. It bounds the number of runs.
pub const SNAPSHOT_SHARE: u64 = 64;

/// Runs beyond which they become one. Each is an open file.
pub const RUNS_MOST: usize = 256;

/// Commands that go into one batch at most: bounds how long the first of them waits for the last.
pub const MAX_BATCH: usize = 4096;

/// A disk that makes a write durable in this time is fast: a client's thread may wait for it.
pub const FAST_SYNC: Duration = Duration::from_millis(1);

/// How long a client that is alone, and came back that soon the last time, is waited for without sleeping. A client in Go comes
/// back after a twentieth of a millisecond.
pub const LINGER: Duration = Duration::from_micros(150);

/// Writes in a row, each the only thing that anybody asked for, after which their client counts as alone.
pub const ALONE_AFTER: u32 = 4;

/// Between two pieces of compaction: whoever waits for the store's lock gets it then. Without, the thread that compacts takes it again before
/// they are awake.
pub const SCRUB_PAUSE: Duration = Duration::from_micros(100);

/// Commands (bytes) after which a batch takes no more: it becomes one message to each follower.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Committed entries applied under one hold of the store's lock: bounds how long readers wait.
pub const APPLY_UNDER_LOCK: usize = 256;

/// How often overdue leases are looked for (etcd: 500 ms).
pub const LEASE_CHECK: Duration = Duration::from_millis(500);

/// Leases that one round of expiry ends, so that a burst does not hold up writes.
pub const LEASES_A_ROUND: usize = 1000;

/// A request larger than this (bytes) is refused. etcd's `--max-request-bytes`.
pub const MAX_REQUEST_BYTES: usize = 1_572_864;

/// What `--max-request-bytes` may say at most: one entry must fit into a message between members with room to spare, and
/// everybody waits while it is written. etcd recommends no more.
pub const MOST_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// What a gRPC message may hold beyond [`MAX_REQUEST_BYTES`]. etcd's `grpcOverheadBytes`.
pub const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// Free space (bytes) below which writes are refused, so that the log can still take deletes and compactions.
pub const LOW_SPACE_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes of log after which free space is looked at again.
pub const SPACE_CHECK_BYTES: u64 = 1024 * 1024;

/// How often free space is looked at while nothing is written.
pub const SPACE_CHECK: Duration = Duration::from_secs(2);

/// Changes that one read of a watcher looks at, so that a watcher far behind does not hold the store's lock for long.
pub const WATCH_LOOK: usize = 4096;

/// Watchers that a closing stream unregisters before it gives the store's lock back: about a millisecond.
pub const WATCHERS_A_BATCH: usize = 1000;

/// How long a closing stream leaves the store's lock and the event loop to others between batches: long enough that a
/// thread that waits wakes up.
pub const WATCHERS_GAP: Duration = Duration::from_millis(1);

/// Bytes of events in one watch response (about); etcd batches likewise.
pub const WATCH_BYTES: usize = 512 * 1024;

/// Answers of a watch stream that wait for the network; beyond, the stream's watchers stay where they are.
pub const WATCH_QUEUE: usize = 16;

/// How often a quiet watcher that asked for it hears how far it is. etcd: 10 minutes.
pub const WATCH_PROGRESS: Duration = Duration::from_secs(600);

/// The largest write that a client may wait for (etcd: 5 s and twice the election time-out).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);

/// How exactly [`REQUEST_TIMEOUT`] is kept: a clock for all who wait ticks so often, instead of a timer for each.
pub const PATIENCE_TICK: Duration = Duration::from_millis(500);

/// Applied entries (bytes) that every member of a cluster keeps in memory, so that a member that lags a little behind
/// needs no snapshot. A leader keeps eight times that for a member that is up; beyond, the member gets a snapshot.
pub const CATCH_UP_BYTES: usize = 4 * 1024 * 1024;

/// Entries (bytes) in one message to a follower. Smaller than etcd's limit: a message must not hold up a heartbeat.
pub const APPEND_BYTES: u64 = 512 * 1024;

/// Messages with entries on their way to one follower: bounds what a slow one costs.
pub const APPENDS_IN_FLIGHT: usize = 128;

/// The longest frame between members (bytes): one entry can have a request's size, a batch of forwarded ones several.
pub const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// Words (bytes) that wait for one member's connection; beyond, they are dropped and raft sends again later.
pub const PEER_QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Words (bytes) of all members that wait for the log's thread; beyond, their connections wait.
pub const PEER_INBOX_BYTES: usize = 32 * 1024 * 1024;

/// Without a word the data may take one in so many bytes of the memory: it lies there once, a snapshot, the log's tail and the
/// allocator take as much again, and the machine has other things to do.
pub const QUOTA_SHARE: u64 = 4;

/// Without a word never more than this (bytes): etcd's default.
pub const QUOTA_MOST: u64 = 2 * 1024 * 1024 * 1024;

const _: () = assert!(WAL_SEGMENT_BYTES > 4 * MAX_REQUEST_BYTES as u64);
