//! The command line as containerd writes it: flags of Go's kind (`-id x`, `--id=x`), then the verb.

use std::collections::VecDeque;
use std::path::PathBuf;

use hull_runtime::Failure;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Make a shim, or find the one of the pod.
    Start,
    /// Clean up after a shim that is gone.
    Delete,
    /// Be the shim.
    Serve,
    /// Say which version this is.
    Version,
    /// Say what it can do.
    Info,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What went wrong.
    Warnings,
    /// Each request, too.
    Debug,
}

/// The flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// Of the container, for the first one of the shim.
    pub(crate) id: String,
    /// The daemon's own socket.
    pub(crate) address: String,
    /// Program that publishes events where there is no socket for them.
    pub(crate) publisher: PathBuf,
    /// The bundle, where it is not the working directory.
    pub(crate) bundle: Option<PathBuf>,
    /// How much is logged.
    pub(crate) detail: Detail,
    /// What is to be done.
    pub(crate) verb: Verb,
}

/// Reads the words after the program's name.
///
/// # Errors
/// A flag or verb is not known, has no value, or the namespace is missing.
pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Result<Arguments, Failure> {
    let mut words: VecDeque<String> = words.into_iter().collect();
    let mut read = Arguments {
        namespace: String::new(),
        id: String::new(),
        address: String::new(),
        publisher: PathBuf::from("containerd"),
        bundle: None,
        detail: Detail::Warnings,
        verb: Verb::Serve,
    };
    while let Some(word) = words.pop_front() {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            read.verb = match word.as_str() {
                "start" => Verb::Start,
                "delete" => Verb::Delete,
                other => return Err(Failure(format!("{other:?} is no verb: start and delete are"))),
            };
            break;
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        let mut value = || {
            let value = value.clone().or_else(|| words.pop_front());
            value.ok_or_else(|| Failure(format!("-{name}: its value is missing")))
        };
        match name {
            "namespace" => read.namespace = value()?,
            "id" => read.id = value()?,
            "address" => read.address = value()?,
            "publish-binary" => read.publisher = value()?.into(),
            "bundle" => read.bundle = Some(value()?.into()).filter(|path: &PathBuf| !path.as_os_str().is_empty()),
            "debug" => read.detail = Detail::Debug,
            "v" | "version" => return Ok(Arguments { verb: Verb::Version, ..read }),
            "info" => return Ok(Arguments { verb: Verb::Info, ..read }),
            other => return Err(Failure(format!("-{other}: no such flag"))),
        }
    }
    match read.namespace.is_empty() {
        true => Err(Failure("-namespace: missing; containerd gives it to each shim".to_owned())),
        false => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Arguments, Failure> {
        read(text.split(' ').map(str::to_owned))
    }

    #[test]
    fn containerd_s_own_command_lines_are_understood() {
        let start =
            words("-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a -debug start");
        let start = start.unwrap();
        assert_eq!((start.verb, start.detail, start.id.as_str()), (Verb::Start, Detail::Debug, "a"));
        let delete = words("--namespace=n -id a -bundle /b delete").unwrap();
        assert_eq!((delete.verb, delete.bundle), (Verb::Delete, Some(PathBuf::from("/b"))));
        assert_eq!(words("-namespace n -id a -address /c").unwrap().verb, Verb::Serve);
        assert_eq!(words("-v").unwrap().verb, Verb::Version);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        assert_eq!(words("-namespace n -socket").unwrap_err().0, "-socket: no such flag");
        assert_eq!(words("-namespace n stop").unwrap_err().0, "\"stop\" is no verb: start and delete are");
        assert_eq!(words("-namespace").unwrap_err().0, "-namespace: its value is missing");
        assert!(words("-id a start").unwrap_err().0.starts_with("-namespace: missing"));
    }
}
