//! One HTTP request over a connection of its own, as small as it can be: asking costs instructions that are measured too.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The store's port, on every system measured.
pub(crate) const STORE: u16 = 2379;

/// The example container's port, on every system measured.
pub(crate) const EXAMPLE: u16 = 8080;

/// How long one answer may take. A server that accepted and says nothing for this long is asked again.
const ANSWER: Duration = Duration::from_secs(2);

/// What a server said.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Everything behind the head.
    pub(crate) body: String,
}

impl Answer {
    /// Whether it is a 200 with `text` in its body.
    pub(crate) fn shows(&self, text: &str) -> bool {
        self.status == 200 && self.body.contains(text)
    }
}

/// The answer to `request`, which must ask for the connection to be closed; nothing when there is none yet.
pub(crate) fn ask(port: u16, request: &str) -> Option<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answer { status: head.split(' ').nth(1)?.parse().ok()?, body: body.to_owned() })
}

/// A request with a JSON body for etcd's JSON gateway.
pub(crate) fn post(path: &str, json: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}",
        json.len()
    )
}

/// A request without a body.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// A request with a body for the store's own HTTP interface.
pub(crate) fn put(path: &str, body: &str) -> String {
    format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
