//! Calls etcd's `benchmark` tool.
use std::{path::Path, process::Command};

use nix::sys::resource::{UsageWho, getrusage};

use crate::Outcome;

/// What the tool saw, and what it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Its own processor time, in ms.
    pub(crate) tool_ms: f64,
}

/// Processor time of the children that have ended and were waited for, in ms: of the tool, since servers run on.
fn ended_children_ms() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}

/// Runs the tool against the endpoints.
pub(crate) fn run(tool: &Path, endpoints: &str, arguments: &[&str]) -> Outcome<Load> {
    let before = ended_children_ms()?;
    let output = Command::new(tool).args(["--endpoints", endpoints]).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.contains("Error distribution") || !output.status.success();
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok());
    match rate {
        Some(rate) if !failed => Ok(Load { rate, tool_ms: ended_children_ms()? - before }),
        _ => Err(format!(
            "benchmark {}: {}\n{text}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}
