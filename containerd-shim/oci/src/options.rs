//! The options in front of the verb, and what all verbs need to read theirs.

use std::ffi::OsString;
use std::path::PathBuf;

use hull_oci_core::oci::plan::Owner;
use hull_runtime::Failure;
use hull_runtime::facts;
use hull_runtime::state::Folder;
use lexopt::{Arg, Parser, ValueExt};

/// Options in front of the verb.
#[derive(Debug, Clone)]
pub(crate) struct Global {
    /// Where the folders of containers are.
    pub(crate) root: PathBuf,
    /// Where errors go, beside standard error.
    pub(crate) log: Option<PathBuf>,
    /// In which form.
    pub(crate) format: Format,
    /// Whether it says what is done.
    pub(crate) detail: Flag,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines of `key=value`.
    Text,
    /// Lines of JSON.
    Json,
}

impl Global {
    /// As they are when none is given.
    pub(crate) fn new() -> Global {
        Global { root: default_root(), log: None, format: Format::Text, detail: Flag::Unset }
    }
}

/// Reads them and the verb; nothing when help is asked for. What is refused is so when the verb has come: an option behind it may say where
/// that is to be told.
pub(crate) fn global(parser: &mut Parser, global: &mut Global) -> Result<Option<String>, Failure> {
    let mut refused = None;
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("root") => global.root = path(parser)?,
            Arg::Long("log") => global.log = Some(path(parser)?).filter(|path| !path.as_os_str().is_empty()),
            Arg::Long("log-format") => {
                global.format = match text(parser)?.as_str() {
                    "text" => Format::Text,
                    "json" => Format::Json,
                    other => {
                        refused.get_or_insert(Failure(format!("--log-format: {other:?} is not text or json")));
                        global.format
                    }
                }
            }
            Arg::Long("systemd-cgroup") => {
                if flag(parser) == Flag::Set {
                    refused.get_or_insert(systemd());
                }
            }
            Arg::Long("cgroup-manager") => {
                if text(parser)? == "systemd" {
                    refused.get_or_insert(systemd());
                }
            }
            // Who runs it is looked at, and there are two levels.
            Arg::Long("debug") => global.detail = flag(parser),
            Arg::Long("rootless" | "criu" | "log-level") => drop(text(parser)?),
            Arg::Long("version") | Arg::Short('v') => return Ok(Some("version".to_owned())),
            Arg::Value(verb) => {
                let verb = string(verb)?;
                return refused.map_or(Ok(Some(verb)), Err);
            }
            other => return Err(unexpected(&other)),
        }
    }
    refused.map_or(Ok(None), Err)
}

fn systemd() -> Failure {
    Failure("--systemd-cgroup: this runtime makes control groups itself and does not ask systemd; leave it out and use cgroupfs".to_owned())
}

fn default_root() -> PathBuf {
    let user = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    match (facts::owner(), user) {
        (Owner::Rootless, Some(folder)) => PathBuf::from(folder).join("hull-oci"),
        _ => PathBuf::from("/run/hull-oci"),
    }
}

/// The next argument. Asked for help, it helps and ends the program.
pub(crate) fn next(parser: &mut Parser) -> Result<Option<Arg<'_>>, Failure> {
    match parser.next().map_err(|error| Failure(error.to_string()))? {
        Some(Arg::Short('h') | Arg::Long("help")) => {
            crate::log::say_as_is!("{}", crate::help::USAGE);
            std::process::exit(0)
        }
        argument => Ok(argument),
    }
}

/// The value of the option that was just read, as text.
pub(crate) fn text(parser: &mut Parser) -> Result<String, Failure> {
    string(parser.value().map_err(|error| Failure(error.to_string()))?)
}

/// As a path.
pub(crate) fn path(parser: &mut Parser) -> Result<PathBuf, Failure> {
    Ok(PathBuf::from(parser.value().map_err(|error| Failure(error.to_string()))?))
}

/// As a number.
pub(crate) fn number<T: std::str::FromStr>(parser: &mut Parser, option: &str) -> Result<T, Failure> {
    let text = text(parser)?;
    text.parse().map_err(|_| Failure(format!("{option}: {text:?} is not a number that fits")))
}

/// Whether an option without a value is set: `--tty`, `--tty=true`, `--tty=false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    /// It is.
    Set,
    /// It is explicitly not.
    Unset,
}

/// The flag that was just read.
pub(crate) fn flag(parser: &mut Parser) -> Flag {
    match parser.optional_value() {
        Some(value) if value == "false" || value == "0" => Flag::Unset,
        _ => Flag::Set,
    }
}

/// As UTF-8.
pub(crate) fn string(value: OsString) -> Result<String, Failure> {
    value.string().map_err(|error| Failure(error.to_string()))
}

/// An option that the verb does not have.
pub(crate) fn unexpected(argument: &Arg<'_>) -> Failure {
    match argument {
        Arg::Short(letter) => Failure(format!("option -{letter} is not known here")),
        Arg::Long(name) => Failure(format!("option --{name} is not known here")),
        Arg::Value(value) => Failure(format!("argument {value:?} is not expected")),
    }
}

/// The id of a container, which is the verb's next argument.
pub(crate) fn take_id(id: &mut Option<String>, value: OsString) -> Result<(), Failure> {
    let value = string(value)?;
    match id {
        None => *id = Some(value),
        Some(_) => return Err(Failure(format!("argument {value:?} is not expected: one container id is"))),
    }
    Ok(())
}

/// The folder of the container that is meant.
pub(crate) fn folder(global: &Global, id: Option<String>) -> Result<Folder, Failure> {
    let id = id.ok_or_else(|| Failure("the container id is missing".to_owned()))?;
    Folder::of(&global.root, &id)
}

/// Reads a verb that has nothing but an id.
pub(crate) fn only_id(global: &Global, parser: &mut Parser) -> Result<Folder, Failure> {
    let mut id = None;
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Value(value) => take_id(&mut id, value)?,
            other => return Err(unexpected(&other)),
        }
    }
    folder(global, id)
}
