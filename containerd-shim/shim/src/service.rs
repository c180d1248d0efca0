//! The task service: what is done with each call. What takes long goes to a performer; the rest is answered at once.

use std::os::fd::OwnedFd;
use std::path::Path;

use hull_oci_core::oci::plan::Leave;
use hull_runtime::cgroup::Freezing;
use hull_runtime::create::Keyring;
use hull_runtime::state::Folder;
use hull_runtime::{exchange, sys as kernel};
use prost::Message;

use crate::life::Life;
use crate::messages::event::TaskExecAdded;
use crate::messages::rpc::Request;
use crate::messages::task::{
    CloseIoRequest, ConnectResponse, CreateOptions, CreateTaskRequest, ExecProcessRequest, KillRequest, Options,
    PidsResponse, ProcessDetails, ProcessInfo, ProcessRequest, ResizePtyRequest, StateResponse, StatsResponse, Status,
    UpdateTaskRequest, WaitResponse,
};
use crate::messages::{Any, Empty};
use crate::perform::{self, Work};
use crate::refusal::{Code, Refusal};
use crate::shim::{Answer, Caller, Container, Job, JobKind, Others, Process, Shim};
use crate::stats;
use crate::stdio::{self, Behind, Io, Of, Opened, Streams, Tty};

/// The services, which have the same calls and messages: containerd up to 1.7 asks for the first one.
const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// What comes of opening the streams of a process.
struct Ready {
    streams: Streams,
    held: stdio::Held,
    /// The socket on which its terminal comes, what lies behind that, and the socket's other end.
    console: Option<(OwnedFd, Behind)>,
    theirs: Option<OwnedFd>,
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Refusal> {
    M::decode(bytes)
        .map_err(|error| Refusal::new(Code::InvalidArgument, format!("the request is no such message: {error}")))
}

fn empty() -> Answer {
    Answer::Now(Empty {}.encode_to_vec())
}

fn precondition(text: impl Into<String>) -> Refusal {
    Refusal::new(Code::FailedPrecondition, text)
}

impl Shim {
    /// Answers a call, or has it answered later.
    pub(crate) fn call(&mut self, caller: Caller, bytes: &[u8]) {
        let result = decode::<Request>(bytes).and_then(|request| {
            self.log.debug(|| format!("{} {}", request.service, request.method));
            match SERVICES.contains(&request.service.as_str()) {
                true => self.dispatch(caller, &request.method, &request.payload),
                false => Err(Refusal::new(Code::Unimplemented, format!("service {} is not served", request.service))),
            }
        });
        match result {
            Ok(Answer::Now(bytes)) => self.answer(caller, Ok(bytes)),
            Ok(Answer::Later) => {}
            Err(refusal) => self.answer(caller, Err(refusal)),
        }
    }

    fn dispatch(&mut self, caller: Caller, method: &str, bytes: &[u8]) -> Result<Answer, Refusal> {
        match method {
            "State" => self.state(&decode(bytes)?),
            "Create" => self.create(caller, decode(bytes)?),
            "Start" => self.start(caller, &decode(bytes)?),
            "Delete" => self.delete(caller, &decode(bytes)?),
            "Pids" => self.pids(&decode(bytes)?),
            "Pause" => self.freeze(caller, &decode(bytes)?, Freezing::Frozen),
            "Resume" => self.freeze(caller, &decode(bytes)?, Freezing::Thawed),
            "Kill" => self.kill(&decode(bytes)?),
            "Exec" => self.exec(decode(bytes)?),
            "ResizePty" => self.resize(&decode(bytes)?),
            "CloseIO" => self.close_io(&decode(bytes)?),
            "Update" => self.update(caller, &decode(bytes)?),
            "Wait" => self.wait(caller, &decode(bytes)?),
            "Stats" => self.stats(&decode(bytes)?),
            "Connect" => self.connect(&decode(bytes)?),
            "Shutdown" => Ok(self.shutdown()),
            "Checkpoint" => {
                let text = "checkpoint: out of scope: this runtime does not freeze containers to disk and thaw them";
                Err(Refusal::new(Code::Unimplemented, text))
            }
            other => Err(Refusal::new(Code::Unimplemented, format!("method {other} is not served"))),
        }
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, Refusal> {
        let missing = || Refusal::new(Code::NotFound, format!("container {id} not created"));
        self.containers.get_mut(id).ok_or_else(missing)
    }

    fn process(&mut self, id: &str, exec: &str) -> Result<&mut Process, Refusal> {
        let missing = || Refusal::new(Code::NotFound, format!("process {exec} of container {id} does not exist"));
        self.container(id)?.process(exec).ok_or_else(missing)
    }

    /// Work on a container excludes other work on it, but for processes that enter.
    fn is_free(&self, id: &str) -> Result<(), Refusal> {
        let busy = |job: &Job| job.id == id && !matches!(job.kind, JobKind::Join(..));
        match self.jobs.values().any(busy) {
            true => Err(precondition(format!("container {id}: another request is at work on it"))),
            false => Ok(()),
        }
    }

    fn state(&mut self, asked: &ProcessRequest) -> Result<Answer, Refusal> {
        let container = self.container(&asked.id)?;
        let (bundle, freezing) = (container.bundle.to_string_lossy().into_owned(), container.freezing);
        let process = self.process(&asked.id, &asked.exec_id)?;
        let status = match process.life {
            Life::Making => Status::Unknown,
            Life::Added | Life::Made { .. } => Status::Created,
            Life::Starting { .. } | Life::Running { .. } if freezing == Freezing::Frozen => Status::Paused,
            Life::Starting { .. } | Life::Running { .. } => Status::Running,
            Life::Ending { .. } | Life::Ended { .. } => Status::Stopped,
        };
        let exit = process.life.exit();
        let state = StateResponse {
            id: if asked.exec_id.is_empty() { asked.id.clone() } else { asked.exec_id.clone() },
            bundle,
            pid: process.life.pid(),
            status: status as i32,
            stdin: process.io.stdin.clone(),
            stdout: process.io.stdout.clone(),
            stderr: process.io.stderr.clone(),
            terminal: process.io.terminal == Tty::Wanted,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
            exec_id: asked.exec_id.clone(),
        };
        Ok(Answer::Now(state.encode_to_vec()))
    }

    fn create(&mut self, caller: Caller, asked: CreateTaskRequest) -> Result<Answer, Refusal> {
        if self.containers.contains_key(&asked.id) {
            return Err(Refusal::new(Code::AlreadyExists, format!("container {} exists already", asked.id)));
        }
        if !asked.checkpoint.is_empty() {
            let text = "checkpoint: out of scope: this runtime restores no container from disk";
            return Err(Refusal::new(Code::Unimplemented, text));
        }
        let options = options(asked.options.as_ref())?;
        let root = perform::root(&options.root, &self.namespace);
        let io = Io {
            stdin: asked.stdin.clone(),
            stdout: asked.stdout.clone(),
            stderr: asked.stderr.clone(),
            terminal: asked.terminal.into(),
        };
        let bundle = Path::new(&asked.bundle).to_path_buf();
        // For `delete`, when this shim is gone.
        std::fs::write(bundle.join("hull-root"), root.as_os_str().as_encoded_bytes())
            .map_err(|error| Refusal::new(Code::Unknown, format!("write {}/hull-root: {error}", bundle.display())))?;
        let mut container = Container {
            folder: Folder::of(&root, &asked.id)?,
            bundle,
            group: String::new(),
            others: Others::EndWithIt,
            freezing: Freezing::Thawed,
            watch: None,
            leave: if options.no_pivot_root { Leave::Move } else { Leave::Pivot },
            keyring: if options.no_new_keyring { Keyring::Callers } else { Keyring::New },
            owner: (options.io_uid, options.io_gid),
            first: Process::new(io, Life::Making, Vec::new()),
            added: Default::default(),
        };
        let ready = self.ready(&asked.id, &container.first.io)?;
        container.first.held = ready.held;
        let work = Work::Create(perform::Create {
            folder: &container.folder,
            bundle: &container.bundle,
            rootfs: &asked.rootfs,
            terminal: container.first.io.terminal,
            leave: container.leave,
            keyring: container.keyring,
            owner: container.owner,
        });
        let report = perform::begin(&work, Some(ready.streams), ready.theirs)?;
        let id = asked.id.clone();
        self.containers.insert(id.clone(), container);
        self.began(Job { report, caller, id, kind: JobKind::Create(Box::new(asked), ready.console) });
        Ok(Answer::Later)
    }

    /// Opens the streams of a process.
    fn ready(&self, id: &str, io: &Io) -> Result<Ready, Refusal> {
        let of = Of { id: id.to_owned(), namespace: self.namespace.clone() };
        if io.terminal == Tty::None {
            let Opened { streams, held } = stdio::open(io, &of)?;
            return Ok(Ready { streams, held, console: None, theirs: None });
        }
        let (Opened { streams, held }, behind) = stdio::open_terminal(io, &of)?;
        let (mine, theirs) = exchange::pair()
            .map_err(|error| Refusal::new(Code::Unknown, format!("make a pair of sockets: {error}")))?;
        Ok(Ready { streams, held, console: Some((mine, behind)), theirs: Some(theirs) })
    }

    fn start(&mut self, caller: Caller, asked: &ProcessRequest) -> Result<Answer, Refusal> {
        self.is_free(&asked.id)?;
        if !asked.exec_id.is_empty() {
            return self.start_added(caller, asked);
        }
        let container = self.container(&asked.id)?;
        let pid = match container.first.life {
            Life::Made { pid } => pid,
            Life::Ending { .. } | Life::Ended { .. } => {
                return Err(precondition(format!("container {} has stopped: it cannot be started", asked.id)));
            }
            _ => return Err(precondition(format!("container {} is started already", asked.id))),
        };
        let report = perform::begin(&Work::Start(&container.folder), None, None)?;
        container.first.begin_input();
        container.first.life = Life::Starting { pid: Some(pid), early: None };
        self.began(Job { report, caller, id: asked.id.clone(), kind: JobKind::Start });
        Ok(Answer::Later)
    }

    fn start_added(&mut self, caller: Caller, asked: &ProcessRequest) -> Result<Answer, Refusal> {
        let process = self.process(&asked.id, &asked.exec_id)?;
        if process.life != Life::Added {
            return Err(precondition(format!("process {} is started already", asked.exec_id)));
        }
        let io = process.io.clone();
        if !self.container(&asked.id)?.first.life.is_alive() {
            return Err(precondition(format!("container {} does not run", asked.id)));
        }
        let ready = self.ready(&asked.id, &io)?;
        let container = self.container(&asked.id)?;
        let folder = container.folder.clone();
        let process = self.process(&asked.id, &asked.exec_id)?;
        let work = Work::Join { folder: &folder, process: &process.spec, terminal: io.terminal };
        let report = perform::begin(&work, Some(ready.streams), ready.theirs)?;
        process.held = ready.held;
        process.spec = Vec::new();
        process.life = Life::Starting { pid: None, early: None };
        let kind = JobKind::Join(asked.exec_id.clone(), ready.console);
        self.began(Job { report, caller, id: asked.id.clone(), kind });
        Ok(Answer::Later)
    }

    fn delete(&mut self, caller: Caller, asked: &ProcessRequest) -> Result<Answer, Refusal> {
        self.is_free(&asked.id)?;
        let process = self.process(&asked.id, &asked.exec_id)?;
        match process.life {
            Life::Made { .. } | Life::Added | Life::Ended { .. } => {}
            _ => return Err(precondition("cannot delete a process that runs; kill it first")),
        }
        if !asked.exec_id.is_empty() {
            return Ok(Answer::Now(self.remove_added(&asked.id, &asked.exec_id)));
        }
        let container = self.container(&asked.id)?;
        let work = Work::Delete(&container.folder, &container.bundle.join("rootfs"));
        let report = perform::begin(&work, None, None)?;
        self.began(Job { report, caller, id: asked.id.clone(), kind: JobKind::Delete });
        Ok(Answer::Later)
    }

    fn pids(&mut self, asked: &ProcessRequest) -> Result<Answer, Refusal> {
        let container = self.container(&asked.id)?;
        let info = |pid: u32| {
            let exec_id = container.added.iter().find(|(_, process)| process.life.pid() == pid)?.0.clone();
            let type_url = "containerd.runc.v1.ProcessDetails".to_owned();
            Some(Any { type_url, value: ProcessDetails { exec_id }.encode_to_vec() })
        };
        let pids = container.groups().processes().into_iter().map(|pid| pid as u32);
        let processes = pids.map(|pid| ProcessInfo { pid, info: info(pid) }).collect();
        Ok(Answer::Now(PidsResponse { processes }.encode_to_vec()))
    }

    fn freeze(&mut self, caller: Caller, asked: &ProcessRequest, wanted: Freezing) -> Result<Answer, Refusal> {
        self.is_free(&asked.id)?;
        let container = self.container(&asked.id)?;
        if !matches!(container.first.life, Life::Running { .. }) || container.freezing == wanted {
            let what = if wanted == Freezing::Frozen { "does not run" } else { "is not paused" };
            return Err(precondition(format!("container {} {what}", asked.id)));
        }
        let report = perform::begin(&Work::Freeze(&container.folder, wanted), None, None)?;
        self.began(Job { report, caller, id: asked.id.clone(), kind: JobKind::Freeze(wanted) });
        Ok(Answer::Later)
    }

    fn kill(&mut self, asked: &KillRequest) -> Result<Answer, Refusal> {
        let process = self.process(&asked.id, &asked.exec_id)?;
        let ended = || Refusal::new(Code::NotFound, "process already finished");
        let (pid, signal) = match process.life {
            _ if asked.signal > 64 => {
                return Err(Refusal::new(Code::InvalidArgument, format!("signal {}: there is none", asked.signal)));
            }
            Life::Added | Life::Making => return Err(precondition("process not started: it cannot be killed")),
            Life::Ending { .. } | Life::Ended { .. } => return Err(ended()),
            _ if process.life.pid() == 0 => return Err(precondition("process not started: it cannot be killed")),
            life => (life.pid() as i32, asked.signal as i32),
        };
        let container = self.container(&asked.id)?;
        if asked.all {
            container.groups().signal(signal);
        } else {
            // The shim is its parent: the id is its own until the shim has reaped it.
            kernel::process::kill(pid, signal)
                .map_err(|error| Refusal::new(Code::NotFound, format!("send signal {signal} to {pid}: {error}")))?;
        }
        // What is frozen does not die; SIGKILL is meant at once.
        if signal == libc::SIGKILL && container.freezing == Freezing::Frozen {
            container.groups().freeze(Freezing::Thawed)?;
            container.freezing = Freezing::Thawed;
        }
        Ok(empty())
    }

    fn exec(&mut self, asked: ExecProcessRequest) -> Result<Answer, Refusal> {
        let container = self.container(&asked.id)?;
        if asked.exec_id.is_empty() {
            return Err(Refusal::new(Code::InvalidArgument, "exec_id: empty"));
        }
        if container.added.contains_key(&asked.exec_id) {
            return Err(Refusal::new(Code::AlreadyExists, format!("process {} exists already", asked.exec_id)));
        }
        if !container.first.life.is_alive() {
            return Err(precondition(format!("container {} does not run", asked.id)));
        }
        let spec = asked.spec.ok_or_else(|| Refusal::new(Code::InvalidArgument, "spec: missing"))?;
        let ExecProcessRequest { id, exec_id, stdin, stdout, stderr, terminal, .. } = asked;
        let io = Io { stdin, stdout, stderr, terminal: terminal.into() };
        container.added.insert(exec_id.clone(), Process::new(io, Life::Added, spec.value));
        self.publish(&TaskExecAdded { container_id: id, exec_id });
        Ok(empty())
    }

    fn resize(&mut self, asked: &ResizePtyRequest) -> Result<Answer, Refusal> {
        let process = self.process(&asked.id, &asked.exec_id)?;
        // A process without a terminal has no size to be given, which is no error to containerd's own shim.
        if let Some(console) = &process.console {
            let cells = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
            console
                .resize(cells(asked.width), cells(asked.height))
                .map_err(|error| precondition(format!("resize the terminal: {error}")))?;
        }
        Ok(empty())
    }

    fn close_io(&mut self, asked: &CloseIoRequest) -> Result<Answer, Refusal> {
        let process = self.process(&asked.id, &asked.exec_id)?;
        if asked.stdin {
            process.close_input();
        }
        Ok(empty())
    }

    fn update(&mut self, caller: Caller, asked: &UpdateTaskRequest) -> Result<Answer, Refusal> {
        self.is_free(&asked.id)?;
        let container = self.container(&asked.id)?;
        let resources = asked.resources.as_ref().map(|any| any.value.as_slice());
        let resources = resources.ok_or_else(|| Refusal::new(Code::InvalidArgument, "resources: missing"))?;
        let report = perform::begin(&Work::Update(&container.folder, resources), None, None)?;
        self.began(Job { report, caller, id: asked.id.clone(), kind: JobKind::Update });
        Ok(Answer::Later)
    }

    fn wait(&mut self, caller: Caller, asked: &ProcessRequest) -> Result<Answer, Refusal> {
        let process = self.process(&asked.id, &asked.exec_id)?;
        match process.life.exit() {
            Some(exit) => {
                let answer = WaitResponse { exit_status: exit.status, exited_at: Some(exit.at) };
                Ok(Answer::Now(answer.encode_to_vec()))
            }
            None => {
                process.waiting.push(caller);
                Ok(Answer::Later)
            }
        }
    }

    fn stats(&mut self, asked: &ProcessRequest) -> Result<Answer, Refusal> {
        let container = self.container(&asked.id)?;
        if container.group.is_empty() {
            return Err(Refusal::new(Code::NotFound, "control group does not exist"));
        }
        let stats = stats::stats(&container.groups());
        Ok(Answer::Now(StatsResponse { stats: Some(stats) }.encode_to_vec()))
    }

    fn connect(&mut self, asked: &ProcessRequest) -> Result<Answer, Refusal> {
        let task_pid = self.containers.get(&asked.id).map_or(0, |container| container.first.life.pid());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Answer::Now(ConnectResponse { shim_pid: std::process::id(), task_pid, version }.encode_to_vec()))
    }

    /// Ends the shim, unless it still has containers.
    fn shutdown(&mut self) -> Answer {
        if self.containers.is_empty() {
            self.end();
        }
        empty()
    }
}

/// The options that containerd's own shim knows. What this runtime has no use for, or cannot do, is refused by name.
pub(crate) fn options(any: Option<&Any>) -> Result<Options, Refusal> {
    let Some(any) = any.filter(|any| !any.value.is_empty()) else { return Ok(Options::default()) };
    let refused = |text: String| Err(Refusal::new(Code::InvalidArgument, text));
    let options: Options = match any.name() {
        "containerd.runc.v1.Options" => decode(&any.value)?,
        "containerd.linux.runc.CreateOptions" => decode::<CreateOptions>(&any.value)?.into(),
        other => return refused(format!("options: {other}: only containerd.runc.v1.Options are known")),
    };
    if options.systemd_cgroup {
        return refused(
            "options: systemd_cgroup: this runtime makes control groups itself; set it to false".to_owned(),
        );
    }
    if !options.binary_name.is_empty() {
        let name = &options.binary_name;
        return refused(format!("options: binary_name: {name}: this shim is the runtime; leave it out"));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(options: &Options) -> Any {
        Any { type_url: "containerd.runc.v1.Options".into(), value: options.encode_to_vec() }
    }

    #[test]
    fn options_that_cannot_be_honoured_are_refused_by_name() {
        let systemd = options(Some(&any(&Options { systemd_cgroup: true, ..Options::default() }))).unwrap_err();
        assert!(systemd.message.starts_with("options: systemd_cgroup"), "{systemd:?}");
        let name = Options { binary_name: "/bin/runc".into(), ..Options::default() };
        assert!(options(Some(&any(&name))).unwrap_err().message.contains("binary_name: /bin/runc"));
        let other = Any { type_url: "runtimeoptions.v1.Options".into(), value: vec![1] };
        assert_eq!(options(Some(&other)).unwrap_err().code, Code::InvalidArgument);
        let root = Options { root: "/run/x".into(), no_pivot_root: true, ..Options::default() };
        assert_eq!(options(Some(&any(&root))).unwrap(), root);
        let old = CreateOptions { shim_cgroup: "/x".into(), ..CreateOptions::default() };
        let old = Any { type_url: "containerd.linux.runc.CreateOptions".into(), value: old.encode_to_vec() };
        assert_eq!(options(Some(&old)).unwrap().shim_cgroup, "/x");
        assert_eq!(options(None).unwrap(), Options::default());
    }
}
