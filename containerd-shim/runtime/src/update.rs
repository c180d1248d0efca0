//! Other limits for a running container. What is not named stays.

use hull_oci_core::oci::config::{Cpu, Memory, Resources};
use hull_oci_core::oci::plan::{Leave, Owner};
use hull_oci_core::oci::{cgroup, devices};

use crate::cgroup::{Groups, Hierarchies};
use crate::facts;
use crate::failure::{Failure, failed};
use crate::state::{Folder, Status};

/// Changes limits, in the kernel and in what is known of the container.
///
/// # Errors
/// It has stopped, or a limit is not one; limits before that one are changed.
pub fn update(folder: &Folder, mut wanted: Resources) -> Result<(), Failure> {
    let record = folder.record()?;
    if record.status(folder) == Status::Stopped {
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
    folder.write("config.json", &serde_json::to_vec(&spec).map_err(failed("write config.json"))?)
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
fn check_memory(wanted: &Resources, groups: &Groups) -> Result<(), Failure> {
    let Some(memory) = wanted.memory.as_ref().filter(|memory| memory.check_before_update == Some(true)) else {
        return Ok(());
    };
    let folder = groups.folder("memory");
    let used = ["memory.current", "memory.usage_in_bytes"]
        .iter()
        .find_map(|file| std::fs::read_to_string(folder?.join(file)).ok()?.trim().parse::<i64>().ok())
        .unwrap_or(0);
    match memory.limit.filter(|limit| *limit > 0 && *limit < used) {
        Some(limit) => {
            Err(Failure(format!("linux.resources.memory.limit: {limit} is below the {used} bytes that are in use")))
        }
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
