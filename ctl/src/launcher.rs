//! Asks the launcher over its socket: one JSON request on a line, then JSON replies, a line each.

use crate::failure::Failure;
use crate::format::{Cell, cell, milliseconds, toned};
use crate::screen::Tone;
use hull_oci_core::api::{Container, DeclaredBy, Refusal, Reply, Request, SOCKET, State};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;

/// A conversation with the launcher.
pub(crate) struct Answer {
    stream: BufReader<UnixStream>,
}

/// Sends `request` to the launcher.
pub(crate) fn ask(request: &Request) -> Result<Answer, Failure> {
    let stream = UnixStream::connect(SOCKET).map_err(|error| broken(&error))?;
    let mut answer = Answer { stream: BufReader::new(stream) };
    let line = serde_json::to_string(request)
        .map_err(|error| Failure::new("send", "a request to the launcher", error, "use a shorter name"))?;
    answer.send(format!("{line}\n").as_bytes())?;
    Ok(answer)
}

fn broken(error: &std::io::Error) -> Failure {
    let (cause, remedy) = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            ("the launcher does not run".to_owned(), "see why: hullctl logs launcher")
        }
        ErrorKind::PermissionDenied => ("only root may ask the launcher".to_owned(), "run it as root"),
        _ => (error.to_string(), "try again; `hullctl logs launcher` says more"),
    };
    Failure::new("ask the launcher on", SOCKET, cause, remedy)
}

impl Answer {
    /// Sends bytes that follow the request.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.get_mut().write_all(bytes).map_err(|error| broken(&error))
    }

    /// The next reply; `None` after the last.
    ///
    /// # Errors
    /// The launcher refused, hung up before the end, or said something this hullctl does not know.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Failure> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(|error| broken(&error))? == 0 {
            return Err(broken(&ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line) {
            Ok(Reply::Done) => Ok(None),
            Ok(Reply::Refused(refusal)) => Err(refusal.into()),
            Ok(reply) => Ok(Some(reply)),
            Err(error) => Err(Failure::new(
                "read",
                "the answer of the launcher",
                error,
                "use the hullctl of the node's own release: /usr/bin/hullctl",
            )),
        }
    }

    /// Reads to the end, giving each reply to `take`.
    pub(crate) fn each(mut self, mut take: impl FnMut(Reply) -> Result<(), Failure>) -> Result<(), Failure> {
        while let Some(reply) = self.next()? {
            take(reply)?;
        }
        Ok(())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.operation, refusal.object, refusal.cause, refusal.remedy)
    }
}

/// Every container of the node.
pub(crate) fn list() -> Result<Vec<Container>, Failure> {
    let mut list = Vec::new();
    ask(&Request::Ps)?.each(|reply| {
        if let Reply::Container(container) = reply {
            list.push(container);
        }
        Ok(())
    })?;
    Ok(list)
}

/// Milliseconds of CLOCK_BOOTTIME: what the launcher's times count.
pub(crate) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1000 + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000
}

/// The rows of a table of containers, as seen at `now` (milliseconds of CLOCK_BOOTTIME).
pub(crate) fn rows(list: &[Container], now: u64) -> Vec<Vec<Cell>> {
    list.iter().map(|container| row(container, now)).collect()
}

fn row(container: &Container, now: u64) -> Vec<Cell> {
    let (tone, state, detail) = match &container.state {
        State::Starting => (Tone::Warn, "starting", String::new()),
        State::Running { pid, since_ms } => {
            (Tone::Good, "running", format!("pid {pid}, {}", milliseconds(now.saturating_sub(*since_ms))))
        }
        State::BackingOff { reason, until_ms } => {
            let wait = milliseconds(until_ms.saturating_sub(now));
            (Tone::Bad, "backing off", format!("starts in {wait}: {reason}"))
        }
        State::Ended { reason } => (Tone::Faint, "ended", reason.clone()),
        State::Stopping => (Tone::Warn, "stopping", String::new()),
        State::Refused { reason } => (Tone::Bad, "refused", reason.clone()),
    };
    let mut facts = vec![detail];
    if container.restarts > 0 {
        facts.push(format!("{} restarts", container.restarts));
    }
    if container.declared_by == DeclaredBy::CommandLine {
        facts.push("from hull.run".to_owned());
    }
    facts.retain(|fact| !fact.is_empty());
    vec![cell(container.name.as_str()), cell(container.image.as_str()), toned(tone, state), cell(facts.join(", "))]
}

/// The containers as JSON.
pub(crate) fn value(list: &[Container]) -> Value {
    list.iter()
        .map(|container| {
            let (state, pid, reason) = match &container.state {
                State::Starting => ("starting", None, None),
                State::Running { pid, .. } => ("running", Some(pid), None),
                State::BackingOff { reason, .. } => ("backing-off", None, Some(reason)),
                State::Ended { reason } => ("ended", None, Some(reason)),
                State::Stopping => ("stopping", None, None),
                State::Refused { reason } => ("refused", None, Some(reason)),
            };
            json!({
                "name": container.name, "image": container.image, "state": state, "pid": pid, "reason": reason,
                "restarts": container.restarts, "declared_by": container.declared_by,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::table;
    use crate::screen::Paint;

    #[test]
    fn each_container_is_a_line_with_how_it_does() {
        let container = |name: &str, state, restarts, declared_by| Container {
            name: name.into(),
            image: "hello".into(),
            declared_by,
            state,
            restarts,
        };
        let list = [
            container("hello", State::Running { pid: 40, since_ms: 1_000 }, 0, DeclaredBy::CommandLine),
            container(
                "web",
                State::BackingOff { reason: "exit status 1".into(), until_ms: 9_000 },
                3,
                DeclaredBy::Store,
            ),
        ];
        assert_eq!(
            table(&rows(&list, 6_000), 0, 80, Paint::Plain),
            "hello  hello  running      pid 40, 5.0 s, from hull.run\n\
             web    hello  backing off  starts in 3.0 s: exit status 1, 3 restarts\n"
        );
    }
}
