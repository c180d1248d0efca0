//! Asks the launcher over its socket: containers, images, logs.

use crate::failure::Failure;
use crate::format::{Cell, cell};
use crate::screen::Screen;
use hull_init_core::control::Follow;
use serde_json::{Value, json};

const SOCKET: &str = "/run/hull/launcher.sock";

/// One container as the launcher tells of it.
pub(crate) struct Container {
    pub(crate) name: String,
}

/// Every container of the node.
pub(crate) fn list() -> Result<Vec<Container>, Failure> {
    Err(Failure::new("ask the launcher on", SOCKET, "not yet", ""))
}

/// Prints what a container wrote.
pub(crate) fn logs(name: &str, _follow: Follow, _screen: &mut Screen) -> Result<(), Failure> {
    Err(Failure::new("ask the launcher on", name, "not yet", ""))
}

/// The rows of a table.
pub(crate) fn rows(list: &[Container]) -> Vec<Vec<Cell>> {
    list.iter().map(|container| vec![cell(container.name.as_str())]).collect()
}

/// As JSON.
pub(crate) fn value(list: &[Container]) -> Value {
    list.iter().map(|container| json!({ "name": container.name })).collect()
}
