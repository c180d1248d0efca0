//! Answers on `/run/hull/launcher.sock`: who may ask is decided by the socket's mode, what may be asked by `hull_oci_core::api`.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use hull_oci_core::api::{Follow, Refusal, Reply, Request, SOCKET};
use hull_oci_core::declaration::check_name;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::changes::Changes;
use crate::containers::log_path;
use crate::launcher::Event;
use crate::logs::Follower;
use crate::record::folder;
use hull_images::{Images, Progress};

/// Wait after a caller could not be taken on, for want of descriptors most likely.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Progress is told every so many bytes.
const PROGRESS_STEP: u64 = 1 << 20;

/// Binds the socket and serves it beside the loop.
///
/// # Errors
/// The socket cannot be bound.
pub(crate) fn listen(images: &Arc<Images>, events: &Sender<Event>) -> Result<(), Refusal> {
    let bind = || -> io::Result<UnixListener> {
        let _ = fs::remove_file(SOCKET);
        let listener = UnixListener::bind(SOCKET)?;
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = bind().map_err(|error| Refusal {
        object: SOCKET.into(),
        operation: "bind".into(),
        cause: error.to_string(),
        remedy: "is /run/hull there and writable?".into(),
    })?;
    let (images, events) = (Arc::clone(images), events.clone());
    tokio::task::spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (images, events) = (Arc::clone(&images), events.clone());
                    tokio::task::spawn_local(async move {
                        // A caller that hangs up has its answer already or wants none.
                        let _ = answer(stream, &images, &events).await;
                    });
                }
                Err(error) => {
                    eprintln!("accept on {SOCKET}: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    });
    Ok(())
}

async fn answer(stream: UnixStream, images: &Arc<Images>, events: &Sender<Event>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let outcome = match serde_json::from_str::<Request>(&line) {
        Ok(Request::Ps) => ps(&mut stream, events).await?,
        Ok(Request::Logs { name, follow }) => logs(&mut stream, &name, follow).await?,
        Ok(Request::ImageList) => list(&mut stream, images).await?,
        Ok(Request::ImageLoad { name, bytes }) => load(&mut stream, images, events, name, bytes).await?,
        Err(error) => Err(Refusal {
            object: "request".into(),
            operation: "read".into(),
            cause: error.to_string(),
            remedy: "use the hullctl of this release".into(),
        }),
    };
    send(&mut stream, &outcome.map_or_else(Reply::Refused, |()| Reply::Done)).await
}

type Outcome = io::Result<Result<(), Refusal>>;

async fn send(stream: &mut BufReader<UnixStream>, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await
}

async fn ps(stream: &mut BufReader<UnixStream>, events: &Sender<Event>) -> Outcome {
    let (reply, answer) = oneshot::channel();
    let gone = |_| io::Error::other("the launcher stops");
    events.send(Event::Ps(reply)).await.map_err(|_| io::Error::other("the launcher stops"))?;
    for container in answer.await.map_err(gone)? {
        send(stream, &Reply::Container(container)).await?;
    }
    Ok(Ok(()))
}

async fn list(stream: &mut BufReader<UnixStream>, images: &Images) -> Outcome {
    for image in images.list() {
        send(stream, &Reply::Image(image)).await?;
    }
    Ok(Ok(()))
}

async fn logs(stream: &mut BufReader<UnixStream>, name: &str, follow: Follow) -> Outcome {
    let missing = |cause: String| Refusal {
        object: format!("container {name}"),
        operation: "show the log of".into(),
        cause,
        remedy: "`hullctl ps` shows the containers".into(),
    };
    if let Err(refused) = check_name(name) {
        return Ok(Err(missing(refused.to_string())));
    }
    let path = log_path(name);
    if !path.exists() {
        return Ok(Err(missing("it has written nothing, or does not exist".into())));
    }
    // Before the first look, so that nothing falls in between.
    let changes = Changes::of(&folder(name))?;
    let mut follower = Follower::open(&path);
    loop {
        while let Some(text) = follower.next()? {
            send(stream, &Reply::Log { text }).await?;
        }
        if follow == Follow::UntilNow {
            return Ok(Ok(()));
        }
        tokio::select! {
            changed = changes.next() => changed?,
            // A caller says nothing after its request: this is its end.
            _ = stream.fill_buf() => return Ok(Ok(())),
        }
    }
}

/// Sends progress out of the loading thread.
struct Told {
    total: u64,
    told: u64,
    sender: Sender<u64>,
}

impl Progress for Told {
    fn done(&mut self, bytes: u64) {
        if bytes >= self.told + PROGRESS_STEP || bytes == self.total {
            self.told = bytes;
            let _ = self.sender.blocking_send(bytes);
        }
    }
}

async fn load(
    stream: &mut BufReader<UnixStream>,
    images: &Arc<Images>,
    events: &Sender<Event>,
    name: String,
    bytes: u64,
) -> Outcome {
    send(stream, &Reply::Ready).await?;
    let (sender, mut told) = tokio::sync::mpsc::channel(4);
    // The bytes are read by a thread that may block: a second descriptor of the same connection.
    let blocking = blocking_half(stream)?;
    let images = Arc::clone(images);
    let work = tokio::task::spawn_blocking(move || {
        let mut progress = Told { total: bytes, told: 0, sender };
        images.load(blocking.take(bytes), &name, &mut progress)
    });
    while let Some(done) = told.recv().await {
        send(stream, &Reply::Progress { done, total: bytes }).await?;
    }
    match work.await.map_err(io::Error::other)? {
        Ok(image) => {
            let _ = events.send(Event::ImageLoaded).await;
            send(stream, &Reply::Image(image)).await?;
            Ok(Ok(()))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Reads a non-blocking socket as if it blocked: whoever shares it relies on its mode.
struct Blocking {
    stream: std::os::unix::net::UnixStream,
    buffered: io::Cursor<Vec<u8>>,
}

fn blocking_half(stream: &mut BufReader<UnixStream>) -> io::Result<Blocking> {
    let buffered = io::Cursor::new(stream.buffer().to_vec());
    let fd = rustix::io::dup(stream.get_ref())?;
    Ok(Blocking { stream: fd.into(), buffered })
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.buffered.read(buffer)?;
        if length > 0 {
            return Ok(length);
        }
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut poll = [rustix::event::PollFd::new(&self.stream, rustix::event::PollFlags::IN)];
                    rustix::event::poll(&mut poll, None)?;
                }
                done => return done,
            }
        }
    }
}
