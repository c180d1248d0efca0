//! A web server that shows one value of the store and follows its changes: how a container finds its configuration.

mod page;
mod store;

use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZero;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use crate::page::Greeting;
use crate::store::{Store, Value};

/// The key whose value is shown.
const KEY: &str = "/config/hello/greeting";

/// Where it listens when `$PORT` does not say.
const PORT: u16 = 8080;

/// A visitor who says nothing for this long is sent away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Wait before the store is asked again after it could not be reached.
const RETRY: Duration = Duration::from_millis(200);

/// The stack of a thread that answers one request, in bytes.
const STACK: usize = 64 << 10;

fn main() -> io::Result<()> {
    let greeting = Arc::new(RwLock::new(Greeting::Waiting));
    let port = port(std::env::var("PORT").ok().as_deref())?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("listen on {address}: {error}; set PORT to another one, all containers share the node's"),
        )
    })?;
    println!("hello: listening on {address}, showing {KEY}");
    let followed = Arc::clone(&greeting);
    thread::Builder::new().stack_size(STACK).spawn(move || follow(&Store::from_environment(), &followed))?;
    for visitor in listener.incoming() {
        let greeting = Arc::clone(&greeting);
        let answer = move || {
            if let Err(error) = visitor.and_then(|visitor| answer(&visitor, &greeting)) {
                eprintln!("hello: a visitor was not answered: {error}");
            }
        };
        if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(answer) {
            eprintln!("hello: a visitor was turned away: {error}");
        }
    }
    Ok(())
}

/// The port that `$PORT` asks for.
fn port(wish: Option<&str>) -> io::Result<u16> {
    let Some(wish) = wish else { return Ok(PORT) };
    wish.parse()
        .map(NonZero::<u16>::get)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("PORT={wish}: {error}; give 1 to 65535")))
}

/// Reads the value, then waits for each change. A change between two questions is not lost: the question names the last revision seen.
fn follow(store: &Store, greeting: &RwLock<Greeting>) {
    let mut known = None;
    loop {
        match store.get(KEY, known) {
            Ok(Value { revision, text }) => {
                known = Some(revision);
                set(greeting, text.map_or(Greeting::Unset, Greeting::Text));
            }
            Err(error) => {
                eprintln!("hello: {error}");
                known = None;
                let text = match &*greeting.read().unwrap_or_else(|poisoned| poisoned.into_inner()) {
                    Greeting::Text(text) | Greeting::Stale(text, _) => Some(text.clone()),
                    _ => None,
                };
                let reason = error.to_string();
                set(greeting, text.map_or(Greeting::Away(reason.clone()), |text| Greeting::Stale(text, reason)));
                thread::sleep(RETRY);
            }
        }
    }
}

fn set(greeting: &RwLock<Greeting>, value: Greeting) {
    *greeting.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = value;
}

/// Answers one request: HTML to a browser, the bare text to everything else.
fn answer(visitor: &TcpStream, greeting: &RwLock<Greeting>) -> io::Result<()> {
    visitor.set_read_timeout(Some(PATIENCE))?;
    visitor.set_write_timeout(Some(PATIENCE))?;
    let head = store::read_head(&mut BufReader::new(visitor))?;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let malformed = |cause: &str| io::Error::new(io::ErrorKind::InvalidData, format!("malformed request: {cause}"));
    request.parse(&head).map_err(|error| malformed(&error.to_string()))?;
    let browser = request.headers.iter().any(|field| {
        field.name.eq_ignore_ascii_case("accept") && String::from_utf8_lossy(field.value).contains("text/html")
    });
    let greeting = greeting.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (status, kind, body) = match request.path {
        Some("/") if browser => (greeting.status(), "text/html; charset=utf-8", page::html(KEY, &greeting)),
        Some("/") => (greeting.status(), "text/plain; charset=utf-8", page::text(KEY, &greeting)),
        _ => ("404 Not Found", "text/plain; charset=utf-8", "There is only one page here: /\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut visitor = visitor;
    visitor.write_all((head + &body).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{PORT, port};

    #[test]
    fn the_port_is_what_the_environment_says_or_8080() {
        assert_eq!(port(None).expect("default"), PORT);
        assert_eq!(port(Some("8081")).expect("number"), 8081);
        for wrong in ["0", "65536", "http", ""] {
            assert!(port(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
