//! Limits as files of version 1 groups, one a controller.

use super::Refused;
use super::cgroup::{Settings, disk_weight, name, page_size, rdma_line, weighs};
use super::config::{BlockIo, Cpu, Memory, Resources};
use super::refused::{absent, value};

pub(super) fn settings(resources: &Resources) -> Result<Vec<super::cgroup::Setting>, Refused> {
    let mut settings = Settings { list: Vec::new() };
    absent(resources.unified.keys().next(), "linux.resources.unified on control groups of version 1")?;
    if let Some(memory) = &resources.memory {
        memory_settings(memory, &mut settings)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_settings(cpu, &mut settings);
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        let limit = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        settings.must("linux.resources.pids.limit", "pids", "pids.max", limit);
    }
    if let Some(io) = &resources.block_io {
        io_settings(io, &mut settings)?;
    }
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        let field = format!("linux.resources.hugepageLimits[{index}]");
        let size = page_size(&field, &limit.page_size)?;
        // What is reserved counts where the kernel counts it, and what is used everywhere (config-linux.md, Huge page limits).
        settings.must(&field, "hugetlb", format!("hugetlb.{size}.limit_in_bytes"), limit.limit);
        settings.where_known(field, "hugetlb", format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit.limit);
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id.filter(|class| *class != 0) {
            settings.must("linux.resources.network.classID", "net_cls", "net_cls.classid", class);
        }
        for interface in &network.priorities {
            let line =
                format!("{} {}", name("linux.resources.network.priorities", &interface.name)?, interface.priority);
            settings.must("linux.resources.network.priorities", "net_prio", "net_prio.ifpriomap", line);
        }
    }
    for (device, limit) in &resources.rdma {
        settings.must(format!("linux.resources.rdma.{device}"), "rdma", "rdma.max", rdma_line(device, limit)?);
    }
    Ok(settings.list)
}

fn memory_settings(memory: &Memory, settings: &mut Settings) -> Result<(), Refused> {
    const SWAP: (&str, &str) = ("linux.resources.memory.swap", "memory.memsw.limit_in_bytes");
    let mut must = |field: &str, file: &str, value: i64| {
        settings.must(format!("linux.resources.memory.{field}"), "memory", file, value);
    };
    let (limit, swap) = (memory.limit.filter(|limit| *limit != 0), memory.swap.filter(|swap| *swap != 0));
    // Linux has had none since 5.16, and takes what is written to its file without a word.
    absent(memory.kernel.as_ref().filter(|kernel| **kernel > 0), "linux.resources.memory.kernel")?;
    if let Some(limit) = limit {
        must("limit", "memory.limit_in_bytes", limit);
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        must("reservation", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(tcp) = memory.kernel_tcp.filter(|tcp| *tcp > 0) {
        must("kernelTCP", "memory.kmem.tcp.limit_in_bytes", tcp);
    }
    if memory.disable_oom_killer == Some(true) {
        must("disableOOMKiller", "memory.oom_control", 1);
    }
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            return Err(value("linux.resources.memory.swappiness", swappiness.to_string(), "0 to 100"));
        }
        must("swappiness", "memory.swappiness", swappiness as i64);
    }
    match memory.use_hierarchy {
        // Since 5.11 there is no other way, and the kernel says so.
        Some(false) => must("useHierarchy", "memory.use_hierarchy", 0),
        Some(true) => settings.where_known("linux.resources.memory.useHierarchy", "memory", "memory.use_hierarchy", 1),
        None => {}
    }
    match (limit, swap) {
        (Some(limit), Some(swap)) if swap > 0 && swap < limit => {
            return Err(value(SWAP.0, swap.to_string(), "memory.limit or more"));
        }
        (_, Some(swap)) => settings.where_known(SWAP.0, "memory", SWAP.1, swap),
        (Some(-1), None) => settings.where_known(SWAP.0, "memory", SWAP.1, -1),
        (_, None) => {}
    }
    Ok(())
}

fn cpu_settings(cpu: &Cpu, settings: &mut Settings) {
    let some = |number: Option<u64>| number.filter(|number| *number != 0).map(|number| number.to_string());
    let some_signed = |number: Option<i64>| number.filter(|number| *number != 0).map(|number| number.to_string());
    let set = |set: &Option<String>| set.clone().filter(|set| !set.is_empty());
    let files = [
        ("shares", "cpu", "cpu.shares", some(cpu.shares)),
        ("period", "cpu", "cpu.cfs_period_us", some(cpu.period)),
        ("quota", "cpu", "cpu.cfs_quota_us", some_signed(cpu.quota)),
        ("burst", "cpu", "cpu.cfs_burst_us", cpu.burst.map(|burst| burst.to_string())),
        ("realtimePeriod", "cpu", "cpu.rt_period_us", some(cpu.realtime_period)),
        ("realtimeRuntime", "cpu", "cpu.rt_runtime_us", some_signed(cpu.realtime_runtime)),
        ("idle", "cpu", "cpu.idle", cpu.idle.map(|idle| idle.to_string())),
        ("cpus", "cpuset", "cpuset.cpus", set(&cpu.cpus)),
        ("mems", "cpuset", "cpuset.mems", set(&cpu.mems)),
    ];
    for (field, controller, file, value) in files {
        if let Some(value) = value {
            settings.must(format!("linux.resources.cpu.{field}"), controller, file, value);
        }
    }
}

fn io_settings(io: &BlockIo, settings: &mut Settings) -> Result<(), Refused> {
    const FIELD: &str = "linux.resources.blockIO";
    // Only a scheduler of disks with weights has the file, BFQ under a name of its own.
    let weight = format!("{FIELD}.weight");
    if let Some(own) = disk_weight(&weight, io.weight)? {
        settings.one_of(&weight, "blkio", [("blkio.weight", own.to_string()), ("blkio.bfq.weight", own.to_string())]);
    }
    let leaf = format!("{FIELD}.leafWeight");
    if let Some(own) = disk_weight(&leaf, io.leaf_weight)? {
        settings.must(leaf, "blkio", "blkio.leaf_weight", own);
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        let field = format!("{FIELD}.weightDevice[{index}]");
        weighs(&field, device)?;
        let line = |weight: u16| format!("{}:{} {weight}", device.major, device.minor);
        let weight = format!("{field}.weight");
        if let Some(own) = disk_weight(&weight, device.weight)? {
            let files = [("blkio.weight_device", line(own)), ("blkio.bfq.weight_device", line(own))];
            settings.one_of(&weight, "blkio", files);
        }
        let leaf = format!("{field}.leafWeight");
        if let Some(own) = disk_weight(&leaf, device.leaf_weight)? {
            settings.must(leaf, "blkio", "blkio.leaf_weight_device", line(own));
        }
    }
    let kinds = [
        ("throttleReadBpsDevice", "read_bps", &io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", "write_bps", &io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", "read_iops", &io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "write_iops", &io.throttle_write_iops_device),
    ];
    for (name, kind, devices) in kinds {
        for (index, device) in devices.iter().enumerate() {
            let line = format!("{}:{} {}", device.major, device.minor, device.rate);
            settings.must(format!("{FIELD}.{name}[{index}]"), "blkio", format!("blkio.throttle.{kind}_device"), line);
        }
    }
    Ok(())
}
