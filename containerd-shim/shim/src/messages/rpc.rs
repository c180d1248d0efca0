//! ttrpc's own messages (containerd/ttrpc, `request.proto`; google/rpc/status.proto).

use prost::Message;

/// A call.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) payload: Vec<u8>,
    /// Nanoseconds after which the caller has gone.
    #[prost(int64, tag = "4")]
    pub(crate) timeout: i64,
    #[prost(message, repeated, tag = "5")]
    pub(crate) metadata: Vec<Pair>,
}

/// One of the call's metadata.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pair {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// An answer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    /// Why it was refused.
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}
