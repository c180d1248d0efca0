//! Limits as files of a version 2 group.

use super::Refused;
use super::cgroup::{Settings, name, page_size};
use super::config::{BlockIo, Cpu, Memory, Resources};
use super::refused::{absent, value};

pub(super) fn settings(resources: &Resources) -> Result<Vec<super::cgroup::Setting>, Refused> {
    let mut settings = Settings { list: Vec::new() };
    if let Some(memory) = &resources.memory {
        memory_settings(memory, &mut settings)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_settings(cpu, &mut settings)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        settings.must("linux.resources.pids", "pids", "pids.max", limit_or_max(limit));
    }
    if let Some(io) = &resources.block_io {
        io_settings(io, &mut settings)?;
    }
    for limit in &resources.hugepage_limits {
        let (field, size) = ("linux.resources.hugepageLimits", page_size(&limit.page_size)?);
        settings.must(field, "hugetlb", format!("hugetlb.{size}.max"), limit.limit);
        // A program that reserves more is told so, and not killed when it comes to use it.
        settings.where_known(field, "hugetlb", format!("hugetlb.{size}.rsvd.max"), limit.limit);
    }
    if let Some(network) = &resources.network {
        absent(network.class_id.as_ref(), "linux.resources.network.classID on control groups of version 2")?;
        absent(network.priorities.first(), "linux.resources.network.priorities on control groups of version 2")?;
    }
    for (device, limit) in &resources.rdma {
        let part = |key: &str, value: Option<u32>| value.map_or(format!("{key}=max"), |value| format!("{key}={value}"));
        let value = format!(
            "{} {} {}",
            name("linux.resources.rdma", device)?,
            part("hca_handle", limit.hca_handles),
            part("hca_object", limit.hca_objects)
        );
        settings.must("linux.resources.rdma", "rdma", "rdma.max", value);
    }
    for (file, text) in &resources.unified {
        let file = name("linux.resources.unified", file)?;
        if !file.contains('.') {
            return Err(value("linux.resources.unified", file, "the name of a file, controller.setting"));
        }
        // The file itself tells whether its controller is there. It takes a line a write, as `io.max` does.
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let lines = if lines.is_empty() { vec![text.as_str()] } else { lines };
        lines.into_iter().for_each(|line| settings.must("linux.resources.unified", "", file, line));
    }
    Ok(settings.list)
}

fn memory_settings(memory: &Memory, settings: &mut Settings) -> Result<(), Refused> {
    const FIELD: &str = "linux.resources.memory";
    absent(memory.swappiness.as_ref(), "linux.resources.memory.swappiness on control groups of version 2")?;
    absent(
        memory.disable_oom_killer.as_ref().filter(|disable| **disable),
        "linux.resources.memory.disableOOMKiller on control groups of version 2",
    )?;
    let limit = memory.limit.filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        settings.must(FIELD, "memory", "memory.max", limit_or_max(limit));
    }
    match (limit, memory.swap.filter(|swap| *swap != 0)) {
        (_, Some(swap)) if swap < 0 => settings.where_known(FIELD, "memory", "memory.swap.max", "max"),
        (Some(limit), Some(swap)) if limit > 0 => {
            // The specification counts memory and swap together, the kernel swap alone.
            let alone = swap.checked_sub(limit).filter(|alone| *alone >= 0);
            let alone =
                alone.ok_or_else(|| value("linux.resources.memory.swap", swap.to_string(), "memory.limit or more"))?;
            settings.where_known(FIELD, "memory", "memory.swap.max", alone);
        }
        (None | Some(_), Some(swap)) => {
            return Err(value("linux.resources.memory.swap", swap.to_string(), "given together with memory.limit"));
        }
        (Some(limit), None) if limit < 0 => settings.where_known(FIELD, "memory", "memory.swap.max", "max"),
        (_, None) => {}
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        settings.must(FIELD, "memory", "memory.low", limit_or_max(reservation));
    }
    Ok(())
}

fn cpu_settings(cpu: &Cpu, settings: &mut Settings) -> Result<(), Refused> {
    const FIELD: &str = "linux.resources.cpu";
    let real_time = "linux.resources.cpu.realtimeRuntime on control groups of version 2";
    absent(cpu.realtime_runtime.as_ref().filter(|runtime| **runtime != 0), real_time)?;
    absent(cpu.realtime_period.as_ref().filter(|period| **period != 0), real_time)?;
    /// The kernel's own, in microseconds.
    const PERIOD: u64 = 100_000;
    let (quota, period) = (cpu.quota.filter(|quota| *quota != 0), cpu.period.filter(|period| *period != 0));
    if quota.is_some() || period.is_some() {
        let quota = quota.map_or("max".to_owned(), limit_or_max);
        settings.must(FIELD, "cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(PERIOD)));
    }
    if let Some(burst) = cpu.burst {
        settings.must(FIELD, "cpu", "cpu.max.burst", burst);
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
        settings.must(FIELD, "cpu", "cpu.weight", weight(shares));
    }
    if let Some(idle) = cpu.idle {
        settings.must(FIELD, "cpu", "cpu.idle", idle);
    }
    for (file, set) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(set) = set.as_ref().filter(|set| !set.is_empty()) {
            settings.must(FIELD, "cpuset", file, set);
        }
    }
    Ok(())
}

fn io_settings(io: &BlockIo, settings: &mut Settings) -> Result<(), Refused> {
    const FIELD: &str = "linux.resources.blockIO";
    absent(
        io.leaf_weight.as_ref().filter(|w| **w != 0),
        "linux.resources.blockIO.leafWeight on control groups of version 2",
    )?;
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        // 10 to 1,000 there, 1 to 10,000 here; BFQ has a file of its own with the old range.
        settings.where_known(FIELD, "io", "io.bfq.weight", weight);
        settings.where_known(FIELD, "io", "io.weight", 1 + (u32::from(weight.clamp(10, 1000)) - 10) * 9_999 / 990);
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            settings.where_known(FIELD, "io", "io.bfq.weight", format!("{}:{} {weight}", device.major, device.minor));
        }
    }
    let kinds = [
        ("rbps", &io.throttle_read_bps_device),
        ("wbps", &io.throttle_write_bps_device),
        ("riops", &io.throttle_read_iops_device),
        ("wiops", &io.throttle_write_iops_device),
    ];
    for (kind, device) in kinds.iter().flat_map(|(kind, devices)| devices.iter().map(move |device| (kind, device))) {
        settings.must(FIELD, "io", "io.max", format!("{}:{} {kind}={}", device.major, device.minor, device.rate));
    }
    Ok(())
}

/// Version 1's shares, 2 to 262,144, as version 2's weight, 1 to 10,000, the same way as every other runtime.
fn weight(shares: u64) -> u64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9_999) / 262_142
}

fn limit_or_max(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}
