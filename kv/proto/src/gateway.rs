//! The JSON gateway's paths and the message descriptors it translates by.

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
    /// Full name of the request message.
    pub input: &'static str,
    /// Full name of the response message.
    pub output: &'static str,
    /// One answer or many.
    pub answers: Answers,
}

include!("generated/gateway.rs");

/// An encoded `google.protobuf.FileDescriptorSet` of etcd's messages.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");
