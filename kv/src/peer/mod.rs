//! The network between members: one connection a pair and direction for words, and one for each snapshot.
//!
//! A connection starts with a `Hello` and its `Welcome`: cluster and members fit, or nothing else is said.
//! Queues are bounded; what does not fit is not sent, and raft sends it again when it can.
mod incoming;
mod link;
mod look;
mod outgoing;
mod snapshot;
mod word;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, mpsc::Sender},
};

use hull_kv_core::Members;
pub use incoming::{Door, Incoming, PeerListener};
pub use link::Dialer;
pub use look::{Looked, look};
use outgoing::Peer;
use tokio::{
    runtime::Handle,
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};
pub use word::{FRAME_HEADER, Frame, NoFrame, Word};

use crate::{
    driver::{Answers, Outlet, Sending, SnapshotOut, thread::Input},
    shared::Shared,
};

/// What both directions need to know.
#[derive(Clone)]
pub struct Local {
    /// This member and its store.
    pub shared: Arc<Shared>,
    /// The cluster's number.
    pub cluster: u64,
    /// The driver's thread.
    pub inputs: Sender<Input>,
    /// How connections are opened.
    pub dialer: Dialer,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// The driver's outlet onto real connections.
#[derive(Debug)]
pub struct Network {
    local: Local,
    runtime: Handle,
    peers: BTreeMap<u64, Peer>,
    incoming: Incoming,
    /// Told when the first other member is there.
    has_company: Arc<Notify>,
    answers: UnboundedSender<Answers>,
}

impl Network {
    /// A network without peers; the driver names them. Tasks run on the current runtime.
    pub fn new(local: Local, incoming: Incoming) -> Self {
        let has_company = Arc::new(Notify::new());
        let (answers, queue) = unbounded_channel();
        tokio::spawn(carry(Arc::clone(&local.shared), queue));
        Self { local, runtime: Handle::current(), peers: BTreeMap::new(), incoming, has_company, answers }
    }

    /// Told when the first other member is there.
    pub fn has_company(&self) -> Arc<Notify> {
        Arc::clone(&self.has_company)
    }
}

/// Gives answers on the event loop's own thread: all clients of a batch go on before the first connection is written to,
/// so that each connection writes once.
async fn carry(shared: Arc<Shared>, mut queue: UnboundedReceiver<Answers>) {
    while let Some(answers) = queue.recv().await {
        answers.give(&shared);
    }
}

impl Outlet for Network {
    fn send(&mut self, to: u64, word: Word) -> Sending {
        self.peers.get(&to).map_or(Sending::NotSent, |peer| peer.send(word))
    }

    fn send_snapshot(&mut self, snapshot: SnapshotOut) {
        let urls = self.peers.get(&snapshot.to).map(|peer| peer.urls().to_vec()).unwrap_or_default();
        snapshot::send(&self.runtime, self.local.clone(), urls, snapshot);
    }

    fn members_changed(&mut self, members: &Members) {
        let me = self.local.shared.member;
        let others: BTreeMap<u64, &[String]> =
            members.iter().filter(|m| m.id != me).map(|m| (m.id, &*m.peer_urls)).collect();
        if !others.is_empty() {
            self.has_company.notify_one();
        }
        // A peer whose addresses changed gets a new connection; what waits for one that left is still sent.
        self.peers.retain(|id, peer| others.get(id) == Some(&peer.urls()));
        for (id, urls) in others {
            self.peers.entry(id).or_insert_with(|| Peer::start(&self.runtime, self.local.clone(), id, urls.to_vec()));
        }
        self.incoming.close_removed(members);
    }

    fn led_by(&mut self, leader: u64, term: u64) {
        // Who is alone has nothing to tell by it.
        if !self.peers.is_empty() {
            let whose = if leader == self.local.shared.member { " (this one)" } else { "" };
            eprintln!("hull-kv: member {leader:x}{whose} leads, term {term}");
        }
    }

    fn deliver(&mut self, shared: &Shared, answers: Answers) {
        // The event loop ends last; if it is gone, so are the clients.
        if let Err(unsent) = self.answers.send(answers) {
            unsent.0.give(shared);
        }
    }
}
