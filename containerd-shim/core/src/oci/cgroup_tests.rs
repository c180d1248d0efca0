//! Limits on hosts of both versions.

use super::super::read;
use super::*;

fn all() -> Vec<String> {
    let names = ["cpu", "cpuset", "memory", "pids", "io", "blkio", "hugetlb", "rdma", "net_cls", "net_prio"];
    names.map(str::to_owned).to_vec()
}

fn files(text: &str, hierarchy: &Hierarchy) -> Vec<(String, String)> {
    let settings = settings(&read::json(text.as_bytes()).unwrap(), hierarchy).unwrap();
    settings.into_iter().map(|setting| (setting.file, setting.value)).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
}

const LIMITS: &str = r#"{"memory":{"limit":1000000,"swap":3000000,"reservation":5},"cpu":{"shares":1024,"quota":50000,"period":100000,
    "cpus":"0-1"},"pids":{"limit":7},"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#;

#[test]
fn limits_are_files_of_version_2() {
    let expected = [
        ("memory.max", "1000000"),
        ("memory.swap.max", "2000000"),
        ("memory.low", "5"),
        ("cpu.max", "50000 100000"),
        ("cpu.weight", "39"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "7"),
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
    ];
    assert_eq!(files(LIMITS, &Hierarchy::V2 { controllers: all() }), pairs(&expected));
}

#[test]
fn limits_are_files_of_version_1() {
    let expected = [
        ("memory.limit_in_bytes", "1000000"),
        ("memory.memsw.limit_in_bytes", "3000000"),
        ("memory.soft_limit_in_bytes", "5"),
        ("cpu.shares", "1024"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "7"),
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304"),
    ];
    assert_eq!(files(LIMITS, &Hierarchy::V1 { controllers: all() }), pairs(&expected));
}

#[test]
fn what_is_given_to_a_file_is_written_line_by_line() {
    let text = r#"{"unified":{"io.max":"254:0 rbps=2097152 wiops=120\n\n254:16 wiops=77\n","memory.high":""}}"#;
    let expected = [("io.max", "254:0 rbps=2097152 wiops=120"), ("io.max", "254:16 wiops=77"), ("memory.high", "")];
    assert_eq!(files(text, &Hierarchy::V2 { controllers: all() }), pairs(&expected));
}

#[test]
fn a_limit_without_its_controller_is_refused_by_its_field() {
    let hierarchy = Hierarchy::V2 { controllers: vec!["cpu".into()] };
    let refused = settings(&read::json(br#"{"pids":{"limit":1}}"#).unwrap(), &hierarchy).unwrap_err();
    assert!(refused.to_string().starts_with("linux.resources.pids: this host has no"), "{refused}");
}

#[test]
fn what_version_2_does_not_have_is_refused_by_name() {
    for (text, field) in [
        (r#"{"network":{"classID":5}}"#, "linux.resources.network.classID"),
        (r#"{"network":{"priorities":[{"name":"eth0","priority":1}]}}"#, "linux.resources.network.priorities"),
        (r#"{"memory":{"swappiness":5}}"#, "linux.resources.memory.swappiness"),
        (r#"{"cpu":{"realtimeRuntime":5}}"#, "linux.resources.cpu.realtimeRuntime"),
        (r#"{"memory":{"limit":10,"swap":5}}"#, "linux.resources.memory.swap"),
        (r#"{"unified":{"../x.y":"1"}}"#, "linux.resources.unified"),
        (r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#, "linux.resources.hugepageLimits"),
    ] {
        let hierarchy = Hierarchy::V2 { controllers: all() };
        let refused = settings(&read::json(text.as_bytes()).unwrap(), &hierarchy).unwrap_err().to_string();
        assert!(refused.starts_with(field), "{refused}");
    }
}

#[test]
fn a_groups_path_stays_in_the_hierarchy() {
    assert_eq!(path("a//b/./c"), Ok("/a/b/c".into()));
    for bad in ["../x", "/a/../../b", "/", "", "a\n", "system.slice:crun:x"] {
        assert!(path(bad).unwrap_err().to_string().starts_with("linux.cgroupsPath"), "{bad:?}");
    }
}
