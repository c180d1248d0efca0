//! What a service is: written as TOML, compiled at build time to postcard, read by PID 1 without a parser.
//!
//! [`Services`] is the whole file; PID 1 reads it one service at a time with [`decode`], so that it never holds all of them on its stack.

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::cmdline::TABLE;
use crate::control::Name;
use crate::limits::{
    ENTRY_BYTES, MAX_AFTER, MAX_ARGUMENTS, MAX_CAPABILITIES, MAX_DIRECTORIES, MAX_ENVIRONMENT, MAX_LISTEN, MAX_SERVICES,
};

/// An argument, environment entry or directory.
pub type Entry = String<ENTRY_BYTES>;

/// The file `/usr/lib/hull/services.bin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// In start order; they stop in reverse.
    pub services: Vec<Service, MAX_SERVICES>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Letters, digits, `-`; also the name of its cgroup and notify socket.
    pub name: Name,
    /// Program (absolute path) and arguments; `${hull.x.y}` is expanded.
    pub exec: Vec<Entry, MAX_ARGUMENTS>,
    /// `KEY=VALUE`; `${hull.x.y}` is expanded.
    #[serde(default)]
    pub environment: Vec<Entry, MAX_ENVIRONMENT>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Names without `CAP_`, or `all`.
    #[serde(default)]
    pub capabilities: Vec<String<24>, MAX_CAPABILITIES>,
    /// Starts when these are ready.
    #[serde(default)]
    pub after: Vec<Name, MAX_AFTER>,
    /// When it counts as ready.
    #[serde(default)]
    pub ready: Ready,
    /// What a trial boot asks of it.
    #[serde(default)]
    pub health: Health,
    /// Whether it starts again when it ends.
    #[serde(default)]
    pub restart: Restart,
    /// What state it needs.
    #[serde(default)]
    pub state: StateNeed,
    /// Made before each start, mode 0700, owned by uid and gid.
    #[serde(default)]
    pub directories: Vec<Entry, MAX_DIRECTORIES>,
    /// Unix stream sockets that PID 1 binds once (mode 0666) and passes to each start as sd_listen_fds(3) says: the sockets, and
    /// connections that wait in them, outlive a crash.
    #[serde(default)]
    pub listen: Vec<Entry, MAX_LISTEN>,
    /// Seconds from SIGTERM to SIGKILL.
    #[serde(default = "ten")]
    pub stop_seconds: u16,
    /// Seconds without WATCHDOG=1 after which it is killed and started again; 0 is off.
    #[serde(default)]
    pub watchdog_seconds: u16,
    /// Seconds from start to READY=1 after which it is killed and started again later; 0 is off. systemd's TimeoutStartSec.
    #[serde(default = "ninety")]
    pub start_seconds: u16,
    /// cgroup memory.max, e.g. `64M`; empty is no limit.
    #[serde(default)]
    pub memory_max: String<16>,
    /// -1000 (never killed when memory runs out) to 1000.
    #[serde(default)]
    pub oom_score_adj: i16,
    /// Where its output goes.
    #[serde(default)]
    pub output: Output,
}

fn ten() -> u16 {
    10
}

fn ninety() -> u16 {
    90
}

/// When a service counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// When it says READY=1.
    #[default]
    Notify,
    /// When it was started.
    Started,
}

/// What a trial boot asks of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// To be ready.
    #[default]
    Ready,
    /// To be ready and to have said X_HULL_HEALTH=ok last.
    Reported,
    /// Nothing: what is outside the machine decides whether it works.
    Ignored,
}

/// Whether a service starts again when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Always.
    #[default]
    Always,
    /// Unless it exits with 0.
    OnFailure,
    /// Never.
    Never,
}

/// What state a service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateNeed {
    /// Its old one: it is held back while the state partition is broken.
    Persistent,
    /// Whatever there is.
    #[default]
    Any,
}

/// Where a service's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// To its bounded log.
    #[default]
    Log,
    /// To the console, which becomes its controlling terminal.
    Console,
}

/// What is wrong with a declared service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault<'s> {
    /// The name is no file name of letters, digits and `-`.
    Name,
    /// There is no program, or its path is not absolute.
    Program,
    /// Not a capability of Linux.
    Capability(&'s str),
    /// Waits for a service that does not come before it.
    After(&'s str),
    /// Not KEY=VALUE.
    Environment(&'s str),
    /// Not an absolute path.
    Directory(&'s str),
    /// `${...}` is not closed or names no key of the command line.
    Expansion(&'s str),
    /// Not a size such as `64M`.
    MemoryMax(&'s str),
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("name: expected letters, digits and `-`"),
            Self::Program => f.write_str("exec: expected an absolute path and arguments"),
            Self::Capability(name) => {
                write!(f, "capabilities: {name} is not a capability of Linux (without CAP_, lower case)")
            }
            Self::After(name) => write!(f, "after: no service {name} comes before this one"),
            Self::Environment(entry) => write!(f, "environment: {entry} is not KEY=VALUE"),
            Self::Directory(path) => write!(f, "directories or listen: {path} is not an absolute path"),
            Self::Expansion(entry) => write!(f, "{entry}: ${{...}} is not closed or names no key of the command line"),
            Self::MemoryMax(size) => write!(f, "memory_max: {size} is not a size such as 64M"),
        }
    }
}

impl Service {
    /// Checks everything that can be checked without a machine; `before` are the names of the services that come before.
    ///
    /// # Errors
    /// The first fault.
    pub fn check<'s>(&'s self, before: &[&str]) -> Result<(), Fault<'s>> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(Fault::Name);
        }
        if !self.exec.first().is_some_and(|program| program.starts_with('/')) {
            return Err(Fault::Program);
        }
        self.capability_bits()?;
        if let Some(name) = self.after.iter().find(|name| !before.contains(&name.as_str())) {
            return Err(Fault::After(name));
        }
        if let Some(entry) = self.environment.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
            return Err(Fault::Environment(entry));
        }
        if let Some(path) = self.directories.iter().chain(&self.listen).find(|path| !path.starts_with('/')) {
            return Err(Fault::Directory(path));
        }
        let known = |key: &str| TABLE.iter().find(|row| row.name == key).map(|_| "");
        for entry in self.exec.iter().chain(&self.environment) {
            expand(entry, known, &mut |_| {}).map_err(|_| Fault::Expansion(entry))?;
        }
        if !self.memory_max.is_empty() && bytes(&self.memory_max).is_none() {
            return Err(Fault::MemoryMax(&self.memory_max));
        }
        Ok(())
    }

    /// Its capabilities as the kernel's bit mask; `all` is every bit.
    ///
    /// # Errors
    /// A name that is no capability.
    pub fn capability_bits(&self) -> Result<u64, Fault<'_>> {
        self.capabilities.iter().try_fold(0, |bits, name| match name.as_str() {
            "all" => Ok(u64::MAX >> (64 - CAPABILITIES.len())),
            name => {
                let index = CAPABILITIES.iter().position(|known| *known == name).ok_or(Fault::Capability(name))?;
                Ok(bits | 1 << index)
            }
        })
    }

    /// `memory.max` in bytes, if limited.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        bytes(&self.memory_max)
    }
}

/// Reads `/usr/lib/hull/services.bin` one service at a time.
pub fn decode(file: &[u8]) -> impl Iterator<Item = Result<Service, postcard::Error>> + '_ {
    let (mut left, mut rest) = match postcard::take_from_bytes::<u32>(file) {
        Ok((count, rest)) => (Ok(count.min(MAX_SERVICES as u32)), rest),
        Err(error) => (Err(error), file),
    };
    core::iter::from_fn(move || match left.clone() {
        Ok(0) => None,
        Ok(count) => match postcard::take_from_bytes(rest) {
            Ok((service, after)) => {
                (left, rest) = (Ok(count - 1), after);
                Some(Ok(service))
            }
            Err(error) => {
                left = Ok(0);
                Some(Err(error))
            }
        },
        Err(error) => {
            left = Ok(0);
            Some(Err(error))
        }
    })
}

/// Why a `${...}` could not be expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpandError {
    /// `${` without `}`.
    NotClosed,
    /// No such key.
    UnknownKey,
}

/// Expands every `${key}` of `text` by `value` and gives the pieces to `out` in order.
///
/// # Errors
/// A `${` that is not closed, or a key that `value` does not know. Pieces before it were given out already.
pub fn expand<'v>(
    text: &str,
    value: impl Fn(&str) -> Option<&'v str>,
    out: &mut dyn FnMut(&str),
) -> Result<(), ExpandError> {
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, opened) = (&rest[..start], &rest[start + 2..]);
        let end = opened.find('}').ok_or(ExpandError::NotClosed)?;
        out(before);
        out(value(&opened[..end]).ok_or(ExpandError::UnknownKey)?);
        rest = &opened[end + 1..];
    }
    out(rest);
    Ok(())
}

/// A size in bytes, with K, M or G for powers of 1,024.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok().filter(|n| *n > 0)?.checked_mul(1 << shift)
}

/// Every capability by its number, linux/capability.h of 6.12.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn kv() -> Service {
        Service {
            name: Name::try_from("kv").unwrap(),
            exec: Vec::from_slice(&[Entry::try_from("/usr/lib/hull/hull-kv").unwrap()]).unwrap(),
            environment: Vec::from_slice(&[Entry::try_from("A=http://${hull.kv.listen}/").unwrap()]).unwrap(),
            uid: 900,
            gid: 900,
            capabilities: Vec::new(),
            after: Vec::new(),
            ready: Ready::Notify,
            health: Health::Ready,
            restart: Restart::Always,
            state: StateNeed::Persistent,
            directories: Vec::new(),
            listen: Vec::new(),
            stop_seconds: 10,
            watchdog_seconds: 0,
            start_seconds: 90,
            memory_max: String::new(),
            oom_score_adj: -900,
            output: Output::Log,
        }
    }

    fn with(change: impl Fn(&mut Service)) -> Service {
        let mut service = kv();
        change(&mut service);
        service
    }

    #[test]
    fn what_the_build_compiles_is_what_pid_1_reads() {
        let mut services = Services { services: Vec::new() };
        services.services.push(kv()).unwrap();
        services.services.push(with(|s| s.name = Name::try_from("web").unwrap())).unwrap();
        let mut buffer = [0; 4096];
        let file = postcard::to_slice(&services, &mut buffer).unwrap();
        let read: std::vec::Vec<_> = decode(file).map(Result::unwrap).collect();
        assert_eq!(read[..], services.services[..]);
    }

    #[test]
    fn a_cut_file_gives_the_whole_services_and_one_error() {
        let mut services = Services { services: Vec::new() };
        services.services.push(kv()).unwrap();
        services.services.push(kv()).unwrap();
        let mut buffer = [0; 4096];
        let length = postcard::to_slice(&services, &mut buffer).unwrap().len();
        let read: std::vec::Vec<_> = decode(&buffer[..length - 3]).collect();
        assert_eq!(read.iter().map(Result::is_ok).collect::<std::vec::Vec<_>>(), [true, false]);
        assert!(decode(&[]).all(|service| service.is_err()));
    }

    #[test]
    fn a_key_of_the_command_line_is_expanded_in_place() {
        let mut out = std::string::String::new();
        let value = |key: &str| (key == "hull.kv.listen").then_some("0.0.0.0:2379");
        expand("http://${hull.kv.listen}/x$y", value, &mut |piece| out.push_str(piece)).unwrap();
        assert_eq!(out, "http://0.0.0.0:2379/x$y");
        assert_eq!(expand("${hull.kv.listen", value, &mut |_| {}), Err(ExpandError::NotClosed));
        assert_eq!(expand("${hull.nothing}", value, &mut |_| {}), Err(ExpandError::UnknownKey));
    }

    #[test]
    fn a_good_service_has_no_fault() {
        assert_eq!(kv().check(&[]), Ok(()));
        assert_eq!(with(|s| s.after.push(Name::try_from("net").unwrap()).unwrap()).check(&["net"]), Ok(()));
    }

    #[test]
    fn each_fault_is_found_at_build_time() {
        let entry = |text: &str| Entry::try_from(text).unwrap();
        let short = |text: &str| String::try_from(text).unwrap();
        assert_eq!(with(|s| s.name = Name::try_from("../kv").unwrap()).check(&[]), Err(Fault::Name));
        assert_eq!(with(|s| s.exec[0] = entry("hull-kv")).check(&[]), Err(Fault::Program));
        assert_eq!(with(|s| s.exec.clear()).check(&[]), Err(Fault::Program));
        assert_eq!(
            with(|s| s.capabilities.push(short("sys_evil")).unwrap()).check(&[]),
            Err(Fault::Capability("sys_evil"))
        );
        assert_eq!(
            with(|s| s.after.push(Name::try_from("later").unwrap()).unwrap()).check(&["kv"]),
            Err(Fault::After("later"))
        );
        assert_eq!(with(|s| s.environment[0] = entry("=x")).check(&[]), Err(Fault::Environment("=x")));
        assert_eq!(
            with(|s| s.environment[0] = entry("X=${hull.nmae}")).check(&[]),
            Err(Fault::Expansion("X=${hull.nmae}"))
        );
        assert_eq!(with(|s| s.directories.push(entry("var")).unwrap()).check(&[]), Err(Fault::Directory("var")));
        assert_eq!(with(|s| s.memory_max = String::try_from("64m").unwrap()).check(&[]), Err(Fault::MemoryMax("64m")));
    }

    #[test]
    fn capabilities_are_the_kernels_bits() {
        let caps =
            |names: &[&str]| with(|s| s.capabilities = names.iter().map(|n| String::try_from(*n).unwrap()).collect());
        assert_eq!(caps(&["chown", "net_bind_service"]).capability_bits(), Ok(1 | 1 << 10));
        assert_eq!(caps(&["all"]).capability_bits(), Ok((1 << 41) - 1));
        assert_eq!(caps(&[]).capability_bits(), Ok(0));
    }

    #[test]
    fn sizes_have_powers_of_1024() {
        assert_eq!(with(|s| s.memory_max = String::try_from("64M").unwrap()).memory_bytes(), Some(64 << 20));
        assert_eq!(kv().memory_bytes(), None);
        assert_eq!(bytes("64MM"), None);
        assert_eq!(bytes("99999999999999999999G"), None);
    }
}
