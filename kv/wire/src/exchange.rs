//! One request and the way back, as those see it who answer.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::{
    Head, Reason,
    session::{End, Ended, Session},
};

/// A connection that its requests share.
#[derive(Debug)]
pub(crate) struct Shared(Mutex<Session>);

impl Shared {
    pub(crate) fn new(session: Session) -> Self {
        Self(Mutex::new(session))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds on to a stream.
#[derive(Debug)]
struct Link {
    shared: Arc<Shared>,
    key: usize,
    is_held: bool,
}

impl Link {
    /// Does something and lets go of the stream, both under one lock.
    fn last<T>(mut self, act: impl FnOnce(&mut Session, usize) -> T) -> T {
        self.is_held = false;
        let mut session = self.shared.lock();
        let done = act(&mut session, self.key);
        session.let_go(self.key);
        done
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.is_held {
            self.shared.lock().let_go(self.key);
        }
    }
}

/// A request whose head has come.
#[derive(Debug)]
pub struct Exchange {
    head: Arc<Head>,
    /// The body, if all of it has come with the head.
    whole: Option<Bytes>,
    link: Link,
}

impl Exchange {
    /// The stream behind `key`, which is held on to already; `None` if the client has taken its request back.
    pub(crate) fn new(shared: &Arc<Shared>, session: &mut Session, key: usize) -> Option<Self> {
        if session.is_reset(key) {
            session.let_go(key);
            return None;
        }
        let (head, whole) = (Arc::clone(session.head(key)), session.take_whole(key));
        Some(Self { head, whole, link: Link { shared: Arc::clone(shared), key, is_held: true } })
    }

    /// Its head.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// Takes the body, if all of it came with the head in one piece.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        self.whole.take()
    }

    /// What it asks for takes as long as somebody wants: a server that stops does not wait for that.
    pub fn goes_on(&self) {
        self.link.shared.lock().goes_on(self.link.key);
    }

    /// Its body and the way back.
    pub fn split(self) -> (Body, Respond) {
        let Self { whole, link, .. } = self;
        let rest = {
            let mut session = link.shared.lock();
            if session.is_taken(link.key) {
                None
            } else {
                session.hold(link.key);
                Some(Link { shared: Arc::clone(&link.shared), key: link.key, is_held: true })
            }
        };
        (Body { first: whole, rest }, Respond(link))
    }

    /// The way back alone. What of the body was not taken is passed over.
    pub fn respond(self) -> Respond {
        Respond(self.link)
    }
}

/// What a client sends with a request.
#[derive(Debug)]
pub struct Body {
    first: Option<Bytes>,
    rest: Option<Link>,
}

impl Body {
    /// Has `first` read again ahead of everything else.
    pub fn again(&mut self, first: Bytes) {
        self.first = Some(first);
    }

    /// The next piece. None: that was all. The client may send as much again.
    pub fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Ended>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match &self.rest {
            Some(link) => link.shared.lock().poll_data(link.key, context),
            None => Poll::Ready(None),
        }
    }

    /// Whether all of it was taken.
    pub fn is_end(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|link| link.shared.lock().is_taken(link.key))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(link) = self.rest.take() {
            link.last(Session::discard);
        }
    }
}

/// The way back to whoever sent a request. Dropped without an answer, it tells the client that there will be none.
#[derive(Debug)]
pub struct Respond(Link);

impl Respond {
    /// Sends a message of gRPC, and that all is well.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn message(self, message: Bytes) -> Result<(), Ended> {
        self.0.last(|session, key| session.message(key, message))
    }

    /// Sends an answer that is a head only: a refusal, mostly.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn empty(self, head: &Response<()>) -> Result<(), Ended> {
        self.0.last(|session, key| session.empty(key, head))
    }

    /// Begins an answer that goes on.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn begin(self, head: &Response<()>) -> Result<Sender, Ended> {
        self.0.shared.lock().begin(self.0.key, Some(head))?;
        Ok(Sender(self.0))
    }

    /// Begins an answer of gRPC that goes on.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn begin_grpc(self) -> Result<Sender, Ended> {
        self.0.shared.lock().begin(self.0.key, None)?;
        Ok(Sender(self.0))
    }

    /// Whether the client took its request back, or is gone.
    pub fn is_reset(&self) -> bool {
        self.0.shared.lock().is_reset(self.0.key)
    }

    /// Ready once the client takes its request back, or is gone.
    pub fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        self.0.shared.lock().poll_reset(self.0.key, context)
    }
}

/// An answer that goes on. Dropped without an end, it tells the client that the rest is missing.
#[derive(Debug)]
pub struct Sender(Link);

impl Sender {
    /// Sends more, or has it wait until the client takes it: see [`Self::poll_sent`].
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn send(&mut self, data: Bytes) -> Result<(), Ended> {
        self.0.shared.lock().send(self.0.key, data)
    }

    /// Ready once nothing waits.
    pub fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.0.shared.lock().poll_sent(self.0.key, context)
    }

    /// Ends it with its last byte.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn end(self) -> Result<(), Ended> {
        self.0.last(|session, key| session.end_with(key, End::Data))
    }

    /// Ends it with the trailers of a call of gRPC that went well.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn well(self) -> Result<(), Ended> {
        self.0.last(|session, key| session.end_with(key, End::Well))
    }

    /// Ends it with trailers.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn trailers(self, trailers: HeaderMap) -> Result<(), Ended> {
        self.0.last(|session, key| session.end_with(key, End::Trailers(trailers)))
    }

    /// Tells the client that it cannot be ended.
    pub fn fail(self) {
        self.0.last(|session, key| session.reset(key, Reason::INTERNAL_ERROR));
    }

    /// Ready once the client takes its request back, or is gone.
    pub fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        self.0.shared.lock().poll_reset(self.0.key, context)
    }
}

/// A connection without a network: what comes is given to it, and what goes is taken from it.
#[derive(Debug)]
pub struct Offline(Arc<Shared>);

impl Offline {
    /// One behind the bytes that a client begins with; it may have `max_streams` requests open at a time.
    pub fn new(max_streams: u32) -> Self {
        Self(Arc::new(Shared::new(Session::new(max_streams))))
    }

    /// Takes what a client sends, in pieces of any size, and answers the requests that are new.
    ///
    /// # Errors
    /// The client broke a rule that ends the connection.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Vec<Exchange>, Reason> {
        let (mut session, mut arrived) = (self.0.lock(), Vec::new());
        session.receive(bytes, &mut arrived)?;
        Ok(arrived.into_iter().filter_map(|key| Exchange::new(&self.0, &mut session, key)).collect())
    }

    /// Tells the client that this side leaves.
    pub fn leave(&mut self) {
        self.0.lock().leave();
    }

    /// Takes all that is to be sent to the client.
    pub fn output(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut session = self.0.lock();
            session.release_pong();
            let more = session.take_output(Vec::new());
            if more.is_empty() {
                return all;
            }
            all.extend_from_slice(&more);
        }
    }
}
