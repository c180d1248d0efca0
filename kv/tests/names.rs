//! Names of members looked up at a name server on loopback, by UDP and TCP.
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use hull_kv::names::Names;
use tempfile::TempDir;

/// What a lookup may take in these tests.
const PATIENCE: Duration = Duration::from_secs(2);

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

const NOTHING: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
/// Not a code: the answer does not fit into a datagram.
const TRUNCATED: u16 = 0x0200;

/// A code, and records of the name asked for.
type Answer = (u16, Vec<(u16, Vec<u8>)>);

/// What the server says to a name, a type and whether it is on a connection.
type Says = fn(&str, u16, Transport) -> Answer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// A name server, the files that name it, and what it was asked.
struct Server {
    folder: TempDir,
    port: u16,
    asked: Arc<Mutex<Vec<(String, u16, Transport)>>>,
}

impl Server {
    /// A server on 127.0.0.1, and the two files.
    fn start(says: Says, hosts: &str, resolv_conf: &str) -> Self {
        let (socket, listener) = both_on_one_port();
        let port = listener.local_addr().expect("an address").port();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("hosts"), hosts).expect("write");
        std::fs::write(folder.path().join("resolv.conf"), resolv_conf).expect("write");
        let asked = Arc::default();
        let server = Self { folder, port, asked: Arc::clone(&asked) };
        let asked_udp = Arc::clone(&asked);
        thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let answer = answer(&bytes[..length], says, Transport::Udp, &asked_udp);
                // Two that are none come before it: of another id, and of another question.
                for at in [0, 14] {
                    let mut other = answer.clone();
                    other[at] ^= 1;
                    let end = other.len() - 1;
                    other[end] ^= 0xff;
                    socket.send_to(&other, from).expect("send");
                }
                socket.send_to(&answer, from).expect("send");
            }
        });
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("read");
                let mut bytes = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut bytes).expect("read");
                let answer = answer(&bytes, says, Transport::Tcp, &asked);
                stream.write_all(&u16::try_from(answer.len()).expect("short").to_be_bytes()).expect("write");
                stream.write_all(&answer).expect("write");
            }
        });
        server
    }

    fn names(&self) -> Names {
        Names {
            hosts: self.folder.path().join("hosts"),
            resolv_conf: self.folder.path().join("resolv.conf"),
            port: self.port,
        }
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, (ErrorKind, String)> {
        let found = self.names().resolve(host, 2380, PATIENCE).await;
        let mut found: Vec<IpAddr> = found
            .map_err(|error| (error.kind(), error.to_string()))?
            .iter()
            .inspect(|address| assert_eq!(address.port(), 2380))
            .map(SocketAddr::ip)
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Names asked for addresses of IPv4, in order.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("lock");
        asked.iter().filter(|(_, type_, _)| *type_ == A).map(|(name, ..)| name.clone()).collect()
    }
}

/// A datagram's socket and a connection's on the same free port of loopback.
fn both_on_one_port() -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().expect("an address")) {
            return (socket, listener);
        }
    }
}

fn answer(bytes: &[u8], says: Says, transport: Transport, asked: &Mutex<Vec<(String, u16, Transport)>>) -> Vec<u8> {
    let (mut name, mut at) = (Vec::new(), 12);
    while bytes[at] != 0 {
        let end = at + 1 + usize::from(bytes[at]);
        name.push(String::from_utf8_lossy(&bytes[at + 1..end]).into_owned());
        at = end;
    }
    let (name, type_) = (name.join("."), u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]));
    let (code, records) = says(&name, type_, transport);
    asked.lock().expect("lock").push((name, type_, transport));
    let count = u16::try_from(records.len()).expect("few");
    let mut answer = bytes[..2].to_vec();
    answer.extend([0x8180 | code, 1, count, 0, 0].map(u16::to_be_bytes).concat());
    answer.extend(&bytes[12..at + 5]);
    // A name that the question's stands for comes first, and what follows is its own.
    let mut owner = vec![0xc0, 12];
    for (type_, data) in records {
        answer.extend(&owner);
        answer.extend([type_, 1, 0, 60, u16::try_from(data.len()).expect("short")].map(u16::to_be_bytes).concat());
        answer.extend(&data);
        if type_ == CNAME {
            owner = data;
        }
    }
    answer
}

fn address(text: &str) -> (u16, Vec<u8>) {
    match text.parse().expect("an address") {
        IpAddr::V4(address) => (A, address.octets().to_vec()),
        IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
    }
}

fn ips(texts: &[&str]) -> Result<Vec<IpAddr>, (ErrorKind, String)> {
    Ok(texts.iter().map(|text| text.parse().expect("an address")).collect())
}

/// `db.example.org` has addresses, `alias.example.org` is another name of it, the rest is nobody.
fn example(name: &str, type_: u16, transport: Transport) -> Answer {
    let records =
        |found: &[&str]| -> Vec<_> { found.iter().map(|text| address(text)).filter(|(of, _)| *of == type_).collect() };
    match name {
        "db.example.org" => (NOTHING, records(&["10.0.0.1", "10.0.0.2", "2001:db8::1"])),
        "four.example.org" => (NOTHING, records(&["10.0.0.4"])),
        "six.example.org" => (NOTHING, records(&["2001:db8::6"])),
        "none.example.org" => (NOTHING, vec![]),
        "alias.example.org" => {
            let alias = (CNAME, b"\x02db\x07example\x03org\0".to_vec());
            (NOTHING, std::iter::once(alias).chain(records(&["10.0.0.1"])).collect())
        }
        "large.example.org" if transport == Transport::Udp => (TRUNCATED, vec![]),
        "large.example.org" => {
            let many: Vec<String> = (0..200).map(|last| format!("10.0.1.{last}")).collect();
            (NOTHING, many.iter().map(|text| address(text)).filter(|(of, _)| *of == type_).collect())
        }
        "broken.example.org" => (SERVFAIL, vec![]),
        "half.example.org" if type_ == A => (NOTHING, vec![]),
        "half.example.org" => (SERVFAIL, vec![]),
        "fourth.example.org" if type_ == A => (NOTHING, vec![address("10.0.0.4")]),
        "fourth.example.org" => (SERVFAIL, vec![]),
        "here.example.org" => (NOTHING, records(&["127.0.0.1", "127.0.0.2"])),
        _ => (NXDOMAIN, vec![]),
    }
}

const CONF: &str = "nameserver 127.0.0.1\n";

#[tokio::test]
async fn both_kinds_of_addresses_are_found_and_other_answers_passed_over() {
    let server = Server::start(example, "", CONF);
    assert_eq!(server.resolve("db.example.org").await, ips(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]));
    assert_eq!(server.resolve("four.example.org").await, ips(&["10.0.0.4"]));
    assert_eq!(server.resolve("SIX.example.org.").await, ips(&["2001:db8::6"]));
}

#[tokio::test]
async fn a_name_that_stands_for_another_has_its_addresses() {
    let server = Server::start(example, "", CONF);
    assert_eq!(server.resolve("alias.example.org").await, ips(&["10.0.0.1"]));
}

#[tokio::test]
async fn a_short_name_is_looked_for_below_every_suffix() {
    let server = Server::start(example, "", "nameserver 127.0.0.1\nsearch a.net none.net example.org b.net");
    assert_eq!(server.resolve("db").await, ips(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]));
    assert_eq!(server.asked(), ["db.a.net", "db.none.net", "db.example.org"]);
}

#[tokio::test]
async fn a_name_without_an_address_is_looked_for_below_the_next_suffix_and_the_server_is_named() {
    let server = Server::start(example, "", "nameserver 127.0.0.1\nsearch example.org net");
    let error = "look up none: 127.0.0.1 knows no address of it".to_owned();
    assert_eq!(server.resolve("none").await, Err((ErrorKind::NotFound, error)));
    assert_eq!(server.asked(), ["none.example.org", "none.net", "none"]);
    server.resolve("none.").await.expect_err("it has none");
    assert_eq!(server.asked()[3..], ["none"]);
}

#[tokio::test]
async fn an_answer_too_large_for_a_datagram_comes_on_a_connection() {
    let server = Server::start(example, "", CONF);
    // Of two hundred addresses, as many as are worth a try.
    assert_eq!(server.resolve("large.example.org").await.map(|found| found.len()), Ok(16));
    let asked = server.asked.lock().expect("lock").clone();
    assert!(asked.contains(&("large.example.org".into(), A, Transport::Udp)), "{asked:?}");
    assert!(asked.contains(&("large.example.org".into(), A, Transport::Tcp)), "{asked:?}");
}

#[tokio::test]
async fn connections_alone_are_made_where_the_settings_say_so_and_no_aaaa_is_asked_for() {
    let server = Server::start(example, "", "nameserver 127.0.0.1\noptions use-vc no-aaaa");
    assert_eq!(server.resolve("db.example.org").await, ips(&["10.0.0.1", "10.0.0.2"]));
    assert_eq!(*server.asked.lock().expect("lock"), [("db.example.org".into(), A, Transport::Tcp)]);
}

#[tokio::test]
async fn who_is_silent_is_passed_over_in_time_and_asked_last_from_then_on() {
    let server = Server::start(example, "", "nameserver 127.0.0.2\nnameserver 127.0.0.1\nsearch a.net example.org");
    let silent = UdpSocket::bind(("127.0.0.2", server.port)).expect("bind");
    let begun = Instant::now();
    assert_eq!(server.resolve("four").await, ips(&["10.0.0.4"]));
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(server.asked(), ["four.a.net", "four.example.org"]);
    silent.set_nonblocking(true).expect("no waiting");
    let heard = std::iter::from_fn(|| silent.recv(&mut [0; 512]).ok()).count();
    assert_eq!(heard, 2, "one question of each kind, for the first name only");
}

#[tokio::test]
async fn who_is_not_there_is_passed_over_at_once() {
    let server = Server::start(example, "", "nameserver 127.0.0.2\nnameserver 127.0.0.1");
    assert_eq!(server.resolve("four.example.org").await, ips(&["10.0.0.4"]));
}

#[tokio::test]
async fn servers_that_are_all_silent_are_waited_for_as_long_as_there_is_patience() {
    let server = Server::start(example, "", "nameserver 127.0.0.2");
    let _silent = UdpSocket::bind(("127.0.0.2", server.port)).expect("bind");
    let begun = Instant::now();
    let (kind, error) = server.resolve("db.example.org").await.expect_err("nobody answers");
    assert!((PATIENCE / 2..PATIENCE * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(kind, ErrorKind::TimedOut);
    assert!(error.starts_with("look up db.example.org: 127.0.0.2 has not answered within "), "{error}");
}

#[tokio::test]
async fn a_server_that_fails_is_named_with_its_code_and_no_other_name_is_tried() {
    let server = Server::start(example, "", "nameserver 127.0.0.1\nsearch example.org b.net\noptions attempts:2");
    let (_, error) = server.resolve("broken").await.expect_err("it fails");
    assert_eq!(error, "look up broken: 127.0.0.1 says SERVFAIL");
    assert_eq!(server.asked(), ["broken.example.org", "broken.example.org"]);
    let (_, error) = server.resolve("half").await.expect_err("half of it fails");
    assert_eq!(error, "look up half: 127.0.0.1 says SERVFAIL");
    assert_eq!(server.resolve("fourth").await, ips(&["10.0.0.4"]), "half an answer with an address is one");
}

#[tokio::test]
async fn what_stands_in_the_file_of_hosts_is_asked_of_nobody() {
    let server = Server::start(example, "10.9.9.9 DB.example.org db\n::9 db\n10.0.0.7 localhost\n", CONF);
    assert_eq!(server.resolve("db.example.org").await, ips(&["10.9.9.9"]));
    assert_eq!(server.resolve("db").await, ips(&["10.9.9.9", "::9"]));
    assert_eq!(server.resolve("localhost").await, ips(&["10.0.0.7"]));
    assert_eq!(server.resolve("db.localhost").await, ips(&["127.0.0.1", "::1"]));
    assert_eq!(server.resolve("192.0.2.1").await, ips(&["192.0.2.1"]));
    assert_eq!(server.resolve("2001:db8::2").await, ips(&["2001:db8::2"]));
    let (kind, error) = server.resolve("a b").await.expect_err("no name");
    assert_eq!((kind, error.as_str()), (ErrorKind::InvalidInput, "look up a b: neither an address nor a host's name"));
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn a_zone_is_an_interface_by_number_or_name() {
    let names = Names::default();
    for address in ["fe80::1%1", "fe80::1%lo"] {
        let found = names.resolve(address, 1, PATIENCE).await.expect("an address");
        assert_eq!(found, ["[fe80::1%1]:1".parse().expect("an address")], "{address}");
    }
    let error = names.resolve("fe80::1%nowhere", 1, PATIENCE).await.expect_err("no interface");
    assert!(error.to_string().starts_with("look up fe80::1%nowhere: fe80::1%nowhere: No such device"), "{error}");
}

#[tokio::test]
async fn files_that_are_not_there_are_empty_and_those_that_cannot_be_read_are_named() {
    let server = Server::start(example, "", "");
    let mut names = server.names();
    names.hosts = "/nowhere".into();
    names.resolv_conf = "/nowhere".into();
    let found = names.resolve("four.example.org", 1, PATIENCE).await.expect("this machine is asked");
    assert_eq!(found, ["10.0.0.4:1".parse().expect("an address")]);
    names.resolv_conf = server.folder.path().into();
    let error = names.resolve("four.example.org", 1, PATIENCE).await.expect_err("a folder");
    assert!(error.to_string().contains(&format!("read {}: ", server.folder.path().display())), "{error}");
}

#[tokio::test]
async fn the_first_address_that_takes_the_connection_is_connected_to() {
    let server = Server::start(example, "127.0.0.1 one\n", CONF);
    let listener = TcpListener::bind("127.0.0.2:0").expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let stream = server.names().connect(&format!("here.example.org:{port}"), PATIENCE).await.expect("connect");
    assert_eq!(stream.peer_addr().expect("an address"), listener.local_addr().expect("an address"));
    drop((stream, listener));
    let connect = async |to: &str| {
        let error = server.names().connect(to, PATIENCE).await.expect_err("nobody listens");
        (error.kind(), error.to_string())
    };
    let refused = "Connection refused (os error 111)";
    let at = format!("127.0.0.1:{port}");
    assert_eq!(connect(&at).await, (ErrorKind::ConnectionRefused, refused.to_owned()), "the address was said already");
    assert_eq!(connect(&format!("one:{port}")).await, (ErrorKind::ConnectionRefused, format!("{at}: {refused}")));
    assert_eq!(connect("one").await, (ErrorKind::InvalidInput, "host:port was expected".to_owned()));
    assert!(TcpStream::connect(&at).is_err(), "nobody listens there");
}
