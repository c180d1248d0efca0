//! Flags and environment, under etcd's names wherever etcd has the setting.
mod cluster;
mod connections;
mod file;
mod history;
mod passed_over;
mod security;
mod tokens;

use std::{
    ffi::OsString,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use cluster::{Cluster, State};
pub use connections::Connections;
use passed_over::Follows;
use security::Hosts;
pub use security::Security;
pub use tokens::Tokens;

use hull_kv_core::limits::MAX_TXN_OPS;

use crate::{
    compactor::Retention,
    http::Address,
    limits::{QUOTA_MOST, QUOTA_SHARE},
};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `--name`
    pub name: String,
    /// `--data-dir`
    pub data_dir: PathBuf,
    /// `--wal-dir`
    pub wal_dir: Option<PathBuf>,
    /// `--listen-client-urls` and `--socket`
    pub listen: Vec<Address>,
    /// `--advertise-client-urls`
    pub advertise_client_urls: Vec<String>,
    /// What makes several members one cluster.
    pub cluster: Cluster,
    /// TLS.
    pub security: Security,
    /// Flags of etcd that were given and have no meaning here.
    pub passed_over: Vec<String>,
    /// What holds for every client.
    pub connections: Connections,
    /// `--max-txn-ops`
    pub max_txn_ops: usize,
    /// `--quota-backend-bytes`
    pub quota: Quota,
    /// `--auto-compaction-mode` and `--auto-compaction-retention`
    pub retention: Retention,
    /// `--bcrypt-cost`
    pub bcrypt_cost: u32,
    /// `--auth-token`
    pub tokens: Tokens,
    /// `--auth-token-ttl`, in milliseconds
    pub token_ttl_ms: u64,
}

/// What the command line asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Serve.
    Serve(Box<Config>),
    /// Begin with the data in this database file of etcd's, then end.
    Import(Box<Config>, PathBuf),
    /// Print this and end.
    Print(String),
}

/// A flag or variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; --help lists what there is", self.0)
    }
}

impl std::error::Error for ConfigError {}

/// One setting: its flag, its variable, its default, and what it is.
struct Setting {
    flag: &'static str,
    variable: &'static str,
    default: &'static str,
    help: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting { flag: "name", variable: "ETCD_NAME", default: "default", help: "human name of this member" },
    Setting {
        flag: "data-dir",
        variable: "ETCD_DATA_DIR",
        default: "",
        help: "folder of log and snapshots (default NAME.hull)",
    },
    Setting {
        flag: "wal-dir",
        variable: "ETCD_WAL_DIR",
        default: "",
        help: "folder of the log, if it is to be on another disk; where it is first said counts from then on",
    },
    Setting {
        flag: "listen-client-urls",
        variable: "ETCD_LISTEN_CLIENT_URLS",
        default: "http://localhost:2379",
        help: "where to listen, comma-separated http://ip:port or unix://path",
    },
    Setting {
        flag: "socket",
        variable: "HULL_KV_SOCKET",
        default: "",
        help: "unix socket to listen on as well, open to everyone on the machine",
    },
    Setting {
        flag: "advertise-client-urls",
        variable: "ETCD_ADVERTISE_CLIENT_URLS",
        default: "",
        help: "where clients reach this member (default: where it listens)",
    },
    Setting {
        flag: "max-txn-ops",
        variable: "ETCD_MAX_TXN_OPS",
        default: "128",
        help: "operations that a transaction may hold",
    },
    Setting {
        flag: "quota-backend-bytes",
        variable: "ETCD_QUOTA_BACKEND_BYTES",
        default: "0",
        help: "data beyond which writes are refused; 0: a quarter of the memory, at most 2 GiB; -1: no limit",
    },
    Setting {
        flag: "bcrypt-cost",
        variable: "ETCD_BCRYPT_COST",
        default: "10",
        help: "work factor of password hashes, 4 to 31; each step doubles it",
    },
    Setting {
        flag: "auth-token-ttl",
        variable: "ETCD_AUTH_TOKEN_TTL",
        default: "300",
        help: "seconds after which an unused login token lapses",
    },
];

impl Setting {
    /// etcd's experimental settings have lost that part of their names in 3.6.
    fn is_called(&self, flag: &str) -> bool {
        self.flag == flag || self.flag.strip_prefix("experimental-") == Some(flag)
    }

    fn said_by(&self, variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
        let later = || variable(&format!("ETCD_{}", self.variable.strip_prefix("ETCD_EXPERIMENTAL_")?));
        variable(self.variable).or_else(later)
    }
}

/// Every setting.
fn settings() -> impl Iterator<Item = &'static Setting> {
    let tables =
        [SETTINGS, cluster::SETTINGS, connections::SETTINGS, security::SETTINGS, history::SETTINGS, tokens::SETTINGS];
    tables.into_iter().flatten()
}

impl Config {
    /// From arguments (without the program's name), a look-up of environment variables, and what `read` finds in `--config-file`. Flags
    /// win over variables; as in etcd a file makes both count for nothing.
    ///
    /// # Errors
    /// An unknown flag, a value that makes no sense, or a file that cannot be read.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<String>,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Asked, ConfigError> {
        passed_over::judge_variables(&variable)?;
        let mut values: Vec<Option<String>> = settings().map(|setting| setting.said_by(&variable)).collect();
        let mut parser = lexopt::Parser::from_args(args.into_iter().map(with_two_dashes));
        let mut verbs: Vec<OsString> = Vec::new();
        let mut passed = Vec::new();
        let mut config_file = variable("ETCD_CONFIG_FILE").unwrap_or_default();
        while let Some(argument) = parser.next().map_err(|error| ConfigError(error.to_string()))? {
            match argument {
                lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Ok(Asked::Print(help())),
                lexopt::Arg::Long("version") => {
                    return Ok(Asked::Print(format!(
                        "hull-kv Version: {}\netcd API: {}",
                        env!("CARGO_PKG_VERSION"),
                        crate::api::SERVER_VERSION
                    )));
                }
                lexopt::Arg::Long(flag) => {
                    let flag = flag.to_owned();
                    match settings().position(|setting| setting.is_called(&flag)) {
                        Some(at) => values[at] = Some(value_of(&mut parser, &flag)?),
                        None if flag == "config-file" => config_file = value_of(&mut parser, &flag)?,
                        None => passed.push(pass_over(&mut parser, flag)?),
                    }
                }
                lexopt::Arg::Value(verb) => verbs.push(verb),
                other => return Err(ConfigError(other.unexpected().to_string())),
            }
        }
        if !config_file.is_empty() {
            let text = read(Path::new(&config_file))
                .map_err(|error| ConfigError(format!("--config-file {config_file}: {error}")))?;
            (values, passed) = from_file(&text)?;
        }
        let get = |flag: &str| {
            let found = settings().zip(&values).find(|(setting, _)| setting.flag == flag);
            let said = found.and_then(|(_, value)| value.clone()).filter(|value| !value.is_empty());
            said.unwrap_or_else(|| found.map_or("", |(setting, _)| setting.default).to_owned())
        };
        let config = Box::new(Self { passed_over: passed, ..Self::from_values(get)? });
        match verbs.as_slice() {
            [] => Ok(Asked::Serve(config)),
            [verb, file] if verb == "import" => Ok(Asked::Import(config, file.into())),
            [verb, ..] => Err(ConfigError(format!("{}: import FILE was expected, or flags only", verb.display()))),
        }
    }

    fn from_values(get: impl Fn(&str) -> String) -> Result<Self, ConfigError> {
        let name = get("name");
        let data_dir = Some(get("data-dir")).filter(|dir| !dir.is_empty()).unwrap_or_else(|| format!("{name}.hull"));
        let mut listen = split(&get("listen-client-urls"))
            .map(|url| listen_address("listen-client-urls", &url))
            .collect::<Result<Vec<_>, _>>()?;
        let mut advertise: Vec<String> = split(&get("advertise-client-urls")).collect();
        if advertise.is_empty() {
            advertise = listen.iter().map(ToString::to_string).collect();
        }
        let socket = get("socket");
        if !socket.is_empty() {
            listen.push(Address::Unix(socket.into()));
        }
        let ops = get("max-txn-ops");
        let cluster = Cluster::from_values(&name, &get)?;
        let advertise_hosts = Hosts::of(&advertise, &cluster.peer_urls);
        Ok(Self {
            name,
            data_dir: data_dir.clone().into(),
            wal_dir: Some(get("wal-dir")).filter(|dir| !dir.is_empty()).map(Into::into),
            listen,
            advertise_client_urls: advertise,
            cluster,
            passed_over: Vec::new(),
            connections: Connections::from_values(&get)?,
            security: Security::from_values(&get, Path::new(&data_dir), &advertise_hosts)?,
            tokens: tokens::tokens(&get("auth-token"))?,
            max_txn_ops: ops.parse().ok().filter(|ops| *ops > 0).ok_or_else(|| {
                ConfigError(format!("--max-txn-ops {ops}: a number above 0, such as {MAX_TXN_OPS}, was expected"))
            })?,
            quota: Quota::parse(&get("quota-backend-bytes"))?,
            retention: history::retention(&get)?,
            bcrypt_cost: number(&get, "bcrypt-cost", 4..=31)? as u32,
            token_ttl_ms: number(&get, "auth-token-ttl", 1..=u64::from(u32::MAX))? * 1000,
        })
    }
}

/// What a file sets, and what it sets that has no use here.
fn from_file(text: &str) -> Result<(Vec<Option<String>>, Vec<String>), ConfigError> {
    let mut values = vec![None; settings().count()];
    let mut passed = Vec::new();
    for (flag, value) in file::settings(text)? {
        match settings().position(|setting| setting.is_called(&flag)) {
            Some(at) => values[at] = Some(value),
            None if passed_over::follows(&flag).is_none() => {
                return Err(ConfigError(format!("--config-file: unknown setting {flag}")));
            }
            // Nothing said.
            None if value.is_empty() => {}
            None => {
                passed_over::judge(&flag, &value)?;
                passed.push(flag);
            }
        }
    }
    Ok((values, passed))
}

/// Go's programs take a flag with one dash, too.
fn with_two_dashes(argument: OsString) -> OsString {
    match argument.as_encoded_bytes() {
        [b'-', first, _, ..] if first.is_ascii_alphabetic() => {
            let mut longer = OsString::from("-");
            longer.push(&argument);
            longer
        }
        _ => argument,
    }
}

/// A flag of etcd that this store has no use for; answers its name.
fn pass_over(parser: &mut lexopt::Parser, flag: String) -> Result<String, ConfigError> {
    let follows = passed_over::follows(&flag).ok_or_else(|| ConfigError(format!("unknown flag --{flag}")))?;
    let value = match (follows, parser.optional_value()) {
        (_, Some(value)) => value,
        (Follows::Value, None) => parser.value().map_err(|error| ConfigError(error.to_string()))?,
        (Follows::Perhaps, None) => "true".into(),
    };
    passed_over::judge(&flag, &value.to_string_lossy())?;
    Ok(flag)
}

/// The value behind a flag; a switch may stand alone.
fn value_of(parser: &mut lexopt::Parser, flag: &str) -> Result<String, ConfigError> {
    let value = match parser.optional_value() {
        Some(value) => value,
        None if security::SWITCHES.contains(&flag) => return Ok("true".into()),
        None => parser.value().map_err(|error| ConfigError(error.to_string()))?,
    };
    Ok(value.to_string_lossy().into_owned())
}

/// How much data the store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// A share of the machine's memory.
    OfMemory,
    /// So many bytes.
    Bytes(u64),
    /// Any amount.
    Unlimited,
}

impl Quota {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError(format!("--quota-backend-bytes {text}: a number of bytes, 0 or -1 was expected"));
        Ok(match text.parse::<i64>().map_err(|_| wrong())? {
            0 => Self::OfMemory,
            bytes => u64::try_from(bytes).map_or(Self::Unlimited, Self::Bytes),
        })
    }

    /// The limit on a machine with so many bytes of memory.
    pub fn bytes(self, memory: u64) -> u64 {
        match self {
            Self::OfMemory => (memory / QUOTA_SHARE).min(QUOTA_MOST),
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
        }
    }
}

/// A setting that is a whole number within limits.
fn number(get: impl Fn(&str) -> String, flag: &str, limits: std::ops::RangeInclusive<u64>) -> Result<u64, ConfigError> {
    let value = get(flag);
    value.parse().ok().filter(|number| limits.contains(number)).ok_or_else(|| {
        let (from, to) = limits.clone().into_inner();
        ConfigError(format!("--{flag} {value}: a number from {from} to {to} was expected"))
    })
}

fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect::<Vec<_>>().into_iter()
}

/// `http://ip:port`, `https://ip:port` or `unix://path`; the name `localhost` stands for 127.0.0.1, other names are not looked up.
fn listen_address(flag: &str, url: &str) -> Result<Address, ConfigError> {
    let wrong = || {
        ConfigError(format!(
            "--{flag} {url}: an IP address and a port were expected, as in http://127.0.0.1:2379, or unix://path"
        ))
    };
    let (kind, rest): (fn(SocketAddr) -> Address, &str) = match url.split_once("://") {
        // As in etcd, what looks like a host is a part of the path.
        Some(("unix", path)) if !path.is_empty() => return Ok(Address::Unix(path.into())),
        Some(("http", rest)) => (Address::Tcp, rest),
        Some(("https", rest)) => (Address::Tls, rest),
        _ => return Err(wrong()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let rest = rest.strip_prefix("localhost:").map_or_else(|| rest.to_owned(), |port| format!("127.0.0.1:{port}"));
    rest.parse().map(kind).map_err(|_| wrong())
}

fn help() -> String {
    let mut text = String::from(
        "hull-kv: Hull's store, with etcd's v3 API\n\nUsage: hull-kv [--FLAG VALUE]...\n       \
         hull-kv import FILE [--FLAG VALUE]...   make a new data folder from an etcd's snapshot\n\n",
    );
    for setting in settings() {
        text.push_str(&format!("  --{:<28} {}\n  {:<30} {}", setting.flag, setting.help, "", setting.variable));
        if !setting.default.is_empty() {
            text.push_str(&format!(", default {}", setting.default));
        }
        text.push('\n');
    }
    text.push_str(
        "\nThe member tells readiness to $NOTIFY_SOCKET (sd_notify) and stops cleanly on SIGTERM and SIGINT.",
    );
    text
}
