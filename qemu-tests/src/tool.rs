//! Small helpers of tests: programs of the host, and conditions that come true after a while.

use crate::limits::POLL;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Runs a program of the host to its end and gives its output.
///
/// # Panics
/// When it cannot be started or fails: with its name, arguments and what it wrote.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("start {program}: {error}; install it, `make run` names the package"));
    let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
    assert!(
        output.status.success(),
        "{program} {}: {}\n{}{}",
        shown.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until `look` gives a value, at most `deadline`.
///
/// # Panics
/// When the deadline passes: with `what` and the last reason that `look` gave.
pub fn eventually<T, R: std::fmt::Display>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<T, R>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= end => {
                panic!("{what}: not within {} s: {reason}", deadline.as_secs())
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Whether two files have the same bytes.
///
/// # Panics
/// When one of them cannot be read.
pub fn same_bytes(first: &Path, second: &Path) -> bool {
    let status = Command::new("cmp").arg("--silent").arg(first).arg(second).status().expect("start cmp");
    assert!(status.code().is_some_and(|code| code < 2), "cmp {} {}: {status}", first.display(), second.display());
    status.success()
}

/// How often a test with a seed repeats: `usual` times, or `long` times with `HULL_LONG=1`.
pub fn long_run(usual: u64, long: u64) -> u64 {
    if std::env::var_os("HULL_LONG").is_some_and(|value| value == "1") { long } else { usual }
}
