//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, and a task for each request.
use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use http::Request;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tonic::body::Body;

use super::{
    Face, Manners,
    authority::{PREFACE, Tolerant},
    exchange,
};
use crate::api::Api;

/// What a client may send before it must wait for this member (bytes), a request and a connection: a megabyte, so that one
/// large request does not wait for a round trip.
const WINDOW: u32 = 1024 * 1024;

/// Bytes of one request's headers: a token and what clients add to it are far below.
const MAX_HEADERS: u32 = 16 * 1024;

/// What of an answer may wait for the network beyond what the client lets through (bytes).
const MAX_SEND_BUFFER: usize = 400 * 1024;

/// Serves requests until the client leaves. A connection that breaks is its client's business.
pub(super) async fn serve<S>(stream: S, api: Api, face: Face, manners: Manners)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = Tolerant::new(stream);
    let mut first = BytesMut::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        if !matches!(stream.read_buf(&mut first).await, Ok(1..)) {
            return;
        }
    }
    let speaks_http2 = first.starts_with(PREFACE);
    let stream = Again { first: first.freeze(), stream };
    if speaks_http2 {
        let _ = http2(stream, api, face, manners).await;
    } else {
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let api = api.clone();
            api.asked();
            async move { Ok::<_, Infallible>(super::answer(api, face, request.map(Body::new)).await) }
        });
        let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    }
}

async fn http2<S>(stream: S, api: Api, face: Face, manners: Manners) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(manners.max_streams)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .handshake(stream)
        .await?;
    let mut arrived = Vec::new();
    loop {
        let next = poll_fn(|context| gather(&mut connection, context, &mut arrived)).await?;
        for (request, respond) in arrived.drain(..) {
            exchange::begin(&api, face, request, respond);
        }
        if next == Next::Ended {
            return Ok(());
        }
    }
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Waits,
    Ended,
}

/// A request whose head has come, and the way back.
type Arrived = (Request<RecvStream>, SendResponse<Bytes>);

/// Takes every request that has come before the first of them is answered: polling a connection also writes to it, and the
/// answers are to be written together.
fn gather<S>(
    connection: &mut h2::server::Connection<S, Bytes>,
    context: &mut Context<'_>,
    arrived: &mut Vec<Arrived>,
) -> Poll<Result<Next, h2::Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match connection.poll_accept(context) {
            Poll::Ready(Some(exchange)) => arrived.push(exchange?),
            Poll::Ready(None) => return Poll::Ready(Ok(Next::Ended)),
            Poll::Pending if arrived.is_empty() => return Poll::Pending,
            Poll::Pending => return Poll::Ready(Ok(Next::Waits)),
        }
    }
}

/// A connection whose first bytes were looked at and are read again.
#[derive(Debug)]
struct Again<S> {
    first: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Again<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, to);
        }
        let length = self.first.len().min(to.remaining());
        to.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Again<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
