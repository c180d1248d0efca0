//! The store as a pure state machine: revisions, transactions, leases, watches, alarms.
//!
//! No I/O, no clock, no randomness: entries of the replicated log come in through [`Store::apply`], in order, and the
//! same entries give the same state on every member. Time is an argument ([`Instant`]) and only ever decides when the
//! leader *proposes* that a lease ends; it is no part of the replicated state.
//!
//! Invariant: a revision never changes once it exists; compaction removes it whole.
//! Invariant: the applied index moves together with the data it applied.
//! Invariant: a value outside memory is its checked bytes or a refusal ([`Values`]), never anything else.
#![forbid(unsafe_code)]

mod alarm;
mod apply;
mod auth;
mod check;
mod compare;
mod delete;
mod error;
mod hash;
mod history;
mod index;
mod interval;
mod keyrange;
mod lease;
pub mod limits;
mod member;
mod packed;
mod pieces;
mod put;
mod range;
mod record;
mod snapshot;
mod sorted;
mod store;
mod txn;
mod value;
mod watch;

pub use alarm::Alarms;
pub use apply::{Outcome, Response, takes_space};
pub use auth::{Auth, Caller, Enforced, Proof, ROOT, TOKEN_TTL_MS, Tokens};
pub use check::{check_delete, check_put, check_range, check_txn};
pub use error::{Code, Refused};
pub use hash::{HashPiece, KeyHash, KeyHasher};
pub use keyrange::KeyRange;
pub use lease::{Instant, LeaseId, Lessor};
pub use member::{Member, Members, Vote};
pub use pieces::{Piece, Pieces, Planned, RangePlan};
pub use record::Revision;
pub use snapshot::{Restore, RestoreError, SnapshotCursor, Unread};
pub use store::{Applied, Scrub, Store, Usage};
pub use value::{Place, Unreadable, Values};
pub use watch::{Events, Filter, Previous, Pull, Rest, StreamId, WatchHub, WatchRefused, WatchSpec, Watcher};
