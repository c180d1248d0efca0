//! Ranges of any size: a small answer in one piece, a large one as it is sent, so that it is never in memory whole.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hull_kv_core::{Pieces, Planned, RangePlan, Refused, Store, check_range};
use hull_kv_proto::etcdserverpb::{RangeRequest, RangeResponse};
use prost::Message as _;
use tokio::{sync::mpsc, task::yield_now, time::timeout};
use tonic::Status;

use super::{Api, refused};
use crate::{aside::aside, lock::read, metrics::count, shared::Shared};

/// Answers of so many pairs, and no more bytes than a piece, come whole: their values are read on the event loop's thread.
const WHOLE_PAIRS: usize = 256;

/// Keys that are looked at under one hold of the store's lock: bounds how long writes wait.
const KEYS_A_STEP: usize = 2048;

/// Bytes of a piece.
const PIECE_BYTES: u64 = 64 * 1024;

/// Pieces on their way to the client, beside the one that it is being sent. A range takes 32 bytes a pair besides.
const PIECES: usize = 1;

/// How long a client may take nothing of an answer, which compaction waits for.
const STALLED: Duration = Duration::from_secs(60);

/// The answer to a range.
pub(crate) enum Ranged {
    /// All of it.
    Whole(RangeResponse),
    /// The message's length, and the message piece by piece.
    Streamed(u64, mpsc::Receiver<Result<Bytes, Status>>),
}

impl Api {
    /// Like [`Self::range_local`], for answers of any size.
    pub(crate) async fn range_of_any_size(&self, request: &RangeRequest) -> Result<Ranged, Status> {
        check_range(request).map_err(refused)?;
        if !request.serializable {
            self.linearize().await?;
        }
        // Compaction removes nothing until the last piece is on its way.
        let hold = self.shared.hold_for_reader();
        let (mut plan, generation) = {
            let store = read(&self.shared.store);
            let mut plan = self.plan(&store, request)?;
            let small = match &mut plan {
                Some(plan) => {
                    plan.step(&store, KEYS_A_STEP) == Planned::All
                        && plan.bytes() <= PIECE_BYTES
                        && plan.pairs() <= WHOLE_PAIRS
                }
                None => true,
            };
            match plan {
                Some(plan) if !small => (plan, self.shared.generation()),
                _ => return self.range_in(&store, request).map(Ranged::Whole),
            }
        };
        count(&self.shared.metrics.ranges);
        loop {
            yield_now().await;
            let store = read(&self.shared.store);
            if self.shared.generation() != generation {
                return Err(replaced());
            }
            if plan.step(&store, KEYS_A_STEP) == Planned::All {
                break;
            }
        }
        let mut pieces = plan.finish();
        let revision = pieces.head.header.as_ref().map_or(0, |header| header.revision);
        pieces.head.header = Some(self.header(revision));
        let length = pieces.head.encoded_len() as u64 + pieces.bytes;
        let (out, receiver) = mpsc::channel(PIECES);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let _hold = hold;
            send(&shared, generation, pieces, &out).await;
        });
        Ok(Ranged::Streamed(length, receiver))
    }

    fn plan(&self, store: &Store, request: &RangeRequest) -> Result<Option<RangePlan>, Status> {
        let caller = self.caller_in(store)?;
        store.auth().permit_read(&caller, &request.key, &request.range_end).map_err(refused)?;
        RangePlan::new(store, request).map_err(refused)
    }
}

pub(super) fn replaced() -> Status {
    Status::unavailable("etcdserver: the store was replaced by the leader's snapshot while it was read: ask again")
}

/// Sends the message; whoever does not take it any more has gone. A thread is busy only while a piece is read, not while the client
/// takes it.
async fn send(shared: &Arc<Shared>, generation: u64, mut pieces: Pieces, out: &mpsc::Sender<Result<Bytes, Status>>) {
    let mut next = Ok(pieces.head.encode_to_vec());
    let mut left = pieces.bytes;
    loop {
        let ends = next.is_err();
        let taken = timeout(STALLED, out.send(next.map(Bytes::from))).await;
        if ends || left == 0 || !matches!(taken, Ok(Ok(()))) {
            return;
        }
        let from = Arc::clone(shared);
        let read = aside(move || {
            let piece = piece(&from, generation, &mut pieces);
            (pieces, piece)
        });
        // The runtime ends.
        let Some(read) = read.await else { return };
        (pieces, next) = read;
        if let Ok(bytes) = &next {
            left = left.saturating_sub(bytes.len() as u64);
        }
    }
}

/// The next piece of a message.
fn piece(shared: &Shared, generation: u64, pieces: &mut Pieces) -> Result<Vec<u8>, Status> {
    let piece = {
        let store = read(&shared.store);
        if shared.generation() != generation {
            return Err(replaced());
        }
        pieces.next(&store, PIECE_BYTES)
    };
    let missing = || Status::internal("pairs went missing while they were read; please report this");
    piece.ok_or_else(missing)?.encode().map_err(|_| refused(Refused::Unreadable))
}
