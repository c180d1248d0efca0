//! What the kernel tells: when PID 1 was started, and how much memory PID 1 holds.

use crate::sys::tsc;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

/// `O_NONBLOCK` of x86-64 Linux, open(2): reading past the newest record then ends instead of waiting.
const NONBLOCK: i32 = 0o4000;

/// The longest record that /dev/kmsg gives in one read, bytes: `PRINTKRB_RECORD_MAX` of the kernel.
const RECORD: usize = 8192;

/// What the kernel says when it starts PID 1 (`run_init_process` in init/main.c).
const STARTS_PID_1: &str = "as init process";

/// Moments of the kernel's start, in ticks of the time-stamp counter.
pub(crate) struct Start {
    /// Where the clock of the kernel's log begins.
    pub(crate) clock: u64,
    /// The kernel ran PID 1.
    pub(crate) pid_1: Option<u64>,
}

/// Reads the kernel's log. Writes one line to it first, to know how its clock and the time-stamp counter relate.
pub(crate) fn start() -> Result<Start, String> {
    let mut log = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(NONBLOCK)
        .open("/dev/kmsg")
        .map_err(|error| format!("open /dev/kmsg: {error}"))?;
    let tick = tsc::now();
    let here = format!("hull-bench tick {tick}");
    // Without the newline the record would wait for a continuation, unseen.
    log.write_all(format!("<7>{here}\n").as_bytes()).map_err(|error| format!("write /dev/kmsg: {error}"))?;
    let mut record = [0; RECORD];
    let (mut pid_1, mut now) = (None, None);
    while let Ok(length) = log.read(&mut record) {
        let text = String::from_utf8_lossy(&record[..length]);
        let Some((micros, message)) = parse(&text) else { continue };
        if pid_1.is_none() && message.contains(STARTS_PID_1) {
            pid_1 = Some(micros);
        }
        if message.contains(&here) {
            now = Some(micros);
        }
    }
    let now = now.ok_or("read /dev/kmsg: the line just written is not in it")?;
    let clock = tick.saturating_sub(now * 1000);
    Ok(Start { clock, pid_1: pid_1.map(|micros| clock + micros * 1000) })
}

/// The kernel's log, each line with the time of its own clock in microseconds.
pub(crate) fn log() -> Vec<String> {
    let Ok(mut log) = OpenOptions::new().read(true).custom_flags(NONBLOCK).open("/dev/kmsg") else { return Vec::new() };
    let mut record = [0; RECORD];
    let mut lines = Vec::new();
    while let Ok(length) = log.read(&mut record) {
        let text = String::from_utf8_lossy(&record[..length]);
        if let Some((micros, message)) = parse(&text) {
            lines.push(format!("{micros} {}", message.trim_end()));
        }
    }
    lines
}

/// Microseconds and text of a record: `6,339,5140900,-;text`, Documentation/ABI/testing/dev-kmsg.
fn parse(record: &str) -> Option<(u64, &str)> {
    let (prefix, message) = record.split_once(';')?;
    Some((prefix.split(',').nth(2)?.parse().ok()?, message))
}

/// A value in KiB from a file of lines such as `VmRSS:     912 kB`.
pub(crate) fn kib(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The value of `key=value` on the kernel's command line.
pub(crate) fn option(key: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/cmdline").ok()?;
    text.split_whitespace().find_map(|word| Some(word.strip_prefix(key)?.strip_prefix('=')?.to_owned()))
}
