//! Limits as files of a version 2 control group (cgroup-v2.rst).

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::{Facts, Refused};

/// One file of a control group and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// File name, `memory.max`.
    pub file: &'static str,
    /// Value.
    pub value: String,
    /// Whether the container may start without it.
    pub need: Need,
}

/// Whether a setting must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without it there is no container.
    Must,
    /// A kernel without the file has nothing to limit: no swap, say.
    WhereKnown,
}

/// A group's path; one that leaves the hierarchy is refused.
pub(super) fn path(text: &str) -> Result<String, Refused> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..") || part.contains('\0')) {
        return Err(Refused::Value {
            field: "linux.cgroupsPath".into(),
            value: text.into(),
            expected: "a path below the root of the hierarchy, without `..`",
        });
    }
    Ok(format!("/{}", parts.join("/")))
}

/// The settings for the resources of a specification.
pub(super) fn settings(resources: Option<&LinuxResources>, facts: &Facts) -> Result<Vec<Setting>, Refused> {
    let mut settings = Vec::new();
    let Some(resources) = resources else { return Ok(settings) };
    let need = |field, controller| match facts.controllers.iter().any(|known| known == controller) {
        true => Ok(()),
        false => Err(Refused::Controller { field, controller }),
    };
    if let Some(memory) = resources.memory() {
        let before = settings.len();
        memory_settings(memory, &mut settings);
        if settings.len() > before {
            need("linux.resources.memory", "memory")?;
        }
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, &mut settings, need)?;
    }
    if let Some(limit) = resources.pids().as_ref().map(|pids| pids.limit()) {
        need("linux.resources.pids", "pids")?;
        settings.push(must("pids.max", limit_or_max(limit)));
    }
    Ok(settings)
}

fn memory_settings(memory: &LinuxMemory, settings: &mut Vec<Setting>) {
    if let Some(limit) = memory.limit() {
        settings.push(must("memory.max", limit_or_max(limit)));
        // What one process of a container lost to the limit, the others seldom survive: it ends as a whole.
        settings.push(Setting { need: Need::WhereKnown, ..must("memory.oom.group", "1".into()) });
    }
    if let Some(total) = memory.swap() {
        // The specification counts memory and swap together, the kernel swap alone.
        let alone = if total < 0 { total } else { (total - memory.limit().unwrap_or(0)).max(0) };
        let value = if total < 0 { limit_or_max(alone) } else { alone.to_string() };
        settings.push(Setting { need: Need::WhereKnown, ..must("memory.swap.max", value) });
    }
    if let Some(reservation) = memory.reservation() {
        settings.push(must("memory.low", limit_or_max(reservation)));
    }
}

fn cpu_settings(
    cpu: &LinuxCpu,
    settings: &mut Vec<Setting>,
    need: impl Fn(&'static str, &'static str) -> Result<(), Refused>,
) -> Result<(), Refused> {
    /// The kernel's own, in microseconds.
    const PERIOD: u64 = 100_000;
    if cpu.quota().is_some() || cpu.period().is_some() {
        need("linux.resources.cpu", "cpu")?;
        let quota = cpu.quota().map_or("max".to_owned(), limit_or_max);
        settings.push(must("cpu.max", format!("{quota} {}", cpu.period().unwrap_or(PERIOD))));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
        need("linux.resources.cpu.shares", "cpu")?;
        settings.push(must("cpu.weight", weight(shares).to_string()));
    }
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value {
            need("linux.resources.cpu", "cpuset")?;
            settings.push(must(file, value.clone()));
        }
    }
    Ok(())
}

/// Version 1's shares, 2 to 262,144, as version 2's weight, 1 to 10,000, the same way as every other runtime.
fn weight(shares: u64) -> u64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9_999) / 262_142
}

fn must(file: &'static str, value: String) -> Setting {
    Setting { file, value, need: Need::Must }
}

fn limit_or_max(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}
