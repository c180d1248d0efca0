//! One question to name servers, one after the other, until one of them answers.
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rustix::{
    net::{AddressFamily, SocketType, netdevice::name_to_index, socket},
    rand::{GetRandomFlags, getrandom},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout},
};

use super::{
    NoAnswer, Question, any,
    host::Address,
    settings::{First, Settings, Transport},
    share,
    unresolved::Why,
};

/// The longest answer by datagram that is read (bytes). Who does not say that it takes more gets 512 (RFC 1035, 2.3.4),
/// but some servers pass on what they got.
const DATAGRAM_BYTES: usize = 4096;

/// What a server said.
pub(super) struct Said {
    /// None if the name has none.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether anybody has the name.
    known: Known,
    /// Which one said it.
    pub(super) server: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

impl Said {
    /// Of what nobody was asked.
    pub(super) fn nothing() -> Self {
        Self { addresses: Vec::new(), known: Known::Yes, server: 0 }
    }

    /// What both answers about a name say together. Without one of them nothing is known, unless the other has
    /// addresses, or says that nobody has the name: else a short name would now and then mean another host, below a
    /// later suffix.
    pub(super) fn both(one: Result<Self, Why>, other: Result<Self, Why>) -> Result<Self, Why> {
        match (one, other) {
            (Ok(mut one), Ok(other)) => {
                one.addresses.extend(other.addresses);
                Ok(one)
            }
            (Ok(said), Err(why)) | (Err(why), Ok(said)) => {
                if said.addresses.is_empty() && said.known == Known::Yes {
                    Err(why)
                } else {
                    Ok(said)
                }
            }
            (Err(why), Err(_)) => Err(why),
        }
    }
}

/// What is in a server's message.
type Answer = Result<Vec<IpAddr>, NoAnswer>;

/// The servers, and how long there is time for them.
pub(super) struct Asked<'a> {
    settings: &'a Settings,
    port: u16,
    deadline: Instant,
    /// Who is asked first.
    first: usize,
}

impl<'a> Asked<'a> {
    pub(super) fn new(settings: &'a Settings, port: u16, deadline: Instant, random: u16) -> Self {
        let first = match settings.first {
            First::Listed => 0,
            First::Any => usize::from(random) % settings.servers.len(),
        };
        Self { settings, port, deadline, first }
    }

    /// Who has answered is asked first from now on: those before are silent.
    pub(super) fn begin_with(&mut self, server: usize) {
        self.first = server;
    }

    /// Asks them one after the other, each as often as the settings say and no longer than its share of the time.
    ///
    /// # Errors
    /// What kept the last of them from an answer.
    pub(super) async fn ask(&self, question: &Question) -> Result<Said, Why> {
        let servers = &self.settings.servers;
        let tries = servers.len() * self.settings.attempts;
        let mut last = Why::NoName;
        for done in 0..tries {
            let index = (self.first + done) % servers.len();
            let server = servers[index].clone();
            let share = share(self.deadline, tries - done).min(self.settings.timeout);
            let answer = timeout(share, self.ask_one(&server, question)).await;
            let said = |addresses, known| Ok(Said { addresses, known, server: index });
            last = match answer {
                Ok(Ok(Ok(addresses))) => return said(addresses, Known::Yes),
                Ok(Ok(Err(NoAnswer::NoAddress))) => return said(Vec::new(), Known::Yes),
                Ok(Ok(Err(NoAnswer::NoSuchName))) => return said(Vec::new(), Known::No),
                Ok(Ok(Err(why))) => Why::Answer(server, why),
                Ok(Err(error)) => Why::Connection(server, error),
                Err(_) => Why::Silence(server, share),
            };
        }
        Err(last)
    }

    /// Asks one server, once.
    async fn ask_one(&self, server: &Address, question: &Question) -> io::Result<Answer> {
        let server = socket_address(server, self.port)?;
        if self.settings.transport == Transport::Udp {
            let answer = by_datagram(server, question).await?;
            if answer != Err(NoAnswer::Truncated) {
                return Ok(answer);
            }
        }
        on_connection(server, question).await
    }
}

/// Asks from a port of its own, which the kernel draws, and with an id that nobody can guess. The kernel lets pass only
/// what comes from the server's address and port.
async fn by_datagram(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let id = random()?;
    let socket = UdpSocket::bind(any(server)).await?;
    socket.connect(server).await?;
    socket.send(&question.message(id)).await?;
    let mut bytes = vec![0; DATAGRAM_BYTES];
    loop {
        let length = socket.recv(&mut bytes).await?;
        match question.answer(id, &bytes[..length]) {
            // A late answer, or one that somebody has made up: the right one may still come.
            Err(NoAnswer::NotOurs) => {}
            answer => return Ok(answer),
        }
    }
}

/// Asks on a connection, where each message has its length in front (RFC 1035, 4.2.2).
async fn on_connection(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let id = random()?;
    let mut stream = TcpStream::connect(server).await?;
    let message = question.message(id);
    let mut bytes = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes).await?;
    bytes.resize(usize::from(stream.read_u16().await?), 0);
    stream.read_exact(&mut bytes).await?;
    Ok(question.answer(id, &bytes))
}

/// A number that nobody can guess.
pub(super) fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}

/// An address with its port; a zone is the number of a network interface, or its name.
///
/// # Errors
/// There is no such interface.
pub(super) fn socket_address(address: &Address, port: u16) -> io::Result<SocketAddr> {
    let mut found = SocketAddr::new(address.ip, port);
    if let (SocketAddr::V6(found), Some(zone)) = (&mut found, &address.zone) {
        found.set_scope_id(match zone.parse() {
            Ok(index) => index,
            Err(_) => name_to_index(socket(AddressFamily::INET6, SocketType::DGRAM, None)?, zone)?,
        });
    }
    Ok(found)
}
