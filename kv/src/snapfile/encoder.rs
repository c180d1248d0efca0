//! A snapshot of the store in one piece after the other, all values included: for a member that lags behind.
use std::sync::Arc;

use hull_kv_core::{Applied, SnapshotCursor, Unreadable};

use super::{
    MAGIC, WRITE_BYTES,
    blocks::{put_block, put_end},
};
use crate::{lock::read, shared::Shared};

/// Gives the pieces.
#[derive(Debug)]
pub struct Encoder {
    cursor: SnapshotCursor,
    generation: u64,
    number: u32,
    state: Encoding,
    /// Compaction waits as long as this lives.
    _hold: Arc<()>,
}

/// What an encoder gives next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Magic,
    Blocks,
    Done,
}

/// Why there is no whole snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The store became another one while it was read.
    Replaced,
    /// A value on this member's disk is damaged; the member stops.
    Unreadable,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replaced => "another member's snapshot replaced what was being written",
            Self::Unreadable => "a value on this member's disk cannot be read",
        })
    }
}

impl std::error::Error for Broken {}

impl From<Unreadable> for Broken {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

impl Encoder {
    /// Begins a snapshot of the store as it is now. Until it ends, compaction removes nothing.
    ///
    /// # Errors
    /// The store is not whole.
    pub fn new(shared: &Shared) -> Result<Self, Broken> {
        let store = read(&shared.store);
        let generation = shared.generation();
        Ok(Self {
            cursor: SnapshotCursor::new(&store)?,
            generation,
            number: 0,
            state: Encoding::Magic,
            _hold: shared.hold_for_reader(),
        })
    }

    /// Where in the log the snapshot stands.
    pub fn applied(&self) -> Applied {
        self.cursor.applied()
    }

    /// The next piece, some [`WRITE_BYTES`] long; `None` after the last. Holds the store's lock for the records of one
    /// part at a time, and not while their values are read.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn next(&mut self, shared: &Shared) -> Result<Option<Vec<u8>>, Broken> {
        let mut piece = match self.state {
            Encoding::Magic => MAGIC.to_vec(),
            Encoding::Blocks => Vec::new(),
            Encoding::Done => return Ok(None),
        };
        self.state = Encoding::Blocks;
        while piece.len() < WRITE_BYTES {
            let part = {
                let store = read(&shared.store);
                if shared.generation() != self.generation {
                    return Err(Broken::Replaced);
                }
                self.cursor.next_part(&store)
            };
            let Some(part) = part else {
                put_end(&mut piece, self.number);
                self.state = Encoding::Done;
                break;
            };
            put_block(&mut piece, self.number, &part.read()?);
            self.number += 1;
        }
        Ok(Some(piece))
    }
}
