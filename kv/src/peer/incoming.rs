//! Connections from other members: words for the driver, snapshots for the disk, and questions who belongs here.
use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex},
};

use hull_kv_core::{Member, Members};
use hull_kv_proto::hullpb::{Hello, Welcome, hello::Channel, welcome::Verdict};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    sync::Semaphore,
    task::AbortHandle,
    time::{Duration, sleep, timeout},
};

use super::{
    Frame, Local, Word,
    link::{Link, PATIENCE},
    snapshot,
};
use crate::{
    disk::Disk,
    driver::thread::Input,
    limits::PEER_INBOX_BYTES,
    lock::{lock, read},
    metrics::Way,
    tls::{Secure, Tls},
};

/// The connections that other members opened, so that one that is removed can be shown out.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    open: Arc<Mutex<BTreeMap<u64, AbortHandle>>>,
}

impl Incoming {
    /// Closes connections of members that were removed; they hear why when they try again.
    pub(super) fn close_removed(&self, members: &Members) {
        lock(&self.open).retain(|id, task| {
            let stays = !members.was_removed(*id);
            if !stays {
                task.abort();
            }
            stays
        });
    }

    /// A member has one connection for words: an older one is not its any more.
    fn register(&self, id: u64, task: AbortHandle) {
        if let Some(older) = lock(&self.open).insert(id, task) {
            older.abort();
        }
    }
}

/// Waits for connections of other members.
pub struct PeerListener {
    /// What all connections share.
    pub local: Local,
    /// Where snapshots go.
    pub disk: Arc<dyn Disk>,
    /// Who is connected.
    pub incoming: Incoming,
    /// Only one snapshot arrives at a time.
    pub arriving: Arc<Semaphore>,
    /// What waits for the driver takes room here (bytes).
    pub inbox: Arc<Semaphore>,
}

impl fmt::Debug for PeerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerListener").field("local", &self.local).finish_non_exhaustive()
    }
}

/// Where members connect.
#[derive(Debug)]
pub enum Door {
    /// TCP, with TLS or without.
    Tcp(TcpListener, Option<Arc<Tls>>),
    /// Members on the same machine.
    Unix(UnixListener),
}

/// A connection.
enum Arrived {
    Open(Secure),
    /// TLS is to be agreed on.
    Tls(TcpStream, Arc<Tls>),
}

impl Door {
    async fn accept(&self) -> io::Result<Arrived> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok(match tls {
                    Some(tls) => Arrived::Tls(stream, Arc::clone(tls)),
                    None => Arrived::Open(Box::new(stream)),
                })
            }
            Self::Unix(listener) => Ok(Arrived::Open(Box::new(listener.accept().await?.0))),
        }
    }
}

impl PeerListener {
    /// For a member that is about to run.
    pub fn new(local: Local, disk: Arc<dyn Disk>, incoming: Incoming) -> Self {
        let (arriving, inbox) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(PEER_INBOX_BYTES)));
        Self { local, disk, incoming, arriving, inbox }
    }

    /// Serves connections until the task is dropped.
    pub async fn serve(self: Arc<Self>, door: Door) {
        loop {
            match door.accept().await {
                Ok(arrived) => {
                    let server = Arc::clone(&self);
                    tokio::spawn(async move {
                        let stream: Secure = match arrived {
                            Arrived::Open(stream) => stream,
                            Arrived::Tls(stream, tls) => match timeout(PATIENCE, tls.accept(stream)).await {
                                Ok(Ok(accepted)) => accepted.stream,
                                // Its operator reads its log; this member's operator reads this one.
                                Ok(Err(error)) => {
                                    eprintln!("hull-kv: client certificate authentication failed: {error}");
                                    return;
                                }
                                Err(_) => return,
                            },
                        };
                        // A connection that breaks is opened again by the other end.
                        let _ = server.greet(stream).await;
                    });
                }
                // Out of descriptors, most likely: others must close first.
                Err(error) => {
                    eprintln!("hull-kv: accept a member's connection: {error}; trying again");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn greet(self: Arc<Self>, stream: Secure) -> io::Result<()> {
        let mut link = Link::new(stream);
        let first = timeout(PATIENCE, link.read()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let Some(Frame::Hello(hello)) = first else { return Err(io::ErrorKind::InvalidData.into()) };
        let welcome = self.judge(&hello);
        let verdict = welcome.verdict();
        link.write(&[Frame::Welcome(welcome)]).await?;
        match (verdict, hello.channel()) {
            (Verdict::Welcome, Channel::Words) => {
                let from = hello.from;
                let server = Arc::clone(&self);
                let task = tokio::spawn(async move { server.listen(from, link).await });
                self.incoming.register(from, task.abort_handle());
                Ok(())
            }
            (Verdict::Welcome, Channel::Snapshot) => snapshot::receive(&self, hello.from, link).await,
            _ => Ok(()),
        }
    }

    /// Whether who says hello fits.
    fn judge(&self, hello: &Hello) -> Welcome {
        let store = read(&self.local.shared.store);
        let me = self.local.shared.member;
        let mut welcome = Welcome { cluster_id: self.local.cluster, member: me, ..Welcome::default() };
        let verdict = if hello.channel() == Channel::Look {
            welcome.members = store.members().iter().map(Member::to_wire).collect();
            Verdict::Welcome
        } else if hello.cluster_id != self.local.cluster {
            Verdict::OtherCluster
        } else if hello.to != me {
            Verdict::OtherMember
        } else if store.members().was_removed(hello.from) {
            Verdict::Removed
        } else {
            Verdict::Welcome
        };
        welcome.set_verdict(verdict);
        welcome
    }

    /// Hands words to the driver until the connection ends. Then the other member ended, most likely.
    async fn listen(&self, from: u64, mut link: Link) {
        while let Ok(Some(Frame::Word(word))) = link.read().await {
            if self.hand_over(from, word).await.is_none() {
                return;
            }
        }
        let _ = self.local.inputs.send(Input::Gone(from));
    }

    async fn hand_over(&self, from: u64, word: Word) -> Option<()> {
        self.local.shared.metrics.moved(from, Way::In, word.size());
        let room = u32::try_from(word.size().min(PEER_INBOX_BYTES)).ok()?;
        let permit = Arc::clone(&self.inbox).acquire_many_owned(room).await.ok()?;
        self.local.inputs.send(Input::Heard(from, word, permit)).ok()
    }
}
