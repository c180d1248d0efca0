//! Reads JSON and names the field that is wrong.

use serde::de::DeserializeOwned;

use super::Refused;
use super::config::Spec;

/// Reads `config.json`.
///
/// # Errors
/// Names the field whose type is wrong.
pub fn spec(bytes: &[u8]) -> Result<Spec, Refused> {
    json(bytes)
}

/// Reads any of the specification's types.
///
/// # Errors
/// Names the field whose type is wrong.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (field, cause) = (field(bytes, error.line(), error.column()), error.to_string());
        match missing(&cause) {
            Some(name) if field.is_empty() => Refused::Missing { field: name.to_owned() },
            Some(name) => Refused::Missing { field: format!("{field}.{name}") },
            None => Refused::Unreadable { field, cause },
        }
    })
}

/// The field that an object lacks, by what the reader says of it.
fn missing(cause: &str) -> Option<&str> {
    cause.strip_prefix("missing field `")?.split('`').next()
}

/// What the reader is in the middle of.
enum Level<'a> {
    /// An object; under this key, raw as it stands in the text.
    Object(&'a [u8]),
    /// An array, at this index.
    Array(usize),
}

/// The field that a place in a text belongs to, as `linux.namespaces[1].type`; empty for the whole. The reader stops at the first error, so
/// up to the place the text is JSON.
///
/// A crate that carries the path through the reader (serde_path_to_error) compiles every type a second time: 180 KB, resident in every
/// runtime of every container.
fn field(text: &[u8], line: usize, column: usize) -> String {
    let before =
        text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    let text = &text[..text.len().min(before + column)];
    let mut levels = Vec::new();
    let (mut string, mut at) = (&text[..0], 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let start = at;
                at = end_of_string(text, at);
                string = &text[start..at.saturating_sub(1).max(start)];
            }
            b':' => match levels.last_mut() {
                Some(Level::Object(key)) => *key = string,
                _ => break,
            },
            b'{' => levels.push(Level::Object(&text[..0])),
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => match levels.last_mut() {
                Some(Level::Object(key)) => *key = &text[..0],
                Some(Level::Array(index)) => *index += 1,
                None => break,
            },
            _ => {}
        }
    }
    path(&levels)
}

/// The index after the closing quote, or the text's end.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(byte) = text.get(at) {
        at += if *byte == b'\\' { 2 } else { 1 };
        if *byte == b'"' {
            break;
        }
    }
    at.min(text.len())
}

fn path(levels: &[Level<'_>]) -> String {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object(b"") => {}
            Level::Object(key) => {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(&String::from_utf8_lossy(key));
            }
            Level::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_named_by_its_field() {
        let refused = spec(br#"{"ociVersion":"1.0.2","process":{"user":{"uid":"root"}}}"#).unwrap_err();
        assert!(refused.to_string().starts_with("process.user.uid: invalid type: string \"root\""), "{refused}");
        let refused = spec(br#"{"linux":{"namespaces":[{"type":"pid"},{"type":7}]}}"#).unwrap_err();
        assert!(refused.to_string().starts_with("linux.namespaces[1].type: "), "{refused}");
    }

    #[test]
    fn a_field_is_named_over_lines_escapes_and_closed_objects() {
        for (text, field) in [
            ("{\n \"hostname\": \"a\\\"{,:\",\n \"process\": {\"cwd\": 7}}", "process.cwd: "),
            (r#"{"process":{"user":{"uid":0},"terminal":"yes"}}"#, "process.terminal: "),
            (r#"{"mounts":[{"destination":"/a"},{"options":"ro"}]}"#, "mounts[1].options: "),
            (r#"{"mounts":{"destination":"/a"}}"#, "mounts: "),
            (r#"{"linux":{"resources":{"memory":{"limit":1e99}}}}"#, "linux.resources.memory.limit: "),
            (r#"{"linux":{"namespaces":[{"type":"pid","#, "linux.namespaces[0]: "),
            ("[1, 2]", ""),
        ] {
            let refused = spec(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.starts_with(field), "{text}: {refused}");
        }
    }

    #[test]
    fn a_number_that_is_required_is_never_taken_for_0() {
        for (text, field) in [
            (r#"{"process":{"rlimits":[{"type":"RLIMIT_CORE","soft":1}]}}"#, "process.rlimits[0].hard"),
            (r#"{"process":{"rlimits":[{"type":"RLIMIT_CORE","hard":1}]}}"#, "process.rlimits[0].soft"),
            (r#"{"process":{"rlimits":[{"soft":1,"hard":1}]}}"#, "process.rlimits[0].type"),
            (r#"{"process":{"ioPriority":{"class":"IOPRIO_CLASS_BE"}}}"#, "process.ioPriority.priority"),
            (r#"{"linux":{"uidMappings":[{"containerID":1,"size":1}]}}"#, "linux.uidMappings[0].hostID"),
            (r#"{"linux":{"resources":{"devices":[{},{"type":"c"}]}}}"#, "linux.resources.devices[0].allow"),
            (
                r#"{"linux":{"resources":{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0}]}}}}"#,
                "linux.resources.blockIO.throttleReadBpsDevice[0].rate",
            ),
            (
                r#"{"linux":{"resources":{"blockIO":{"weightDevice":[{"major":8,"weight":10}]}}}}"#,
                "linux.resources.blockIO.weightDevice[0].minor",
            ),
            (
                r#"{"linux":{"resources":{"hugepageLimits":[{"pageSize":"2MB"}]}}}"#,
                "linux.resources.hugepageLimits[0].limit",
            ),
            (
                r#"{"linux":{"resources":{"network":{"priorities":[{"name":"lo"}]}}}}"#,
                "linux.resources.network.priorities[0].priority",
            ),
            (
                r#"{"linux":{"seccomp":{"syscalls":[{"names":["a"],"args":[{"index":0,"op":"SCMP_CMP_EQ"}]}]}}}"#,
                "linux.seccomp.syscalls[0].args[0].value",
            ),
        ] {
            assert_eq!(spec(text.as_bytes()).unwrap_err().to_string(), format!("{field}: missing"), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "7", "{} {}", "null"] {
            assert!(spec(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_as_the_specification_asks() {
        let spec = spec(br#"{"ociVersion":"1.2.0","tomorrow":{"x":1},"process":{"args":["a"],"cwd":"/"}}"#).unwrap();
        assert_eq!(spec.process.unwrap().args, ["a"]);
    }
}
