//! The messages that a client sends one after the other in one call.
use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_core::Stream;
use hull_kv_wire::Body;
use prost::Message;
use tonic::Status;

use super::{grpc::MAX_MESSAGE, unary::PREFIX};

/// Reads messages as they come. Errors are those of a broken call: nothing follows them.
#[derive(Debug)]
pub(super) struct Messages<T> {
    body: Body,
    /// What came and was not read yet; mostly whole messages.
    bytes: Bytes,
    /// Why it ended, if a message was none.
    broken: Option<Status>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Messages<T> {
    pub(super) fn new(body: Body) -> Self {
        Self { body, bytes: Bytes::new(), broken: None, kind: PhantomData }
    }

    /// Why it ended, if a message was none.
    pub(super) fn broken(self) -> Option<Status> {
        self.broken
    }
}

/// How long the message is that begins here, if its prefix is whole.
pub(super) fn declared(bytes: &[u8]) -> Option<usize> {
    let [_, length @ ..] = bytes.first_chunk::<PREFIX>()?;
    Some(u32::from_be_bytes(*length) as usize)
}

/// A message larger than any may be, in etcd's words.
pub(super) fn too_large(found: usize, most: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({found} vs. {most})"))
}

/// Cuts the first message off, if it is whole.
///
/// # Errors
/// It is compressed, or larger than any may be.
fn cut(bytes: &mut Bytes) -> Result<Option<Bytes>, Status> {
    let Some(length) = declared(bytes) else { return Ok(None) };
    if bytes[0] != 0 {
        return Err(Status::internal(
            "protocol error: received message with compressed-flag but no grpc-encoding was specified",
        ));
    }
    if length > MAX_MESSAGE {
        return Err(too_large(length, MAX_MESSAGE));
    }
    if bytes.len() < PREFIX + length {
        return Ok(None);
    }
    bytes.advance(PREFIX);
    Ok(Some(bytes.split_to(length)))
}

impl<T: Message + Default> Stream for Messages<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.read(context);
        if let Poll::Ready(Some(Err(status))) = &next {
            self.broken = Some(status.clone());
        }
        next
    }
}

impl<T: Message + Default> Messages<T> {
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        loop {
            if let Some(message) = cut(&mut self.bytes)? {
                let read = T::decode(message);
                return Poll::Ready(Some(read.map_err(|why| Status::internal(why.to_string()))));
            }
            let Poll::Ready(data) = self.body.poll_data(context) else { return Poll::Pending };
            match data {
                Some(Ok(data)) => self.bytes = join(std::mem::take(&mut self.bytes), data),
                // A client that takes its call back, as those do that wanted one answer, has nothing more to say and hears nothing
                // more.
                Some(Err(_)) => return Poll::Ready(None),
                None if self.bytes.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(Status::internal("Unexpected EOF decoding stream.")))),
            }
        }
    }
}

/// What was left, and what came now. A large message comes in many pieces, which one buffer takes up.
fn join(rest: Bytes, data: Bytes) -> Bytes {
    if rest.is_empty() {
        return data;
    }
    let mut joined = BytesMut::from(rest);
    joined.extend_from_slice(&data);
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_off_however_they_come() {
        let mut bytes = Bytes::from_static(&[0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(cut(&mut bytes).expect("whole"), Some(Bytes::from_static(&[7, 8])));
        assert_eq!(cut(&mut bytes).expect("empty"), Some(Bytes::new()));
        assert_eq!(cut(&mut bytes).expect("not all of the prefix"), None);
        bytes = join(bytes, Bytes::from_static(&[0, 3]));
        assert_eq!(cut(&mut bytes).expect("no content yet"), None);
        bytes = join(bytes, Bytes::from_static(&[1, 2, 3, 0]));
        assert_eq!(cut(&mut bytes).expect("whole"), Some(Bytes::from_static(&[1, 2, 3])));
        assert_eq!(bytes, Bytes::from_static(&[0]));
    }

    #[test]
    fn what_is_compressed_or_too_large_is_refused() {
        assert!(cut(&mut Bytes::from_static(&[1, 0, 0, 0, 0])).is_err());
        assert!(cut(&mut Bytes::from_static(&[0, 255, 255, 255, 255])).is_err());
    }
}
