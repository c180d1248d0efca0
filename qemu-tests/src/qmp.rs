//! QEMU's machine protocol: the few commands that tests give from outside the guest.
//!
//! One JSON object a line; see QEMU's `docs/interop/qmp-spec`.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take to create its socket and to answer: seconds on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A session with one QEMU.
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

/// Why a command gave no answer.
#[derive(Debug)]
pub enum QmpError {
    /// The socket could not be opened, written or read.
    Socket(std::io::Error),
    /// What came was not JSON.
    Syntax(serde_json::Error),
    /// QEMU refused the command: its reason.
    Refused(String),
}

impl From<std::io::Error> for QmpError {
    fn from(error: std::io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<serde_json::Error> for QmpError {
    fn from(error: serde_json::Error) -> Self {
        Self::Syntax(error)
    }
}

impl Qmp {
    /// Opens the session on `socket`, which QEMU creates while it starts.
    pub fn connect(socket: &Path) -> Result<Self, QmpError> {
        let end = Instant::now() + DEADLINE;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= end => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut session = Self { stream: BufReader::new(stream) };
        session.read()?;
        session.execute("qmp_capabilities", json!({}))?;
        Ok(session)
    }

    /// Gives one command and waits for its answer; events in between are dropped.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{line}")?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                return Err(QmpError::Refused(error.to_string()));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Runs a command of QEMU's human monitor, for what has no command of its own here.
    pub fn monitor(&mut self, line: &str) -> Result<String, QmpError> {
        let value = self.execute("human-monitor-command", json!({ "command-line": line }))?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    fn read(&mut self) -> Result<Value, QmpError> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(QmpError::Socket(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(serde_json::from_str(&line)?)
    }
}
