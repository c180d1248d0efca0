//! Calls etcd's `benchmark` tool.
use std::{path::Path, process::Command};

use crate::Outcome;

/// Runs the tool against the endpoints and returns requests a second.
pub(crate) fn run(tool: &Path, endpoints: &str, arguments: &[&str]) -> Outcome<f64> {
    let output = Command::new(tool).args(["--endpoints", endpoints]).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.contains("Error distribution") || !output.status.success();
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok());
    match rate {
        Some(rate) if !failed => Ok(rate),
        _ => Err(format!(
            "benchmark {}: {}\n{text}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}
