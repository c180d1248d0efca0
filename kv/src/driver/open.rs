//! Opens a member's data: the snapshot, then the log behind it; or founds a new cluster.
use std::{collections::HashMap, fmt, io, sync::Arc};

use hull_kv_core::{Member, Members, Store, Vote};
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{ConfState, HardState},
};

use super::{Driver, log::Log, space::Space};
use crate::{
    disk::Disk,
    limits::{ELECTION_TICKS, MAX_REQUEST_BYTES},
    shared::Shared,
    snapfile::{self, SnapshotError},
    wal::{Replay, Wal, WalError},
};

/// Who a member is, by its flags.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Human name.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// What tells this cluster from others; etcd's `--initial-cluster-token`.
    pub cluster_token: String,
}

impl Identity {
    /// The member's raft id: the same flags always give the same.
    pub fn member_id(&self) -> u64 {
        let mut urls = self.peer_urls.clone();
        urls.sort_unstable();
        urls.push(self.cluster_token.clone());
        fnv1a(urls.concat().as_bytes())
    }

    fn cluster_id(&self, members: &[u64]) -> u64 {
        let ids: Vec<u8> = members.iter().flat_map(|id| id.to_be_bytes()).collect();
        fnv1a(&ids)
    }

    fn member(&self) -> Member {
        Member {
            id: self.member_id(),
            name: self.name.clone(),
            peer_urls: self.peer_urls.clone(),
            client_urls: self.client_urls.clone(),
            vote: Vote::Voter,
        }
    }
}

/// FNV-1a, 64 bits, never 0 (raft's "nobody"). Ids need to differ, not to resist anyone.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.max(1)
}

/// Why a member cannot start. Each message says what to do.
#[derive(Debug)]
pub enum OpenError {
    /// The log.
    Wal(WalError),
    /// The snapshot.
    Snapshot(SnapshotError),
    /// The snapshot is there and the log is not, or the other way round.
    Incomplete(String),
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
            Self::Found(error) => {
                write!(f, "write the first files of the store: {error}; is the data folder writable?")
            }
            Self::Raft(error) => write!(f, "the log and the snapshot do not fit together: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl Driver {
    /// Opens what is on the disk, or founds a cluster of this one member.
    ///
    /// # Errors
    /// Damage, missing parts, or the disk's.
    pub fn open(disk: Arc<dyn Disk>, identity: Identity) -> Result<Self, OpenError> {
        let member = identity.member_id();
        let snapshot = snapfile::load(&*disk).map_err(OpenError::Snapshot)?;
        let (store, snapshot_bytes) = match snapshot {
            Some(snapshot) => snapshot,
            None => found(&disk, &identity)?,
        };
        let applied = store.applied();
        let opened = Wal::open(Arc::clone(&disk), member, applied.index).map_err(OpenError::Wal)?;
        let (wal, replay) = match opened {
            Some(opened) => opened,
            // The log is created after the first snapshot: a power cut between them leaves this.
            None if applied.index == 0 => {
                let wal = Wal::create(Arc::clone(&disk), member, 1, HardState::default()).map_err(OpenError::Found)?;
                (wal, Replay::default())
            }
            None => return Err(OpenError::Incomplete("there is a snapshot but no log".into())),
        };
        if replay.cut > 0 {
            eprintln!(
                "hull-kv: cut {} bytes of an unfinished write off the log; nothing acknowledged was in them",
                replay.cut
            );
        }
        let raft = start_raft(member, &store, replay)?;
        let space = Space::new(&*disk);
        let since_snapshot = wal.bytes();
        Ok(Self {
            raft,
            wal,
            disk,
            shared: Arc::new(Shared::new(member, store)),
            waiting: HashMap::new(),
            next_id: 1,
            role: StateRole::Follower,
            space,
            identity,
            since_snapshot,
            snapshot_bytes,
        })
    }
}

/// A new cluster: its members and its number are in the first snapshot, at index 0.
fn found(disk: &Arc<dyn Disk>, identity: &Identity) -> Result<(Store, u64), OpenError> {
    let leftovers = disk.list().map_err(OpenError::Found)?;
    if let Some(name) = leftovers.iter().find(|name| name.starts_with("wal-")) {
        return Err(OpenError::Incomplete(format!("{} is there but no snapshot", disk.display(name))));
    }
    let mut members = Members::default();
    members.insert(identity.member());
    let mut store = Store::new();
    store.found(identity.cluster_id(&[identity.member_id()]), members);
    let lock = std::sync::RwLock::new(store);
    let written = snapfile::write(&**disk, &lock).map_err(OpenError::Found)?;
    let store = lock.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok((store, written.bytes))
}

fn start_raft(member: u64, store: &Store, replay: Replay) -> Result<RawNode<Log>, OpenError> {
    let applied = store.applied();
    let (voters, learners): (Vec<_>, Vec<_>) = store.members().iter().partition(|m| m.vote == Vote::Voter);
    let ids = |members: Vec<&Member>| members.iter().map(|m| m.id).collect::<Vec<_>>();
    let conf = ConfState::from((ids(voters), ids(learners)));
    let mut state = replay.state;
    state.commit = state.commit.max(applied.index);
    state.term = state.term.max(applied.term);
    let log = Log::new(applied.index, applied.term, replay.entries, state, conf);
    let config = Config {
        id: member,
        election_tick: ELECTION_TICKS,
        heartbeat_tick: 1,
        applied: applied.index,
        max_size_per_msg: MAX_REQUEST_BYTES as u64,
        max_inflight_msgs: 256,
        check_quorum: true,
        pre_vote: true,
        ..Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&config, log, &logger).map_err(OpenError::Raft)
}
