//! The kernel command line, read by the table of keys.
//!
//! An unknown key or a bad value never stops a boot: the default applies, and a [`Complaint`] says key, value and what was expected.
//! Tokens that do not start with `hull.` belong to the kernel or to others and are not looked at.

use core::fmt::{self, Write as _};
use core::time::Duration;

use heapless::{String, Vec};

use crate::control::{Complaint, Name, SlotName, cut, format_line};
pub use crate::keys::{Form, Key, Row, TABLE, write_document};
use crate::keys::{KEYS, is_host_name};
use crate::limits::{MAX_COMPLAINTS, RUN_BYTES, VALUE_BYTES};
use crate::net::Net;

/// What the command line asks for; defaults where it says nothing or nothing usable.
#[derive(Debug, Clone)]
pub struct Config {
    values: [Option<String<VALUE_BYTES>>; KEYS],
    run: String<RUN_BYTES>,
    complaints: Vec<Complaint, MAX_COMPLAINTS>,
    complaints_lost: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { values: [const { None }; KEYS], run: String::new(), complaints: Vec::new(), complaints_lost: 0 }
    }
}

impl Config {
    /// Reads `/proc/cmdline`. The last of several values of a key applies, except `hull.run`, where they add up.
    #[must_use]
    pub fn parse(line: &[u8]) -> Self {
        let mut config = Self::default();
        for token in tokens(line) {
            let bytes = token.as_slice();
            if !bytes.starts_with(b"hull.") {
                continue;
            }
            let Ok(text) = core::str::from_utf8(bytes) else {
                let readable: String<64> =
                    bytes.iter().take(48).map(|b| if b.is_ascii_graphic() { *b as char } else { '?' }).collect();
                config.complain(&readable, "", format_args!("not UTF-8; it is ignored"));
                continue;
            };
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            match TABLE.iter().find(|row| row.name == name) {
                Some(row) => config.take(row, value),
                None => config.unknown(name, value),
            }
        }
        config.say_what_applies();
        config
    }

    /// Ends each complaint about a value with what the whole line comes to.
    fn say_what_applies(&mut self) {
        for index in 0..self.complaints.len() {
            let row = TABLE.iter().find(|row| row.name == self.complaints[index].key);
            let Some(row) = row.filter(|row| !matches!(row.form, Form::Images)) else { continue };
            let applies = match (row.key, self.value(row.key)) {
                (Key::Name, "") => "the derived name",
                (_, "") => "nothing",
                (_, value) => value,
            };
            let expected = format_line(format_args!("{}; {applies} applies", self.complaints[index].expected));
            self.complaints[index].expected = expected;
        }
    }

    fn take(&mut self, row: &Row, value: &str) {
        if matches!(row.form, Form::Images) {
            return self.take_images(row, value);
        }
        let text = String::try_from(value).ok().filter(|_| row.form.accepts(value));
        match text {
            Some(text) => self.values[row.key as usize] = Some(text),
            None => {
                // What applies instead is known at the end of the line.
                self.complain(row.name, value, format_args!("expected {}", row.form));
            }
        }
    }

    fn take_images(&mut self, row: &Row, value: &str) {
        if value.is_empty() {
            self.complain(row.name, value, format_args!("expected {}; nothing is added", row.form));
        }
        for item in value.split(',').filter(|_| !value.is_empty()) {
            let length = self.run.len();
            let comma = if length == 0 { "" } else { "," };
            if !row.form.accepts(item) {
                self.complain(row.name, item, format_args!("expected {}; this one is left out", row.form));
            } else if write!(self.run, "{comma}{item}").is_err() {
                self.run.truncate(length);
                self.complain(
                    row.name,
                    item,
                    format_args!("expected at most {RUN_BYTES} bytes in all; this one is left out"),
                );
            }
        }
    }

    fn unknown(&mut self, name: &str, value: &str) {
        match TABLE.iter().map(|row| row.name).min_by_key(|known| distance(name, known)) {
            Some(near) if distance(name, near) <= 3 => {
                self.complain(name, value, format_args!("no such key, did you mean {near}? It is ignored"));
            }
            _ => self.complain(
                name,
                value,
                format_args!("no such key; it is ignored. The keys are listed in docs/cmdline.md"),
            ),
        }
    }

    fn complain(&mut self, key: &str, value: &str, expected: fmt::Arguments<'_>) {
        let complaint = Complaint { key: cut(key), value: cut(value), expected: format_line(expected) };
        if self.complaints.push(complaint).is_err() {
            self.complaints_lost += 1;
        }
    }

    /// The effective value of a key, as typed or by default.
    #[must_use]
    pub fn value(&self, key: Key) -> &str {
        match (key, &self.values[key as usize]) {
            (Key::Run, _) => &self.run,
            (_, Some(value)) => value,
            (_, None) => TABLE[key as usize].default,
        }
    }

    /// The effective value of a key given by its name; for `${hull.x.y}` in services.
    #[must_use]
    pub fn value_by_name(&self, name: &str) -> Option<&str> {
        TABLE.iter().find(|row| row.name == name).map(|row| self.value(row.key))
    }

    /// Whether the command line itself gives a usable value.
    #[must_use]
    pub fn is_given(&self, key: Key) -> bool {
        self.values[key as usize].is_some()
    }

    /// Sets the host name that was derived from the machine; a given one stays.
    pub fn set_derived_name(&mut self, name: &str) {
        if !self.is_given(Key::Name) && is_host_name(name) {
            self.values[Key::Name as usize] = Some(cut(name));
        }
    }

    fn number(&self, key: Key) -> u64 {
        self.value(key).parse().unwrap_or(0) // values are checked when taken, defaults by a test
    }

    fn slot(&self, key: Key) -> Option<SlotName> {
        match self.value(key) {
            "a" => Some(SlotName::A),
            "b" => Some(SlotName::B),
            _ => None,
        }
    }

    /// `hull.name`; empty until derived.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value(Key::Name)
    }

    /// `hull.net`.
    #[must_use]
    pub fn net(&self) -> Net {
        Net::parse(self.value(Key::Net)).unwrap_or(Net::Dhcp)
    }

    /// `hull.kv.listen`.
    #[must_use]
    pub fn kv_listen(&self) -> Name {
        cut(self.value(Key::KvListen))
    }

    /// `hull.console`: program and arguments, empty when off.
    pub fn console(&self) -> impl Iterator<Item = &str> {
        self.value(Key::Console).split(',').filter(|part| !part.is_empty())
    }

    /// `hull.host.share`.
    #[must_use]
    pub fn host_share(&self) -> Option<&str> {
        Some(self.value(Key::HostShare)).filter(|tag| !tag.is_empty())
    }

    /// `hull.update.deadline`.
    #[must_use]
    pub fn update_deadline(&self) -> Duration {
        Duration::from_secs(self.number(Key::UpdateDeadline))
    }

    /// `hull.update.tries`, 1 to 15.
    #[must_use]
    pub fn update_tries(&self) -> u8 {
        self.number(Key::UpdateTries).clamp(1, 15) as u8
    }

    /// `hull.boot.slot`.
    #[must_use]
    pub fn boot_slot(&self) -> Option<SlotName> {
        self.slot(Key::BootSlot)
    }

    /// `hull.boot.trial`.
    #[must_use]
    pub fn boot_trial(&self) -> Option<SlotName> {
        self.slot(Key::BootTrial)
    }

    /// `hull.boot.failed`.
    #[must_use]
    pub fn boot_failed(&self) -> Option<SlotName> {
        self.slot(Key::BootFailed)
    }

    /// `hull.boot.hops`.
    #[must_use]
    pub fn boot_hops(&self) -> u8 {
        self.number(Key::BootHops).min(9) as u8
    }

    /// `hull.log.level`.
    #[must_use]
    pub fn log_level(&self) -> Level {
        match self.value(Key::LogLevel) {
            "error" => Level::Error,
            "warn" => Level::Warning,
            "debug" => Level::Debug,
            _ => Level::Info,
        }
    }

    /// `hull.watchdog`; `None` leaves the hardware alone.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.number(Key::Watchdog))).filter(|time| !time.is_zero())
    }

    /// `hull.shutdown.deadline`.
    #[must_use]
    pub fn shutdown_deadline(&self) -> Duration {
        Duration::from_secs(self.number(Key::ShutdownDeadline))
    }

    /// `hull.state`.
    #[must_use]
    pub fn state(&self) -> StateWish {
        if self.value(Key::State) == "memory" { StateWish::Memory } else { StateWish::Disk }
    }

    /// What was wrong.
    #[must_use]
    pub fn complaints(&self) -> &[Complaint] {
        &self.complaints
    }

    /// How many more complaints there were than are kept.
    #[must_use]
    pub fn complaints_lost(&self) -> u32 {
        self.complaints_lost
    }
}

/// Severity of a message, as syslog(2) numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something works less well.
    Warning = 4,
    /// What happens.
    Info = 6,
    /// How it happens.
    Debug = 7,
}

/// Where the operator wants the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateWish {
    /// On the state partition.
    Disk,
    /// In memory.
    Memory,
}

/// The tokens of a command line: separated by blanks, double quotes keep blanks together (as the kernel's `next_arg` does).
/// A token longer than the command line can be is cut.
fn tokens(line: &[u8]) -> impl Iterator<Item = Vec<u8, RUN_BYTES>> + '_ {
    let mut rest = line;
    core::iter::from_fn(move || {
        let start = rest.iter().position(|b| !b.is_ascii_whitespace() && *b != 0)?;
        rest = &rest[start..];
        let mut quoted = Quote::Outside;
        let mut token = Vec::new();
        let mut end = rest.len();
        for (index, byte) in rest.iter().enumerate() {
            match (byte, quoted) {
                (b'"', Quote::Outside) => quoted = Quote::Inside,
                (b'"', Quote::Inside) => quoted = Quote::Outside,
                (b, Quote::Outside) if b.is_ascii_whitespace() || *b == 0 => {
                    end = index;
                    break;
                }
                (b, _) => drop(token.push(*b)),
            }
        }
        rest = &rest[end..];
        Some(token)
    })
}

#[derive(Clone, Copy)]
enum Quote {
    Inside,
    Outside,
}

/// Edit distance (Levenshtein), of the first 32 bytes; enough to guess what was meant.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 32;
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > LONGEST || b.len() > LONGEST {
        return LONGEST;
    }
    let mut row: [usize; LONGEST + 1] = core::array::from_fn(|i| i);
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
