//! Containers: declared, confined, killed, loaded.

use hull_qemu_tests::{EVENTUALLY, Node, eventually};

/// Waits until `hullctl ps` shows container `name` in `state`; gives its entry.
fn wait_container(node: &mut Node, name: &str, state: &str) -> serde_json::Value {
    eventually(&format!("{name} is {state}"), EVENTUALLY, || {
        let list = node.status()["containers"].clone();
        let found = list.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == name)).cloned();
        match found {
            Some(entry) if entry["state"] == state => Ok(entry),
            other => Err(format!("{other:?} of {list}")),
        }
    })
}

fn service_pid(node: &mut Node, name: &str) -> Option<u64> {
    let status = node.status();
    let service = status["services"].as_array()?.iter().find(|entry| entry["name"] == name)?.clone();
    if service["state"] == "ready" { service["pid"].as_u64() } else { None }
}

#[test]
fn a_declaration_starts_a_container_and_its_deletion_stops_it() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.must("hullctl run web hello --memory 64M --env GREETED=1");
    wait_container(&mut node, "web", "running");
    node.wait_hello("");
    node.must("hullctl stop web");
    eventually("the container is gone", EVENTUALLY, || {
        let list = node.status()["containers"].clone();
        if list.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(list) }
    });
    assert_eq!(node.shell("hullctl stop web").status, 1);
}

/// What `hullctl --endpoint` says of the containers, as data.
fn seen_from_outside(node: &Node) -> serde_json::Value {
    serde_json::from_str(&node.hullctl(&["ps", "-o", "json"])).expect("JSON")
}

#[test]
fn from_outside_a_second_container_is_declared_seen_and_stopped() {
    let disk = Node::disk();
    let node = Node::boot(&disk, "hull.run=hello");
    node.hullctl(&["run", "again", "hello", "--env", "PORT=8081"]);
    eventually("both containers run, seen from outside", EVENTUALLY, || {
        let list = seen_from_outside(&node);
        let runs = |name: &str| {
            list.as_array().is_some_and(|list| list.iter().any(|e| e["name"] == name && e["state"] == "running"))
        };
        if runs("hello") && runs("again") { Ok(()) } else { Err(list) }
    });
    let status = node.hullctl(&["status"]);
    for fact in ["slot       a", "address", "kv", "ready", "again", "uptime     about"] {
        assert!(status.contains(fact), "{fact}:\n{status}");
    }
    node.hullctl(&["stop", "again"]);
    eventually("one of them is gone, seen from outside", EVENTUALLY, || {
        let list = seen_from_outside(&node);
        if list.as_array().is_some_and(|list| list.len() == 1) { Ok(()) } else { Err(list) }
    });
}

#[test]
fn an_archive_that_is_none_is_refused_with_the_reason() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.must("dd if=/dev/urandom of=/var/junk.tar bs=1M count=8 2>/dev/null");
    let shell = node.shell("hullctl image load /var/junk.tar 2>&1");
    assert_eq!(shell.status, 1, "{}", shell.output);
    assert!(!shell.output.contains("Broken pipe") && shell.output.contains("no tar archive"), "{}", shell.output);
    assert_eq!(node.must("ls -A /var/lib/hull/images/incoming 2>/dev/null | wc -l").trim(), "0");
}

#[test]
fn a_container_is_confined() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.must("hullctl run web hello --memory 64M --pids 20");
    let pid = wait_container(&mut node, "web", "running")["pid"].as_u64().expect("a running container has a pid");
    let status = node.must(&format!("cat /proc/{pid}/status"));
    assert!(status.lines().any(|line| line.starts_with("NoNewPrivs:") && line.ends_with('1')), "{status}");
    assert!(status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2')), "{status}");
    for namespace in ["mnt", "pid", "ipc", "uts", "cgroup"] {
        let both = node.must(&format!("readlink /proc/1/ns/{namespace} && readlink /proc/{pid}/ns/{namespace}"));
        let links: Vec<_> = both.lines().map(str::trim).collect();
        assert_ne!(links[0], links[1], "namespace {namespace} is the node's");
    }
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a bounding set").trim();
    let set = u64::from_str_radix(capabilities, 16).expect("a hexadecimal set");
    // CAP_SYS_ADMIN is 21, CAP_SYS_MODULE 16, CAP_SYS_BOOT 22 (linux/capability.h).
    assert_eq!(set & (1 << 21 | 1 << 16 | 1 << 22), 0, "{capabilities}");
    let group = node.must(&format!("sed 's/^0:://' /proc/{pid}/cgroup"));
    assert_eq!(node.must(&format!("cat /sys/fs/cgroup{group}/memory.max")), (64 << 20).to_string());
    assert_eq!(node.must(&format!("cat /sys/fs/cgroup{group}/pids.max")), "20");
}

#[test]
fn kv_launcher_and_container_come_back_after_kill_9_and_leave_the_others_alone() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "hull.run=hello");
    wait_container(&mut node, "hello", "running");
    node.store().put("/k", "v").expect("put into the store");
    let pids = |node: &mut Node| -> [Option<u64>; 3] {
        let container = wait_container(node, "hello", "running")["pid"].as_u64();
        [service_pid(node, "kv"), service_pid(node, "launcher"), container]
    };
    for victim in 0..3 {
        let before = eventually("everything runs", EVENTUALLY, || {
            let pids = pids(&mut node);
            if pids.iter().all(Option::is_some) { Ok(pids) } else { Err(format!("{pids:?}")) }
        });
        node.must(&format!("kill -9 {}", before[victim].unwrap_or_default()));
        let after = eventually("it is back by itself", EVENTUALLY, || {
            let pids = pids(&mut node);
            if pids.iter().all(Option::is_some) && pids[victim] != before[victim] {
                Ok(pids)
            } else {
                Err(format!("{pids:?}"))
            }
        });
        for other in (0..3).filter(|other| *other != victim) {
            assert_eq!(after[other], before[other], "number {other} was disturbed by the death of {victim}");
        }
    }
    node.wait_store();
    assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"));
    node.wait_hello("");
}

#[test]
fn a_store_that_hangs_is_noticed_and_comes_back_by_itself() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.store().put("/k", "v").expect("put into the store");
    let before = service_pid(&mut node, "kv").expect("the store runs");
    node.must(&format!("kill -STOP {before}"));
    eventually("another process serves the store", 2 * EVENTUALLY, || match service_pid(&mut node, "kv") {
        Some(pid) if pid != before => Ok(()),
        other => Err(format!("{other:?}")),
    });
    node.wait_store();
    assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"));
    let log = node.must("hullctl logs init");
    assert!(log.contains("kv: killed, for it said nothing in time"), "{log}");
}

#[test]
fn a_container_that_fails_starts_again_later_and_its_output_is_kept() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.must("hullctl run bad hello -- /no/such/program");
    eventually("its failure is told", EVENTUALLY, || {
        let list = node.status()["containers"].clone();
        let entry = list.as_array().and_then(|list| list.first()).cloned().unwrap_or_default();
        if entry["reason"].is_string() { Ok(()) } else { Err(list) }
    });
    node.must("hullctl run web hello");
    wait_container(&mut node, "web", "running");
    node.wait_hello("");
    eventually("its output is kept", EVENTUALLY, || {
        let shell = node.shell("hullctl logs web");
        if shell.status == 0 && !shell.output.is_empty() { Ok(()) } else { Err(shell.output) }
    });
}

#[test]
fn an_image_that_was_loaded_from_an_archive_runs() {
    let disk = Node::disk();
    disk.grow_to(512 << 20);
    let mut node = Node::boot(&disk, "");
    node.must("tar cf /var/again.tar -C /usr/share/hull/images/hello .");
    node.must("hullctl image load /var/again.tar --name again");
    let images = node.must("hullctl image ls");
    assert!(images.contains("again") && images.contains("loaded"), "{images}");
    node.must("hullctl run web again");
    wait_container(&mut node, "web", "running");
    node.wait_hello("");
    let refused = node.shell("hullctl image load /etc/passwd");
    assert_eq!(refused.status, 1, "{}", refused.output);
}
