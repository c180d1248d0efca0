//! How often a server makes its log durable, by `strace -c`.
use std::fs;

use crate::{
    Outcome, Plan,
    cluster::{Cluster, Subject},
    load,
};

/// Puts that are counted over: one client, so that nothing can be gathered into a batch.
const PUTS: &str = "500";

/// What strace saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syncs {
    /// fsync(2) and fdatasync(2) calls.
    pub(crate) calls: u64,
    /// Puts made meanwhile, one after the other.
    pub(crate) puts: u64,
}

/// Counts the syncs of a start, [`PUTS`] puts and a stop. `None` without strace.
pub(crate) fn count(plan: &Plan, subject: &Subject) -> Outcome<Option<Syncs>> {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return Ok(None);
    }
    let folder = tempfile::tempdir_in(&plan.scratch)?;
    let file = folder.path().join("counts");
    let mut cluster = Cluster::start_traced(subject, 1, &plan.scratch, Some(file.clone()))?;
    load::run(&plan.tool, &cluster.endpoints(), &["put", "--clients", "1", "--conns", "1", "--total", PUTS])?;
    cluster.stop(0)?;
    let text = fs::read_to_string(file)?;
    let rows = text.lines().filter(|line| line.ends_with("fsync") || line.ends_with("fdatasync"));
    // % time, seconds, usecs/call, calls, [errors,] syscall
    let calls = rows.filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok()).sum();
    Ok(Some(Syncs { calls, puts: PUTS.parse()? }))
}
