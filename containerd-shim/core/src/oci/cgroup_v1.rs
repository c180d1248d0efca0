//! Limits as files of version 1 groups, one a controller.

use super::Refused;
use super::cgroup::{Settings, name, page_size};
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
        settings.must("linux.resources.pids", "pids", "pids.max", limit);
    }
    if let Some(io) = &resources.block_io {
        io_settings(io, &mut settings);
    }
    for limit in &resources.hugepage_limits {
        let (field, size) = ("linux.resources.hugepageLimits", page_size(&limit.page_size)?);
        settings.must(field, "hugetlb", format!("hugetlb.{size}.limit_in_bytes"), limit.limit);
        // A program that reserves more is told so, and not killed when it comes to use it.
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
        let part = |key: &str, value: Option<u32>| value.map_or(format!("{key}=max"), |value| format!("{key}={value}"));
        let device = name("linux.resources.rdma", device)?;
        let line =
            format!("{device} {} {}", part("hca_handle", limit.hca_handles), part("hca_object", limit.hca_objects));
        settings.must("linux.resources.rdma", "rdma", "rdma.max", line);
    }
    Ok(settings.list)
}

fn memory_settings(memory: &Memory, settings: &mut Settings) -> Result<(), Refused> {
    const FIELD: &str = "linux.resources.memory";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    let (limit, swap) = (memory.limit.filter(|limit| *limit != 0), memory.swap.filter(|swap| *swap != 0));
    if let Some(limit) = limit {
        settings.must(FIELD, "memory", "memory.limit_in_bytes", limit);
        if limit == -1 && swap.is_none() {
            settings.where_known(FIELD, "memory", SWAP, -1);
        }
    }
    if let Some(swap) = swap {
        if limit.is_some_and(|limit| swap > 0 && swap < limit) {
            return Err(value("linux.resources.memory.swap", swap.to_string(), "memory.limit or more"));
        }
        settings.where_known(FIELD, "memory", SWAP, swap);
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        settings.must(FIELD, "memory", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(tcp) = memory.kernel_tcp.filter(|tcp| *tcp != 0) {
        settings.where_known(FIELD, "memory", "memory.kmem.tcp.limit_in_bytes", tcp);
    }
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            return Err(value("linux.resources.memory.swappiness", swappiness.to_string(), "0 to 100"));
        }
        settings.must(FIELD, "memory", "memory.swappiness", swappiness);
    }
    if memory.disable_oom_killer == Some(true) {
        settings.must(FIELD, "memory", "memory.oom_control", 1);
    }
    if memory.use_hierarchy == Some(true) {
        settings.where_known(FIELD, "memory", "memory.use_hierarchy", 1);
    }
    Ok(())
}

fn cpu_settings(cpu: &Cpu, settings: &mut Settings) {
    const FIELD: &str = "linux.resources.cpu";
    if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
        settings.must(FIELD, "cpu", "cpu.shares", shares);
    }
    if let Some(period) = cpu.period.filter(|period| *period != 0) {
        settings.must(FIELD, "cpu", "cpu.cfs_period_us", period);
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        settings.must(FIELD, "cpu", "cpu.cfs_quota_us", quota);
    }
    if let Some(burst) = cpu.burst {
        settings.must(FIELD, "cpu", "cpu.cfs_burst_us", burst);
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        settings.must(FIELD, "cpu", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        settings.must(FIELD, "cpu", "cpu.rt_runtime_us", runtime);
    }
    if let Some(idle) = cpu.idle {
        settings.must(FIELD, "cpu", "cpu.idle", idle);
    }
    for (file, set) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(set) = set.as_ref().filter(|set| !set.is_empty()) {
            settings.must(FIELD, "cpuset", file, set);
        }
    }
}

fn io_settings(io: &BlockIo, settings: &mut Settings) {
    const FIELD: &str = "linux.resources.blockIO";
    let weights = [("weight", io.weight), ("leaf_weight", io.leaf_weight)];
    for (which, weight) in weights {
        if let Some(weight) = weight.filter(|weight| *weight != 0) {
            // Only schedulers with weights have the file, BFQ under a name of its own.
            settings.where_known(FIELD, "blkio", format!("blkio.{which}"), weight);
            if which == "weight" {
                settings.where_known(FIELD, "blkio", "blkio.bfq.weight", weight);
            }
        }
    }
    for device in &io.weight_device {
        for (which, weight) in [("weight_device", device.weight), ("leaf_weight_device", device.leaf_weight)] {
            if let Some(weight) = weight {
                let line = format!("{}:{} {weight}", device.major, device.minor);
                if which == "weight_device" {
                    settings.where_known(FIELD, "blkio", "blkio.bfq.weight_device", &line);
                }
                settings.where_known(FIELD, "blkio", format!("blkio.{which}"), line);
            }
        }
    }
    let kinds = [
        ("read_bps", &io.throttle_read_bps_device),
        ("write_bps", &io.throttle_write_bps_device),
        ("read_iops", &io.throttle_read_iops_device),
        ("write_iops", &io.throttle_write_iops_device),
    ];
    for (kind, device) in kinds.iter().flat_map(|(kind, devices)| devices.iter().map(move |device| (kind, device))) {
        let line = format!("{}:{} {}", device.major, device.minor, device.rate);
        settings.must(FIELD, "blkio", format!("blkio.throttle.{kind}_device"), line);
    }
}
