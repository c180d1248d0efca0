//! Starts servers as plain programs with etcd's flags, and looks at them through /proc.
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Instant,
};

use hull_kv_proto::{client::connect, etcdserverpb::StatusRequest};
use tempfile::TempDir;

use crate::{
    Outcome,
    limits::{LOOK, PATIENCE},
};

/// A program to measure.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
}

impl Subject {
    /// `NAME=PROGRAM`
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let (name, program) = text.split_once('=').ok_or_else(|| format!("--subject {text}: expected NAME=PROGRAM"))?;
        Ok(Self { name: name.to_owned(), program: program.into() })
    }
}

/// One running server.
#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    client: u16,
    peer: u16,
    folder: PathBuf,
    process: Option<Child>,
}

/// Running servers, killed when this goes.
#[derive(Debug)]
pub(crate) struct Cluster {
    subject: Subject,
    pub(crate) members: Vec<Member>,
    /// Puts strace(1) in front, which writes its counts there.
    trace: Option<PathBuf>,
    _scratch: TempDir,
}

impl Cluster {
    /// Starts a fresh cluster and waits until it has a leader.
    pub(crate) fn start(subject: &Subject, members: usize, scratch: &Path) -> Outcome<Self> {
        Self::start_traced(subject, members, scratch, None)
    }

    /// Like [`Cluster::start`], under `strace -c`.
    pub(crate) fn start_traced(
        subject: &Subject,
        count: usize,
        scratch: &Path,
        trace: Option<PathBuf>,
    ) -> Outcome<Self> {
        let folder = tempfile::tempdir_in(scratch)?;
        let mut members = Vec::new();
        let reserved = ports(2 * count)?;
        for (index, pair) in reserved.chunks(2).enumerate() {
            let name = format!("m{index}");
            let data = folder.path().join(&name);
            members.push(Member { name, client: pair[0], peer: pair[1], folder: data, process: None });
        }
        let mut cluster = Self { subject: subject.clone(), members, trace, _scratch: folder };
        for index in 0..count {
            cluster.spawn(index)?;
        }
        cluster.wait()?;
        Ok(cluster)
    }

    /// Starts (again) one member.
    pub(crate) fn spawn(&mut self, index: usize) -> Outcome<()> {
        let all: Vec<String> = self.members.iter().map(|m| format!("{}=http://127.0.0.1:{}", m.name, m.peer)).collect();
        let member = &mut self.members[index];
        let (client, peer) =
            (format!("http://127.0.0.1:{}", member.client), format!("http://127.0.0.1:{}", member.peer));
        let mut command = match &self.trace {
            Some(file) => {
                let mut command = Command::new("strace");
                command.args(["-f", "-c", "-e", "trace=fsync,fdatasync", "-o"]).arg(file).arg(&self.subject.program);
                command
            }
            None => Command::new(&self.subject.program),
        };
        command
            .args(["--name", &member.name, "--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg("--data-dir")
            .arg(&member.folder)
            // etcd only: what it says costs time.
            .env("ETCD_LOG_LEVEL", "error")
            .env("ETCD_LOGGER", "zap")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(member.folder.with_extension("log"))?);
        let started = command.spawn().map_err(|error| format!("start {}: {error}", self.subject.program.display()))?;
        member.process = Some(started);
        Ok(())
    }

    /// Until every running member knows a leader.
    pub(crate) fn wait(&mut self) -> Outcome<()> {
        let begun = Instant::now();
        for index in 0..self.members.len() {
            while self.leader_as_seen_by(index).unwrap_or(0) == 0 {
                let member = &mut self.members[index];
                if let Some(status) = member.process.as_mut().and_then(|process| process.try_wait().transpose()) {
                    let log = fs::read_to_string(member.folder.with_extension("log")).unwrap_or_default();
                    return Err(format!("{} ended: {status:?}\n{log}", self.subject.name).into());
                }
                if begun.elapsed() > PATIENCE {
                    return Err(format!("{}: no leader after {PATIENCE:?}", self.subject.name).into());
                }
                sleep(LOOK);
            }
        }
        Ok(())
    }

    /// The leader's id, 0 for none.
    fn leader_as_seen_by(&self, index: usize) -> Outcome<u64> {
        Ok(self.status(index)?.leader)
    }

    fn status(&self, index: usize) -> Outcome<hull_kv_proto::etcdserverpb::StatusResponse> {
        let endpoint = format!("127.0.0.1:{}", self.members[index].client);
        runtime()?.block_on(async {
            let mut store = connect(&endpoint).await?;
            Ok(store.maintenance.status(StatusRequest {}).await?.into_inner())
        })
    }

    /// Which member leads.
    pub(crate) fn leader(&self) -> Outcome<usize> {
        for index in (0..self.members.len()).filter(|index| self.members[*index].process.is_some()) {
            let status = self.status(index)?;
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                return Ok(index);
            }
        }
        Err("no member leads".into())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, index: usize) -> Outcome<()> {
        if let Some(mut process) = self.members[index].process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self, index: usize) -> Outcome<()> {
        if let Some(mut process) = self.members[index].process.take() {
            let mut pid = process.id();
            if self.trace.is_some() {
                // strace passes no signal on; what it started is its child.
                let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
                pid = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(pid);
            }
            let pid = rustix::process::Pid::from_raw(pid as i32).ok_or("a process without a number")?;
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            process.wait()?;
        }
        Ok(())
    }

    /// For the tool's `--endpoints`.
    pub(crate) fn endpoints(&self) -> String {
        let all: Vec<String> = self.members.iter().map(Member::endpoint).collect();
        all.join(",")
    }

    /// Processor time of all members so far, user and system, in ms.
    pub(crate) fn processor_ms(&self) -> Outcome<u64> {
        /// Clock ticks a second that /proc counts in: 100 on every Linux (proc_pid_stat(5), sysconf(_SC_CLK_TCK)).
        const TICK_MS: u64 = 10;
        let mut sum = 0;
        for pid in self.pids() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // Fields 14 and 15; the second one may hold anything, up to the last parenthesis.
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            sum += rest.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum::<u64>();
        }
        Ok(sum * TICK_MS)
    }

    /// Resident memory of all members, in bytes.
    pub(crate) fn resident(&self) -> Outcome<u64> {
        let mut sum = 0;
        for pid in self.pids() {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
            sum += line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024;
        }
        Ok(sum)
    }

    /// Space that the members' folders take on the disk, in bytes.
    pub(crate) fn on_disk(&self) -> Outcome<u64> {
        self.members.iter().map(|member| usage(&member.folder)).sum()
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().filter_map(|member| member.process.as_ref().map(Child::id))
    }
}

impl Member {
    /// `127.0.0.1:PORT`
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..self.members.len() {
            let _ = self.kill(index); // it may have ended by itself
        }
    }
}

/// For the few calls that are made here.
pub(crate) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Ports that were free a moment ago.
fn ports(count: usize) -> Outcome<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    Ok(listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()?)
}

fn usage(folder: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt as _;
    /// stat(2) counts blocks of 512 bytes.
    const BLOCK: u64 = 512;
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { usage(&entry.path())? } else { metadata.blocks() * BLOCK };
    }
    Ok(sum)
}
