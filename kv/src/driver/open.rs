//! Opens a member's data: the snapshot, then the log behind it; or founds a new cluster.
use std::{fmt, io, sync::Arc};

use hull_kv_core::{Applied, Store, Vote};
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{ConfState, HardState},
};

use super::{
    Answers, Birth, Driver, Fate, clock::Clock, clock::Timing, log::Log, members::Others, propose::Proposals,
    quota::Quota, reads::Reads, space::Space, upkeep::Gathered,
};
use crate::{
    disk::Disk,
    limits::{APPEND_BYTES, APPENDS_IN_FLIGHT},
    lock::read,
    shared::Shared,
    snapfile::{self, Effort, Loaded, Runs, SnapshotError},
    wal::{self, Replay, Wal, WalError},
};

/// What a member says of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Human name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// Everything that a start needs besides the disk.
#[derive(Debug, Clone)]
pub struct Start {
    /// What the member says of itself.
    pub identity: Identity,
    /// How it begins if it has no data.
    pub birth: Birth,
    /// How fast raft's clock runs.
    pub timing: Timing,
    /// A number that no earlier life of this member used, nor any within a million of it: the milliseconds since 1970,
    /// times a million, for one.
    pub life: u64,
    /// Applied entries (bytes) that are kept in memory for members that lag a little behind.
    pub catch_up_bytes: usize,
    /// Bytes of keys and values beyond which writes are refused; `u64::MAX`: none.
    pub quota_bytes: u64,
    /// Bytes of log that may gather while writes come without a pause, if the disk has room for them.
    pub burst_bytes: u64,
}

/// What a member says that was removed.
pub(crate) const REMOVED: &str = "this member was removed from its cluster; to join again, remove the data folder, add \
     the member (etcdctl member add), and start it with --initial-cluster-state existing";

/// Why a member cannot start. Each message says what to do.
#[derive(Debug)]
pub enum OpenError {
    /// The log.
    Wal(WalError),
    /// The snapshot.
    Snapshot(SnapshotError),
    /// The snapshot is there and the log is not, or the other way round.
    Incomplete(String),
    /// The cluster removed this member.
    Removed,
    /// Writing the first files failed.
    Found(io::Error),
    /// Raft refuses the state.
    Raft(raft::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wal(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Incomplete(what) => write!(
                f,
                "{what}; restore the data folder from a backup of this member, or remove it and let the member join again"
            ),
            Self::Removed => f.write_str(REMOVED),
            Self::Found(error) => {
                write!(f, "write the first files of the store: {error}; is the data folder writable?")
            }
            Self::Raft(error) => write!(f, "the log and the snapshot do not fit together: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl Driver {
    /// Opens what is on the disk, or begins as `start` says if there is nothing.
    ///
    /// # Errors
    /// Damage, missing parts, or the disk's.
    pub fn open(disk: Arc<dyn Disk>, start: Start) -> Result<Self, OpenError> {
        let member = wal::owner(&*disk).map_err(OpenError::Wal)?.unwrap_or_else(|| start.birth.member());
        let snapshot = snapfile::load(&*disk).map_err(OpenError::Snapshot)?;
        let (shared, snapshot_bytes) = match snapshot {
            Some(Loaded { store, runs, bytes }) => (Arc::new(Shared::new(member, store, runs)), bytes),
            None => begin(&disk, &start.birth)?,
        };
        let (applied, removed) = {
            let store = read(&shared.store);
            (store.applied(), store.members().was_removed(member))
        };
        if removed {
            return Err(OpenError::Removed);
        }
        let (wal, replay) = open_log(&disk, member, applied)?;
        let cut_bytes = replay.cut;
        let raft = start_raft(member, &read(&shared.store), replay, start.timing)?;
        let space = Space::new(&*disk);
        let since_snapshot = wal.bytes();
        Ok(Self {
            raft,
            wal,
            disk,
            shared,
            proposals: Proposals::new(start.life),
            reads: Reads::default(),
            answers: Answers::default(),
            others: Others::default(),
            clock: Clock::new(start.timing),
            role: StateRole::Follower,
            fate: Fate::Goes,
            space,
            quota: Quota::new(start.quota_bytes),
            identity: start.identity,
            arrived: None,
            cut_bytes,
            last_sync: None,
            catch_up_bytes: start.catch_up_bytes,
            gathered: Gathered::new(since_snapshot, start.burst_bytes),
            snapshot_bytes,
        })
    }

    /// Whether there is no member on this disk yet.
    ///
    /// # Errors
    /// The disk's.
    pub fn is_new(disk: &dyn Disk) -> std::io::Result<bool> {
        Ok(!disk.list()?.iter().any(|name| name.starts_with("snapshot-") || name.starts_with("wal-")))
    }
}

/// A member without data: what it begins with is its first snapshot.
fn begin(disk: &Arc<dyn Disk>, birth: &Birth) -> Result<(Arc<Shared>, u64), OpenError> {
    let leftovers = disk.list().map_err(OpenError::Found)?;
    if let Some(name) = leftovers.iter().find(|name| name.starts_with("wal-")) {
        return Err(OpenError::Incomplete(format!("{} is there but no snapshot", disk.display(name))));
    }
    let shared = Arc::new(Shared::new(birth.member(), birth.store(), Runs::default()));
    let written = snapfile::write(&**disk, &shared, Effort::Usual).map_err(OpenError::Found)?;
    Ok((shared, written.bytes))
}

fn open_log(disk: &Arc<dyn Disk>, member: u64, applied: Applied) -> Result<(Wal, Replay), OpenError> {
    let opened = Wal::open(Arc::clone(disk), member, applied).map_err(OpenError::Wal)?;
    let (wal, replay) = match opened {
        Some(opened) => opened,
        // The log is created after the first snapshot: a power cut between them leaves this.
        None if applied.index <= 1 => {
            let state = HardState { term: applied.term, commit: applied.index, ..HardState::default() };
            let wal = Wal::create(Arc::clone(disk), member, applied.index + 1, state).map_err(OpenError::Found)?;
            (wal, Replay::default())
        }
        None => return Err(OpenError::Incomplete("there is a snapshot but no log".into())),
    };
    Ok((wal, replay))
}

fn start_raft(member: u64, store: &Store, replay: Replay, timing: Timing) -> Result<RawNode<Log>, OpenError> {
    let applied = store.applied();
    let conf = match applied.index {
        // Who joins votes for nobody and stands for nothing until the leader's snapshot says who does.
        0 => ConfState::default(),
        _ => ConfState::from((store.members().ids(Vote::Voter), store.members().ids(Vote::Learner))),
    };
    let mut state = replay.state;
    state.commit = state.commit.max(applied.index);
    if state.term < applied.term {
        // The snapshot came from elsewhere and its term was not written yet: nobody was voted for in it.
        (state.term, state.vote) = (applied.term, 0);
    }
    let log = Log::new(applied.index, applied.term, replay.entries, state, conf);
    let config = Config {
        id: member,
        election_tick: timing.election_ticks(),
        heartbeat_tick: 1,
        applied: applied.index,
        max_size_per_msg: APPEND_BYTES,
        max_inflight_msgs: APPENDS_IN_FLIGHT,
        check_quorum: true,
        pre_vote: true,
        // Everything proposed in one turn goes to a follower in one message.
        batch_append: true,
        ..Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&config, log, &logger).map_err(OpenError::Raft)
}
