//! All connections of a server, so that they can be told that it stops: what was asked is answered first.
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use slab::Slab;
use tokio::sync::Notify;

use crate::exchange::Shared;

/// The connections of a server.
#[derive(Debug, Clone, Default)]
pub struct Company(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    present: Mutex<Slab<Entry>>,
    leaves: AtomicBool,
    /// Told when the server stops.
    parting: Notify,
    /// Told when a connection has said its last word, or is gone, while the server stops.
    changed: Notify,
}

#[derive(Debug)]
struct Entry {
    /// Through which a connection of HTTP/2 is told.
    shared: Option<Weak<Shared>>,
    /// Whether more is to be said.
    speaks: bool,
}

impl Company {
    /// A connection that does not speak HTTP/2. It has something to say until what this answers is dropped.
    pub fn enter(&self) -> Present {
        self.add(None)
    }

    pub(crate) fn enter_with(&self, shared: &Arc<Shared>) -> Present {
        let present = self.add(Some(Arc::downgrade(shared)));
        // Behind the entry: whoever tells all looks at the entries after it has set this.
        if self.is_leaving() {
            shared.lock().leave();
        }
        present
    }

    fn add(&self, shared: Option<Weak<Shared>>) -> Present {
        Present { key: self.lock().insert(Entry { shared, speaks: true }), company: self.clone() }
    }

    fn is_leaving(&self) -> bool {
        self.0.leaves.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Entry>> {
        self.0.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once the server stops.
    pub async fn parting(&self) {
        let told = self.0.parting.notified();
        if !self.is_leaving() {
            told.await;
        }
    }

    /// Tells all connections that the server stops, and waits until what was asked is answered: requests that have wholly come.
    /// Calls whose client could go on are cut off.
    pub async fn leave(&self) {
        self.0.leaves.store(true, Ordering::SeqCst);
        self.0.parting.notify_waiters();
        let sessions: Vec<Arc<Shared>> =
            self.lock().iter().filter_map(|(_, entry)| entry.shared.as_ref()?.upgrade()).collect();
        sessions.iter().for_each(|shared| shared.lock().leave());
        self.until(|entry| entry.speaks).await;
    }

    /// Waits until all clients have gone, behind [`Self::leave`]. Of a connection that is closed while its client still sends, the
    /// client can lose the last answers.
    pub async fn gone(&self) {
        self.until(|_| true).await;
    }

    /// Waits until there is no such entry.
    async fn until(&self, is_such: impl Fn(&Entry) -> bool) {
        loop {
            let told = self.0.changed.notified();
            if !self.lock().iter().any(|(_, entry)| is_such(entry)) {
                return;
            }
            told.await;
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Present {
    key: usize,
    company: Company,
}

impl Present {
    /// Nothing more is said.
    pub(crate) fn is_silent(&self) {
        if let Some(entry) = self.company.lock().get_mut(self.key) {
            entry.speaks = false;
        }
        self.company.0.changed.notify_waiters();
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.company.lock().try_remove(self.key);
        if self.company.is_leaving() {
            self.company.0.changed.notify_waiters();
        }
    }
}
