//! HTTP/2 as clients of the store speak it: what every request goes through. A crate of its own, so that this is compiled for
//! speed and the store, which is far larger, for size; so nothing here is generic over what the store puts in.
mod answer;
mod authority;
mod connection;
mod pong;

pub use answer::{Respond, head, well};
pub use connection::{Connection, Io, OnRequest, Speaks, Transport, accept, http2};
