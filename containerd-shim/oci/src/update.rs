//! `update`: other limits for a running container.

use std::io::Read;

use hull_oci_core::oci::config::{BlockIo, Cpu, Memory, Pids, Resources};
use hull_oci_core::oci::plan::{Leave, Owner};
use hull_oci_core::oci::{cgroup, devices, read};
use hull_runtime::Failure;
use hull_runtime::cgroup::Hierarchies;
use hull_runtime::facts;
use hull_runtime::state::Status;
use lexopt::{Arg, Parser};

use crate::options::{Global, folder, next, number, take_id, text, unexpected};

/// Changes limits. What is not named stays.
pub(crate) fn update(global: &Global, parser: &mut Parser) -> Result<(), Failure> {
    let (mut id, mut wanted) = (None, Resources::default());
    while let Some(argument) = next(parser)? {
        match argument {
            Arg::Long("resources") | Arg::Short('r') => wanted = from_file(&text(parser)?)?,
            Arg::Value(value) => take_id(&mut id, value)?,
            Arg::Long(name) => {
                let name = name.to_owned();
                option(&mut wanted, &name, parser)?;
            }
            other => return Err(unexpected(&other)),
        }
    }
    let folder = folder(global, id)?;
    let record = folder.record()?;
    if record.status(&folder) == Status::Stopped {
        return Err(Failure(format!(
            "container {:?} is not running: a container that has stopped has no limits",
            folder.id
        )));
    }
    let mut spec = folder.spec()?;
    let linux = spec.linux.get_or_insert_default();
    let before = linux.resources.clone().unwrap_or_default();
    complete(&mut wanted, &before);
    let facts = facts::facts(&Hierarchies::find(), Leave::Pivot);
    let settings = cgroup::settings(&wanted, &facts.hierarchy)?;
    let groups = record.groups();
    check_memory(&wanted, &groups)?;
    groups.limit(&settings)?;
    if facts.owner == Owner::Root {
        groups.limit_devices(&devices::rules(&wanted.devices)?)?;
    }
    linux.resources = Some(merged(before, wanted));
    folder.write("config.json", &serde_json::to_vec(&spec).map_err(|error| Failure(error.to_string()))?)
}

fn from_file(file: &str) -> Result<Resources, Failure> {
    let mut bytes = Vec::new();
    let read_all = match file {
        "-" => std::io::stdin().read_to_end(&mut bytes),
        file => std::fs::File::open(file).and_then(|mut open| open.read_to_end(&mut bytes)),
    };
    read_all.map_err(|error| Failure(format!("--resources: read {file}: {error}")))?;
    read::json(&bytes).map_err(|refused| Failure(format!("--resources {file}: {refused}")))
}

fn option(wanted: &mut Resources, name: &str, parser: &mut Parser) -> Result<(), Failure> {
    let memory = wanted.memory.get_or_insert_default();
    let cpu = wanted.cpu.get_or_insert_default();
    let option = format!("--{name}");
    match name {
        "memory" => memory.limit = Some(size(&option, &text(parser)?)?),
        "memory-reservation" => memory.reservation = Some(size(&option, &text(parser)?)?),
        "memory-swap" => memory.swap = Some(size(&option, &text(parser)?)?),
        "kernel-memory" => memory.kernel = Some(size(&option, &text(parser)?)?),
        "kernel-memory-tcp" => memory.kernel_tcp = Some(size(&option, &text(parser)?)?),
        "cpu-period" => cpu.period = Some(number(parser, &option)?),
        "cpu-quota" => cpu.quota = Some(number(parser, &option)?),
        "cpu-burst" => cpu.burst = Some(number(parser, &option)?),
        "cpu-share" | "cpu-shares" => cpu.shares = Some(number(parser, &option)?),
        "cpu-rt-period" => cpu.realtime_period = Some(number(parser, &option)?),
        "cpu-rt-runtime" => cpu.realtime_runtime = Some(number(parser, &option)?),
        "cpu-idle" => cpu.idle = Some(number(parser, &option)?),
        "cpuset-cpus" => cpu.cpus = Some(text(parser)?),
        "cpuset-mems" => cpu.mems = Some(text(parser)?),
        "pids-limit" => wanted.pids = Some(Pids { limit: Some(number(parser, &option)?) }),
        "blkio-weight" => {
            wanted.block_io = Some(BlockIo { weight: Some(number(parser, &option)?), ..BlockIo::default() })
        }
        other => return Err(Failure(format!("option --{other} is not known here"))),
    }
    Ok(())
}

/// Bytes, `64M`, or -1.
fn size(option: &str, text: &str) -> Result<i64, Failure> {
    let refused = || Failure(format!("{option}: {text:?} is not a size such as 64M, or -1"));
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().trim_end_matches(['b', 'i']) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(refused()),
    };
    let number: i64 = digits.parse().map_err(|_| refused())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes >= -1).ok_or_else(refused)
}

/// Limits that mean something together only: the one that stays is named beside the one that changes.
fn complete(wanted: &mut Resources, before: &Resources) {
    let none = Memory::default();
    let old = before.memory.as_ref().unwrap_or(&none);
    let alone = |memory: &&mut Memory| memory.limit.is_none() && memory.swap.is_some_and(|swap| swap > 0);
    if let Some(memory) = wanted.memory.as_mut().filter(alone) {
        memory.limit = old.limit;
    }
    let none = Cpu::default();
    let old = before.cpu.as_ref().unwrap_or(&none);
    if let Some(cpu) = wanted.cpu.as_mut().filter(|cpu| cpu.quota.is_some() || cpu.period.is_some()) {
        cpu.quota = cpu.quota.or(old.quota);
        cpu.period = cpu.period.or(old.period);
    }
}

/// A limit below what is in use would kill: refused, where that is asked for.
fn check_memory(wanted: &Resources, groups: &hull_runtime::cgroup::Groups) -> Result<(), Failure> {
    let Some(memory) = wanted.memory.as_ref().filter(|memory| memory.check_before_update == Some(true)) else {
        return Ok(());
    };
    let folder = groups.folder("memory");
    let used = ["memory.current", "memory.usage_in_bytes"]
        .iter()
        .find_map(|file| std::fs::read_to_string(folder?.join(file)).ok()?.trim().parse::<i64>().ok())
        .unwrap_or(0);
    match memory.limit.filter(|limit| *limit > 0 && *limit < used) {
        Some(limit) => Err(Failure(format!("memory.limit: {limit} is below the {used} bytes that are in use"))),
        None => Ok(()),
    }
}

/// What is known of the limits from now on.
fn merged(before: Resources, wanted: Resources) -> Resources {
    let (old, new) = (before.memory.unwrap_or_default(), wanted.memory.unwrap_or_default());
    let memory = Memory {
        limit: new.limit.or(old.limit),
        reservation: new.reservation.or(old.reservation),
        swap: new.swap.or(old.swap),
        ..old
    };
    let (old, new) = (before.cpu.unwrap_or_default(), wanted.cpu.unwrap_or_default());
    let cpu = Cpu {
        shares: new.shares.or(old.shares),
        quota: new.quota.or(old.quota),
        period: new.period.or(old.period),
        cpus: new.cpus.or(old.cpus),
        mems: new.mems.or(old.mems),
        ..old
    };
    Resources {
        memory: Some(memory),
        cpu: Some(cpu),
        pids: wanted.pids.or(before.pids),
        block_io: wanted.block_io.or(before.block_io),
        devices: if wanted.devices.is_empty() { before.devices } else { wanted.devices },
        ..before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("-1", -1), ("1048576", 1 << 20), ("64M", 64 << 20), ("2g", 2 << 30), ("1KiB", 1024)] {
            assert_eq!(size("--memory", text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "M", "-2", "1x", "9999999999T"] {
            assert!(size("--memory", bad).is_err(), "{bad}");
        }
    }
}
