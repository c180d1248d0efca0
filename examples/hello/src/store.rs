//! Asks the node's store for a value and for its next change: `GET /kv/<key>` and `GET /kv/<key>?wait=<revision>`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Where a container finds the store's socket.
const SOCKET: &str = "/run/hull/kv.sock";

/// Where the store is when the environment does not say.
const ENDPOINT: &str = "http://127.0.0.1:2379";

/// The response's revision of the store.
const REVISION: &str = "x-hull-revision";

/// Largest head of a request or response, in bytes.
const HEAD_MAX: u64 = 16 << 10;

/// Largest value shown, in bytes.
const VALUE_MAX: u64 = 1 << 20;

/// A watch that is silent for longer is asked again: the other side may have vanished without a word.
const SILENCE: Duration = Duration::from_secs(300);

/// The store: by the socket that every container has, or by its address where that is not there.
pub(crate) struct Store {
    /// `host:port` out of `ETCD_ENDPOINTS`.
    address: String,
}

/// What a key has, and up to which revision that is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) revision: i64,
    pub(crate) text: Option<String>,
}

/// Why the store gave no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    endpoint: String,
    cause: String,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ask the store at {}: {}", self.endpoint, self.cause)
    }
}

impl std::error::Error for NoAnswer {}

trait Connection: Read + Write {}
impl Connection for TcpStream {}
impl Connection for UnixStream {}

impl Store {
    /// The first of `ETCD_ENDPOINTS`.
    pub(crate) fn from_environment() -> Store {
        let endpoints = std::env::var("ETCD_ENDPOINTS").unwrap_or_else(|_| ENDPOINT.to_owned());
        let first = endpoints.split(',').next().unwrap_or(ENDPOINT).trim();
        Store { address: first.trim_start_matches("http://").trim_end_matches('/').to_owned() }
    }

    /// The value now, or as soon as it has changed after revision `known`.
    ///
    /// # Errors
    /// Nobody answers, or the answer is not understood.
    pub(crate) fn get(&self, key: &str, known: Option<i64>) -> Result<Value, NoAnswer> {
        self.ask(key, known).map_err(|error| NoAnswer { endpoint: self.address.clone(), cause: error.to_string() })
    }

    fn ask(&self, key: &str, known: Option<i64>) -> io::Result<Value> {
        let mut connection = self.connect()?;
        let wait = known.map(|revision| format!("?wait={revision}")).unwrap_or_default();
        write!(connection, "GET /kv{key}{wait} HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n")?;
        read_value(&mut BufReader::new(connection))
    }

    fn connect(&self) -> io::Result<Box<dyn Connection>> {
        if let Ok(stream) = UnixStream::connect(SOCKET) {
            stream.set_read_timeout(Some(SILENCE))?;
            return Ok(Box::new(stream));
        }
        // Numbers only: a static program asks no name servers.
        let address: SocketAddr = self.address.parse().map_err(io::Error::other)?;
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Box::new(stream))
    }
}

/// Everything up to the empty line.
pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut limited = from.take(HEAD_MAX);
    loop {
        if limited.read_until(b'\n', &mut head)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the head does not end"));
        }
        if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
            return Ok(head);
        }
    }
}

fn read_value(from: &mut impl BufRead) -> io::Result<Value> {
    let malformed = |cause: String| io::Error::new(io::ErrorKind::InvalidData, cause);
    let head = read_head(from)?;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(&head).map_err(|error| malformed(format!("malformed response: {error}")))?;
    let field = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()?.trim().parse::<i64>().ok()
    };
    let mut body = Vec::new();
    match field("content-length") {
        Some(length) => from.take((length.max(0) as u64).min(VALUE_MAX)).read_to_end(&mut body)?,
        None => from.take(VALUE_MAX).read_to_end(&mut body)?,
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    let revision = field(REVISION).ok_or_else(|| malformed(format!("status {:?}: {}", response.code, text.trim())));
    match response.code {
        Some(200) => Ok(Value { revision: revision?, text: Some(text) }),
        Some(404) => Ok(Value { revision: revision?, text: None }),
        code => Err(malformed(format!("status {code:?}: {}", text.trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(response: &str) -> io::Result<Value> {
        read_value(&mut response.as_bytes())
    }

    #[test]
    fn a_value_comes_with_its_revision() {
        let value = read("HTTP/1.1 200 OK\r\nX-Hull-Revision: 7\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        assert_eq!(value, Value { revision: 7, text: Some("hi".into()) });
    }

    #[test]
    fn a_missing_key_is_no_error() {
        let value = read("HTTP/1.1 404 Not Found\r\nX-Hull-Revision: 3\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(value, Value { revision: 3, text: None });
    }

    #[test]
    fn what_is_no_answer_of_the_store_is_an_error() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").is_err());
        assert!(read("HTTP/1.1 500 Oops\r\nX-Hull-Revision: 3\r\n\r\nx").unwrap_err().to_string().contains("500"));
        assert!(read("").is_err());
    }
}
