//! The kernel command line: one table that makes the parser and docs/cmdline.md.
//!
//! An unknown key or a bad value never stops a boot: the default applies, and a [`Complaint`] says key, value and what was expected.
//! Tokens that do not start with `hull.` belong to the kernel or to others and are not looked at.

use core::fmt::{self, Write as _};
use core::time::Duration;

use heapless::{String, Vec};

use crate::control::{Complaint, Name, SlotName, cut, format_line};
use crate::limits::{MAX_COMPLAINTS, RUN_BYTES, VALUE_BYTES};
use crate::net::Net;

/// A key of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `hull.name`
    Name,
    /// `hull.net`
    Net,
    /// `hull.kv.listen`
    KvListen,
    /// `hull.run`
    Run,
    /// `hull.console`
    Console,
    /// `hull.host.share`
    HostShare,
    /// `hull.update.deadline`
    UpdateDeadline,
    /// `hull.update.tries`
    UpdateTries,
    /// `hull.boot.slot`
    BootSlot,
    /// `hull.boot.trial`
    BootTrial,
    /// `hull.boot.hops`
    BootHops,
    /// `hull.boot.failed`
    BootFailed,
    /// `hull.log.level`
    LogLevel,
    /// `hull.watchdog`
    Watchdog,
    /// `hull.shutdown.deadline`
    ShutdownDeadline,
    /// `hull.state`
    State,
}

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A host name, RFC 1123.
    HostName,
    /// See [`Net`].
    Net,
    /// Address and port.
    Listen,
    /// A comma list of `NAME=IMAGE` or `IMAGE`; every occurrence of the key adds to it.
    Images,
    /// A program of the root image and its arguments, separated by commas.
    Program,
    /// A 9p mount tag.
    Tag,
    /// A whole number between two bounds.
    Number {
        /// At least.
        least: u64,
        /// At most.
        most: u64,
    },
    /// One of a few words.
    Word(&'static [&'static str]),
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// The key.
    pub key: Key,
    /// As it is typed.
    pub name: &'static str,
    /// What its value must look like.
    pub form: Form,
    /// What applies without it, and instead of a bad value.
    pub default: &'static str,
    /// What it does, for docs/cmdline.md.
    pub meaning: &'static str,
}

const SLOTS: Form = Form::Word(&["a", "b"]);
const LEVELS: &[&str] = &["error", "warn", "info", "debug"];

/// Every key, in the order of the document. The row of a key is at its own index.
pub const TABLE: &[Row] = &[
    Row {
        key: Key::Name,
        name: "hull.name",
        form: Form::HostName,
        default: "",
        meaning: "Host name. Without it `hull-` and the last three bytes of the first network card's address.",
    },
    Row {
        key: Key::Net,
        name: "hull.net",
        form: Form::Net,
        default: "dhcp",
        meaning: "`dhcp` asks on every Ethernet interface; `off` leaves all down but the loopback; \
                  `eth0:10.0.0.2/24:10.0.0.1:10.0.0.53` is interface, address, gateway and name servers (the last two may be missing).",
    },
    Row {
        key: Key::KvListen,
        name: "hull.kv.listen",
        form: Form::Listen,
        default: "127.0.0.1:2379",
        meaning: "Where the store listens for clients, besides `/run/hull/kv.sock`.",
    },
    Row {
        key: Key::Run,
        name: "hull.run",
        form: Form::Images,
        default: "",
        meaning: "Containers to run, besides those declared in the store: `web=hello,db=postgres`, or an image alone, which then is the name, \
                  too. May be given several times.",
    },
    Row {
        key: Key::Console,
        name: "hull.console",
        form: Form::Program,
        default: "",
        meaning: "Program of the root image to run on the console, with a controlling terminal: `hullctl` for `hullctl console`, or \
                  a path with comma-separated arguments. Started again when it ends. Without it the console only shows.",
    },
    Row {
        key: Key::HostShare,
        name: "hull.host.share",
        form: Form::Tag,
        default: "",
        meaning: "Tag of a 9p share of the machine's host, mounted read-only on /run/host.",
    },
    Row {
        key: Key::UpdateDeadline,
        name: "hull.update.deadline",
        form: Form::Number { least: 5, most: 3600 },
        default: "60",
        meaning: "Seconds that a new release has to become healthy before the machine goes back to the old slot.",
    },
    Row {
        key: Key::UpdateTries,
        name: "hull.update.tries",
        form: Form::Number { least: 1, most: 15 },
        default: "1",
        meaning: "How often a staged release is tried before its slot is bad.",
    },
    Row {
        key: Key::BootSlot,
        name: "hull.boot.slot",
        form: SLOTS,
        default: "",
        meaning: "Boots this slot, whatever the slots' states say. For rescue.",
    },
    Row {
        key: Key::BootTrial,
        name: "hull.boot.trial",
        form: SLOTS,
        default: "",
        meaning: "Internal: set by PID 1 when it kexecs into a trial of this slot.",
    },
    Row {
        key: Key::BootHops,
        name: "hull.boot.hops",
        form: Form::Number { least: 0, most: 9 },
        default: "0",
        meaning: "Internal: how many kexecs led here; ends a chase between slots.",
    },
    Row {
        key: Key::BootFailed,
        name: "hull.boot.failed",
        form: SLOTS,
        default: "",
        meaning: "Internal: the slot that could not be opened before this kexec.",
    },
    Row {
        key: Key::LogLevel,
        name: "hull.log.level",
        form: Form::Word(LEVELS),
        default: "info",
        meaning: "What PID 1 writes to the kernel log.",
    },
    Row {
        key: Key::Watchdog,
        name: "hull.watchdog",
        form: Form::Number { least: 0, most: 600 },
        default: "30",
        meaning: "Seconds without a sign of PID 1 after which the hardware watchdog resets the machine; 0 leaves it alone.",
    },
    Row {
        key: Key::ShutdownDeadline,
        name: "hull.shutdown.deadline",
        form: Form::Number { least: 1, most: 600 },
        default: "10",
        meaning: "Seconds that an orderly shutdown may take before what still runs is killed.",
    },
    Row {
        key: Key::State,
        name: "hull.state",
        form: Form::Word(&["disk", "memory"]),
        default: "disk",
        meaning: "`memory` keeps all state in memory, even if there is a state partition.",
    },
];

const KEYS: usize = TABLE.len();

const _: () = {
    let mut index = 0;
    while index < KEYS {
        assert!(TABLE[index].key as usize == index, "a row of the table is not at its key's index");
        index += 1;
    }
};

impl Form {
    /// Whether a value (for [`Form::Images`], one item) is one.
    fn accepts(self, value: &str) -> bool {
        match self {
            Self::HostName => is_host_name(value),
            Self::Net => Net::parse(value).is_some(),
            Self::Listen => value.parse::<core::net::SocketAddr>().is_ok(),
            Self::Images => is_image(value),
            Self::Program => value.split(',').next().is_some_and(|program| !program.is_empty()),
            Self::Tag => !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
            Self::Number { least, most } => {
                value.bytes().all(|b| b.is_ascii_digit())
                    && value.parse().is_ok_and(|n: u64| (least..=most).contains(&n))
            }
            Self::Word(words) => words.contains(&value),
        }
    }
}

/// What was expected, in words: for complaints and for the document.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostName => f.write_str("a host name of letters, digits and `-`, at most 63"),
            Self::Net => f.write_str("dhcp, off or INTERFACE:ADDRESS/BITS[:GATEWAY[:DNS,...]]"),
            Self::Listen => f.write_str("ADDRESS:PORT"),
            Self::Images => f.write_str("NAME=IMAGE or IMAGE, separated by commas"),
            Self::Program => f.write_str("PROGRAM[,ARGUMENT,...]"),
            Self::Tag => f.write_str("a mount tag of letters, digits and `._-`"),
            Self::Number { least, most } => write!(f, "a whole number from {least} to {most}"),
            Self::Word(words) => {
                for (index, word) in words.iter().enumerate() {
                    let before = if index == 0 { "" } else { " or " };
                    write!(f, "{before}{word}")?;
                }
                Ok(())
            }
        }
    }
}

fn is_host_name(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&value.len()) && value.bytes().all(inner) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_image(item: &str) -> bool {
    let image = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b))
    };
    match item.split_once('=') {
        Some((name, of)) => is_host_name(name) && image(of),
        None => image(item),
    }
}

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
        config
    }

    fn take(&mut self, row: &Row, value: &str) {
        if matches!(row.form, Form::Images) {
            return self.take_images(row, value);
        }
        let text = String::try_from(value).ok().filter(|_| row.form.accepts(value));
        match text {
            Some(text) => self.values[row.key as usize] = Some(text),
            None => {
                let default = if row.default.is_empty() { "nothing" } else { row.default };
                let form = row.form;
                self.complain(row.name, value, format_args!("expected {form}; {default} applies"));
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

/// Writes docs/cmdline.md.
///
/// # Errors
/// Only those of `out`.
pub fn write_document(out: &mut dyn fmt::Write) -> fmt::Result {
    out.write_str(
        "# Kernel command line\n\n\
         Generated from the table in `init/core/src/cmdline.rs` by `hull-init --print-cmdline-doc`; a test compares.\n\n\
         A node is configured by `hull.<area>.<name>=<value>` on the kernel command line. An unknown key or a bad value never stops a\n\
         boot: the default applies, and the console, the log and `hullctl status` say which key, which value and what was expected.\n\
         Of several values of a key the last one applies. Values with blanks are put in double quotes: `hull.console=\"/bin/sh\"`.\n\n\
         | key | value | default | meaning |\n|---|---|---|---|\n",
    )?;
    for row in TABLE {
        let default = if row.default.is_empty() { "-" } else { row.default };
        writeln!(out, "| `{}` | {} | {} | {} |", row.name, row.form, default, row.meaning)?;
    }
    Ok(())
}
