//! The messages on the wire, by hand from containerd's published `.proto` files, which are named in each file: only what is used.
//!
//! A field that is not here is passed over, as protocol buffers ask; tags are those of the files.

pub(crate) mod event;
pub(crate) mod metrics_v1;
pub(crate) mod metrics_v2;
pub(crate) mod report;
pub(crate) mod rpc;
pub(crate) mod task;

use prost::Message;

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

impl Any {
    /// The name of its type: containerd writes it with and without a host in front.
    pub(crate) fn name(&self) -> &str {
        self.type_url.trim_start_matches("type.googleapis.com/").trim_start_matches("types.containerd.io/")
    }
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Timestamp {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl Timestamp {
    /// The host's time.
    pub(crate) fn now() -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp { seconds: now.tv_sec, nanos: now.tv_nsec as i32 }
    }
}

/// `google.protobuf.Empty`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}
