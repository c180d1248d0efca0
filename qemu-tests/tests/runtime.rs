//! `hull-oci` on the product's kernel, where control groups are of version 2 with every controller: bundles that nobody's engine made.

use std::fs;
use std::path::{Path, PathBuf};

use hull_oci_core::oci::capability::NAMES;
use hull_qemu_tests::{Alarm, Artifacts, Disk, EVENTUALLY, Machine, Vm, eventually, run};
use serde_json::{Value, json};
use tempfile::TempDir;

/// PID 1 of the machine: a shell on the serial console, and control groups handed down as PID 1 of a node does.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run /tmp /b
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/init
echo 1 > /sys/fs/cgroup/init/cgroup.procs
mkdir /lower
# What pivot_root(2) needs: a root that is a mount.
mount -t tmpfs root /lower
cp -a /bin /init /b /lower/
mkdir /lower/proc /lower/sys /lower/dev /lower/run /lower/tmp
for folder in proc sys dev run; do mount --move /$folder /lower/$folder; done
cd /lower
exec switch_root /lower /bin/busybox sh -c 'PATH=/bin exec sh </dev/console >/dev/console 2>&1'
";

/// The runtime: `HULL_OCI`, else the one built beside this test.
fn hull_oci() -> PathBuf {
    if let Some(path) = std::env::var_os("HULL_OCI") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the path of this test");
    let path = test.ancestors().nth(2).map(|directory| directory.join("hull-oci")).unwrap_or_default();
    assert!(path.exists(), "{}: missing; build it with `cargo build -p hull-oci`", path.display());
    path
}

/// A configuration whose program is a script of busybox's shell, with changes by JSON pointer.
fn config(script: &str, changes: &[(&str, Value)]) -> Value {
    let capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_MKNOD"];
    let mut config = json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        ],
        "linux": {
            "cgroupsPath": "/tests/box",
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}, {"type": "cgroup"}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]}
        }
    });
    for (place, value) in changes {
        let (parent, name) = place.rsplit_once('/').expect("a pointer");
        config.pointer_mut(parent).expect("a place in the configuration")[name] = value.clone();
    }
    config
}

/// The machine's initramfs: busybox, the runtime, and a bundle for each configuration, `/b/<name>`.
fn machine(folder: &Path, bundles: &[(&str, Value)]) -> Machine {
    let (root, image) = (folder.join("root"), folder.join("initramfs.cpio"));
    fs::create_dir_all(root.join("bin")).expect("make the initramfs tree");
    for folder in ["proc", "sys", "dev", "run"] {
        fs::create_dir_all(root.join(folder)).expect("make the initramfs tree");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("copy busybox; install busybox-static");
    fs::copy(hull_oci(), root.join("bin/hull-oci")).expect("copy the runtime");
    fs::write(root.join("init"), INIT).expect("write init");
    run("chmod", &["755", &root.join("init").display().to_string()]);
    for (name, config) in bundles {
        let bundle = root.join("b").join(name);
        fs::create_dir_all(bundle.join("rootfs/bin")).expect("make a bundle");
        fs::hard_link(root.join("bin/busybox"), bundle.join("rootfs/bin/busybox")).expect("link busybox");
        fs::write(bundle.join("config.json"), config.to_string()).expect("write a configuration");
    }
    let pack = format!("cd {} && find . | cpio --quiet -o -H newc >{}", root.display(), image.display());
    run("sh", &["-c", &pack]);
    Machine::direct(&Artifacts::find().kernel(), &image)
        .append("console=ttyS0 panic=1 loglevel=4")
        .expects(Alarm::OutOfMemory)
}

fn must(vm: &mut Vm, command: &str) -> String {
    let shell = vm.shell(command);
    assert_eq!(shell.status, 0, "{command}: {}", shell.output);
    shell.output
}

fn state(vm: &mut Vm) -> String {
    let text = must(vm, "hull-oci state box");
    let start = text.find('{').unwrap_or_default();
    let state: Value = serde_json::from_str(&text[start..]).unwrap_or_else(|error| panic!("{error}: {text}"));
    state["status"].as_str().unwrap_or_default().to_owned()
}

/// Everything in one machine: each start of one costs more than what is asked of it.
#[test]
fn limits_devices_the_freezer_and_memory_kills_are_the_kernels_own() {
    let dir = TempDir::new().expect("make a directory");
    let limits = json!({
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "r"}],
        "memory": {"limit": 33_554_432, "swap": 33_554_432, "reservation": 16_777_216},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": 10},
        "unified": {"memory.high": "30000000"}
    });
    let tries = "mknod /tmp/loop c 10 237; mknod /tmp/mem c 1 1; mknod /tmp/port c 1 4; \
                 (: < /tmp/mem) 2>/dev/null || echo mem:refused; (: < /tmp/loop) && echo loop:allowed; \
                 (: > /tmp/loop) 2>/dev/null || echo loop:read-only; (: > /dev/null) && echo null:allowed";
    let everything: Vec<Value> = NAMES.iter().map(|name| json!(format!("CAP_{name}"))).collect();
    let namespaces = json!([
        {"type": "user"}, {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"},
        {"type": "cgroup"}, {"type": "time"}
    ]);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundles = [
        ("sleeps", config("exec sleep 9999", &[("/linux/resources", limits)])),
        (
            "devices",
            config(
                tries,
                &[(
                    "/linux/resources/devices",
                    json!([{"allow": false, "access": "rwm"},
                      {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "r"}]),
                )],
            ),
        ),
        (
            "greedy",
            config("tail /dev/zero", &[("/linux/resources/memory", json!({"limit": 8_388_608, "swap": 8_388_608}))]),
        ),
        (
            "user",
            config(
                "cat /proc/self/uid_map; grep -E ^Cap /proc/self/status; mount -t tmpfs t /tmp && echo mount:own; \
                 mknod /tmp/d c 1 1 || echo mknod:refused; hostname own && hostname; cd /sys/fs/cgroup; mkdir below && echo group:below; \
                 echo 5 > pids.max || echo limit:kept; mkdir leaf && echo $$ > leaf/cgroup.procs && echo +pids > cgroup.subtree_control && \
                 echo 7 > below/pids.max && echo limit:below",
                &[
                    ("/linux/namespaces", namespaces),
                    ("/linux/uidMappings", map.clone()),
                    ("/linux/gidMappings", map),
                    (
                        "/process/capabilities",
                        json!({"bounding": everything, "effective": everything, "permitted": everything, "inheritable": everything,
                               "ambient": everything}),
                    ),
                    // Not read-only: the group is the container's own to divide.
                    ("/mounts/3/options", json!(["nosuid", "noexec", "nodev"])),
                    ("/linux/resources", json!({"pids": {"limit": 50}})),
                ],
            ),
        ),
    ];
    let disk = Disk::blank(16 << 20);
    let mut vm = machine(dir.path(), &bundles).disk(&disk).start();
    vm.expect(r"(?m)^\S* ?# $");
    let controllers = must(&mut vm, "cat /sys/fs/cgroup/cgroup.controllers");
    for controller in ["cpuset", "cpu", "io", "memory", "pids"] {
        assert!(controllers.split_whitespace().any(|own| own == controller), "{controller}: {controllers}");
    }
    limits_are_written_and_changed(&mut vm);
    a_container_is_frozen_and_thawed_and_ends(&mut vm);
    devices_are_filtered(&mut vm);
    a_memory_kill_is_an_event(&mut vm);
    all_capabilities_count_in_a_user_namespace_only(&mut vm);
    assert_eq!(must(&mut vm, "ls /sys/fs/cgroup/tests | grep -c box; true").trim(), "0", "a group is left");
}

fn limits_are_written_and_changed(vm: &mut Vm) {
    must(vm, "hull-oci create -b /b/sleeps box");
    assert_eq!(state(vm), "created");
    must(vm, "hull-oci start box");
    assert_eq!(state(vm), "running");
    let file = |vm: &mut Vm, name: &str| must(vm, &format!("cat /sys/fs/cgroup/tests/box/{name}")).trim().to_owned();
    for (name, value) in [
        ("memory.max", "33554432"),
        ("memory.swap.max", "0"),
        ("memory.low", "16777216"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "10"),
    ] {
        assert_eq!(file(vm, name), value, "{name}");
    }
    assert_ne!(file(vm, "cpu.weight"), "100");
    must(vm, "hull-oci update --memory 67108864 --memory-swap 67108864 --pids-limit 20 --cpu-quota 20000 box");
    for (name, value) in [("memory.max", "67108864"), ("pids.max", "20"), ("cpu.max", "20000 100000")] {
        assert_eq!(file(vm, name), value, "{name} after update");
    }
    let disk = must(vm, "cat /sys/block/vda/dev").trim().to_owned();
    let (major, minor) = disk.split_once(':').expect("the numbers of the disk");
    let wanted =
        format!(r#"{{"blockIO":{{"throttleReadBpsDevice":[{{"major":{major},"minor":{minor},"rate":1048576}}]}}}}"#);
    must(vm, &format!("echo '{wanted}' | hull-oci update -r - box"));
    assert!(file(vm, "io.max").contains(&format!("{disk} rbps=1048576")));
    // Whatever it starts at once, it gets no further than its limit.
    let many = vm.shell("hull-oci exec box /bin/busybox sh -c 'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 9 & done'");
    assert!(many.output.contains("fork") || many.status != 0, "{}", many.output);
    let refused: u32 = must(vm, "sed -n 's/^max //p' /sys/fs/cgroup/tests/box/pids.events").trim().parse().unwrap_or(0);
    assert!(refused > 0, "the kernel refused no process");
    let events = must(vm, "hull-oci events --stats box");
    assert!(events.contains("\"pids\"") && events.contains("\"memory\""), "{events}");
}

fn a_container_is_frozen_and_thawed_and_ends(vm: &mut Vm) {
    must(vm, "hull-oci pause box");
    assert_eq!(state(vm), "paused");
    assert!(must(vm, "cat /sys/fs/cgroup/tests/box/cgroup.events").contains("frozen 1"));
    must(vm, "hull-oci resume box");
    assert_eq!(state(vm), "running");
    must(vm, "hull-oci kill box KILL");
    eventually("it has stopped", EVENTUALLY, || match state(vm) {
        status if status == "stopped" => Ok(()),
        status => Err(status),
    });
    must(vm, "hull-oci delete box");
}

fn devices_are_filtered(vm: &mut Vm) {
    let seen = must(vm, "hull-oci run -b /b/devices box");
    for fact in ["mem:refused", "loop:allowed", "loop:read-only", "null:allowed"] {
        assert!(seen.lines().any(|line| line.trim() == fact), "{fact}: {seen}");
    }
}

fn a_memory_kill_is_an_event(vm: &mut Vm) {
    let shell = vm.shell("hull-oci run --keep -b /b/greedy box");
    let events = must(vm, "cat /sys/fs/cgroup/tests/box/memory.events");
    assert_eq!(shell.status, 137, "{} {events}", shell.output);
    assert!(
        events.lines().any(|line| line.trim().strip_prefix("oom_kill ").is_some_and(|kills| kills != "0")),
        "{events}"
    );
    must(vm, "hull-oci delete box");
}

fn all_capabilities_count_in_a_user_namespace_only(vm: &mut Vm) {
    // Its root makes the places to mount on, so the tree is its own.
    must(vm, "chown -R 100000:100000 /b/user/rootfs");
    let seen = must(vm, "hull-oci run -b /b/user box");
    let map: Vec<&str> = seen.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(map, ["0", "100000", "65536"], "{seen}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let line = seen.lines().find_map(|line| line.trim().strip_prefix(set)).unwrap_or_default();
        assert_eq!(line.trim_start_matches(':').trim(), "000001ffffffffff", "{set}: {seen}");
    }
    for fact in ["mount:own", "mknod:refused", "own", "group:below", "limit:kept", "limit:below"] {
        assert!(seen.lines().any(|line| line.trim() == fact), "{fact}: {seen}");
    }
}
