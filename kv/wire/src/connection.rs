//! One connection: what it speaks by its first bytes, and the requests of one that speaks HTTP/2.
use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, server};
use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::{
    answer::Respond,
    authority::{PREFACE, Tolerant},
    pong::Pongs,
};

/// What a client may send before it must wait for this member (bytes), a request and a connection: a megabyte, so that one
/// large request does not wait for a round trip.
const WINDOW: u32 = 1024 * 1024;

/// Bytes of one request's headers: a token and what clients add to it are far below.
const MAX_HEADERS: u32 = 16 * 1024;

/// What of an answer may wait for the network beyond what the client lets through (bytes).
const MAX_SEND_BUFFER: usize = 400 * 1024;

/// What carries a connection: TCP, TLS, a unix socket.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for S {}

/// A connection as it was accepted.
pub type Io = Box<dyn Transport>;

/// A connection whose first bytes were looked at, and are read again.
pub type Connection = Pongs<Tolerant<Io>>;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/2.
    Http2,
    /// Something else: HTTP/1.1, if anything.
    Http1,
}

/// Waits for the first bytes of a connection, which are read again by whoever serves it. None: it ended before.
pub async fn accept(stream: Io) -> Option<(Speaks, Connection)> {
    let mut stream = Pongs::new(Tolerant::new(stream));
    let mut first = BytesMut::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        if !matches!(stream.read_buf(&mut first).await, Ok(1..)) {
            return None;
        }
    }
    let speaks = if first.starts_with(PREFACE) { Speaks::Http2 } else { Speaks::Http1 };
    stream.stream_mut().read_again(first.freeze());
    Some((speaks, stream))
}

/// Told of each request once its head has come.
pub type OnRequest = Box<dyn FnMut(Request<RecvStream>, Respond) + Send>;

/// Serves HTTP/2 until the client leaves; it may have `max_streams` requests open at a time.
///
/// # Errors
/// The connection broke, or is not what it seemed.
pub async fn http2(connection: Connection, max_streams: u32, mut on_request: OnRequest) -> Result<(), h2::Error> {
    let mut connection: Server = server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(max_streams)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .handshake(connection)
        .await?;
    let mut arrived = Vec::new();
    loop {
        let next = poll_fn(|context| gather(&mut connection, context, &mut arrived)).await?;
        for (request, respond) in arrived.drain(..) {
            on_request(request, Respond::new(respond));
        }
        if arrived.capacity() > ARRIVED_KEPT {
            arrived = Vec::new();
        }
        if next == Next::Ended {
            return Ok(());
        }
    }
}

/// Room for so many requests is kept for the next that come together.
const ARRIVED_KEPT: usize = 32;

type Server = server::Connection<Connection, Bytes>;

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Waits,
    Ended,
}

/// A request whose head has come, and the way back.
type Arrived = (Request<RecvStream>, server::SendResponse<Bytes>);

/// Takes every request that has come before the first of them is answered: polling a connection also writes to it, and the
/// answers are to be written together.
fn gather(
    connection: &mut Server,
    context: &mut Context<'_>,
    arrived: &mut Vec<Arrived>,
) -> Poll<Result<Next, h2::Error>> {
    loop {
        match connection.poll_accept(context) {
            Poll::Ready(Some(exchange)) => arrived.push(exchange?),
            Poll::Ready(None) => return Poll::Ready(Ok(Next::Ended)),
            Poll::Pending if arrived.is_empty() => return Poll::Pending,
            Poll::Pending => return Poll::Ready(Ok(Next::Waits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ping_on_a_quiet_connection_is_answered_and_a_call_as_well() {
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let (speaks, connection) = accept(Box::new(far)).await.expect("a connection");
            assert_eq!(speaks, Speaks::Http2);
            let answer = |_, mut respond: Respond| respond.message(Bytes::from_static(b"answer")).expect("answer");
            http2(connection, 8, Box::new(answer)).await.expect("serve");
        });
        let (mut client, mut connection) = h2::client::handshake(near).await.expect("shake hands");
        let mut pings = connection.ping_pong().expect("the only one");
        let connection = tokio::spawn(connection);
        for _ in 0..3 {
            pings.ping(h2::Ping::opaque()).await.expect("a pong");
            let (response, _) =
                client.send_request(Request::post("http://x/").body(()).expect("a request"), true).expect("send");
            let mut body = response.await.expect("an answer").into_body();
            assert_eq!(body.data().await.expect("a message").expect("whole"), &b"answer"[..]);
        }
        drop((client, pings));
        connection.await.expect("no panic").expect("closed");
    }

    #[tokio::test]
    async fn what_is_no_http2_is_read_from_its_first_byte() {
        let (mut near, far) = tokio::io::duplex(4096);
        tokio::io::AsyncWriteExt::write_all(&mut near, b"PRI is no method").await.expect("write");
        drop(near);
        let (speaks, mut connection) = accept(Box::new(far)).await.expect("a connection");
        assert_eq!(speaks, Speaks::Http1);
        let mut all = Vec::new();
        connection.read_to_end(&mut all).await.expect("read");
        assert_eq!(all, b"PRI is no method");
    }
}
