//! One connection between members: opening it, and frames in and out.
use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use hull_kv_proto::hullpb::{Hello, Welcome, hello::Channel};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::UnixStream,
    time::timeout,
};

use super::{FRAME_HEADER, Frame, NoFrame};
use crate::{
    names::{self, Names},
    tls::{Secure, Tls, not_set_up},
};

/// How long opening a connection, or the first answer on it, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How much of that is left for TLS, once there is a connection.
const GREETING: Duration = Duration::from_millis(500);
/// How long the other end may take nothing of what is written before the connection counts as broken.
const STALLED: Duration = Duration::from_secs(10);
/// What an incoming connection reads at once (bytes).
const READ_BYTES: usize = 64 * 1024;

/// How connections to other members are opened.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    /// For addresses that start with `https://`.
    pub tls: Option<Arc<Tls>>,
    /// Where the hosts in addresses are looked up.
    pub names: Names,
}

impl Dialer {
    /// Connects to the first of `urls` that answers.
    ///
    /// # Errors
    /// The last one's refusal, with its address.
    async fn connect(&self, urls: &[String]) -> io::Result<Secure> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the member has no peer address");
        for url in urls {
            match timeout(PATIENCE, self.connect_one(url)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = io::Error::new(error.kind(), format!("{url}: {error}")),
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{url}: no answer")),
            }
        }
        Err(last)
    }

    async fn connect_one(&self, url: &str) -> io::Result<Secure> {
        let wrong = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "http://host:port, https://host:port or unix://path was expected",
            )
        };
        let (scheme, host) = url.split_once("://").ok_or_else(wrong)?;
        if scheme == "unix" {
            return Ok(Box::new(UnixStream::connect(host).await?));
        }
        let host = host.trim_end_matches('/');
        let stream = self.names.connect(host, PATIENCE - GREETING).await?;
        stream.set_nodelay(true)?;
        match scheme {
            "http" => Ok(Box::new(stream)),
            "https" => {
                let needed = "--peer-cert-file, --peer-key-file and --peer-trusted-ca-file";
                let tls = self.tls.as_ref().ok_or_else(|| not_set_up(needed))?;
                let name = names::split(host).map_or(host, |(name, _)| name);
                tls.connect(name, stream).await
            }
            _ => Err(wrong()),
        }
    }

    /// Connects and says hello.
    ///
    /// # Errors
    /// Nobody answers, or not as this version expects.
    pub(super) async fn open(&self, urls: &[String], hello: Hello) -> io::Result<(Link, Welcome)> {
        let stream = self.connect(urls).await?;
        let mut link = Link::new(stream);
        let greeted = timeout(PATIENCE, async {
            link.write(&[Frame::Hello(hello)]).await?;
            link.read().await
        });
        match greeted.await {
            Ok(Ok(Some(Frame::Welcome(welcome)))) => Ok((link, welcome)),
            Ok(Ok(_)) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{urls:?}: no member answers there"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{urls:?}: no answer to the first message"))),
        }
    }
}

/// The first message for one purpose.
pub(super) fn hello(channel: Channel, cluster_id: u64, from: u64, to: u64) -> Hello {
    Hello { channel: channel.into(), cluster_id, from, to }
}

/// The reading end.
pub(super) struct Reading {
    stream: ReadHalf<Secure>,
    buffer: BytesMut,
}

/// The writing end.
pub(super) struct Writing {
    stream: WriteHalf<Secure>,
    buffer: Vec<u8>,
}

/// A connection.
pub(super) struct Link {
    pub(super) reading: Reading,
    pub(super) writing: Writing,
}

impl Link {
    pub(super) fn new(stream: Secure) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self {
            reading: Reading { stream: read, buffer: BytesMut::new() },
            writing: Writing { stream: write, buffer: Vec::new() },
        }
    }

    pub(super) async fn read(&mut self) -> io::Result<Option<Frame>> {
        self.reading.read().await
    }

    pub(super) async fn write(&mut self, frames: &[Frame]) -> io::Result<()> {
        self.writing.write(frames).await
    }
}

fn bad(why: NoFrame) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Reading {
    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// The connection's, or bytes that are no frame.
    pub(super) async fn read(&mut self) -> io::Result<Option<Frame>> {
        if !self.fill(FRAME_HEADER).await? {
            return Ok(None);
        }
        let mut header = [0; FRAME_HEADER];
        header.copy_from_slice(&self.buffer[..FRAME_HEADER]);
        let length = Frame::payload_length(&header).map_err(bad)?;
        if !self.fill(FRAME_HEADER + length).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let payload: Bytes = self.buffer.split_to(FRAME_HEADER + length).freeze().slice(FRAME_HEADER..);
        Frame::take(&header, payload).map(Some).map_err(bad)
    }

    /// Reads until there are `wanted` bytes; false at an end before the first of them.
    async fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        while self.buffer.len() < wanted {
            self.buffer.reserve(READ_BYTES.max(wanted - self.buffer.len()));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
        Ok(true)
    }
}

impl Writing {
    /// Writes frames, all in one go.
    ///
    /// # Errors
    /// The connection's, or that the other end takes nothing.
    pub(super) async fn write(&mut self, frames: &[Frame]) -> io::Result<()> {
        self.buffer.clear();
        frames.iter().for_each(|frame| frame.put(&mut self.buffer));
        let mut rest = &self.buffer[..];
        while !rest.is_empty() {
            let written = timeout(STALLED, self.stream.write(rest)).await;
            let written =
                written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing"))??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
        }
        if self.buffer.capacity() > 2 * READ_BYTES {
            self.buffer = Vec::new();
        }
        timeout(STALLED, self.stream.flush()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
