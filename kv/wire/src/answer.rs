//! Answers of gRPC calls that have one message.
use std::{
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::{Error, Reason, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

/// The way back to whoever sent a request.
#[derive(Debug)]
pub struct Respond(SendResponse<Bytes>);

impl Respond {
    pub(crate) fn new(inner: SendResponse<Bytes>) -> Self {
        Self(inner)
    }

    /// Sends a message and the end.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn message(&mut self, message: Bytes) -> Result<(), Error> {
        let mut to = self.0.send_response(head(), false)?;
        to.send_data(message, false)?;
        to.send_trailers(well())
    }

    /// Sends an answer that is a head only: a refusal, mostly.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn empty(&mut self, head: Response<()>) -> Result<(), Error> {
        self.0.send_response(head, true).map(drop)
    }

    /// Sends the beginning of an answer that goes on.
    ///
    /// # Errors
    /// The client took its request back, or is gone.
    pub fn begin(&mut self, head: Response<()>) -> Result<SendStream<Bytes>, Error> {
        self.0.send_response(head, false)
    }

    /// Whether the client took its request back, or is gone.
    pub fn is_reset(&mut self) -> bool {
        self.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Ready once the client takes its request back, or is gone.
    pub fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<Result<Reason, Error>> {
        self.0.poll_reset(context)
    }
}

/// What an answer of gRPC begins with. Copied, not made anew: that takes a fraction of the time.
pub fn head() -> Response<()> {
    static HEADERS: LazyLock<HeaderMap> =
        LazyLock::new(|| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))]));
    let mut head = Response::new(());
    *head.headers_mut() = HEADERS.clone();
    head
}

/// What an answer ends with that is no refusal.
pub fn well() -> HeaderMap {
    static TRAILERS: LazyLock<HeaderMap> = LazyLock::new(|| {
        HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
    });
    TRAILERS.clone()
}
