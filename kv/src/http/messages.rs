//! The messages that a client sends one after the other in one call.
use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_core::Stream;
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use prost::{DecodeError, Message};
use tonic::{Status, body::Body};

use super::unary::PREFIX;
use crate::limits::{GRPC_OVERHEAD_BYTES, MAX_REQUEST_BYTES};

/// Reads messages as they come. Errors are those of a broken call: nothing follows them.
#[derive(Debug)]
pub(super) struct Messages<T, B> {
    body: B,
    /// What came and was not read yet; mostly whole messages.
    bytes: Bytes,
    kind: PhantomData<fn() -> T>,
}

impl<T, B> Messages<T, B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, bytes: Bytes::new(), kind: PhantomData }
    }
}

/// How long the message is that begins here, if its prefix is whole.
fn declared(bytes: &[u8]) -> Option<usize> {
    let [_, length @ ..] = bytes.first_chunk::<PREFIX>()?;
    Some(u32::from_be_bytes(*length) as usize)
}

/// A message larger than any may be, in etcd's words.
fn too_large(found: usize, most: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({found} vs. {most})"))
}

/// Largest message of a watch or keep-alive (bytes).
const MAX_MESSAGE: usize = MAX_REQUEST_BYTES + GRPC_OVERHEAD_BYTES;

/// What etcd's library says of a message that is not there to its end.
const CUT_OFF: &str = "unexpected EOF";

/// What is no message, in etcd's words for a call with one.
pub(super) fn malformed(why: &DecodeError) -> Status {
    Status::internal(format!("grpc: error unmarshalling request: {why}"))
}

/// The same for a call with many.
fn unreadable(why: &DecodeError) -> Status {
    Status::internal(format!("grpc: failed to unmarshal the received message {why}"))
}

/// A message that says it is compressed, in a call that does not say how.
fn compressed() -> Status {
    Status::internal("grpc: compressed flag set with identity or empty encoding")
}

/// Reads a message.
pub(super) fn decoded<T: Message + Default>(message: Bytes) -> Result<T, Status> {
    T::decode(message).map_err(|why| malformed(&why))
}

/// The message of a body that holds one, without its length. What is behind it is not waited for, as by etcd's library.
///
/// # Errors
/// It is larger than `largest` (bytes), compressed, or not whole; in etcd's words and codes.
pub(super) async fn whole(mut body: Body, largest: usize) -> Result<Bytes, Status> {
    let mut bytes = Bytes::new();
    while let Some(frame) = body.frame().await.transpose()? {
        bytes = join(bytes, frame.into_data().unwrap_or_default());
        if let Some(message) = cut(&mut bytes, largest)? {
            return Ok(message);
        }
    }
    Err(Status::unknown(if bytes.is_empty() { "EOF" } else { CUT_OFF }))
}

/// Cuts the first message off, if it is whole.
///
/// # Errors
/// It is compressed, or larger than `largest` (bytes).
fn cut(bytes: &mut Bytes, largest: usize) -> Result<Option<Bytes>, Status> {
    let Some(length) = declared(bytes) else { return Ok(None) };
    if bytes[0] != 0 {
        return Err(compressed());
    }
    if length > largest {
        return Err(too_large(length, largest));
    }
    if bytes.len() < PREFIX + length {
        return Ok(None);
    }
    bytes.advance(PREFIX);
    Ok(Some(bytes.split_to(length)))
}

impl<T, B> Stream for Messages<T, B>
where
    T: Message + Default,
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = cut(&mut self.bytes, MAX_MESSAGE)? {
                return Poll::Ready(Some(T::decode(message).map_err(|why| unreadable(&why))));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else { return Poll::Pending };
            match frame {
                // Trailers say nothing to a server.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        let rest = std::mem::take(&mut self.bytes);
                        self.bytes = join(rest, data);
                    }
                }
                // A client that takes its call back, as those do that wanted one answer, has nothing more to say and hears nothing
                // more.
                Some(Err(_)) => return Poll::Ready(None),
                None if self.bytes.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(Status::internal(CUT_OFF)))),
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
        assert_eq!(cut(&mut bytes, MAX_MESSAGE).expect("whole"), Some(Bytes::from_static(&[7, 8])));
        assert_eq!(cut(&mut bytes, MAX_MESSAGE).expect("empty"), Some(Bytes::new()));
        assert_eq!(cut(&mut bytes, MAX_MESSAGE).expect("not all of the prefix"), None);
        bytes = join(bytes, Bytes::from_static(&[0, 3]));
        assert_eq!(cut(&mut bytes, MAX_MESSAGE).expect("no content yet"), None);
        bytes = join(bytes, Bytes::from_static(&[1, 2, 3, 0]));
        assert_eq!(cut(&mut bytes, MAX_MESSAGE).expect("whole"), Some(Bytes::from_static(&[1, 2, 3])));
        assert_eq!(bytes, Bytes::from_static(&[0]));
    }

    #[test]
    fn what_is_compressed_or_too_large_is_refused() {
        assert!(cut(&mut Bytes::from_static(&[1, 0, 0, 0, 0]), MAX_MESSAGE).is_err());
        assert!(cut(&mut Bytes::from_static(&[0, 255, 255, 255, 255]), MAX_MESSAGE).is_err());
    }
}
