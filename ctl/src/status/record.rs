//! A node's record in the store, `/hull/nodes/<name>`, as rows that people read. Pure.
//!
//! The record is what `hullctl status -o json` says on the node, without what changes all the time, and with `booted_at` (seconds since
//! 1970) for the uptime.

use crate::format::{Cell, cell, duration, toned};
use crate::screen::Tone;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A text field, empty where there is none.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The record as three tables: facts, services, containers; `None` when it is no record.
pub(crate) fn tables(record: &Value, now: u64) -> Option<[Vec<Vec<Cell>>; 3]> {
    record.as_object()?;
    let row = |label: &str, value: String| vec![cell(label), cell(value)];
    let mut rows = vec![row("version", text(record, "version").to_owned())];
    let hash = text(record, "root_hash");
    match record["slot"].as_str() {
        Some(slot) => rows.push(row("slot", format!("{slot}  root {}", hash.get(..12).unwrap_or(hash)))),
        None if !hash.is_empty() => rows.push(row("slot", "none: the root is in the initramfs".to_owned())),
        None => {}
    }
    if let Some(booted) = record["booted_at"].as_u64() {
        rows.push(row("uptime", format!("about {}", duration(Duration::from_secs(now.saturating_sub(booted))))));
    }
    for name in ["state", "addresses"] {
        if !text(record, name).is_empty() {
            rows.push(row(name, text(record, name).to_owned()));
        }
    }
    let services = list(record, "services").map(|service| unit("service", service, text(service, "status")));
    let containers = containers(record).map(|container| unit("container", container, text(container, "image")));
    Some([rows, services.collect(), containers.collect()])
}

/// The containers of a record.
pub(crate) fn containers(record: &Value) -> impl Iterator<Item = &Value> {
    list(record, "containers")
}

fn list<'a>(record: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    record[name].as_array().into_iter().flatten()
}

fn unit(label: &str, unit: &Value, more: &str) -> Vec<Cell> {
    vec![cell(label), cell(text(unit, "name")), state(unit), cell(facts(unit, more))]
}

/// The state in its colour.
pub(crate) fn state(unit: &Value) -> Cell {
    let state = text(unit, "state");
    let tone = match state {
        "running" | "ready" => Tone::Good,
        "starting" | "stopping" | "waiting" => Tone::Warn,
        "ended" => Tone::Faint,
        _ => Tone::Bad,
    };
    toned(tone, state)
}

/// What is worth saying besides the state.
pub(crate) fn facts(unit: &Value, more: &str) -> String {
    let restarts = match unit["restarts"].as_u64() {
        None | Some(0) => String::new(),
        Some(1) => "1 restart".to_owned(),
        Some(count) => format!("{count} restarts"),
    };
    let mut facts = vec![more.to_owned(), text(unit, "reason").to_owned(), restarts];
    facts.retain(|fact| !fact.is_empty());
    facts.join(", ")
}

/// What is wrong with the node, a line each.
pub(crate) fn problems(record: &Value) -> impl Iterator<Item = String> {
    let lines = |name| list(record, name).filter_map(|line| line.as_str().map(str::to_owned));
    let errors = list(record, "command_line_errors")
        .map(|error| format!("{}={}: {}", text(error, "key"), text(error, "value"), text(error, "expected")));
    lines("degraded").chain(errors).chain(lines("notes"))
}
