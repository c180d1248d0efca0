//! The keys of the kernel command line: one table that makes the parser and docs/cmdline.md.

use core::fmt;

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
    /// `hull.kv.cluster`
    KvCluster,
    /// `hull.kv.cluster.state`
    KvClusterState,
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
    /// A comma list of `NAME=URL`.
    Members,
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
        key: Key::KvCluster,
        name: "hull.kv.cluster",
        form: Form::Members,
        default: "",
        meaning: "The first members of the store's cluster, this node under its `hull.name` among them, and where each is reached by the others: \
                  `a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380`. Without it the node's store is alone. See docs/kv.md.",
    },
    Row {
        key: Key::KvClusterState,
        name: "hull.kv.cluster.state",
        form: Form::Word(&["new", "existing"]),
        default: "new",
        meaning: "`existing` for a node that was added to a running cluster (`etcdctl member add`). Matters only as long as the store is empty.",
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

pub(crate) const KEYS: usize = TABLE.len();

const _: () = {
    let mut index = 0;
    while index < KEYS {
        assert!(TABLE[index].key as usize == index, "a row of the table is not at its key's index");
        index += 1;
    }
};

impl Form {
    /// Whether a value (for [`Form::Images`], one item) is one.
    pub(crate) fn accepts(self, value: &str) -> bool {
        match self {
            Self::HostName => is_host_name(value),
            Self::Net => Net::parse(value).is_some(),
            Self::Listen => value.parse::<core::net::SocketAddr>().is_ok(),
            Self::Members => value.split(',').all(is_member),
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
            Self::Members => f.write_str("NAME=http://ADDRESS:PORT, separated by commas"),
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

pub(crate) fn is_host_name(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&value.len()) && value.bytes().all(inner) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_member(item: &str) -> bool {
    let url = |url: &str| {
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        host.is_some_and(|host| host.parse::<core::net::SocketAddr>().is_ok())
    };
    item.split_once('=').is_some_and(|(name, of)| is_host_name(name) && url(of))
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

/// Writes docs/cmdline.md.
///
/// # Errors
/// Only those of `out`.
pub fn write_document(out: &mut dyn fmt::Write) -> fmt::Result {
    out.write_str(
        "# Kernel command line\n\n\
         Generated from the table in `init/core/src/keys.rs` by `hull-init --print-cmdline-doc`; a test compares.\n\n\
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
