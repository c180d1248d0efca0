//! A snapshot from one member to another, on a connection of its own: a few pieces in memory at a time on both ends.
use std::{io, time::Duration};

use hull_kv_proto::hullpb::{Welcome, hello::Channel, welcome::Verdict};
use raft::eraftpb::{Message, MessageType};
use tokio::{
    runtime::Handle,
    sync::mpsc::{Receiver, channel},
    time::timeout,
};

use super::{
    Frame, Local, PeerListener, Word,
    link::{Link, hello},
    outgoing::refusal,
};
use crate::{
    aside::aside,
    driver::{Sent, SnapshotOut, thread::Input},
    snapfile::Arriving,
};

/// Pieces between the store and the connection.
const PIECES: usize = 4;
/// How long the receiver may take to check what it got, or the sender to go on.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends a snapshot; the driver hears how that went.
pub(super) fn send(runtime: &Handle, local: Local, urls: Vec<String>, snapshot: SnapshotOut) {
    let SnapshotOut { to, message, mut encoder } = snapshot;
    let (pieces, queue) = channel(PIECES);
    let shared = std::sync::Arc::clone(&local.shared);
    let inputs = local.inputs.clone();
    let read = move || {
        // When the store is replaced meanwhile, or nobody takes more, the connection ends without an end of the snapshot.
        while let Ok(piece) = encoder.next(&shared) {
            let last = piece.is_none();
            let frame = piece.map_or(Frame::End, |bytes| Frame::Piece(bytes.into()));
            if pieces.blocking_send(frame).is_err() || last {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("snapshot-out".into()).spawn(read) {
        eprintln!("hull-kv: start a thread for a snapshot to member {to:x}: {error}");
    }
    runtime.spawn(async move {
        let sent = match stream(&local, &urls, to, message, queue).await {
            Ok(()) => Sent::Whole,
            Err(error) => {
                eprintln!("hull-kv: send a snapshot to member {to:x}: {error}; trying again");
                Sent::Broken
            }
        };
        let _ = inputs.send(Input::Sent(to, sent));
    });
}

async fn stream(
    local: &Local,
    urls: &[String],
    to: u64,
    message: Message,
    mut pieces: Receiver<Frame>,
) -> io::Result<()> {
    let hello = hello(Channel::Snapshot, local.cluster, local.shared.member, to);
    let (mut link, welcome) = local.dialer.open(urls, hello).await?;
    allowed(&welcome)?;
    link.write(&[Frame::Word(Word::Raft(message))]).await?;
    let mut ended = false;
    while let Some(frame) = pieces.recv().await {
        ended = frame == Frame::End;
        link.write(&[frame]).await?;
    }
    if !ended {
        return Err(io::Error::other("another snapshot replaced what was being sent"));
    }
    match timeout(PATIENCE, link.read()).await {
        Ok(Ok(Some(Frame::Welcome(welcome)))) => allowed(&welcome),
        Ok(Ok(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn allowed(welcome: &Welcome) -> io::Result<()> {
    refusal(welcome.verdict()).map_or(Ok(()), |why| Err(io::Error::other(why)))
}

/// Takes a snapshot onto the disk, checks it, and hands it to the driver.
pub(super) async fn receive(server: &PeerListener, from: u64, mut link: Link) -> io::Result<()> {
    let Some(Frame::Word(Word::Raft(message))) = link.read().await? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let fits = message.get_msg_type() == MessageType::MsgSnapshot && message.from == from;
    let verdict = match server.arriving.try_acquire() {
        Ok(_one) if fits => match take(server, &mut link).await {
            Ok(arrived) => {
                let _ = server.local.inputs.send(Input::Arrived(Box::new((message, arrived))));
                Verdict::Welcome
            }
            Err(error) => {
                eprintln!("hull-kv: receive a snapshot of member {from:x}: {error}; it is sent again");
                Verdict::NotNow
            }
        },
        _ => Verdict::NotNow,
    };
    let mut welcome = Welcome::default();
    welcome.set_verdict(verdict);
    link.write(&[Frame::Welcome(welcome)]).await
}

async fn take(server: &PeerListener, link: &mut Link) -> io::Result<crate::snapfile::Arrived> {
    let disk = std::sync::Arc::clone(&server.disk);
    let shared = std::sync::Arc::clone(&server.local.shared);
    let mut arriving = blocking(move || Arriving::begin(disk, &shared)).await?;
    loop {
        let frame = timeout(PATIENCE, link.read()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match frame {
            Ok(Some(Frame::Piece(bytes))) => {
                arriving = blocking(move || arriving.write(&bytes).map(|()| arriving)).await?;
            }
            Ok(Some(Frame::End)) => return blocking(move || arriving.finish().map_err(io::Error::other)).await,
            other => {
                arriving.abandon();
                return Err(other.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// Disk work off the event loop.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    aside(work).await.unwrap_or_else(|| Err(io::Error::other("the work on the disk panicked")))
}
