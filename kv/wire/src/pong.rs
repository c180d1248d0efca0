//! Answers to pings go out with the next bytes that go out anyway, as TCP does with acknowledgements.
//!
//! Clients in Go measure their connection by a ping with nearly every message. The answer alone would be a write for the member
//! and a read for the client, as much work as the answer to the message itself, which mostly comes right behind it.
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// A frame that answers a ping: its header (length 8, kind 6, flag ACK, stream 0) and eight bytes (RFC 9113, section 6.7).
const LENGTH: usize = 17;

/// What such a frame begins with.
const HEADER: [u8; 9] = [0, 0, 8, 6, 1, 0, 0, 0, 0];

/// How long an answer may wait for other bytes: far less than any client waits for it.
const PATIENCE: Duration = Duration::from_millis(5);

/// Pieces that go out with a held answer in one call; what is left follows with the next.
const PIECES: usize = 16;

/// A stream that holds an answer to a ping back for a moment.
pub struct Pongs<S> {
    stream: S,
    /// What is held, and how much of it went out.
    held: Option<([u8; LENGTH], usize)>,
    /// When it must go at the latest. Made with the first that is held.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Pongs<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, held: None, timer: None }
    }

    /// What carries it.
    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

/// The frame, if all that is to be written is one that may be held.
fn pong(pieces: &[IoSlice<'_>]) -> Option<[u8; LENGTH]> {
    let mut given = pieces.iter().filter(|piece| !piece.is_empty());
    let (Some(only), None) = (given.next(), given.next()) else { return None };
    <[u8; LENGTH]>::try_from(&**only).ok().filter(|frame| frame.starts_with(&HEADER))
}

impl<S: AsyncWrite + Unpin> Pongs<S> {
    /// Writes what is held and as much of `pieces` as goes with it; answers how much of `pieces` went.
    fn write(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while let Some((frame, sent)) = &mut self.held {
            let mut together = [IoSlice::new(&[]); PIECES];
            together[0] = IoSlice::new(&frame[*sent..]);
            let count = pieces.len().min(PIECES - 1);
            together[1..=count].copy_from_slice(&pieces[..count]);
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &together[..=count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let ours = written.min(LENGTH - *sent);
            *sent += ours;
            if *sent == LENGTH {
                self.held = None;
            }
            if written > ours {
                return Poll::Ready(Ok(written - ours));
            }
        }
        if pieces.iter().all(|piece| piece.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    /// Begins to hold a frame, and has the connection looked at again when that has been long enough.
    fn hold(&mut self, context: &mut Context<'_>, frame: [u8; LENGTH]) {
        self.held = Some((frame, 0));
        let deadline = Instant::now() + PATIENCE;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().reset(deadline);
        // Not over yet; what counts is that it wakes.
        let _ = timer.as_mut().poll(context);
    }

    /// Whether what is held may wait on.
    fn may_wait(&mut self, context: &mut Context<'_>) -> bool {
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_pending())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Pongs<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pongs<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match pong(pieces) {
            Some(frame) if self.held.is_none() => {
                self.hold(context, frame);
                Poll::Ready(Ok(LENGTH))
            }
            _ => self.write(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_some() && !self.may_wait(context) {
            ready!(self.write(context, &[]))?;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write(context, &[]))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn frame(number: u8) -> [u8; LENGTH] {
        let mut frame = [number; LENGTH];
        frame[..HEADER.len()].copy_from_slice(&HEADER);
        frame
    }

    async fn nothing_came(other: &mut DuplexStream) -> bool {
        tokio::time::timeout(PATIENCE / 2, other.read_u8()).await.is_err()
    }

    async fn came(other: &mut DuplexStream, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        other.read_exact(&mut bytes).await.expect("read what was written");
        assert_eq!(bytes, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_ping_goes_out_before_the_next_bytes_and_with_them() {
        let (stream, mut other) = duplex(1024);
        let mut pongs = Pongs::new(stream);
        pongs.write_all(&frame(1)).await.expect("write");
        pongs.flush().await.expect("flush");
        assert!(nothing_came(&mut other).await);
        pongs.write_all(b"answer").await.expect("write");
        came(&mut other, &[&frame(1)[..], b"answer"].concat()).await;
        // A second one behind the first is not held: their order stays.
        pongs.write_all(&frame(2)).await.expect("write");
        pongs.write_all(&frame(3)).await.expect("write");
        came(&mut other, &[frame(2), frame(3)].concat()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nothing_follows_goes_out_after_a_moment_or_before_the_end() {
        let (stream, mut other) = duplex(1024);
        let mut pongs = Pongs::new(stream);
        pongs.write_all(&frame(1)).await.expect("write");
        let flushed = tokio::spawn(async move {
            // As a connection does that is woken: it flushes again.
            std::future::poll_fn(|context| {
                let _ = Pin::new(&mut pongs).poll_flush(context);
                if pongs.held.is_some() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            pongs
        });
        came(&mut other, &frame(1)).await;
        let mut pongs = flushed.await.expect("flush");
        pongs.write_all(&frame(2)).await.expect("write");
        pongs.shutdown().await.expect("shut down");
        came(&mut other, &frame(2)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_narrow_stream_takes_it_piece_by_piece() {
        let (stream, mut other) = duplex(5);
        let mut pongs = Pongs::new(stream);
        let written = tokio::spawn(async move {
            pongs.write_all(&frame(1)).await.expect("write");
            pongs.write_all(b"a longer answer").await.expect("write");
        });
        came(&mut other, &[&frame(1)[..], b"a longer answer"].concat()).await;
        written.await.expect("write all");
    }
}
