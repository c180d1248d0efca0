//! Clients: what each waits for.
use hull_kv::driver::Failed;
use hull_kv_core::Response;
use tokio::sync::oneshot::Receiver;

/// What a client waits for.
pub(crate) enum Waiting {
    Nothing,
    Write { reply: Receiver<Result<Response, Failed>>, record: usize },
    Read { reply: Receiver<Result<(), Failed>>, record: usize, node: u64, life: u64 },
}

/// A client.
pub(crate) struct Client {
    pub(crate) waiting: Waiting,
    /// When it gives up waiting, or asks next.
    pub(crate) until: u64,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { waiting: Waiting::Nothing, until: 0 }
    }
}
