//! What follows from work that is done: the state of the container, the event, the answer, in this order.

use std::os::fd::{AsFd, OwnedFd};

use hull_runtime::cgroup::Freezing;
use hull_runtime::exchange;
use prost::Message;
use rustix::process::WaitOptions;

use crate::console::Console;
use crate::life::{Exit, Life};
use crate::messages::event::{TaskCreate, TaskDelete, TaskExecStarted, TaskIo, TaskPaused, TaskResumed, TaskStart};
use crate::messages::report::Report;
use crate::messages::task::{CreateTaskRequest, DeleteResponse, PidResponse};
use crate::messages::{Empty, Timestamp};
use crate::oom::Watch;
use crate::refusal::Refusal;
use crate::shim::{Job, JobKind, Others, Shim};
use crate::stdio::Behind;

/// Status of a process that could not be executed, as containerd's own shim has it.
const NEVER_RAN: u32 = 255;

/// Status of one that was killed: 128 and SIGKILL.
const KILLED: u32 = 137;

impl Shim {
    /// Work has been done, or could not be.
    pub(crate) fn finish(&mut self, job: Job, result: Result<Report, Refusal>) {
        for warning in result.iter().flat_map(|report| &report.warnings) {
            self.log.warning(&format!("{}: {warning}", job.id));
        }
        let Job { caller, id, kind, .. } = job;
        let answer = match kind {
            JobKind::Create(request, console) => self.created(&id, *request, console, result),
            JobKind::Start => self.started(&id, result),
            JobKind::Join(exec, console) => self.joined(&id, &exec, console, result),
            JobKind::Delete => self.deleted(&id, result),
            JobKind::Freeze(wanted) => self.froze(&id, wanted, result),
            JobKind::Update => result.map(|_| Empty {}.encode_to_vec()),
        };
        self.answer(caller, answer);
        // An end that came meanwhile is told after the answer and the event of the start.
        self.tell_ends(&id);
    }

    fn created(
        &mut self,
        id: &str,
        request: CreateTaskRequest,
        console: Option<(OwnedFd, Behind)>,
        result: Result<Report, Refusal>,
    ) -> Result<Vec<u8>, Refusal> {
        let report = result.inspect_err(|_| drop(self.containers.remove(id)))?;
        if let Some(container) = self.containers.get_mut(id) {
            container.first.life = Life::Made { pid: report.pid };
            container.first.console = console.and_then(open_console);
            container.group = report.group;
            container.others = if report.outlive { Others::Outlive } else { Others::EndWithIt };
            container.watch = Watch::new(&container.groups());
        }
        self.publish(&TaskCreate {
            container_id: id.to_owned(),
            bundle: request.bundle,
            rootfs: request.rootfs,
            io: Some(TaskIo {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            }),
            pid: report.pid,
        });
        Ok(PidResponse { pid: report.pid }.encode_to_vec())
    }

    fn started(&mut self, id: &str, result: Result<Report, Refusal>) -> Result<Vec<u8>, Refusal> {
        let never = Exit { status: NEVER_RAN, at: Timestamp::now() };
        let Some(container) = self.containers.get_mut(id) else { return Ok(Vec::new()) };
        let pid = container.first.life.pid();
        if let Err(refusal) = result {
            container.first.life.not_started(never);
            return Err(refusal);
        }
        container.first.life.started(pid);
        self.publish(&TaskStart { container_id: id.to_owned(), pid });
        Ok(PidResponse { pid }.encode_to_vec())
    }

    fn joined(
        &mut self,
        id: &str,
        exec: &str,
        console: Option<(OwnedFd, Behind)>,
        result: Result<Report, Refusal>,
    ) -> Result<Vec<u8>, Refusal> {
        let never = Exit { status: NEVER_RAN, at: Timestamp::now() };
        let process = self.containers.get_mut(id).and_then(|container| container.added.get_mut(exec));
        let Some(process) = process else { return Ok(Vec::new()) };
        let report = match result {
            Ok(report) => report,
            Err(refusal) => {
                process.life.not_started(never);
                process.held = Default::default();
                let waiting = std::mem::take(&mut process.waiting);
                self.answer_waiting(waiting, never);
                return Err(refusal);
            }
        };
        process.console = console.and_then(open_console);
        process.begin_input();
        process.life.started(report.pid);
        self.publish(&TaskExecStarted { container_id: id.to_owned(), exec_id: exec.to_owned(), pid: report.pid });
        Ok(PidResponse { pid: report.pid }.encode_to_vec())
    }

    fn froze(&mut self, id: &str, wanted: Freezing, result: Result<Report, Refusal>) -> Result<Vec<u8>, Refusal> {
        result?;
        if let Some(container) = self.containers.get_mut(id) {
            container.freezing = wanted;
        }
        let container_id = id.to_owned();
        match wanted {
            Freezing::Frozen => self.publish(&TaskPaused { container_id }),
            Freezing::Thawed => self.publish(&TaskResumed { container_id }),
        }
        Ok(Empty {}.encode_to_vec())
    }

    fn deleted(&mut self, id: &str, result: Result<Report, Refusal>) -> Result<Vec<u8>, Refusal> {
        result?;
        // One that was never started was killed by the work; it may not have been reaped yet.
        if let Some(container) = self.containers.get_mut(id) {
            container.watch = None;
            let pid = container.first.life.pid() as i32;
            if let (true, Some(pid)) = (container.first.life.is_alive(), rustix::process::Pid::from_raw(pid)) {
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
                container.first.life.exited(Exit { status: KILLED, at: Timestamp::now() });
            }
        }
        self.tell_ends(id);
        let Some(container) = self.containers.remove(id) else { return Ok(Vec::new()) };
        let (pid, exit) = (container.first.life.pid(), container.first.life.exit());
        let (exit_status, exited_at) = (exit.map_or(KILLED, |exit| exit.status), exit.map(|exit| exit.at));
        self.publish(&TaskDelete { container_id: id.to_owned(), pid, exit_status, exited_at });
        Ok(DeleteResponse { pid, exit_status, exited_at }.encode_to_vec())
    }

    /// Removes a process that has ended, or was never started.
    pub(crate) fn remove_added(&mut self, id: &str, exec: &str) -> Vec<u8> {
        let process = self.containers.get_mut(id).and_then(|container| container.added.remove(exec));
        let Some(process) = process else { return Vec::new() };
        let exit = process.life.exit();
        let (exit_status, exited_at) = (exit.map_or(0, |exit| exit.status), exit.map(|exit| exit.at));
        DeleteResponse { pid: process.life.pid(), exit_status, exited_at }.encode_to_vec()
    }
}

/// The terminal: it has been sent before the work was done.
fn open_console((socket, behind): (OwnedFd, Behind)) -> Option<Console> {
    let mut ready = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut ready, Some(&now)) {
        Ok(1..) => exchange::receive_descriptor(socket.as_fd()).ok().map(|master| Console::new(master, behind)),
        _ => None,
    }
}
