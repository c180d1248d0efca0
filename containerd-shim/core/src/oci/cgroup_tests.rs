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
        ("memory.soft_limit_in_bytes", "5"),
        ("memory.memsw.limit_in_bytes", "3000000"),
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
    assert!(refused.to_string().starts_with("linux.resources.pids.limit: this host has no"), "{refused}");
}

/// What a field becomes: lines of files, or a refusal that begins like this.
type Outcome = Result<&'static [&'static str], &'static str>;

/// Fields of `resources`, each with what becomes of it on hosts of version 1 and 2.
const FIELDS: &[(&str, Outcome, Outcome)] = &[
    // No wish: what callers write who have none.
    (r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":0,"kernelTCP":0}}"#, Ok(&[]), Ok(&[])),
    (r#"{"memory":{"kernel":-1,"kernelTCP":-1,"useHierarchy":null,"disableOOMKiller":false}}"#, Ok(&[]), Ok(&[])),
    (
        r#"{"cpu":{"shares":0,"quota":0,"period":0,"cpus":"","mems":""},"blockIO":{"weight":0,"leafWeight":0}}"#,
        Ok(&[]),
        Ok(&[]),
    ),
    (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":0,"leafWeight":0}]}}"#, Ok(&[]), Ok(&[])),
    (
        r#"{"memory":{"kernel":8388608}}"#,
        Err("linux.resources.memory.kernel: "),
        Err("linux.resources.memory.kernel: "),
    ),
    (
        r#"{"memory":{"kernelTCP":8388608}}"#,
        Ok(&["memory.kmem.tcp.limit_in_bytes 8388608"]),
        Err("linux.resources.memory.kernelTCP on "),
    ),
    (
        r#"{"memory":{"disableOOMKiller":true}}"#,
        Ok(&["memory.oom_control 1"]),
        Err("linux.resources.memory.disableOOMKiller on "),
    ),
    (r#"{"memory":{"swappiness":7}}"#, Ok(&["memory.swappiness 7"]), Err("linux.resources.memory.swappiness on ")),
    (
        r#"{"memory":{"swappiness":101}}"#,
        Err("linux.resources.memory.swappiness: "),
        Err("linux.resources.memory.swappiness on "),
    ),
    (r#"{"memory":{"useHierarchy":true}}"#, Ok(&["memory.use_hierarchy 1"]), Ok(&[])),
    (
        r#"{"memory":{"useHierarchy":false}}"#,
        Ok(&["memory.use_hierarchy 0"]),
        Err("linux.resources.memory.useHierarchy: false on "),
    ),
    // For an update: the limit itself is the same.
    (
        r#"{"memory":{"checkBeforeUpdate":true,"limit":4096}}"#,
        Ok(&["memory.limit_in_bytes 4096"]),
        Ok(&["memory.max 4096"]),
    ),
    (
        r#"{"memory":{"limit":-1}}"#,
        Ok(&["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes -1"]),
        Ok(&["memory.max max", "memory.swap.max max"]),
    ),
    (r#"{"memory":{"limit":10,"swap":5}}"#, Err("linux.resources.memory.swap: "), Err("linux.resources.memory.swap: ")),
    (
        r#"{"cpu":{"quota":50000,"burst":10000}}"#,
        Ok(&["cpu.cfs_quota_us 50000", "cpu.cfs_burst_us 10000"]),
        Ok(&["cpu.max 50000 100000", "cpu.max.burst 10000"]),
    ),
    (r#"{"cpu":{"idle":1}}"#, Ok(&["cpu.idle 1"]), Ok(&["cpu.idle 1"])),
    (r#"{"cpu":{"mems":"0"}}"#, Ok(&["cpuset.mems 0"]), Ok(&["cpuset.mems 0"])),
    (r#"{"cpu":{"realtimePeriod":5}}"#, Ok(&["cpu.rt_period_us 5"]), Err("linux.resources.cpu.realtimePeriod on ")),
    (r#"{"cpu":{"realtimeRuntime":5}}"#, Ok(&["cpu.rt_runtime_us 5"]), Err("linux.resources.cpu.realtimeRuntime on ")),
    (
        r#"{"blockIO":{"weight":300}}"#,
        Ok(&["blkio.weight 300", "blkio.bfq.weight 300"]),
        Ok(&["io.bfq.weight 300", "io.weight 2930"]),
    ),
    (
        r#"{"blockIO":{"weight":10}}"#,
        Ok(&["blkio.weight 10", "blkio.bfq.weight 10"]),
        Ok(&["io.bfq.weight 10", "io.weight 1"]),
    ),
    (
        r#"{"blockIO":{"weight":1000}}"#,
        Ok(&["blkio.weight 1000", "blkio.bfq.weight 1000"]),
        Ok(&["io.bfq.weight 1000", "io.weight 10000"]),
    ),
    (r#"{"blockIO":{"weight":5}}"#, Err("linux.resources.blockIO.weight: "), Err("linux.resources.blockIO.weight: ")),
    (
        r#"{"blockIO":{"leafWeight":300}}"#,
        Ok(&["blkio.leaf_weight 300"]),
        Err("linux.resources.blockIO.leafWeight on "),
    ),
    (
        r#"{"blockIO":{"weightDevice":[{"major":8,"minor":1,"weight":300}]}}"#,
        Ok(&["blkio.weight_device 8:1 300", "blkio.bfq.weight_device 8:1 300"]),
        Ok(&["io.bfq.weight 8:1 300", "io.weight 8:1 2930"]),
    ),
    (
        r#"{"blockIO":{"weightDevice":[{"major":8,"minor":1,"leafWeight":300}]}}"#,
        Ok(&["blkio.leaf_weight_device 8:1 300"]),
        Err("linux.resources.blockIO.weightDevice[0].leafWeight on "),
    ),
    (
        r#"{"blockIO":{"weightDevice":[{"major":8,"minor":1}]}}"#,
        Err("linux.resources.blockIO.weightDevice[0].weight or leafWeight: missing"),
        Err("linux.resources.blockIO.weightDevice[0].weight or leafWeight: missing"),
    ),
    (
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
        "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":4}]}}"#,
        Ok(&[
            "blkio.throttle.read_bps_device 8:0 1",
            "blkio.throttle.write_bps_device 8:0 2",
            "blkio.throttle.read_iops_device 8:0 3",
            "blkio.throttle.write_iops_device 8:0 4",
        ]),
        Ok(&["io.max 8:0 rbps=1", "io.max 8:0 wbps=2", "io.max 8:0 riops=3", "io.max 8:0 wiops=4"]),
    ),
    (
        r#"{"network":{"classID":5,"priorities":[{"name":"lo","priority":3}]}}"#,
        Ok(&["net_cls.classid 5", "net_prio.ifpriomap lo 3"]),
        Err("linux.resources.network.classID on "),
    ),
    (
        r#"{"rdma":{"a":{"hcaHandles":3,"hcaObjects":4},"b":{"hcaObjects":5}}}"#,
        Ok(&["rdma.max a hca_handle=3 hca_object=4", "rdma.max b hca_handle=max hca_object=5"]),
        Ok(&["rdma.max a hca_handle=3 hca_object=4", "rdma.max b hca_handle=max hca_object=5"]),
    ),
    (
        r#"{"rdma":{"a":{}}}"#,
        Err("linux.resources.rdma.a.hcaHandles or hcaObjects: missing"),
        Err("linux.resources.rdma.a.hcaHandles or hcaObjects: missing"),
    ),
    (r#"{"pids":{"limit":0}}"#, Ok(&["pids.max max"]), Ok(&["pids.max max"])),
    (
        r#"{"hugepageLimits":[{"pageSize":"2 MB","limit":1}]}"#,
        Err("linux.resources.hugepageLimits[0].pageSize: "),
        Err("linux.resources.hugepageLimits[0].pageSize: "),
    ),
    (r#"{"unified":{"memory.high":"5"}}"#, Err("linux.resources.unified on "), Ok(&["memory.high 5"])),
];

#[test]
fn every_field_is_a_file_or_is_refused_by_its_name() {
    for (text, first, second) in FIELDS {
        let hosts = [(first, Hierarchy::V1 { controllers: all() }), (second, Hierarchy::V2 { controllers: all() })];
        for (expected, hierarchy) in hosts {
            let settings = settings(&read::json(text.as_bytes()).unwrap(), &hierarchy);
            match (expected, settings) {
                (Ok(lines), Ok(settings)) => {
                    let written: Vec<_> = settings.iter().map(|one| format!("{} {}", one.file, one.value)).collect();
                    assert_eq!(written, *lines, "{text}");
                    assert!(settings.iter().all(|one| one.field.starts_with("linux.resources.")), "{text}");
                }
                (Err(field), Err(refused)) => assert!(refused.to_string().starts_with(field), "{text}: {refused}"),
                (_, settings) => panic!("{text}: {settings:?}"),
            }
        }
    }
}

#[test]
fn of_the_files_for_a_weight_the_kernel_must_have_one() {
    let weights = r#"{"blockIO":{"weight":300,"weightDevice":[{"major":8,"minor":1,"weight":300}]}}"#;
    for hierarchy in [Hierarchy::V1 { controllers: all() }, Hierarchy::V2 { controllers: all() }] {
        let settings = settings(&read::json(weights.as_bytes()).unwrap(), &hierarchy).unwrap();
        assert!(settings.iter().all(|setting| setting.need == Need::OneOfItsField));
        let named = |name: &str| settings.iter().filter(|setting| setting.field.ends_with(name)).count();
        assert_eq!((named("blockIO.weight"), named("weightDevice[0].weight")), (2, 2));
    }
    let none = Hierarchy::V2 { controllers: vec!["memory".into()] };
    let refused = settings(&read::json(weights.as_bytes()).unwrap(), &none).unwrap_err().to_string();
    assert!(refused.starts_with("linux.resources.blockIO.weight: this host has no"), "{refused}");
}

#[test]
fn what_version_2_does_not_have_is_refused_by_name() {
    for (text, field) in [
        (r#"{"network":{"priorities":[{"name":"eth0","priority":1}]}}"#, "linux.resources.network.priorities"),
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
