//! The calls that a store is mostly asked, without the layers between: one message comes in one piece, one goes out. What is
//! not exactly that (in pieces, compressed, malformed, an answer of many keys) goes the way of all other calls.
use bytes::{BufMut as _, Bytes, BytesMut};
use hull_kv_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use hull_kv_wire::{Ended, Respond};
use prost::Message;
use tonic::Status;

/// A gRPC message starts with a flag, 0 if it is not compressed, and its length.
pub(super) const PREFIX: usize = 5;

/// A call of a method that is called often.
#[derive(Debug)]
pub(super) enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
}

pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";

/// Whether a path is that of such a call.
pub(super) fn is_one(path: &str) -> bool {
    matches!(path, RANGE | PUT | DELETE_RANGE | TXN)
}

impl Call {
    /// Reads a call whose message is all of `body`.
    pub(super) fn read(path: &str, body: &Bytes) -> Option<Self> {
        match path {
            RANGE => message::<RangeRequest>(body).filter(|range| range.range_end.is_empty()).map(Self::Range),
            PUT => message(body).map(Self::Put),
            DELETE_RANGE => message(body).map(Self::DeleteRange),
            TXN => message(body).map(Self::Txn),
            _ => None,
        }
    }

    /// Its method.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Range(_) => RANGE,
            Self::Put(_) => PUT,
            Self::DeleteRange(_) => DELETE_RANGE,
            Self::Txn(_) => TXN,
        }
    }
}

/// The one message that all of `body` is.
pub(super) fn message<M: Message + Default>(body: &Bytes) -> Option<M> {
    let prefix = body.first_chunk::<PREFIX>()?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 || body.len() != PREFIX + length {
        return None;
    }
    M::decode(body.slice(PREFIX..)).ok()
}

/// A message as it goes over the wire.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    // An answer is far smaller than what a u32 can count.
    frame.put_u32(length as u32);
    message.encode_raw(&mut frame);
    frame.freeze()
}

/// Sends an answer, or the refusal.
pub(super) fn send(answer: Result<Bytes, Status>, respond: Respond) -> Result<(), Ended> {
    match answer {
        Ok(message) => respond.message(message),
        Err(status) => respond.empty(&status.into_http()),
    }
}
