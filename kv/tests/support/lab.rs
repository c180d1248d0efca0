//! Members in network namespaces of their own, joined by a bridge (ip-netns(8), bridge(8)), each with a small disk of its own
//! (tmpfs(5)). Clients reach them by their unix sockets, which no broken network holds up.
#![allow(missing_docs, unreachable_pub, reason = "one test uses it")]
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Members of the cluster.
pub const MEMBERS: usize = 3;

/// Each member's disk (bytes): a few segments of log fit.
const DISK: &str = "size=160m";

/// Namespaces, disks and members.
pub struct Lab {
    folder: TempDir,
    members: [Mutex<Option<Child>>; MEMBERS],
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn space(at: usize) -> String {
    format!("hull-faults-{}-{at}", std::process::id())
}

/// The bridge is in a namespace of its own, too.
const SWITCH: usize = MEMBERS;

fn in_space(at: usize, args: &[&str]) -> Result<(), String> {
    let name = space(at);
    run("ip", &[&["-n", &name], args].concat())
}

fn address(at: usize) -> String {
    format!("10.77.0.{}", at + 1)
}

impl Lab {
    /// # Errors
    /// Why there can be no namespaces here.
    pub fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let lab = Self { folder, members: Default::default() };
        (0..=SWITCH).try_for_each(|at| run("ip", &["netns", "add", &space(at)]))?;
        in_space(SWITCH, &["link", "add", "bridge", "type", "bridge"])?;
        in_space(SWITCH, &["link", "set", "bridge", "up"])?;
        for at in 0..MEMBERS {
            let (port, here) = (format!("port{at}"), space(at));
            in_space(SWITCH, &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &here])?;
            in_space(SWITCH, &["link", "set", &port, "master", "bridge", "up"])?;
            in_space(at, &["address", "add", &format!("{}/24", address(at)), "dev", "eth0"])?;
            in_space(at, &["link", "set", "eth0", "up"])?;
            in_space(at, &["link", "set", "lo", "up"])?;
            let disk = lab.disk(at);
            fs::create_dir(&disk).map_err(|error| error.to_string())?;
            run("mount", &["-t", "tmpfs", "-o", DISK, "tmpfs", &disk.display().to_string()])?;
        }
        Ok(lab)
    }

    fn disk(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("disk{at}"))
    }

    fn socket(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("m{at}.sock"))
    }

    pub fn start(&self, at: usize) {
        let url = |at: usize| format!("http://{}:2380", address(at));
        let list: Vec<String> = (0..MEMBERS).map(|at| format!("m{at}={}", url(at))).collect();
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join(format!("m{at}.log")));
        let child = Command::new("ip")
            .args(["netns", "exec", &space(at), env!("CARGO_BIN_EXE_hull-kv")])
            .args(["--name", &format!("m{at}"), "--initial-cluster", &list.join(",")])
            .args(["--data-dir".as_ref(), self.disk(at).join("data").as_os_str()])
            .args(["--socket".as_ref(), self.socket(at).as_os_str()])
            .stdin(Stdio::null())
            .stderr(log.expect("log"))
            .spawn()
            .expect("start");
        *self.members[at].lock().expect("member") = Some(child);
    }

    fn signal(&self, at: usize, signal: Signal) {
        if let Some(child) = &*self.members[at].lock().expect("member") {
            kill_process(Pid::from_child(child), signal).expect("signal");
        }
    }

    /// SIGKILL.
    pub fn kill(&self, at: usize) {
        if let Some(mut child) = self.members[at].lock().expect("member").take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// SIGSTOP.
    pub fn freeze(&self, at: usize) {
        self.signal(at, Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self, at: usize) {
        self.signal(at, Signal::CONT);
    }

    /// Nothing reaches the member or comes from it any more.
    pub fn cut_off(&self, at: usize) {
        in_space(SWITCH, &["link", "set", &format!("port{at}"), "down"]).expect("cut off");
    }

    /// The cable is in again.
    pub fn join(&self, at: usize) {
        in_space(SWITCH, &["link", "set", &format!("port{at}"), "up"]).expect("join");
    }

    /// Takes every free byte of the member's disk.
    pub fn fill_disk(&self, at: usize) {
        let mut filler = fs::File::create(self.disk(at).join("filler")).expect("filler");
        let piece = vec![1; 64 * 1024];
        while filler.write_all(&piece).is_ok() {}
    }

    /// Gives the room back.
    pub fn empty_disk(&self, at: usize) {
        fs::remove_file(self.disk(at).join("filler")).expect("filler");
    }

    /// One request to one member, by its unix socket; the status and body of the answer, if one comes in time.
    pub fn ask(&self, at: usize, method: &str, path: &str, body: &str, patience: Duration) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket(at)).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        stream.set_write_timeout(Some(patience)).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Who says that it leads.
    pub fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| {
            let answer = self.ask(*at, "GET", "/metrics", "", Duration::from_millis(500));
            answer.is_some_and(|(_, body)| body.contains("etcd_server_is_leader 1\n"))
        };
        (0..MEMBERS).find(leads)
    }

    /// Lowers the alarms of full disks, whoever raised them.
    pub fn disarm(&self) {
        let all = r#"{"action":"GET"}"#;
        for at in 0..MEMBERS {
            let Some((200, body)) = self.ask(at, "POST", "/v3/maintenance/alarm", all, Duration::from_secs(2)) else {
                continue;
            };
            for part in body.split(r#""memberID":""#).skip(1) {
                let id = part.split('"').next().unwrap_or_default();
                let lower = format!(r#"{{"action":"DEACTIVATE","memberID":"{id}","alarm":"NOSPACE"}}"#);
                let _ = self.ask(at, "POST", "/v3/maintenance/alarm", &lower, Duration::from_secs(2));
            }
            return;
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        for at in 0..MEMBERS {
            self.kill(at);
            if failed {
                let log = fs::read_to_string(self.folder.path().join(format!("m{at}.log"))).unwrap_or_default();
                eprintln!("--- m{at}\n{log}");
            }
            let _ = run("umount", &[&self.disk(at).display().to_string()]);
        }
        for at in 0..=SWITCH {
            let _ = run("ip", &["netns", "delete", &space(at)]);
        }
    }
}
