//! What a container uses, read from its control groups into containerd's messages. A file that is not there counts as 0.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hull_runtime::cgroup::{Groups, Version};
use prost::Message;

use crate::messages::{Any, metrics_v1 as v1, metrics_v2 as v2};

/// The statistics as the message of the host's version.
pub(crate) fn stats(groups: &Groups) -> Any {
    match groups.version {
        Version::One => Any { type_url: v1::NAME.to_owned(), value: one(groups).encode_to_vec() },
        Version::Two => Any { type_url: v2::NAME.to_owned(), value: two(groups).encode_to_vec() },
    }
}

fn text(folder: Option<&Path>, file: &str) -> String {
    folder.and_then(|folder| fs::read_to_string(folder.join(file)).ok()).unwrap_or_default()
}

/// `max` is no limit: the largest number, as containerd has it.
fn number(folder: Option<&Path>, file: &str) -> u64 {
    match text(folder, file).trim() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(0),
    }
}

/// As [`number`], but no limit is 0: a limit of processes.
fn limit(folder: Option<&Path>, file: &str) -> u64 {
    Some(number(folder, file)).filter(|number| *number != u64::MAX).unwrap_or(0)
}

/// A file of `key value` lines.
struct Pairs(BTreeMap<String, u64>);

impl Pairs {
    fn read(folder: Option<&Path>, file: &str) -> Pairs {
        let text = text(folder, file);
        let pair = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        };
        Pairs(text.lines().filter_map(pair).collect())
    }

    fn get(&self, key: &str) -> u64 {
        self.0.get(key).copied().unwrap_or(0)
    }
}

fn one(groups: &Groups) -> v1::Metrics {
    let (cpu, accounting) = (groups.folder("cpu"), groups.folder("cpuacct"));
    let per_cpu = text(accounting, "cpuacct.usage_percpu");
    let throttling = Pairs::read(cpu, "cpu.stat");
    let memory = groups.folder("memory");
    let control = Pairs::read(memory, "memory.oom_control");
    let pids = groups.folder("pids");
    let block = groups.folder("blkio");
    v1::Metrics {
        hugetlb: huge_pages(groups.folder("hugetlb"), "usage_in_bytes")
            .into_iter()
            .map(|(pagesize, usage)| v1::HugetlbStat {
                usage,
                max: number(groups.folder("hugetlb"), &format!("hugetlb.{pagesize}.max_usage_in_bytes")),
                failcnt: number(groups.folder("hugetlb"), &format!("hugetlb.{pagesize}.failcnt")),
                pagesize,
            })
            .collect(),
        pids: Some(v1::PidsStat { current: number(pids, "pids.current"), limit: limit(pids, "pids.max") }),
        cpu: Some(v1::CpuStat {
            usage: Some(v1::CpuUsage {
                total: number(accounting, "cpuacct.usage"),
                kernel: number(accounting, "cpuacct.usage_sys"),
                user: number(accounting, "cpuacct.usage_user"),
                per_cpu: per_cpu.split_ascii_whitespace().filter_map(|text| text.parse().ok()).collect(),
            }),
            throttling: Some(v1::Throttle {
                periods: throttling.get("nr_periods"),
                throttled_periods: throttling.get("nr_throttled"),
                throttled_time: throttling.get("throttled_time"),
            }),
        }),
        memory: Some(memory_one(memory)),
        blkio: Some(v1::BlkioStat {
            io_service_bytes_recursive: block_one(block, "blkio.throttle.io_service_bytes"),
            io_serviced_recursive: block_one(block, "blkio.throttle.io_serviced"),
        }),
        memory_oom_control: Some(v1::MemoryOomControl {
            oom_kill_disable: control.get("oom_kill_disable"),
            under_oom: control.get("under_oom"),
            oom_kill: control.get("oom_kill"),
        }),
    }
}

fn memory_one(folder: Option<&Path>) -> v1::MemoryStat {
    let raw = Pairs::read(folder, "memory.stat");
    let entry = |kind: &str| {
        let file = |name: &str| number(folder, &format!("memory.{kind}{name}"));
        let (limit, usage) = (file("limit_in_bytes"), file("usage_in_bytes"));
        Some(v1::MemoryEntry { limit, usage, max: file("max_usage_in_bytes"), failcnt: file("failcnt") })
    };
    v1::MemoryStat {
        cache: raw.get("cache"),
        rss: raw.get("rss"),
        rss_huge: raw.get("rss_huge"),
        mapped_file: raw.get("mapped_file"),
        dirty: raw.get("dirty"),
        writeback: raw.get("writeback"),
        pg_pg_in: raw.get("pgpgin"),
        pg_pg_out: raw.get("pgpgout"),
        pg_fault: raw.get("pgfault"),
        pg_maj_fault: raw.get("pgmajfault"),
        inactive_anon: raw.get("inactive_anon"),
        active_anon: raw.get("active_anon"),
        inactive_file: raw.get("inactive_file"),
        active_file: raw.get("active_file"),
        unevictable: raw.get("unevictable"),
        hierarchical_memory_limit: raw.get("hierarchical_memory_limit"),
        hierarchical_swap_limit: raw.get("hierarchical_memsw_limit"),
        total_cache: raw.get("total_cache"),
        total_rss: raw.get("total_rss"),
        total_rss_huge: raw.get("total_rss_huge"),
        total_mapped_file: raw.get("total_mapped_file"),
        total_dirty: raw.get("total_dirty"),
        total_writeback: raw.get("total_writeback"),
        total_pg_pg_in: raw.get("total_pgpgin"),
        total_pg_pg_out: raw.get("total_pgpgout"),
        total_pg_fault: raw.get("total_pgfault"),
        total_pg_maj_fault: raw.get("total_pgmajfault"),
        total_inactive_anon: raw.get("total_inactive_anon"),
        total_active_anon: raw.get("total_active_anon"),
        total_inactive_file: raw.get("total_inactive_file"),
        total_active_file: raw.get("total_active_file"),
        total_unevictable: raw.get("total_unevictable"),
        usage: entry(""),
        swap: entry("memsw."),
        kernel: entry("kmem."),
        kernel_tcp: entry("kmem.tcp."),
    }
}

/// Lines such as `8:0 Read 4096`; the last one, `Total`, names no device.
fn block_one(folder: Option<&Path>, file: &str) -> Vec<v1::BlkioEntry> {
    let text = text(folder, file);
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(v1::BlkioEntry { op, device: device(major, minor), major, minor, value })
    };
    text.lines().filter_map(entry).collect()
}

fn device(major: u64, minor: u64) -> String {
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    name.map(|name| format!("/dev/{name}")).unwrap_or_default()
}

/// Sizes of huge pages, with what is used of each.
fn huge_pages(folder: Option<&Path>, file: &str) -> Vec<(String, u64)> {
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(&format!(".{file}"))?.to_owned();
            (!size.contains('.')).then(|| (size, number(folder, &name)))
        })
        .collect()
}

fn two(groups: &Groups) -> v2::Metrics {
    let folder = groups.folder("");
    let (cpu, events) = (Pairs::read(folder, "cpu.stat"), Pairs::read(folder, "memory.events"));
    v2::Metrics {
        pids: Some(v2::PidsStat { current: number(folder, "pids.current"), limit: limit(folder, "pids.max") }),
        cpu: Some(v2::CpuStat {
            usage_usec: cpu.get("usage_usec"),
            user_usec: cpu.get("user_usec"),
            system_usec: cpu.get("system_usec"),
            nr_periods: cpu.get("nr_periods"),
            nr_throttled: cpu.get("nr_throttled"),
            throttled_usec: cpu.get("throttled_usec"),
        }),
        memory: Some(memory_two(folder)),
        io: Some(v2::IoStat { usage: block_two(folder) }),
        hugetlb: huge_pages(folder, "current")
            .into_iter()
            .map(|(pagesize, current)| v2::HugetlbStat {
                current,
                max: number(folder, &format!("hugetlb.{pagesize}.max")),
                pagesize,
            })
            .collect(),
        memory_events: Some(v2::MemoryEvents {
            low: events.get("low"),
            high: events.get("high"),
            max: events.get("max"),
            oom: events.get("oom"),
            oom_kill: events.get("oom_kill"),
        }),
    }
}

fn memory_two(folder: Option<&Path>) -> v2::MemoryStat {
    let raw = Pairs::read(folder, "memory.stat");
    v2::MemoryStat {
        anon: raw.get("anon"),
        file: raw.get("file"),
        kernel_stack: raw.get("kernel_stack"),
        slab: raw.get("slab"),
        sock: raw.get("sock"),
        shmem: raw.get("shmem"),
        file_mapped: raw.get("file_mapped"),
        file_dirty: raw.get("file_dirty"),
        file_writeback: raw.get("file_writeback"),
        anon_thp: raw.get("anon_thp"),
        inactive_anon: raw.get("inactive_anon"),
        active_anon: raw.get("active_anon"),
        inactive_file: raw.get("inactive_file"),
        active_file: raw.get("active_file"),
        unevictable: raw.get("unevictable"),
        slab_reclaimable: raw.get("slab_reclaimable"),
        slab_unreclaimable: raw.get("slab_unreclaimable"),
        pgfault: raw.get("pgfault"),
        pgmajfault: raw.get("pgmajfault"),
        workingset_refault: raw.get("workingset_refault_anon") + raw.get("workingset_refault_file"),
        workingset_activate: raw.get("workingset_activate_anon") + raw.get("workingset_activate_file"),
        workingset_nodereclaim: raw.get("workingset_nodereclaim"),
        pgrefill: raw.get("pgrefill"),
        pgscan: raw.get("pgscan"),
        pgsteal: raw.get("pgsteal"),
        pgactivate: raw.get("pgactivate"),
        pgdeactivate: raw.get("pgdeactivate"),
        pglazyfree: raw.get("pglazyfree"),
        pglazyfreed: raw.get("pglazyfreed"),
        thp_fault_alloc: raw.get("thp_fault_alloc"),
        thp_collapse_alloc: raw.get("thp_collapse_alloc"),
        usage: number(folder, "memory.current"),
        usage_limit: number(folder, "memory.max"),
        swap_usage: number(folder, "memory.swap.current"),
        swap_limit: number(folder, "memory.swap.max"),
        max_usage: number(folder, "memory.peak"),
        swap_max_usage: number(folder, "memory.swap.peak"),
    }
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn block_two(folder: Option<&Path>) -> Vec<v2::IoEntry> {
    let text = text(folder, "io.stat");
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let mut entry =
            v2::IoEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, ..v2::IoEntry::default() };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => entry.rbytes = value,
                "wbytes" => entry.wbytes = value,
                "rios" => entry.rios = value,
                "wios" => entry.wios = value,
                _ => {}
            }
        }
        Some(entry)
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_block_devices_are_read_in_both_forms() {
        let folder = std::env::temp_dir().join(format!("hull-stats-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("io.stat"), "8:0 rbytes=4096 wbytes=5 rios=1 wios=2 dbytes=0 dios=0\n").unwrap();
        fs::write(folder.join("blkio.x"), "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n").unwrap();
        fs::write(folder.join("pids.max"), "max\n").unwrap();
        let two = block_two(Some(&folder));
        assert_eq!((two[0].rbytes, two[0].wbytes, two[0].rios, two[0].wios), (4096, 5, 1, 2));
        let one = block_one(Some(&folder), "blkio.x");
        assert_eq!((one.len(), one[0].op.as_str(), one[0].value), (2, "Read", 4096));
        assert_eq!((number(Some(&folder), "pids.max"), limit(Some(&folder), "pids.max")), (u64::MAX, 0));
        fs::remove_dir_all(folder).unwrap();
    }
}
