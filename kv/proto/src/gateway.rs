//! The JSON gateway's paths.

use crate::schema::{self, Message};

/// How many messages a method answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Exactly one.
    One,
    /// A stream, one JSON object a line.
    Stream,
}

/// One path of the JSON gateway.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// HTTP path, for example `/v3/kv/range`.
    pub path: &'static str,
    /// gRPC path, for example `/etcdserverpb.KV/Range`.
    pub grpc: &'static str,
    /// The request message.
    pub input: &'static Message,
    /// The response message.
    pub output: &'static Message,
    /// One answer or many.
    pub answers: Answers,
}

include!("generated/gateway.rs");
