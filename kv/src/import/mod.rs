//! Takes over an etcd's data: reads its database file and writes a new data folder with the same keys, revisions,
//! leases, users and roles. Members and raft's standing are the new cluster's; alarms are not taken over.
mod log;

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

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

pub use log::EtcdLog;

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
    /// The etcd whose file it is acknowledged changes that only its log has.
    Behind {
        /// The database file.
        file: PathBuf,
        /// Up to which entry of the log the file goes.
        has: u64,
        /// The log's last entry that changes data.
        last: u64,
    },
    /// The log beside an etcd's database file is not there, or cannot be read to its end.
    Unproven(PathBuf),
    /// The data folder is an etcd's that has run.
    EtcdsFolder {
        /// The folder.
        folder: PathBuf,
        /// `--name`.
        name: String,
    },
    /// The data folder was restored for another member than the flags describe.
    RestoredForAnother {
        /// The folder.
        folder: PathBuf,
        /// Member and cluster that it was restored for.
        restored: (u64, u64),
        /// Member and cluster of the flags.
        flags: (u64, u64),
    },
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
            Self::Behind { file, has, last } => write!(
                f,
                "{} goes up to entry {has} of that etcd's log, which has changes up to entry {last}: some that it \
                 acknowledged would be lost. Start that etcd once more, and import what etcdctl snapshot save FILE writes",
                file.display()
            ),
            Self::Unproven(file) => write!(
                f,
                "the log beside {} is not there or cannot be read to its end, so it may lack what that etcd acknowledged: start \
                 that etcd once more, and import what etcdctl snapshot save FILE writes",
                file.display()
            ),
            Self::EtcdsFolder { folder, name } => write!(
                f,
                "the data folder {} holds an etcd's data. Stop that etcd (SIGTERM), take its data over into a new folder \
                 (hull-kv import {} --name {name} --data-dir NEW), and start with --data-dir NEW",
                folder.display(),
                folder.join(DATABASE).display()
            ),
            Self::RestoredForAnother { folder, restored, flags } => write!(
                f,
                "the data folder {} was restored for member {:x} of cluster {:x}, but --name, --initial-cluster and \
                 --initial-cluster-token say member {:x} of cluster {:x}: give those that etcdctl snapshot restore got",
                folder.display(),
                restored.0,
                restored.1,
                flags.0,
                flags.1
            ),
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

/// Where an etcd keeps its database within its data folder.
const DATABASE: &str = "member/snap/db";

/// Where its log is, as seen from the database's folder.
const LOG_OF_DATABASE: &str = "../wal";

fn born(config: &Config) -> Result<Birth, ImportError> {
    Birth::found(&config.cluster.first, &config.cluster.token, &config.name)
        .ok_or_else(|| ImportError::Stranger(config.name.clone()))
}

/// Takes a data folder over that `etcdctl snapshot restore` made and no etcd has run in; what it made stays as it is. `None`: the
/// folder is no etcd's, or a member of this store lives in it already.
///
/// # Errors
/// It is another etcd's. See [`ImportError`].
pub fn adopt(config: &Config) -> Result<Option<Imported>, ImportError> {
    let folder = &config.data_dir;
    let database = folder.join(DATABASE);
    if !database.exists()
        || !Driver::is_new(&RealDisk::open(folder, None).map_err(ImportError::Write)?).map_err(ImportError::Write)?
    {
        return Ok(None);
    }
    let usual = folder.join("member/wal");
    let log = config.wal_dir.as_ref().filter(|_| !usual.exists()).unwrap_or(&usual);
    let log = EtcdLog::read(log).unwrap_or_default();
    if log.has_run || !log.is_whole {
        return Err(ImportError::EtcdsFolder { folder: folder.clone(), name: config.name.clone() });
    }
    let birth = born(config)?;
    let (restored, flags) = ((log.member, log.cluster), (birth.member(), birth.cluster()));
    if restored != flags {
        return Err(ImportError::RestoredForAnother { folder: folder.clone(), restored, flags });
    }
    take(config, &birth, &Reader::open(File::open(&database).map_err(ReadError::Io)?)?).map(Some)
}

/// An etcd that was killed has changes in its log that are not in its database file yet. A file that lies where etcd keeps it is taken
/// only if its log proves that it has all.
fn refuse_behind(file: &Path, reader: &Reader) -> Result<(), ImportError> {
    let Some(folder) = file.parent().filter(|folder| folder.ends_with("member/snap")) else { return Ok(()) };
    let log = EtcdLog::read(&folder.join(LOG_OF_DATABASE)).unwrap_or_default();
    let mut has = 0;
    each(reader, b"meta", &mut |key, value| {
        if let (b"consistent_index", Ok(index)) = (key, <[u8; 8]>::try_from(value)) {
            has = u64::from_be_bytes(index);
        }
        Ok(())
    })?;
    if !log.is_whole {
        return Err(ImportError::Unproven(file.to_owned()));
    }
    if log.last_change > has {
        return Err(ImportError::Behind { file: file.to_owned(), has, last: log.last_change });
    }
    Ok(())
}

/// Makes a new data folder from a database file.
///
/// # Errors
/// See [`ImportError`].
pub fn import(config: &Config, file: &Path) -> Result<Imported, ImportError> {
    let reader = Reader::open(File::open(file).map_err(ReadError::Io)?)?;
    refuse_behind(file, &reader)?;
    take(config, &born(config)?, &reader)
}

fn take(config: &Config, birth: &Birth, reader: &Reader) -> Result<Imported, ImportError> {
    let store = birth.store_with(read_store(reader)?);
    let disk = RealDisk::open(&config.data_dir, config.wal_dir.as_deref()).map_err(ImportError::Write)?;
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
        // What was left of its time at etcd's last checkpoint is not taken: nobody could renew it meanwhile.
        let LeaseValue { id, ttl } = LeaseValue::decode(value).map_err(|error| content("lease", error.to_string()))?;
        leases.push(LeaseRecord { id, ttl_seconds: ttl });
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
