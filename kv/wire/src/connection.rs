//! One connection: what it speaks by its first bytes, and the requests of one that speaks HTTP/2.
use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    Reason,
    company::{Company, Present},
    exchange::{Exchange, Shared},
    first::Again,
    frame::PREFACE,
    session::Session,
};

/// What is read at a time (bytes). One buffer serves all connections of a thread, because what comes is taken at once.
const READ: usize = 64 * 1024;

/// How long an answer to a ping may wait for other bytes to go with: far less than any client waits for it. Clients in Go measure
/// their connection by a ping with nearly every message. The answer alone would be a write here and a read there, as much work as the
/// answer to the message itself, which mostly comes right behind it.
const PONG_WAITS: Duration = Duration::from_millis(5);

/// Requests that are taken before others than the connection have a turn.
const TURN: usize = 256;

/// Room for so many requests is kept for the next that come together.
const ARRIVED_KEPT: usize = 32;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// What carries a connection: TCP, TLS, a unix socket.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for S {}

/// A connection as it was accepted.
pub type Io = Box<dyn Transport>;

/// What a connection speaks.
pub enum Speaks {
    /// HTTP/2; the connection is behind the first bytes that say so.
    Http2(Io),
    /// Something else, HTTP/1.1 if anything, from its first byte on.
    Http1(Again<Io>),
}

impl fmt::Debug for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http2(_) => "Http2",
            Self::Http1(_) => "Http1",
        })
    }
}

/// Waits for the first bytes of a connection. None: it ended before.
pub async fn accept(mut stream: Io) -> Option<Speaks> {
    let mut first = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && PREFACE.starts_with(&first[..length]) {
        match stream.read(&mut first[length..]).await {
            Ok(more @ 1..) => length += more,
            _ => return None,
        }
    }
    if first == *PREFACE {
        return Some(Speaks::Http2(stream));
    }
    Some(Speaks::Http1(Again::new(Bytes::copy_from_slice(&first[..length]), stream)))
}

/// Told of each request once its head has come.
pub type OnRequest = Box<dyn FnMut(Exchange) + Send>;

/// Why a connection ended that did not just close.
#[derive(Debug)]
pub enum Broken {
    /// The network failed.
    Io(io::Error),
    /// The client broke the rules.
    Protocol(Reason),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Protocol(reason) => write!(f, "the client broke the rules of HTTP/2: {reason}"),
        }
    }
}

impl std::error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Serves HTTP/2 until the client leaves, or the server with its `company`; the client may have `max_streams` requests open at a time.
///
/// # Errors
/// The connection broke.
pub async fn http2(stream: Io, max_streams: u32, company: &Company, on_request: OnRequest) -> Result<(), Broken> {
    let shared = Arc::new(Shared::new(Session::new(max_streams)));
    let present = company.enter_with(&shared);
    let mut connection = Connection {
        present,
        parts: false,
        stream,
        shared,
        on_request,
        arrived: Vec::new(),
        exchanges: Vec::new(),
        writing: Vec::new(),
        written: 0,
        pong_timer: None,
        pong_since: None,
    };
    poll_fn(|context| connection.poll(context)).await
}

struct Connection {
    present: Present,
    /// This side has nothing more to say.
    parts: bool,
    stream: Io,
    shared: Arc<Shared>,
    on_request: OnRequest,
    /// Keys of the requests that came together, and the requests.
    arrived: Vec<usize>,
    exchanges: Vec<Exchange>,
    /// What is being written, and how far it is.
    writing: Vec<u8>,
    written: usize,
    /// Wakes the connection when an answer to a ping has waited long enough. Made with the first that waits, and set anew only when
    /// it has run down: mostly the answer is long gone then.
    pong_timer: Option<Pin<Box<Sleep>>>,
    /// Since when one waits.
    pong_since: Option<Instant>,
}

impl Connection {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.parts {
            return self.part(context);
        }
        self.shared.lock().wake_up();
        let mut handed_over = 0;
        loop {
            let may_read = self.shared.lock().may_read();
            let read = if may_read { self.read(context) } else { Poll::Pending };
            match read {
                Poll::Ready(Ok(Read::Some)) => handed_over += self.hand_over(),
                Poll::Ready(Ok(Read::End)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(Broken::Protocol(reason))) => {
                    // As much as the network takes at once: whoever breaks rules is not waited for.
                    self.shared.lock().go_away(reason);
                    let _ = self.write(context);
                    let _ = Pin::new(&mut self.stream).poll_shutdown(context);
                    return Poll::Ready(Err(Broken::Protocol(reason)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            self.look_at_pong(context);
            let is_written = self.write(context)?.is_ready();
            if read.is_ready() {
                if handed_over < TURN {
                    continue;
                }
                // Whoever answers has a turn before more is read: else a client that never stops would fill the memory with requests.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !is_written {
                return Poll::Pending;
            }
            let mut session = self.shared.lock();
            if session.has_left() {
                session.end();
                drop(session);
                return self.part(context);
            }
            // What was written has made room to read; or answers have come from another thread since.
            if may_read && session.sleep(context) {
                return Poll::Pending;
            }
        }
    }

    /// Says that nothing more comes, and passes over what does until the client has gone, too: else the network would take back what it
    /// has not read.
    fn part(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.parts = true;
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        self.present.is_silent();
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// Reads once, and takes what was read.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<Read, Broken>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(Read::End));
            }
            let mut session = self.shared.lock();
            session.receive(buffer.filled(), &mut self.arrived).map_err(Broken::Protocol)?;
            let requests = self.arrived.drain(..).filter_map(|key| Exchange::new(&self.shared, &mut session, key));
            self.exchanges.extend(requests);
            Poll::Ready(Ok(Read::Some))
        })
    }

    /// Hands over the requests that came together, and says how many they were.
    fn hand_over(&mut self) -> usize {
        let count = self.exchanges.len();
        for exchange in self.exchanges.drain(..) {
            (self.on_request)(exchange);
        }
        if self.exchanges.capacity() > ARRIVED_KEPT {
            (self.arrived, self.exchanges) = (Vec::new(), Vec::new());
        }
        count
    }

    /// Lets the answer to a ping go if it has waited long enough, and sees to it that it is looked at again if not.
    fn look_at_pong(&mut self, context: &mut Context<'_>) {
        let mut session = self.shared.lock();
        if !session.holds_pong() {
            self.pong_since = None;
            return;
        }
        let now = Instant::now();
        let until = *self.pong_since.get_or_insert(now) + PONG_WAITS;
        if now >= until {
            session.release_pong();
            self.pong_since = None;
            return;
        }
        drop(session);
        let timer = self.pong_timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.as_mut().poll(context).is_ready() {
            timer.as_mut().reset(until);
            if timer.as_mut().poll(context).is_ready() {
                // It ran down meanwhile.
                context.waker().wake_by_ref();
            }
        }
    }

    /// Writes what is to be written; ready when all of it was.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        loop {
            if self.written == self.writing.len() {
                let empty = Session::reuse(std::mem::take(&mut self.writing));
                let mut session = self.shared.lock();
                (self.writing, self.written) = (session.take_output(empty), 0);
                if !session.holds_pong() {
                    self.pong_since = None;
                }
                if self.writing.is_empty() {
                    break;
                }
            }
            let rest = &self.writing[self.written..];
            let more = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if more == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += more;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.lock().end();
    }
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Some,
    End,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::frame::{self, flag, kind};

    /// Serves a connection that answers each request with its own body.
    fn serve(far: DuplexStream) -> tokio::task::JoinHandle<Result<(), Broken>> {
        tokio::spawn(async move {
            let Some(Speaks::Http2(stream)) = accept(Box::new(far)).await else { panic!("no HTTP/2") };
            let answer = |mut exchange: Exchange| match exchange.take_whole() {
                Some(whole) => exchange.respond().message(whole).expect("answer"),
                None => drop(tokio::spawn(echo(exchange))),
            };
            http2(stream, 8, &Company::default(), Box::new(answer)).await
        })
    }

    /// Sends back what comes, piece by piece.
    async fn echo(exchange: Exchange) {
        let (mut body, respond) = exchange.split();
        let Ok(mut to) = respond.begin_grpc() else { return };
        while let Some(Ok(piece)) = poll_fn(|context| body.poll_data(context)).await {
            if to.send(piece).is_err() || poll_fn(|context| to.poll_sent(context)).await.is_err() {
                return;
            }
        }
        let _ = to.well();
    }

    #[tokio::test]
    async fn calls_of_any_size_and_pings_are_answered() {
        let (near, far) = duplex(4096);
        let served = serve(far);
        let (mut client, mut connection) = h2::client::handshake(near).await.expect("shake hands");
        let mut pings = connection.ping_pong().expect("the only one");
        let connection = tokio::spawn(connection);
        for length in [1, 5, 16_383, 16_384, 16_385, 70_000, 3_000_000] {
            pings.ping(h2::Ping::opaque()).await.expect("a pong");
            let request = Request::post("http://x/").body(()).expect("a request");
            let (response, mut sender) = client.send_request(request, false).expect("send");
            let sent = Bytes::from((0..length).map(|at: u32| at as u8).collect::<Vec<_>>());
            sender.send_data(sent.clone(), true).expect("send");
            let mut body = response.await.expect("an answer").into_body();
            let mut got = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece.expect("a piece");
                body.flow_control().release_capacity(piece.len()).expect("release");
                got.extend_from_slice(&piece);
            }
            assert!(got == sent, "{length} bytes came back as {}", got.len());
            let trailers = body.trailers().await.expect("trailers").expect("some");
            assert_eq!(trailers["grpc-status"], "0");
        }
        drop((client, pings));
        connection.await.expect("no panic").expect("closed");
        served.await.expect("no panic").expect("served");
    }

    #[tokio::test]
    async fn a_request_that_is_taken_back_ends_the_answer() {
        let (near, far) = duplex(4096);
        let (told, ended) = tokio::sync::oneshot::channel();
        let (arrived, arrives) = tokio::sync::oneshot::channel();
        let mut told = Some((told, arrived));
        tokio::spawn(async move {
            let Some(Speaks::Http2(stream)) = accept(Box::new(far)).await else { panic!("no HTTP/2") };
            let answer = move |exchange: Exchange| {
                let (mut respond, (told, arrived)) = (exchange.split().1, told.take().expect("one request"));
                arrived.send(()).expect("the client waits");
                tokio::spawn(async move { told.send(poll_fn(|context| respond.poll_reset(context)).await) });
            };
            http2(stream, 8, &Company::default(), Box::new(answer)).await
        });
        let (mut client, connection) = h2::client::handshake(near).await.expect("shake hands");
        let _connection = tokio::spawn(connection);
        let request = Request::post("http://x/").body(()).expect("a request");
        let (_response, mut sender) = client.send_request(request, false).expect("send");
        sender.send_data(Bytes::from_static(b"a"), false).expect("send");
        arrives.await.expect("a request");
        sender.send_reset(h2::Reason::CANCEL);
        assert_eq!(ended.await.expect("told").reason(), Reason::CANCEL);
    }

    #[tokio::test]
    async fn a_server_that_stops_answers_what_was_asked_and_nothing_else() {
        let company = Company::default();
        let (near, far) = duplex(4096);
        let (held, mut holds) = tokio::sync::mpsc::unbounded_channel();
        let of_connection = company.clone();
        let served = tokio::spawn(async move {
            let Some(Speaks::Http2(stream)) = accept(Box::new(far)).await else { panic!("no HTTP/2") };
            let hold = move |exchange: Exchange| held.send(exchange).expect("the test waits");
            http2(stream, 8, &of_connection, Box::new(hold)).await
        });
        let (client, connection) = h2::client::handshake(near).await.expect("shake hands");
        let connection = tokio::spawn(connection);
        let request = || Request::post("http://x/").body(()).expect("a request");
        let mut client = client.ready().await.expect("ready");
        let (whole, _) = client.send_request(request(), true).expect("send");
        let whole_exchange = holds.recv().await.expect("a request");
        // One that goes on until somebody ends it.
        let (stream, _body) = client.send_request(request(), false).expect("send");
        let streaming = holds.recv().await.expect("a request");
        streaming.goes_on();
        let streaming = streaming.split().1.begin_grpc().expect("the client waits");
        let mut stream = stream.await.expect("an answer").into_body();
        // One whose body is on its way.
        let (half, mut rest) = client.send_request(request(), false).expect("send");
        let half_exchange = holds.recv().await.expect("a request");
        let leaving = company.clone();
        let left = tokio::spawn(async move { leaving.leave().await });
        while client.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!left.is_finished(), "two answers are owed");
        let message = Bytes::from_static(b"answer");
        whole_exchange.respond().message(message.clone()).expect("the client waits");
        let mut body = whole.await.expect("an answer").into_body();
        assert_eq!(body.data().await.expect("a piece").expect("whole"), message);
        rest.send_data(Bytes::from_static(b"the rest"), true).expect("send");
        let (mut half_body, respond) = half_exchange.split();
        let came = poll_fn(|context| half_body.poll_data(context)).await.expect("a piece").expect("whole");
        assert_eq!(came, "the rest");
        assert!(!left.is_finished(), "an answer is owed");
        respond.message(message.clone()).expect("the client waits");
        let mut body = half.await.expect("an answer").into_body();
        assert_eq!(body.data().await.expect("a piece").expect("whole"), message);
        left.await.expect("left");
        assert!(stream.data().await.expect("an end").is_err(), "nobody waits for what never ends");
        drop((body, stream, client, streaming));
        let _ = connection.await.expect("no panic");
        company.gone().await;
        served.await.expect("no panic").expect("it ended well");

        // Whoever comes now is told at once.
        let (near, far) = duplex(4096);
        tokio::spawn(async move {
            let Some(Speaks::Http2(stream)) = accept(Box::new(far)).await else { panic!("no HTTP/2") };
            http2(stream, 8, &company, Box::new(|_| panic!("nothing is taken any more"))).await
        });
        let (mut client, connection) = h2::client::handshake(near).await.expect("shake hands");
        let connection = tokio::spawn(connection);
        let answer = client.send_request(request(), true);
        assert!(match answer {
            Ok((answer, _)) => answer.await.is_err(),
            Err(_) => true,
        });
        drop(client);
        let _ = connection.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_server_that_stops_sends_an_answer_in_pieces_to_its_end() {
        let (near, far) = duplex(4096);
        let company = Company::default();
        let of_connection = company.clone();
        tokio::spawn(async move {
            let Some(Speaks::Http2(stream)) = accept(Box::new(far)).await else { panic!("no HTTP/2") };
            let answer = |exchange: Exchange| {
                drop(tokio::spawn(async move {
                    let mut to = exchange.respond().begin_grpc()?;
                    for _ in 0..10 {
                        to.send(Bytes::from(vec![0; 100_000]))?;
                        poll_fn(|context| to.poll_sent(context)).await?;
                    }
                    to.well()
                }));
            };
            http2(stream, 8, &of_connection, Box::new(answer)).await
        });
        let (mut client, connection) = h2::client::handshake(near).await.expect("shake hands");
        let connection = tokio::spawn(connection);
        let request = Request::post("http://x/").body(()).expect("a request");
        let (answer, _) = client.send_request(request, true).expect("send");
        let mut body = answer.await.expect("an answer").into_body();
        let leaving = company.clone();
        let left = tokio::spawn(async move { leaving.leave().await });
        let mut length = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.expect("a piece");
            body.flow_control().release_capacity(piece.len()).expect("release");
            length += piece.len();
        }
        assert_eq!(length, 1_000_000);
        assert_eq!(body.trailers().await.expect("trailers").expect("some")["grpc-status"], "0");
        left.await.expect("left");
        drop((client, body));
        let _ = connection.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_ping_waits_for_others_but_not_long() {
        let (mut near, far) = duplex(4096);
        serve(far);
        let mut hello = PREFACE.to_vec();
        frame::put(&mut hello, kind::SETTINGS, 0, 0, &[]);
        near.write_all(&hello).await.expect("write");
        let mut settings = vec![0; 9 + 18 + 13 + 9];
        near.read_exact(&mut settings).await.expect("settings, a window, an acknowledgement");
        let (mut ping, mut pong) = (Vec::new(), Vec::new());
        frame::put(&mut ping, kind::PING, 0, 0, b"12345678");
        frame::put(&mut pong, kind::PING, flag::ACK, 0, b"12345678");
        // Alone, it waits.
        near.write_all(&ping).await.expect("write");
        let mut came = vec![0; pong.len()];
        assert!(tokio::time::timeout(PONG_WAITS / 2, near.read_u8()).await.is_err());
        near.read_exact(&mut came).await.expect("read");
        assert_eq!(came, pong);
        // With another behind it, or with anything else, it does not.
        let begun = Instant::now();
        near.write_all(&[&ping[..], &ping[..]].concat()).await.expect("write");
        for _ in 0..2 {
            near.read_exact(&mut came).await.expect("read");
            assert_eq!(came, pong);
        }
        assert_eq!(Instant::now(), begun);
    }

    /// A connection of a client that takes a megabyte, behind the greetings.
    async fn greeted(on_request: OnRequest) -> DuplexStream {
        let (mut near, far) = duplex(1 << 20);
        tokio::spawn(async move {
            let Some(Speaks::Http2(stream)) = accept(Box::new(far)).await else { panic!("no HTTP/2") };
            http2(stream, 8, &Company::default(), on_request).await
        });
        let mut hello = PREFACE.to_vec();
        frame::put(&mut hello, kind::SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0]);
        frame::put(&mut hello, kind::WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0]);
        near.write_all(&hello).await.expect("write");
        let mut settings = vec![0; 9 + 18 + 13 + 9];
        near.read_exact(&mut settings).await.expect("settings, a window, an acknowledgement");
        near
    }

    #[tokio::test]
    async fn a_request_that_comes_while_a_large_answer_waits_is_read() {
        let (requests, mut come) = tokio::sync::mpsc::unbounded_channel();
        let mut near = greeted(Box::new(move |exchange| drop(requests.send(exchange)))).await;
        let request = |stream| {
            let mut request = Vec::new();
            frame::put(&mut request, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &[0x83, 0x86, 0x84]);
            request
        };
        near.write_all(&request(1)).await.expect("write");
        let first = come.recv().await.expect("a request");
        // Both before the connection has its turn.
        near.write_all(&request(3)).await.expect("write");
        first.respond().message(Bytes::from(vec![0; 150_000])).expect("answer");
        let second = tokio::time::timeout(Duration::from_secs(10), come.recv());
        second.await.expect("it is read").expect("a request");
    }

    #[tokio::test]
    async fn whoever_breaks_the_rules_is_told_so() {
        let (mut near, far) = duplex(4096);
        let served = serve(far);
        let mut hello = PREFACE.to_vec();
        frame::put(&mut hello, kind::PING, 0, 0, &[0; 8]);
        near.write_all(&hello).await.expect("write");
        assert!(matches!(served.await.expect("no panic"), Err(Broken::Protocol(Reason::PROTOCOL_ERROR))));
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.expect("read");
        let mut end = Vec::new();
        frame::put(&mut end, kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(all.ends_with(&end));
    }

    #[tokio::test]
    async fn what_is_no_http2_is_read_from_its_first_byte() {
        let (mut near, far) = duplex(4096);
        near.write_all(b"PRI is no method").await.expect("write");
        drop(near);
        let Some(Speaks::Http1(mut connection)) = accept(Box::new(far)).await else { panic!("no HTTP/1.1") };
        let mut all = Vec::new();
        connection.read_to_end(&mut all).await.expect("read");
        assert_eq!(all, b"PRI is no method");
    }
}
