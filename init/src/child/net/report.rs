//! What others get to know of the network: PID 1 by sd_notify(3), everybody by /run/hull/resolv.conf, people by /run/hull/net/.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

const RESOLV_CONF: &str = "/run/hull/resolv.conf";
const FOLDER: &str = "/run/hull/net";

/// What an interface has.
pub(super) struct Configured {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) dns: Vec<Ipv4Addr>,
}

/// Tells what changes.
pub(super) struct Report {
    interfaces: BTreeMap<String, Configured>,
    said_ready: Said,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    No,
    Yes,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { interfaces: BTreeMap::new(), said_ready: Said::No }
    }

    /// There is nothing to wait for.
    pub(super) fn ready(&self, status: &str) {
        notify(&format!("STATUS={status}\nREADY=1"));
    }

    /// Still without an address, because of `what`.
    pub(super) fn waiting(&self, what: &str) {
        if self.interfaces.is_empty() {
            notify(&format!("STATUS=no address: {what}"));
        }
    }

    /// An interface got an address, or lost it.
    pub(super) fn configured(&mut self, name: &str, what: Option<Configured>) {
        let file = Path::new(FOLDER).join(name);
        match what {
            Some(what) => {
                println!("{name}: {}/{}", what.address, what.prefix);
                let _ = fs::create_dir_all(FOLDER); // the write says what is wrong
                complain(&file, fs::write(&file, format!("{}/{}\n", what.address, what.prefix)));
                self.interfaces.insert(name.to_owned(), what);
            }
            None => {
                println!("{name}: no address any more");
                let _ = fs::remove_file(&file); // it may never have had one
                self.interfaces.remove(name);
            }
        }
        self.write_resolv_conf();
        self.tell();
    }

    fn tell(&mut self) {
        if self.interfaces.is_empty() {
            return notify("STATUS=no address");
        }
        let all: Vec<String> =
            self.interfaces.iter().map(|(name, what)| format!("{name} {}/{}", what.address, what.prefix)).collect();
        let ready = if self.said_ready == Said::No { "\nREADY=1" } else { "" };
        notify(&format!("STATUS={}{ready}", all.join(", ")));
        self.said_ready = Said::Yes;
    }

    fn write_resolv_conf(&self) {
        let mut servers: Vec<Ipv4Addr> = Vec::new();
        for server in self.interfaces.values().flat_map(|what| &what.dns) {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        let temporary = format!("{RESOLV_CONF}.new");
        complain(
            Path::new(RESOLV_CONF),
            fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, RESOLV_CONF)),
        );
    }
}

fn complain(path: &Path, result: std::io::Result<()>) {
    if let Err(error) = result {
        eprintln!("write {}: {error}; free some memory", path.display());
    }
}

/// One datagram to the supervisor, if there is one.
fn notify(text: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(text.as_bytes(), path));
    if let Err(error) = sent {
        eprintln!("notify PID 1: {error}");
    }
}
