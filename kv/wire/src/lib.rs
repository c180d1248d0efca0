//! HTTP/2 as clients of the store speak it: what every request goes through. A crate of its own, so that this is compiled for
//! speed and the store, which is far larger, for size; so nothing here is generic over what the store puts in.
//!
//! - [`session`], without the network: frames, streams, windows. Its `receive` is what comes, its `send` what goes.
//! - [`hpack`] and [`head`]: header blocks, and what they say of a request.
//! - [`exchange`]: a request and the way back, for whoever answers.
//! - [`connection`]: the network around it; [`company`]: all of them, when the server stops.
mod company;
mod connection;
mod exchange;
mod first;
mod frame;
mod head;
mod hpack;
mod session;

pub use company::{Company, Present};
pub use connection::{Broken, Io, OnRequest, Speaks, Transport, accept, http2};
pub use exchange::{Body, Exchange, Offline, Respond, Sender};
pub use first::Again;
pub use frame::Reason;
pub use head::Head;
pub use session::Ended;
