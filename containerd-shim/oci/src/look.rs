//! What looks at containers: state, list, ps, events.

use std::process::Command;
use std::time::Duration;

use hull_runtime::Failure;
use hull_runtime::cgroup::stats;
use hull_runtime::state::{self, Folder, State, Status};
use lexopt::{Arg, Parser};
use serde::Serialize;
use serde_json::{Value, json};

use crate::options::{Flag, Format, Global, flag, folder, next, only_id, string, take_id, text, unexpected};

/// Prints the state of one.
pub(crate) fn state(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let folder = only_id(global, parser)?;
    let record = folder.record()?;
    let state = record.shown(record.status(&folder));
    crate::log::say!("{}", serde_json::to_string_pretty(&state).map_err(|error| Failure(error.to_string()))?);
    Ok(())
}

fn format(parser: &mut Parser) -> Result<Format, Failure> {
    match text(parser)?.as_str() {
        "table" | "" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        other => Err(Failure(format!("--format: invalid format option: {other:?} is not table or json"))),
    }
}

/// Prints all.
pub(crate) fn list(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let (mut shape, mut quiet) = (Format::Text, Flag::Unset);
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("format") | Arg::Short('f') => shape = format(parser)?,
            Arg::Long("quiet") | Arg::Short('q') => quiet = flag(parser),
            other => return Err(unexpected(&other)),
        }
    }
    let ids = state::all(&global.root)?;
    if quiet == Flag::Set {
        ids.iter().for_each(|id| crate::log::say!("{id}"));
        return Ok(());
    }
    let mut states = Vec::new();
    for id in ids {
        let folder = Folder::of(&global.root, &id)?;
        // Deleted meanwhile is not there.
        let Ok(record) = folder.record() else { continue };
        states.push(record.shown(record.status(&folder)));
    }
    match shape {
        Format::Json if states.is_empty() => crate::log::say!("null"),
        Format::Json => {
            crate::log::say!("{}", serde_json::to_string(&states).map_err(|error| Failure(error.to_string()))?)
        }
        Format::Text => table(&states),
    }
    Ok(())
}

fn table(states: &[State]) {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let row = |state: &State| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (id, pid, status) = (state.id.clone(), state.pid.to_string(), state.status.to_owned());
        [id, pid, status, state.bundle.clone(), text(&state.created), text(&state.owner)]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head.map(str::to_owned)).chain(states.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(8) + 3;
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        crate::log::say!("{}", line.trim_end());
    }
}

/// Prints the processes of one.
pub(crate) fn ps(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let (mut id, mut shape, mut words) = (None, Format::Text, Vec::new());
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("format") | Arg::Short('f') => shape = format(parser)?,
            Arg::Value(value) => {
                id = Some(string(value)?);
                // Its own options may still follow; all others are of ps(1).
                let mut rest = parser.raw_args().map_err(|error| Failure(error.to_string()))?.peekable();
                while let Some(word) = rest.next() {
                    match word.to_str() {
                        Some("--format" | "-f")
                            if rest.peek().is_some_and(|next| next == "json" || next == "table") =>
                        {
                            let json = rest.next().is_some_and(|word| word == "json");
                            shape = if json { Format::Json } else { Format::Text };
                        }
                        Some("--format=json") => shape = Format::Json,
                        _ => words.push(word),
                    }
                }
                break;
            }
            other => return Err(unexpected(&other)),
        }
    }
    let folder = folder(global, id)?;
    let record = folder.record()?;
    let mut pids = record.groups().processes();
    if record.cgroup_paths.is_empty() && record.process().is_some() {
        // Without control groups nobody counts the others.
        pids.push(record.pid);
    }
    if shape == Format::Json {
        crate::log::say!("{}", json!(pids));
        return Ok(());
    }
    if words.is_empty() {
        words.push("-ef".into());
    }
    let output = Command::new("ps").args(&words).output().map_err(|error| Failure(format!("execute ps: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_ascii_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Failure("ps: couldn't find PID field in its output".to_owned()))?;
    crate::log::say!("{head}");
    let of = |line: &&str| {
        line.split_ascii_whitespace()
            .nth(column)
            .and_then(|text| text.parse::<i32>().ok())
            .is_some_and(|pid| pids.contains(&pid))
    };
    lines.filter(of).for_each(|line| crate::log::say!("{line}"));
    Ok(())
}

/// Prints what one uses, once or again and again, and that it ran out of memory.
pub(crate) fn events(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let (mut id, mut once, mut interval) = (None, Flag::Unset, Duration::from_secs(5));
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("stats") => once = flag(parser),
            Arg::Long("interval") => interval = duration(&text(parser)?)?,
            Arg::Value(value) => take_id(&mut id, value)?,
            other => return Err(unexpected(&other)),
        }
    }
    let folder = folder(global, id)?;
    let record = folder.record()?;
    let groups = record.groups();
    if record.status(&folder) == Status::Stopped {
        return Err(Failure(format!("container with id {} is not running", folder.id)));
    }
    let say = |kind: &str, data: Option<Value>| {
        let event = Event { kind, id: &folder.id, data };
        crate::log::say!("{}", serde_json::to_string(&event).unwrap_or_default());
    };
    let show = || say("stats", Some(stats(&groups)));
    if once == Flag::Set {
        show();
        return Ok(());
    }
    let mut kills = groups.out_of_memory_kills();
    while record.status(&folder) != Status::Stopped {
        show();
        let now = groups.out_of_memory_kills();
        if now > kills {
            say("oom", None);
        }
        kills = now;
        std::thread::sleep(interval);
    }
    Ok(())
}

/// One line of `events`.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

/// `5s`, `100ms`, `1m`, or seconds.
fn duration(text: &str) -> Result<Duration, Failure> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("", 1000)];
    let read = units.iter().find_map(|(unit, milliseconds)| {
        let number = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        number.checked_mul(*milliseconds).filter(|ms| *ms > 0)
    });
    read.map(Duration::from_millis)
        .ok_or_else(|| Failure(format!("--interval: {text:?} is not a time such as 5s, longer than none")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("100ms").unwrap(), Duration::from_millis(100));
        assert_eq!(duration("2").unwrap(), Duration::from_secs(2));
        assert!(duration("0s").is_err() && duration("soon").is_err());
    }
}
