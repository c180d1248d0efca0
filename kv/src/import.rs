//! Takes over an etcd's data: reads its database file and writes a new data folder with the same keys, revisions,
//! leases, users and roles. Members and raft's standing are the new cluster's; alarms are not taken over.
use std::{fmt, fs::File, io, path::Path, sync::Arc};

use hull_kv_core::{Restore, RestoreError, Store};
use hull_kv_proto::{
    authpb::{Role, User},
    hullpb::{AuthRecord, LeaseRecord, RevisionRecord, SnapshotHead, SnapshotPart},
    mvccpb::KeyValue,
};
use prost::Message as _;

use crate::{
    bolt::{ReadError, Reader, database::LeaseValue, read::Bucket},
    config::Config,
    disk::{Disk, RealDisk},
    driver::{Birth, Driver},
    shared::Shared,
    snapfile::{self, Effort, Runs},
};

/// Records gathered before the store takes them.
const BATCH: usize = 1024;

/// Why nothing was imported. The data folder is as it was.
#[derive(Debug)]
pub enum ImportError {
    /// The file cannot be read, or is no database of etcd's.
    Read(ReadError),
    /// A key or value in a bucket is not what etcd writes.
    Content {
        /// The bucket.
        bucket: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Revisions that contradict each other.
    Restore(RestoreError),
    /// The data folder holds a member already.
    NotNew(String),
    /// `--initial-cluster` does not name this member.
    Stranger(String),
    /// The data folder cannot be written.
    Write(io::Error),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "read the database file: {error}"),
            Self::Content { bucket, what } => write!(f, "bucket {bucket} of the database file: {what}"),
            Self::Restore(error) => write!(f, "bucket key of the database file: {error}"),
            Self::NotNew(folder) => {
                write!(f, "the data folder {folder} holds a member already: import into a new one")
            }
            Self::Stranger(name) => write!(f, "--initial-cluster does not name {name}"),
            Self::Write(error) => write!(f, "write the data folder: {error}"),
        }
    }
}

impl std::error::Error for ImportError {}

impl From<ReadError> for ImportError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<RestoreError> for ImportError {
    fn from(error: RestoreError) -> Self {
        Self::Restore(error)
    }
}

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Keys that exist.
    pub keys: usize,
    /// The current revision.
    pub revision: i64,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "imported {} keys at revision {}; start the member with the same flags", self.keys, self.revision)
    }
}

/// Makes a new data folder from a database file.
///
/// # Errors
/// See [`ImportError`].
pub fn import(config: &Config, file: &Path) -> Result<Imported, ImportError> {
    let birth = Birth::found(&config.cluster.first, &config.cluster.token, &config.name)
        .ok_or_else(|| ImportError::Stranger(config.name.clone()))?;
    let store = birth.store_with(read_store(&Reader::open(File::open(file).map_err(ReadError::Io)?)?)?);
    let disk = RealDisk::open(&config.data_dir).map_err(ImportError::Write)?;
    if !Driver::is_new(&disk).map_err(ImportError::Write)? {
        return Err(ImportError::NotNew(config.data_dir.display().to_string()));
    }
    let imported = Imported { keys: store.usage().keys, revision: store.revision() };
    let shared = Arc::new(Shared::new(birth.member(), store, Runs::default()));
    snapfile::write(&disk as &dyn Disk, &shared, Effort::Usual).map_err(ImportError::Write)?;
    Ok(imported)
}

/// The store in a database, at the start of a log.
///
/// # Errors
/// The file is damaged, or no database of etcd's.
pub fn read_store(reader: &Reader) -> Result<Store, ImportError> {
    let keys = reader.bucket(b"key")?.ok_or(ImportError::Content { bucket: "key", what: "there is none".into() })?;
    let mut head = head(reader)?;
    reader.each(&keys, &mut |key, _| {
        head.records += 1;
        head.revision = head.revision.max(revision(key)?.main);
        Ok::<_, ImportError>(())
    })?;
    let mut restore = Restore::default();
    restore.part(SnapshotPart { head: Some(head), leases: leases(reader)?, ..SnapshotPart::default() })?;
    let mut batch = SnapshotPart::default();
    reader.each(&keys, &mut |key, value| {
        let pair = KeyValue::decode(value).map_err(|error| content("key", error.to_string()))?;
        batch.records.push(RevisionRecord { kv: Some(pair), ..revision(key)? });
        if batch.records.len() == BATCH {
            restore.part(std::mem::take(&mut batch))?;
        }
        Ok::<_, ImportError>(())
    })?;
    restore.part(batch)?;
    Ok(restore.finish()?)
}

fn content(bucket: &'static str, what: impl Into<String>) -> ImportError {
    ImportError::Content { bucket, what: what.into() }
}

/// A key of the bucket `key`: 8 bytes, `_`, 8 bytes, big-endian, and a `t` for a deletion.
fn revision(key: &[u8]) -> Result<RevisionRecord, ImportError> {
    let number = |at: usize| Some(i64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?));
    let (tombstone, whole) = match key.get(17..) {
        Some([]) => (false, true),
        Some([b't']) => (true, true),
        _ => (false, false),
    };
    match (number(0), number(9)) {
        (Some(main), Some(sub)) if whole => Ok(RevisionRecord { main, sub, tombstone, ..RevisionRecord::default() }),
        _ => Err(content("key", "a key that is no revision")),
    }
}

/// Everything but leases and revisions. The current revision is the last compacted one at least.
fn head(reader: &Reader) -> Result<SnapshotHead, ImportError> {
    let mut head = SnapshotHead { revision: 1, compacted: -1, auth: Some(auth(reader)?), ..SnapshotHead::default() };
    if let Some(meta) = reader.bucket(b"meta")? {
        reader.each(&meta, &mut |key, value| {
            if key == b"finishedCompactRev" || key == b"scheduledCompactRev" {
                head.compacted = head.compacted.max(revision(value)?.main);
            }
            Ok::<_, ImportError>(())
        })?;
    }
    head.revision = head.revision.max(head.compacted);
    Ok(head)
}

fn auth(reader: &Reader) -> Result<AuthRecord, ImportError> {
    let mut auth = AuthRecord::default();
    each(reader, b"auth", &mut |key, value| {
        match (key, <[u8; 8]>::try_from(value)) {
            (b"authEnabled", _) => auth.enabled = value == [1],
            (b"authRevision", Ok(revision)) => auth.revision = u64::from_be_bytes(revision),
            _ => {}
        }
        Ok(())
    })?;
    each(reader, b"authUsers", &mut |_, value| {
        auth.users.push(User::decode(value).map_err(|error| content("authUsers", error.to_string()))?);
        Ok(())
    })?;
    each(reader, b"authRoles", &mut |_, value| {
        auth.roles.push(Role::decode(value).map_err(|error| content("authRoles", error.to_string()))?);
        Ok(())
    })?;
    Ok(auth)
}

fn leases(reader: &Reader) -> Result<Vec<LeaseRecord>, ImportError> {
    let mut leases = Vec::new();
    each(reader, b"lease", &mut |_, value| {
        let LeaseValue { id, ttl, remaining } =
            LeaseValue::decode(value).map_err(|error| content("lease", error.to_string()))?;
        leases.push(LeaseRecord { id, ttl_seconds: ttl, remaining_seconds: remaining });
        Ok(())
    })?;
    Ok(leases)
}

/// Every pair of a bucket, if there is such a bucket.
fn each(
    reader: &Reader,
    name: &[u8],
    visit: &mut impl FnMut(&[u8], &[u8]) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let bucket: Option<Bucket> = reader.bucket(name)?;
    bucket.map_or(Ok(()), |bucket| reader.each(&bucket, visit))
}
