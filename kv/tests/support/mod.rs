//! Runs the real program in a folder of its own, on loopback and a unix socket.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

pub struct Member {
    child: Child,
    pub port: u16,
    folder: PathBuf,
}

/// A member that has not told yet that it serves.
pub struct Starting {
    pub member: Member,
    ready: UnixDatagram,
}

impl Starting {
    /// Waits until it tells that it serves.
    pub fn ready(self) -> Member {
        let mut message = [0; 256];
        let length = self.ready.recv(&mut message).expect("a message");
        assert!(message[..length].starts_with(b"READY=1"));
        self.member
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

impl Member {
    /// Starts the program and returns once it has told that it serves.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    pub fn start_with(folder: &Path, flags: &[&str]) -> Self {
        Self::spawn(folder, free_port(), flags).ready()
    }

    /// Starts the program without waiting for it: members of one cluster wait for each other.
    pub fn spawn(folder: &Path, port: u16, flags: &[&str]) -> Starting {
        let notify = folder.join("notify");
        let _ = std::fs::remove_file(&notify);
        let ready = UnixDatagram::bind(&notify).expect("notify socket");
        let child = Command::new(env!("CARGO_BIN_EXE_hull-kv"))
            .args(["--data-dir".as_ref(), folder.join("data").as_os_str()])
            .args(["--listen-client-urls", &format!("http://127.0.0.1:{port}")])
            .args(["--socket".as_ref(), folder.join("kv.sock").as_os_str()])
            .args(flags)
            .env("NOTIFY_SOCKET", &notify)
            .stderr(std::fs::File::create(folder.join("log")).expect("log"))
            .spawn()
            .expect("start");
        Starting { member: Self { child, port, folder: folder.to_owned() }, ready }
    }

    /// Starts the program as a service manager does that passes a bound socket as descriptor 3; answers a connection to
    /// that socket, too. A shell moves the descriptor, since a test may not run code between fork and exec.
    pub fn start_passed(folder: &Path, path: &Path, bound: UnixListener) -> (UnixStream, Self) {
        let notify = folder.join("notify");
        let ready = UnixDatagram::bind(&notify).expect("notify socket");
        let child = Command::new("sh")
            .args(["-c", "exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$0\" \"$@\" 3<&0 0</dev/null"])
            .arg(env!("CARGO_BIN_EXE_hull-kv"))
            .args(["--data-dir".as_ref(), folder.join("data").as_os_str()])
            .args(["--listen-client-urls", &format!("http://127.0.0.1:{}", free_port())])
            .args(["--socket".as_ref(), path.as_os_str()])
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::from(OwnedFd::from(bound)))
            .spawn()
            .expect("start");
        let member = Self { child, port: 0, folder: folder.to_owned() };
        ready.recv(&mut [0; 256]).expect("a message");
        (UnixStream::connect(path).expect("connect"), member)
    }

    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("kv.sock")
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// The process' number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// SIGSTOP: it lives, and does nothing.
    pub fn freeze(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::STOP).expect("signal");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::CONT).expect("signal");
    }

    /// Waits until it ends by itself; answers whether it ended well, and what it said.
    pub fn ended(mut self) -> (bool, String) {
        let well = self.child.wait().expect("wait").success();
        (well, std::fs::read_to_string(self.folder.join("log")).expect("log"))
    }

    /// SIGTERM; answers whether it ended well.
    pub fn stop(mut self) -> bool {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).expect("signal");
        self.child.wait().expect("wait").success()
    }

    /// One HTTP/1.1 exchange; answers the head and the body.
    pub fn http(&self, method: &str, path: &str, body: &str) -> (String, String) {
        self.http_with(method, path, "", body)
    }

    /// The same with more header lines, each with its line end.
    pub fn http_with(&self, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.endpoint()).expect("connect");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    /// Sends a request and answers the stream to read the answer from.
    pub fn http_stream(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.endpoint()).expect("connect");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .expect("send");
        stream
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
