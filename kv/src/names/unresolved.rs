//! Why a name has no address, said with the name and who was asked.
use std::{error::Error, fmt, io, path::PathBuf, time::Duration};

use super::{NoAnswer, host::Address};

/// A name without an address.
pub(super) struct Unresolved {
    name: String,
    why: Why,
}

/// Why it has none.
pub(super) enum Why {
    /// No name server could know such a name.
    NoName,
    /// This server says so.
    Unknown(Address),
    /// This server has not answered in this time.
    Silence(Address, Duration),
    /// This server's answer is none.
    Answer(Address, NoAnswer),
    /// This server could not be asked.
    Connection(Address, io::Error),
    /// The network interface behind this address.
    Zone(Address, io::Error),
    /// A file that could not be read.
    File(PathBuf, io::Error),
    /// The kernel has no random numbers for us.
    Random(io::Error),
}

impl Unresolved {
    pub(super) fn new(name: &str, why: Why) -> Self {
        Self { name: name.to_owned(), why }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("neither an address nor a host's name"),
            Self::Unknown(server) => write!(f, "{server} knows no address of it"),
            Self::Silence(server, time) => write!(f, "{server} has not answered within {} ms", time.as_millis()),
            Self::Answer(server, why) => write!(f, "{server} {why}"),
            Self::Connection(server, error) => write!(f, "ask {server}: {error}"),
            Self::Zone(address, error) => write!(f, "{address}: {error}"),
            Self::File(path, error) => write!(f, "read {}: {error}", path.display()),
            Self::Random(error) => write!(f, "draw random numbers: {error}"),
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("answers another question"),
            Self::Truncated => f.write_str("sends half an answer"),
            Self::NoSuchName | Self::NoAddress => f.write_str("knows no address of it"),
            Self::KnowsNobody => f.write_str("knows nothing and asks nobody"),
            // The names of RFC 1035 (4.1.1) and RFC 2136 (2.2).
            Self::Code(1) => f.write_str("says FORMERR"),
            Self::Code(2) => f.write_str("says SERVFAIL"),
            Self::Code(4) => f.write_str("says NOTIMP"),
            Self::Code(5) => f.write_str("says REFUSED"),
            Self::Code(code) => write!(f, "says code {code}"),
            Self::Damaged => f.write_str("sends a damaged answer"),
        }
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "look up {}: {}", self.name, self.why)
    }
}

/// The same words: nobody takes it apart, and its parts' own would be 3 kB of the program.
impl fmt::Debug for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Unresolved {}

impl From<Unresolved> for io::Error {
    fn from(unresolved: Unresolved) -> Self {
        let kind = match &unresolved.why {
            Why::NoName => io::ErrorKind::InvalidInput,
            Why::Unknown(_) => io::ErrorKind::NotFound,
            Why::Silence(..) => io::ErrorKind::TimedOut,
            Why::Answer(..) => io::ErrorKind::InvalidData,
            Why::Connection(_, error) | Why::Zone(_, error) | Why::File(_, error) | Why::Random(error) => error.kind(),
        };
        Self::new(kind, unresolved)
    }
}
