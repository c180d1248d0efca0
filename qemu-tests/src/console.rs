//! A guest's serial console: everything it ever said, a cursor for expectations, and the alarms.

use crate::alarm::Alarm;
use regex::Regex;
use std::io::{Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// The console of one running machine.
pub(crate) struct Console {
    shared: Arc<Shared>,
    input: ChildStdin,
    /// Offset into the log behind the last match.
    cursor: usize,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    news: Condvar,
}

#[derive(Default)]
struct Log {
    /// Printable text, control sequences removed.
    text: String,
    /// Bytes of a character that is not complete yet.
    pending: Vec<u8>,
    state: Stream,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stream {
    #[default]
    Open,
    Ended,
}

/// Why an expectation was not met.
#[derive(Debug)]
pub(crate) enum Unmet {
    /// The machine ended first.
    Ended,
    /// The deadline passed.
    Late,
    /// An alarm came first: its line.
    Alarm(Alarm, String),
}

impl Console {
    /// Starts reading `output` in a thread of its own, which ends with the machine.
    pub(crate) fn attach(output: ChildStdout, input: ChildStdin) -> Self {
        let shared = Arc::new(Shared::default());
        let reader = Arc::clone(&shared);
        thread::spawn(move || read_all(output, &reader));
        Self { shared, input, cursor: 0 }
    }

    /// Everything the console said so far.
    pub(crate) fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Moves the cursor behind everything said so far.
    pub(crate) fn skip(&mut self) {
        let end = self.lock().text.len();
        self.cursor = end;
    }

    /// Sends `bytes` as if typed.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.input.write_all(bytes)?;
        self.input.flush()
    }

    /// Waits until `pattern` matches behind the cursor, and moves the cursor behind the match.
    ///
    /// Gives the text of each capture group, the whole match first.
    pub(crate) fn expect(
        &mut self,
        pattern: &Regex,
        deadline: Duration,
        tolerated: &[Alarm],
    ) -> Result<Vec<String>, Unmet> {
        let end = Instant::now() + deadline;
        let shared = Arc::clone(&self.shared);
        let mut log = shared.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            if let Some(found) = pattern.captures(&log.text[self.cursor..]) {
                let groups = (0..found.len())
                    .map(|index| found.get(index).map_or(String::new(), |group| group.as_str().into()))
                    .collect();
                self.cursor += found.get(0).map_or(0, |whole| whole.end());
                return Ok(groups);
            }
            if let Some((alarm, line)) = first_alarm(&log.text, tolerated) {
                return Err(Unmet::Alarm(alarm, line));
            }
            if log.state == Stream::Ended {
                return Err(Unmet::Ended);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unmet::Late);
            }
            log = shared.news.wait_timeout(log, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// The first alarm that is not in `tolerated`, with its line.
    pub(crate) fn alarm(&self, tolerated: &[Alarm]) -> Option<(Alarm, String)> {
        first_alarm(&self.lock().text, tolerated)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn first_alarm(text: &str, tolerated: &[Alarm]) -> Option<(Alarm, String)> {
    text.lines()
        .filter_map(|line| Alarm::in_line(line).map(|alarm| (alarm, line.to_owned())))
        .find(|(alarm, _)| !tolerated.contains(alarm))
}

/// Reads to the end of the stream; with `HULL_CONSOLE` set, shows it while it comes.
fn read_all(mut output: ChildStdout, shared: &Arc<Shared>) {
    let live = std::env::var_os("HULL_CONSOLE").is_some();
    let mut stripper = strip_ansi_escapes::Writer::new(Sink(Arc::clone(shared)));
    let mut buffer = [0_u8; 4096];
    loop {
        let count = output.read(&mut buffer).unwrap_or(0);
        if live {
            let _ = std::io::stderr().write_all(&buffer[..count]);
        }
        // The stripper drops tabs with the other control characters.
        buffer[..count].iter_mut().filter(|byte| **byte == b'\t').for_each(|byte| *byte = b' ');
        let _ = stripper.write_all(&buffer[..count]);
        let _ = stripper.flush();
        if count == 0 {
            Sink::change(shared, |log| log.state = Stream::Ended);
            return;
        }
    }
}

/// Where the text without control sequences goes.
struct Sink(Arc<Shared>);

impl Sink {
    fn change(shared: &Shared, change: impl FnOnce(&mut Log)) {
        let mut log = shared.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        change(&mut log);
        shared.news.notify_all();
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Self::change(&self.0, |log| log.append(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Adds the complete characters of `bytes`; a carriage return is dropped, an invalid byte becomes U+FFFD.
    fn append(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes.iter().filter(|byte| **byte != b'\r'));
        let complete = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.pending.len(),
        };
        let rest = self.pending.split_off(complete);
        let text = std::mem::replace(&mut self.pending, rest);
        self.text.push_str(&String::from_utf8_lossy(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_by_the_read_buffer_comes_out_whole() {
        let mut log = Log::default();
        let bytes = "größe\r\n".as_bytes();
        log.append(&bytes[..3]);
        log.append(&bytes[3..]);
        assert_eq!(log.text, "größe\n");
    }

    #[test]
    fn a_tolerated_alarm_does_not_hide_another() {
        let text = "Kernel panic - not syncing: test\nOops: 0000\n";
        let (alarm, line) = first_alarm(text, &[Alarm::KernelPanic]).expect("the oops is not tolerated");
        assert_eq!((alarm, line.as_str()), (Alarm::Oops, "Oops: 0000"));
    }
}
