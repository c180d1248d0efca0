//! What a container uses, in the shape of `events --stats`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Groups, Version};

/// The statistics of a container's groups.
pub fn stats(groups: &Groups) -> Value {
    match groups.version {
        Version::One => v1(groups),
        Version::Two => v2(groups),
    }
}

fn number(folder: Option<&Path>, file: &str) -> u64 {
    let text = folder.and_then(|folder| fs::read_to_string(folder.join(file)).ok()).unwrap_or_default();
    // `max` is no limit, which others show as the largest number.
    if text.trim() == "max" { u64::MAX } else { text.trim().parse().unwrap_or(0) }
}

/// A file of `key value` lines.
fn pairs(folder: Option<&Path>, file: &str) -> Map<String, Value> {
    let text = folder.and_then(|folder| fs::read_to_string(folder.join(file)).ok()).unwrap_or_default();
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), Value::from(value.trim().parse::<u64>().ok()?)))
    };
    text.lines().filter_map(pair).collect()
}

fn v1(groups: &Groups) -> Value {
    let (cpu, cpuacct, memory) = (groups.folder("cpu"), groups.folder("cpuacct"), groups.folder("memory"));
    let percpu =
        cpuacct.and_then(|folder| fs::read_to_string(folder.join("cpuacct.usage_percpu")).ok()).unwrap_or_default();
    let percpu: Vec<u64> = percpu.split_ascii_whitespace().filter_map(|text| text.parse().ok()).collect();
    let throttling = pairs(cpu, "cpu.stat");
    let part = |kind: &str| {
        json!({
            "limit": number(memory, &format!("memory.{kind}limit_in_bytes")),
            "usage": number(memory, &format!("memory.{kind}usage_in_bytes")),
            "max": number(memory, &format!("memory.{kind}max_usage_in_bytes")),
            "failcnt": number(memory, &format!("memory.{kind}failcnt"))
        })
    };
    let raw = pairs(memory, "memory.stat");
    json!({
        "cpu": {
            "usage": {
                "total": number(cpuacct, "cpuacct.usage"),
                "percpu": percpu,
                "kernel": number(cpuacct, "cpuacct.usage_sys"),
                "user": number(cpuacct, "cpuacct.usage_user")
            },
            "throttling": {
                "periods": throttling.get("nr_periods"),
                "throttledPeriods": throttling.get("nr_throttled"),
                "throttledTime": throttling.get("throttled_time")
            }
        },
        "memory": {
            "cache": raw.get("cache"),
            "usage": part(""),
            "swap": part("memsw."),
            "kernel": part("kmem."),
            "kernelTCP": part("kmem.tcp."),
            "raw": raw
        },
        "pids": {"current": number(groups.folder("pids"), "pids.current"), "limit": number(groups.folder("pids"), "pids.max")},
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null
    })
}

fn v2(groups: &Groups) -> Value {
    let folder = groups.folder("");
    /// cpu.stat is in microseconds, what others show in nanoseconds.
    const MICROSECOND: u64 = 1000;
    let cpu = pairs(folder, "cpu.stat");
    let nanoseconds = |key: &str| cpu.get(key).and_then(Value::as_u64).unwrap_or(0) * MICROSECOND;
    let raw = pairs(folder, "memory.stat");
    json!({
        "cpu": {
            "usage": {
                "total": nanoseconds("usage_usec"),
                "kernel": nanoseconds("system_usec"),
                "user": nanoseconds("user_usec")
            },
            "throttling": {
                "periods": cpu.get("nr_periods"),
                "throttledPeriods": cpu.get("nr_throttled"),
                "throttledTime": nanoseconds("throttled_usec")
            }
        },
        "memory": {
            "cache": raw.get("file"),
            "usage": {"limit": number(folder, "memory.max"), "usage": number(folder, "memory.current"),
                "max": number(folder, "memory.peak"), "failcnt": 0},
            "swap": {"limit": number(folder, "memory.swap.max"), "usage": number(folder, "memory.swap.current"), "failcnt": 0},
            "kernel": {"failcnt": 0},
            "kernelTCP": {"failcnt": 0},
            "raw": raw
        },
        "pids": {"current": number(folder, "pids.current"), "limit": number(folder, "pids.max")},
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null
    })
}
