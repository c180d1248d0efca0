//! A real etcd, where one is installed.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]
use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use etcd_client::{Client, GetOptions};

pub struct Etcd {
    child: Child,
    pub port: u16,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

impl Etcd {
    /// `None` where it is not installed.
    pub fn start(folder: &Path) -> Option<Self> {
        let (clients, peers) = (port(), port());
        let url = |port| format!("http://127.0.0.1:{port}");
        let child = Command::new("etcd")
            .args(["--data-dir".as_ref(), folder.as_os_str()])
            .args(["--listen-client-urls", &url(clients), "--advertise-client-urls", &url(clients)])
            .args(["--listen-peer-urls", &url(peers), "--initial-advertise-peer-urls", &url(peers)])
            .args(["--initial-cluster", &format!("default={}", url(peers)), "--log-level", "error"])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { child, port: clients })
    }

    pub async fn client(&self) -> Client {
        loop {
            if let Ok(mut client) = Client::connect([format!("127.0.0.1:{}", self.port)], None).await
                && client.get("", Some(GetOptions::new().with_all_keys())).await.is_ok()
            {
                return client;
            }
        }
    }
}
