//! How long a container takes from its declaration to its program, and how long a bare process takes.

use crate::http;
use crate::sys::tsc;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// The argument with which this program only says what time it is.
pub(crate) const NOW: &str = "--now";

/// Containers and processes that are started, one after the other; the middle one counts.
const TIMES: u16 = 5;

/// The first port of theirs; the example has its own.
const PORT: u16 = 8090;

/// Pause between two looks: a fortieth of what is allowed, and short beside what is found.
const PAUSE: Duration = Duration::from_micros(250);

/// Looks before giving up: ten seconds.
const PATIENCE: u32 = 40_000;

/// Ticks from before the process is asked for until it runs.
pub(crate) fn bare() -> Result<u64, String> {
    middle(|_| {
        let before = tsc::now();
        let output = Command::new("/proc/self/exe")
            .arg(NOW)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("start this program again: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let after: u64 = text.trim().parse().map_err(|_| format!("this program said {text:?} of the time"))?;
        Ok(after.saturating_sub(before))
    })
}

/// Ticks from before the declaration is sent to the store until the launcher's record says that the program was executed.
pub(crate) fn declared() -> Result<u64, String> {
    middle(|number| {
        let declaration = format!(r#"{{"image":"hello","env":{{"PORT":"{}"}}}}"#, PORT + number);
        let before = tsc::now();
        let answer = http::ask(http::STORE, &http::put(&format!("/kv/hull/containers/timed{number}"), &declaration));
        let status = answer.map_or(0, |answer| answer.status);
        if !(200..300).contains(&status) {
            return Err(format!("declare a container: the store answers {status}"));
        }
        let record = format!("/run/hull/containers/timed{number}/state.json");
        for _ in 0..PATIENCE {
            if std::fs::read_to_string(&record).is_ok_and(|text| text.contains("\"running\"")) {
                return Ok(tsc::now() - before);
            }
            thread::sleep(PAUSE);
        }
        Err("a declared container does not run".to_owned())
    })
}

fn middle(mut one: impl FnMut(u16) -> Result<u64, String>) -> Result<u64, String> {
    let mut all: Vec<u64> = (0..TIMES).map(&mut one).collect::<Result<_, _>>()?;
    all.sort_unstable();
    Ok(all[all.len() / 2])
}
