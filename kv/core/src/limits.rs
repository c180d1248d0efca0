//! Numbers of the state machine, each with its unit and reason. All members must agree on those marked "replicated".

/// Shortest time to live of a lease (seconds, replicated). etcd's: one and a half election time-outs, rounded up.
pub const MIN_LEASE_SECONDS: i64 = 2;

/// Longest time to live of a lease (seconds, replicated). etcd's `MaxLeaseTTL`.
pub const MAX_LEASE_SECONDS: i64 = 9_000_000_000;

/// Operations a transaction may hold at each level unless configured otherwise. etcd's `--max-txn-ops`.
pub const MAX_TXN_OPS: usize = 128;

/// Revision records in one chunk of the history: small enough that removing from the middle is cheap, large enough that
/// the list of chunks stays in cache (2,000 chunks for a million keys).
pub const HISTORY_CHUNK: usize = 512;

/// Records that are packed against each other: finding one costs as many steps, and each block costs 24 bytes.
pub const PACKED_BLOCK: usize = 16;

/// Bytes a snapshot part aims at: one read of it is cheap, and its checksum covers little.
pub const SNAPSHOT_PART_BYTES: usize = 64 * 1024;

/// Revisions that are looked at for one piece of a checksum: it takes about a millisecond, for which a write waits.
pub const HASH_PIECE_RECORDS: usize = 1024;

/// Bytes of keys and values that one piece of a checksum aims at: bounds what is in memory for it.
pub const HASH_PIECE_BYTES: u64 = 256 * 1024;

/// Revisions at the end of a history that are looked for in a snapshot from elsewhere.
pub const COMPARED_REVISIONS: i64 = 64;

/// What a key-value pair is charged for beyond key and value (bytes). etcd's `kvOverhead`.
pub const KV_OVERHEAD: usize = 256;

const _: () = assert!(MIN_LEASE_SECONDS > 0 && MIN_LEASE_SECONDS < MAX_LEASE_SECONDS);
const _: () = assert!(HISTORY_CHUNK >= 2);

/// Learners that a cluster may have at a time: etcd's, since each costs the leader like a voter.
pub const MAX_LEARNERS: usize = 1;
