//! Clients that nobody here wrote: `etcdctl`, the crate `etcd-client`, plain HTTP.

use crate::limits::HTTP;
use crate::vm::Shell;
use etcd_client::{Client, Error};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The command `etcdctl` (Debian package `etcd-client`) pointed at one endpoint.
#[derive(Clone, Debug)]
pub struct Etcdctl {
    endpoint: String,
}

impl Etcdctl {
    /// For the store on port `port` of the loopback.
    pub fn new(port: u16) -> Self {
        Self { endpoint: format!("127.0.0.1:{port}") }
    }

    /// Runs it, with `input` on its standard input.
    ///
    /// # Panics
    /// When it is not installed.
    pub fn try_run(&self, arguments: &[&str], input: &str) -> Shell {
        let mut child = self
            .command(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("start etcdctl; install the package etcd-client");
        if let Some(mut pipe) = child.stdin.take() {
            use std::io::Write;
            let _ = pipe.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().expect("wait for etcdctl");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Shell { status: output.status.code().unwrap_or(-1), output: text.trim().to_owned() }
    }

    /// Runs it and gives its output.
    ///
    /// # Panics
    /// When it fails: with what it wrote.
    pub fn run(&self, arguments: &[&str]) -> String {
        let shell = self.try_run(arguments, "");
        assert_eq!(shell.status, 0, "etcdctl {}: {}", arguments.join(" "), shell.output);
        shell.output
    }

    /// Starts it and leaves it running: for watches. Its output is piped.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("start etcdctl; install the package etcd-client")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.endpoint))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }
}

/// The crate `etcd-client`, called from tests that are not async.
pub struct Store {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Store {
    /// Connects to the store on port `port` of the loopback.
    pub fn connect(port: u16) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime");
        let options = etcd_client::ConnectOptions::new()
            .with_connect_timeout(Duration::from_secs(20))
            .with_timeout(Duration::from_secs(60));
        let client = runtime.block_on(Client::connect([format!("http://127.0.0.1:{port}")], Some(options)))?;
        Ok(Self { runtime, client })
    }

    /// Runs an async piece of a test with the client.
    pub fn run<T, F: Future<Output = T>>(&self, piece: impl FnOnce(Client) -> F) -> T {
        self.runtime.block_on(piece(self.client.clone()))
    }

    /// Puts a key; gives the revision of the write.
    pub fn put(&self, key: &str, value: &str) -> Result<i64, Error> {
        let answer = self.run(|mut client| async move { client.put(key, value, None).await })?;
        Ok(answer.header().map_or(0, |header| header.revision()))
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Result<Option<String>, Error> {
        let answer = self.run(|mut client| async move { client.get(key, None).await })?;
        Ok(answer.kvs().first().map(|pair| String::from_utf8_lossy(pair.value()).into_owned()))
    }

    /// Deletes a key; gives how many there were.
    pub fn delete(&self, key: &str) -> Result<i64, Error> {
        let answer = self.run(|mut client| async move { client.delete(key, None).await })?;
        Ok(answer.deleted())
    }
}

/// `GET http://127.0.0.1:<port><path>`: status and body, or why there is no answer.
pub fn http_get(port: u16, path: &str) -> Result<(u16, String), String> {
    http_send("GET", port, path, "")
}

/// One HTTP request with a body: status and body of the answer, or why there is none.
pub fn http_send(method: &str, port: u16, path: &str, body: &str) -> Result<(u16, String), String> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(HTTP)).build().into();
    let url = format!("http://127.0.0.1:{port}{path}");
    let answer = match method {
        "GET" => agent.get(&url).call(),
        "DELETE" => agent.delete(&url).call(),
        "PUT" => agent.put(&url).send(body),
        _ => agent.post(&url).send(body),
    };
    let mut answer = answer.map_err(|error| format!("{method} {url}: {error}"))?;
    let text = answer.body_mut().read_to_string().map_err(|error| format!("{method} {url}: {error}"))?;
    Ok((answer.status().as_u16(), text))
}
