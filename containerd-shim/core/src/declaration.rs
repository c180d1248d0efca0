//! A declared container: the JSON under `/hull/containers/<name>`, or a word of `hull.run=`.

mod capabilities;
mod mounts;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use mounts::{Access, Volume};

/// Where declarations are kept in the store.
pub const PREFIX: &str = "/hull/containers/";

/// Longest name, in bytes: it becomes a folder, a cgroup and a host name (HOST_NAME_MAX is 64).
pub const NAME_MAX: usize = 63;

/// Largest declaration, in bytes.
pub const DECLARATION_MAX: usize = 64 * 1024;

/// Seconds between the stop signal and the kill, unless declared.
pub const GRACE_SECONDS: u32 = 10;

/// What people write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Name of an image that the node has.
    pub image: String,
    /// Replaces the image's entrypoint and command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Replaces the image's command only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Added to the image's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Replaces the image's user: `uid[:gid]`, or names that the image knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Replaces the image's working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Volumes by the path that they are mounted on: `NAME`, or `NAME:ro`. They outlive the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, String>,
    /// Memory that is a folder, by its path: its size, `16M`. It ends with the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Capabilities beside those that every container has, `SYS_PTRACE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Capabilities of every container that this one does without, or `ALL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Memory limit, `64M`; swap is not counted beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Processors, `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Processes and threads at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// When it starts again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: Restart,
    /// Whether its root can be written to.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub read_only: bool,
    /// Seconds between the stop signal and the kill.
    #[serde(default = "grace", skip_serializing_if = "is_grace")]
    pub stop_seconds: u32,
}

/// When a container that ended starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// However it ended.
    #[default]
    Always,
    /// Unless it exited with 0.
    OnFailure,
    /// Never.
    Never,
}

fn is_default(restart: &Restart) -> bool {
    *restart == Restart::default()
}
fn yes() -> bool {
    true
}
fn is_yes(value: &bool) -> bool {
    *value
}
fn grace() -> u32 {
    GRACE_SECONDS
}
fn is_grace(value: &u32) -> bool {
    *value == GRACE_SECONDS
}

/// Why a declaration is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A name that is no plain file and host name.
    Name {
        /// As given.
        name: String,
    },
    /// Not the JSON that is expected.
    Json {
        /// What the reader says, with line and column.
        cause: String,
    },
    /// A field with a value that makes no sense.
    Field {
        /// Which.
        field: &'static str,
        /// As given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Larger than [`DECLARATION_MAX`].
    TooLarge {
        /// Bytes.
        bytes: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name } => write!(
                f,
                "name {name:?}: expected 1 to {NAME_MAX} letters, digits and `-`, `_`, `.`, the first a letter or digit"
            ),
            Self::Json { cause } => write!(f, "declaration: {cause}"),
            Self::Field { field, value, expected } => write!(f, "field {field}: {value:?} is not {expected}"),
            Self::TooLarge { bytes } => {
                write!(
                    f,
                    "declaration: {bytes} bytes are more than {DECLARATION_MAX}; keep large values under keys of their own"
                )
            }
        }
    }
}

impl std::error::Error for Refused {}

impl Declaration {
    /// The shortest declaration: an image, everything else by default.
    pub fn of_image(image: &str) -> Declaration {
        Declaration {
            image: image.to_owned(),
            command: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            user: None,
            directory: None,
            volumes: BTreeMap::new(),
            tmpfs: BTreeMap::new(),
            capabilities: Vec::new(),
            drop: Vec::new(),
            memory: None,
            cpu: None,
            pids: None,
            restart: Restart::default(),
            read_only: true,
            stop_seconds: GRACE_SECONDS,
        }
    }

    /// Reads and checks the JSON form.
    ///
    /// # Errors
    /// Names the field and what was expected.
    pub fn parse(json: &[u8]) -> Result<Declaration, Refused> {
        if json.len() > DECLARATION_MAX {
            return Err(Refused::TooLarge { bytes: json.len() });
        }
        let declaration: Declaration =
            serde_json::from_slice(json).map_err(|error| Refused::Json { cause: error.to_string() })?;
        declaration.check()?;
        Ok(declaration)
    }

    /// Checks what JSON's types do not.
    ///
    /// # Errors
    /// The first field that makes no sense.
    pub fn check(&self) -> Result<(), Refused> {
        let refuse = |field, value: &dyn fmt::Display, expected| {
            Err(Refused::Field { field, value: value.to_string(), expected })
        };
        if check_name(&self.image).is_err() {
            return refuse("image", &self.image, "the plain name of an image");
        }
        if let Some(key) = self.env.keys().find(|key| key.is_empty() || key.contains(['=', '\0'])) {
            return refuse("env", key, "the name of a variable");
        }
        let texts = self.command.iter().chain(&self.args).chain(self.env.values());
        if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
            return refuse("command, args or env", text, "text without a zero byte");
        }
        if let Some(user) = self.user.as_ref().filter(|user| user.is_empty() || user.contains(['\0', '\n'])) {
            return refuse("user", user, "a user such as 1000, 1000:1000 or www-data");
        }
        if let Some(path) = self.directory.as_ref().filter(|path| !path.starts_with('/') || path.contains('\0')) {
            return refuse("directory", path, "an absolute path");
        }
        self.check_mounts()?;
        self.check_capabilities()?;
        if let Some(memory) = &self.memory
            && self.memory_bytes().is_none_or(|bytes| bytes < MEMORY_MIN)
        {
            return refuse("memory", memory, "a size of at least 1M such as 64M or 1G");
        }
        if let Some(cpu) = self.cpu.filter(|cpu| !(0.01..=1024.0).contains(cpu)) {
            return refuse("cpu", &cpu, "a number of processors from 0.01 to 1024");
        }
        if let Some(pids) = self.pids.filter(|pids| *pids < 1) {
            return refuse("pids", &pids, "a number of at least 1");
        }
        if self.stop_seconds > 3600 {
            return refuse("stop_seconds", &self.stop_seconds, "a number of seconds up to 3600");
        }
        Ok(())
    }

    /// The memory limit in bytes.
    pub fn memory_bytes(&self) -> Option<i64> {
        size(self.memory.as_deref()?)
    }
}

/// A size in bytes, with `K`, `M` or `G` for the powers of 1,024.
fn size(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

/// Less memory than this does not hold even the start of a process.
const MEMORY_MIN: i64 = 1 << 20;

/// A name that is safe as a folder, a cgroup and a host name.
///
/// # Errors
/// It is not.
pub fn check_name(name: &str) -> Result<(), Refused> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.len() <= NAME_MAX && name.chars().all(plain) {
        return Ok(());
    }
    Err(Refused::Name { name: name.to_owned() })
}

/// Reads `hull.run=`: `NAME=IMAGE` or `IMAGE`, separated by commas. Bad words do not hide good ones.
pub fn parse_run(text: &str) -> Vec<Result<(String, Declaration), Refused>> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (name, image) = word.split_once('=').unwrap_or((word, word));
            check_name(name)?;
            let declaration = Declaration::of_image(image);
            declaration.check()?;
            Ok((name.to_owned(), declaration))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_declaration_is_an_image() {
        let parsed = Declaration::parse(br#"{"image":"hello"}"#).unwrap();
        assert_eq!(parsed, Declaration::of_image("hello"));
        assert_eq!(serde_json::to_string(&parsed).unwrap(), r#"{"image":"hello"}"#);
    }

    #[test]
    fn a_misspelt_field_is_refused_by_name() {
        let refused = Declaration::parse(br#"{"image":"hello","memroy":"64M"}"#).unwrap_err();
        assert!(refused.to_string().contains("memroy"), "{refused}");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_by_field() {
        for (json, field) in [
            (r#"{"image":"../etc"}"#, "image"),
            (r#"{"image":"a","memory":"64X"}"#, "memory"),
            (r#"{"image":"a","memory":"9999999999999G"}"#, "memory"),
            (r#"{"image":"a","memory":"4K"}"#, "memory"),
            (r#"{"image":"a","cpu":0}"#, "cpu"),
            (r#"{"image":"a","pids":0}"#, "pids"),
            (r#"{"image":"a","env":{"A=B":"c"}}"#, "env"),
            (r#"{"image":"a","user":""}"#, "user"),
            (r#"{"image":"a","directory":"srv"}"#, "directory"),
        ] {
            match Declaration::parse(json.as_bytes()) {
                Err(Refused::Field { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for name in ["", ".", "..", "a/b", "/a", "-a", "a b", "a\0", &"a".repeat(64), "ü"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "web-1", "A_b.c", &"a".repeat(63)] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_bad_word_of_the_command_line_does_not_hide_a_good_one() {
        let parsed = parse_run("web=hello,../x,hello,");
        assert_eq!(parsed.len(), 3);
        assert_eq!(parsed[0], Ok(("web".to_owned(), Declaration::of_image("hello"))));
        assert!(parsed[1].is_err());
        assert_eq!(parsed[2], Ok(("hello".to_owned(), Declaration::of_image("hello"))));
    }
}
