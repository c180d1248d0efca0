//! Limits as files of a version 2 group.

use super::Refused;
use super::cgroup::{Settings, disk_weight, name, page_size, rdma_line, weighs};
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
        settings.must("linux.resources.pids.limit", "pids", "pids.max", limit_or_max(limit));
    }
    if let Some(io) = &resources.block_io {
        io_settings(io, &mut settings)?;
    }
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        let field = format!("linux.resources.hugepageLimits[{index}]");
        let size = page_size(&field, &limit.page_size)?;
        // What is reserved counts where the kernel counts it, and what is used everywhere (config-linux.md, Huge page limits).
        settings.must(&field, "hugetlb", format!("hugetlb.{size}.max"), limit.limit);
        settings.where_known(field, "hugetlb", format!("hugetlb.{size}.rsvd.max"), limit.limit);
    }
    if let Some(network) = &resources.network {
        absent(network.class_id.as_ref(), "linux.resources.network.classID on control groups of version 2")?;
        absent(network.priorities.first(), "linux.resources.network.priorities on control groups of version 2")?;
    }
    for (device, limit) in &resources.rdma {
        settings.must(format!("linux.resources.rdma.{device}"), "rdma", "rdma.max", rdma_line(device, limit)?);
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
    const SWAP: (&str, &str) = ("linux.resources.memory.swap", "memory.swap.max");
    absent(memory.swappiness.as_ref(), "linux.resources.memory.swappiness on control groups of version 2")?;
    absent(
        memory.disable_oom_killer.as_ref().filter(|disable| **disable),
        "linux.resources.memory.disableOOMKiller on control groups of version 2",
    )?;
    absent(
        memory.use_hierarchy.as_ref().filter(|hierarchy| !**hierarchy),
        "linux.resources.memory.useHierarchy: false on control groups of version 2",
    )?;
    absent(memory.kernel.as_ref().filter(|limit| **limit > 0), "linux.resources.memory.kernel")?;
    absent(
        memory.kernel_tcp.as_ref().filter(|limit| **limit > 0),
        "linux.resources.memory.kernelTCP on control groups of version 2",
    )?;
    let limit = memory.limit.filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        settings.must(format!("{FIELD}.limit"), "memory", "memory.max", limit_or_max(limit));
    }
    match (limit, memory.swap.filter(|swap| *swap != 0)) {
        (_, Some(swap)) if swap < 0 => settings.where_known(SWAP.0, "memory", SWAP.1, "max"),
        (Some(limit), Some(swap)) if limit > 0 => {
            // The specification counts memory and swap together, the kernel swap alone.
            let alone = swap.checked_sub(limit).filter(|alone| *alone >= 0);
            let alone = alone.ok_or_else(|| value(SWAP.0, swap.to_string(), "memory.limit or more"))?;
            settings.where_known(SWAP.0, "memory", SWAP.1, alone);
        }
        (None | Some(_), Some(swap)) => {
            return Err(value(SWAP.0, swap.to_string(), "given together with memory.limit"));
        }
        (Some(limit), None) if limit < 0 => settings.where_known(SWAP.0, "memory", SWAP.1, "max"),
        (_, None) => {}
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        settings.must(format!("{FIELD}.reservation"), "memory", "memory.low", limit_or_max(reservation));
    }
    Ok(())
}

fn cpu_settings(cpu: &Cpu, settings: &mut Settings) -> Result<(), Refused> {
    const FIELD: &str = "linux.resources.cpu";
    absent(
        cpu.realtime_runtime.as_ref().filter(|runtime| **runtime != 0),
        "linux.resources.cpu.realtimeRuntime on control groups of version 2",
    )?;
    absent(
        cpu.realtime_period.as_ref().filter(|period| **period != 0),
        "linux.resources.cpu.realtimePeriod on control groups of version 2",
    )?;
    /// The kernel's own, in microseconds.
    const PERIOD: u64 = 100_000;
    let (quota, period) = (cpu.quota.filter(|quota| *quota != 0), cpu.period.filter(|period| *period != 0));
    if quota.is_some() || period.is_some() {
        let field = if quota.is_some() { "quota" } else { "period" };
        let quota = quota.map_or("max".to_owned(), limit_or_max);
        let line = format!("{quota} {}", period.unwrap_or(PERIOD));
        settings.must(format!("{FIELD}.{field}"), "cpu", "cpu.max", line);
    }
    if let Some(burst) = cpu.burst {
        settings.must(format!("{FIELD}.burst"), "cpu", "cpu.max.burst", burst);
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
        settings.must(format!("{FIELD}.shares"), "cpu", "cpu.weight", weight(shares));
    }
    if let Some(idle) = cpu.idle {
        settings.must(format!("{FIELD}.idle"), "cpu", "cpu.idle", idle);
    }
    for (field, file, set) in [("cpus", "cpuset.cpus", &cpu.cpus), ("mems", "cpuset.mems", &cpu.mems)] {
        if let Some(set) = set.as_ref().filter(|set| !set.is_empty()) {
            settings.must(format!("{FIELD}.{field}"), "cpuset", file, set);
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
    // 10 to 1,000 there, 1 to 10,000 here; BFQ has a file of its own with the old range.
    let new = |weight: u16| 1 + (u32::from(weight) - 10) * 9_999 / 990;
    let field = format!("{FIELD}.weight");
    if let Some(weight) = disk_weight(&field, io.weight)? {
        let files = [("io.bfq.weight", weight.to_string()), ("io.weight", new(weight).to_string())];
        settings.one_of(&field, "io", files);
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        let field = format!("{FIELD}.weightDevice[{index}]");
        weighs(&field, device)?;
        let leaf = format!("{field}.leafWeight on control groups of version 2");
        absent(device.leaf_weight.as_ref().filter(|w| **w != 0), &leaf)?;
        let field = format!("{field}.weight");
        if let Some(weight) = disk_weight(&field, device.weight)? {
            let line = |weight: u32| format!("{}:{} {weight}", device.major, device.minor);
            settings.one_of(&field, "io", [("io.bfq.weight", line(weight.into())), ("io.weight", line(new(weight)))]);
        }
    }
    let kinds = [
        ("throttleReadBpsDevice", "rbps", &io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", "wbps", &io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", "riops", &io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "wiops", &io.throttle_write_iops_device),
    ];
    for (name, kind, devices) in kinds {
        for (index, device) in devices.iter().enumerate() {
            let line = format!("{}:{} {kind}={}", device.major, device.minor, device.rate);
            settings.must(format!("{FIELD}.{name}[{index}]"), "io", "io.max", line);
        }
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
