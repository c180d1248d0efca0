//! Runs the real program in a folder of its own, on loopback and a unix socket.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

pub struct Member {
    child: Child,
    pub port: u16,
    folder: PathBuf,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
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
        let port = free_port();
        let notify = folder.join("notify");
        let _ = std::fs::remove_file(&notify);
        let ready = UnixDatagram::bind(&notify).expect("notify socket");
        let child = Command::new(env!("CARGO_BIN_EXE_hull-kv"))
            .args(["--data-dir".as_ref(), folder.join("data").as_os_str()])
            .args(["--listen-client-urls", &format!("http://127.0.0.1:{port}")])
            .args(["--socket".as_ref(), folder.join("kv.sock").as_os_str()])
            .args(flags)
            .env("NOTIFY_SOCKET", &notify)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("start");
        let mut message = [0; 256];
        let length = ready.recv(&mut message).expect("a message");
        assert!(message[..length].starts_with(b"READY=1"));
        Self { child, port, folder: folder.to_owned() }
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

    /// SIGTERM; answers whether it ended well.
    pub fn stop(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
        self.child.wait().expect("wait").success()
    }

    /// One HTTP/1.1 exchange; answers the head and the body.
    pub fn http(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.endpoint()).expect("connect");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
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
