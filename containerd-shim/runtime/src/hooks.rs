//! Hooks: programs that are executed around a container's life, each with the container's state as its input (config.md, hooks).

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hull_oci_core::oci::config::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};

use crate::failure::Failure;
use crate::state::State;

/// Executes hooks one after the other, until one fails. One without variables of its own has the runtime's.
///
/// # Errors
/// Says which failed, and how.
pub fn run(point: &str, hooks: &[Hook], state: &State) -> Result<(), Failure> {
    run_with(point, hooks, state, None)
}

/// Executes hooks one after the other, whichever of them fail (runtime.md, lifecycle: after the start and after the end a hook's failure is
/// a warning, and the others and all that follows go on as if it had not been). What there is to warn of.
pub fn run_all(point: &str, hooks: &[Hook], state: &State) -> Vec<Failure> {
    hooks.iter().enumerate().filter_map(|numbered| run_numbered(point, numbered, state, None).err()).collect()
}

/// As [`run`], with the variables that a hook has which has none of its own.
///
/// # Errors
/// Says which failed, and how.
pub fn run_with(point: &str, hooks: &[Hook], state: &State, inherited: Option<&[String]>) -> Result<(), Failure> {
    hooks.iter().enumerate().try_for_each(|numbered| run_numbered(point, numbered, state, inherited))
}

fn run_numbered(
    point: &str,
    (index, hook): (usize, &Hook),
    state: &State,
    inherited: Option<&[String]>,
) -> Result<(), Failure> {
    run_one(hook, state, inherited).map_err(|cause| {
        Failure(format!("hooks.{point}[{index}] {}: error running {point} hook #{index}: {cause}", hook.path))
    })
}

fn run_one(hook: &Hook, state: &State, inherited: Option<&[String]>) -> Result<(), String> {
    let mut command = Command::new(&hook.path);
    if let Some((name, arguments)) = hook.args.split_first() {
        command.arg0(name).args(arguments);
    }
    if let Some(variables) = Some(hook.env.as_slice()).filter(|own| !own.is_empty()).or(inherited) {
        command.env_clear().envs(variables.iter().filter_map(|variable| variable.split_once('=')));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("execute: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read what it is told. The state is far smaller than a pipe: this does not wait.
        let _ = input.write_all(state.to_json().as_bytes());
    }
    let status = match hook.timeout {
        None => child.wait().map_err(|error| error.to_string())?,
        Some(seconds) => wait(&mut child, Duration::from_secs(seconds.unsigned_abs()))?,
    };
    match status.success() {
        true => Ok(()),
        false => Err(format!("{}{}", ended(status), said(&mut child))),
    }
}

/// How a hook ended. A call that a filter forbids has the words that other runtimes have for it.
fn ended(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGSYS) => "signal: bad system call (SIGSYS)".to_owned(),
        _ => status.to_string(),
    }
}

/// What a hook that failed has said, as far as it is there.
fn said(child: &mut Child) -> String {
    let Some(output) = child.stderr.take() else { return String::new() };
    if rustix::io::ioctl_fionbio(&output, true).is_err() {
        return String::new();
    }
    let mut bytes = [0; 1024];
    let length = rustix::io::read(&output, &mut bytes).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]).trim().to_owned();
    if text.is_empty() { text } else { format!(": {text}") }
}

fn wait(child: &mut Child, patience: Duration) -> Result<ExitStatus, String> {
    let deadline = Instant::now() + patience;
    let pid = Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|error| error.to_string())?;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it did not end within {} s", patience.as_secs()));
        }
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Record, Status};

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { path: "/bin/sh".into(), args, env: vec!["A=b".into()], timeout }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_only_its_own_environment() {
        let state = state();
        run(
            "prestart",
            &[hook(r#"read x; test "$x" = '{"ociVersion":"","id":"web","pid":0,"status":"created","bundle":""}' && test "$A" = b && test -z "$HOME""#, None)],
            &state,
        )
        .unwrap();
    }

    fn state() -> State {
        Record { id: "web".into(), ..Record::default() }.state(Status::Created)
    }

    #[test]
    fn a_hook_that_fails_is_named_with_what_it_says() {
        let failure = run("poststop", &[hook("exit 0", None), hook("echo no >&2; exit 3", None)], &state());
        let text = failure.unwrap_err().0;
        assert!(
            text.starts_with("hooks.poststop[1] /bin/sh: error running poststop hook #1: exit status: 3")
                && text.ends_with(": no"),
            "{text}"
        );
    }

    #[test]
    fn a_hook_that_does_not_end_is_killed() {
        let text = run("prestart", &[hook("sleep 60", Some(1))], &state()).unwrap_err().0;
        assert!(text.contains("did not end within 1 s"), "{text}");
    }
}
