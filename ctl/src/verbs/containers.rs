//! Verbs on containers and images.

use crate::args::Run;
use crate::failure::Failure;
use crate::place::Place;
use crate::screen::Screen;
use crate::store::{Store, Which};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Where declarations stand in the store.
const CONTAINERS: &str = "/hull/containers/";

/// Declares a container.
pub(crate) fn run(place: &Place, run: &Run, screen: &mut Screen) -> Result<(), Failure> {
    let revision = Store::open(place)?.put(&key("declare", &run.name)?, declaration(run).to_string().as_bytes())?;
    screen.show(&json!({ "declared": run.name, "revision": revision }), |_| {
        format!("{}: declared; `hullctl ps` shows how it does\n", run.name)
    })
}

/// Deletes a declaration.
pub(crate) fn stop(place: &Place, name: &str, screen: &mut Screen) -> Result<(), Failure> {
    let key = key("stop", name)?;
    if Store::open(place)?.delete(Which::Key(&key))? == 0 {
        return Err(Failure::new(
            "stop",
            format!("container {name}"),
            "the store has no declaration of that name",
            "`hullctl ps` lists the containers; one from hull.run= is stopped by taking it off the command line",
        ));
    }
    screen.show(&json!({ "stopped": name }), |_| format!("{name}: declaration deleted, it stops\n"))
}

/// Lists containers.
pub(crate) fn list(_place: &Place, _screen: &mut Screen) -> Result<(), Failure> {
    Err(Failure::new("list", "containers", "not yet", ""))
}

/// Loads an archive onto the node.
pub(crate) fn load(place: &Place, archive: &Path, _screen: &mut Screen) -> Result<(), Failure> {
    place.need_node("load", &format!("image archive {}", archive.display()))?;
    Err(Failure::new("load", "archive", "not yet", ""))
}

/// Lists images.
pub(crate) fn images(place: &Place, _screen: &mut Screen) -> Result<(), Failure> {
    place.need_node("list", "images")?;
    Err(Failure::new("list", "images", "not yet", ""))
}

/// The key of a container's declaration.
///
/// # Errors
/// The name cannot be a file's and a host's name, which the node makes of it.
fn key(operation: &str, name: &str) -> Result<String, Failure> {
    /// Bytes of a host name label (RFC 1035, section 2.3.4).
    const LONGEST: usize = 63;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_' || c == '.';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts && name.len() <= LONGEST && name.chars().all(fits) {
        return Ok(format!("{CONTAINERS}{name}"));
    }
    Err(Failure::new(
        operation,
        format!("container {name:?}"),
        "this is no name for a container",
        format!("use 1 to {LONGEST} of a-z, 0-9, -, _ and ., starting with a letter or digit"),
    ))
}

/// The declaration of a container, only with what was asked for.
fn declaration(run: &Run) -> Value {
    let mut fields = Map::new();
    fields.insert("image".into(), run.image.as_str().into());
    if !run.command.is_empty() {
        fields.insert("command".into(), run.command.clone().into());
    }
    if !run.env.is_empty() {
        fields.insert(
            "env".into(),
            run.env.iter().cloned().map(|(key, value)| (key, Value::from(value))).collect::<Map<_, _>>().into(),
        );
    }
    let optional = [
        ("memory", run.memory.clone().map(Value::from)),
        ("cpu", run.cpu.map(Value::from)),
        ("pids", run.pids.map(Value::from)),
        ("read_only", run.read_only.then_some(Value::Bool(true))),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            fields.insert(key.into(), value);
        }
    }
    fields.insert("restart".into(), run.restart.word().into());
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser;

    fn declared(line: &str) -> Value {
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("a correct line");
        let Verb::Run(run) = cli.verb else { panic!("not run") };
        declaration(&run)
    }

    #[test]
    fn a_bare_run_declares_only_image_and_restart() {
        assert_eq!(declared("hullctl run web hello"), json!({ "image": "hello", "restart": "always" }));
    }

    #[test]
    fn every_flag_reaches_the_declaration() {
        assert_eq!(
            declared(
                "hullctl run web hello --memory 64M --cpu 0.5 --pids 9 -e A=b --restart never --read-only -- /x y"
            ),
            json!({
                "image": "hello", "command": ["/x", "y"], "env": { "A": "b" }, "memory": "64M",
                "cpu": 0.5, "pids": 9, "read_only": true, "restart": "never",
            })
        );
    }

    #[test]
    fn a_name_that_leaves_its_directory_is_refused() {
        for name in ["../kv", "a/b", "", ".", "-x", "Web"] {
            assert!(key("stop", name).is_err(), "{name:?}");
        }
        assert_eq!(key("stop", "web-1").expect("a name"), "/hull/containers/web-1");
    }
}
