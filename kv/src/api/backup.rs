//! `Snapshot`: the store as a database file of etcd's, in pieces, with its SHA-256 as the last one.
use std::sync::Arc;

use hull_kv_proto::etcdserverpb::SnapshotResponse;
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc;
use tonic::Status;

use super::Answers;
use crate::{
    bolt::{Database, Stopped},
    shared::Shared,
};

/// Bytes of a piece: sixteen pages.
const PIECE: usize = 64 * 1024;

/// Pieces on their way to the client: with this, a snapshot takes half a megabyte of memory, however large the store is.
const PIECES: usize = 8;

type Out = mpsc::Sender<Result<SnapshotResponse, Status>>;

/// Begins a snapshot on a thread of its own.
pub(super) fn stream(shared: Arc<Shared>) -> Answers<SnapshotResponse> {
    let (out, answers) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || match send(shared, &out) {
        Ok(()) | Err(Stopped::Gone) => {}
        Err(Stopped::Replaced) => {
            let why = "the store was replaced by the leader's snapshot while it was read: ask again";
            // The client may be gone, too.
            let _ = out.blocking_send(Err(Status::aborted(why)));
        }
        Err(Stopped::Unreadable) => {
            let why = hull_kv_core::Refused::Unreadable.message();
            let _ = out.blocking_send(Err(Status::data_loss(why)));
        }
    });
    answers
}

fn send(shared: Arc<Shared>, out: &Out) -> Result<(), Stopped> {
    let database = Database::new(shared)?;
    let mut pieces =
        Pieces { out, digest: Context::new(&SHA256), left: database.bytes(), piece: Vec::with_capacity(PIECE) };
    database.write(&mut |page| pieces.add(&page))?;
    pieces.finish()
}

struct Pieces<'a> {
    out: &'a Out,
    digest: Context,
    /// Bytes of the file that were not sent yet.
    left: u64,
    piece: Vec<u8>,
}

impl Pieces<'_> {
    /// A value larger than a piece is sent in several.
    fn add(&mut self, mut page: &[u8]) -> Result<(), Stopped> {
        while !page.is_empty() {
            let (now, later) = page.split_at(page.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            page = later;
            if self.piece.len() == PIECE {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Stopped> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.digest.update(&piece);
        self.left -= piece.len() as u64;
        self.blob(piece)
    }

    fn blob(&self, blob: Vec<u8>) -> Result<(), Stopped> {
        let response =
            SnapshotResponse { remaining_bytes: self.left, blob: blob.into(), ..SnapshotResponse::default() };
        self.out.blocking_send(Ok(response)).map_err(|_| Stopped::Gone)
    }

    fn finish(mut self) -> Result<(), Stopped> {
        if !self.piece.is_empty() {
            self.send()?;
        }
        // A copy, since the rest of it still sends.
        let digest = self.digest.clone().finish();
        self.blob(digest.as_ref().to_vec())
    }
}
