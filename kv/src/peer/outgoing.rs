//! Words to one other member: a queue with a bound, and a task that keeps a connection open and empties it.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hull_kv_proto::hullpb::{hello::Channel, welcome::Verdict};
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};

use super::{
    Frame, Local, Word,
    link::{Link, hello},
};
use crate::{
    driver::{Sending, thread::Input},
    limits::PEER_QUEUE_BYTES,
    metrics::Way,
};

/// First and longest pause between two tries to connect: short, since a member that starts is wanted at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Words written in one go (bytes, about).
const BATCH_BYTES: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    connected: AtomicBool,
}

/// The way to another member. Dropping it closes the connection once everything queued is written.
#[derive(Debug)]
pub(super) struct Peer {
    urls: Vec<String>,
    words: UnboundedSender<Word>,
    queue: Arc<Queue>,
}

impl Peer {
    pub(super) fn start(runtime: &Handle, local: Local, id: u64, urls: Vec<String>) -> Self {
        let (words, receiver) = unbounded_channel();
        let queue = Arc::new(Queue::default());
        let task = Task { local, id, urls: urls.clone(), words: receiver, queue: Arc::clone(&queue) };
        runtime.spawn(task.run());
        Self { urls, words, queue }
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.urls
    }

    pub(super) fn send(&self, word: Word) -> Sending {
        let size = word.size();
        let full = self.queue.bytes.load(Ordering::Relaxed) + size > PEER_QUEUE_BYTES;
        if full || !self.queue.connected.load(Ordering::Acquire) {
            return Sending::NotSent;
        }
        self.queue.bytes.fetch_add(size, Ordering::Relaxed);
        match self.words.send(word) {
            Ok(()) => Sending::OnItsWay,
            Err(_) => Sending::NotSent,
        }
    }
}

struct Task {
    local: Local,
    id: u64,
    urls: Vec<String>,
    words: UnboundedReceiver<Word>,
    queue: Arc<Queue>,
}

impl Task {
    /// Until the peer is dropped. What goes wrong is told once, not at every try.
    async fn run(mut self) {
        let (mut pause, mut told) = (PAUSES.0, String::new());
        while !self.words.is_closed() {
            let hello = hello(Channel::Words, self.local.cluster, self.local.shared.member, self.id);
            let trouble = match self.local.dialer.open(&self.urls, hello).await {
                Ok((link, welcome)) => match refusal(welcome.verdict()) {
                    None => {
                        (pause, told) = (PAUSES.0, String::new());
                        self.talk(link).await;
                        self.local.shared.metrics.unreached(self.id);
                        let _ = self.local.inputs.send(Input::Unreachable(self.id));
                        continue;
                    }
                    Some(why) => {
                        if welcome.verdict() == Verdict::Removed {
                            let _ = self.local.inputs.send(Input::Dismissed);
                        }
                        format!("{}: {why}", self.urls.join(", "))
                    }
                },
                Err(error) => error.to_string(),
            };
            self.local.shared.metrics.unreached(self.id);
            if trouble != told {
                eprintln!("hull-kv: connect to member {:x}: {trouble}; trying again", self.id);
                told = trouble;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Writes words until the connection breaks or the peer is dropped.
    async fn talk(&mut self, link: Link) {
        let Link { mut reading, mut writing } = link;
        self.queue.connected.store(true, Ordering::Release);
        let mut frames = Vec::new();
        loop {
            tokio::select! {
                word = self.words.recv() => {
                    let Some(word) = word else { break };
                    let bytes = self.gather(word, &mut frames);
                    self.local.shared.metrics.moved(self.id, Way::Out, bytes);
                    if writing.write(&frames).await.is_err() {
                        break;
                    }
                }
                // The other end says nothing on this connection: whatever comes is its end.
                _ = reading.read() => break,
            }
        }
        self.queue.connected.store(false, Ordering::Release);
        while let Ok(word) = self.words.try_recv() {
            self.queue.bytes.fetch_sub(word.size(), Ordering::Relaxed);
        }
    }

    /// Takes what is queued; answers how many bytes that are, about.
    fn gather(&mut self, first: Word, frames: &mut Vec<Frame>) -> usize {
        frames.clear();
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(word) = next {
            let size = word.size();
            bytes += size;
            self.queue.bytes.fetch_sub(size, Ordering::Relaxed);
            frames.push(Frame::Word(word));
            next = if bytes < BATCH_BYTES { self.words.try_recv().ok() } else { None };
        }
        bytes
    }
}

/// What a verdict means, unless it is a welcome.
pub(super) fn refusal(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Welcome => None,
        Verdict::Removed => Some("this member was removed from the cluster"),
        Verdict::OtherCluster => Some(
            "another cluster answers there: the members were started with different --initial-cluster or \
             --initial-cluster-token, or one of them kept older data",
        ),
        Verdict::OtherMember => Some("another member answers there: check the peer addresses"),
        Verdict::NotNow => Some("a snapshot is arriving there already, or this one was damaged on the way"),
    }
}
