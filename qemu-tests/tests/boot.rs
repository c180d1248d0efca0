//! A node boots: what it shows, what it serves, and what it leaves behind.

use hull_qemu_tests::{EVENTUALLY, Node, eventually};

#[test]
fn a_booted_node_shows_its_name_version_slot_and_addresses() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "hull.run=hello");
    let console = node.vm.console();
    for fact in ["node1", "0.1.0", "10.0.2.15"] {
        assert!(console.contains(fact), "{fact} is not on the console");
    }
    let status = node.status();
    assert_eq!(status["node"], "node1");
    assert_eq!(status["version"], "0.1.0");
    assert_eq!(status["slot"], "a");
    assert!(status["addresses"].as_str().is_some_and(|text| text.contains("10.0.2.15")), "{status:#}");
    assert_eq!(status["command_line_errors"].as_array().map(Vec::len), Some(0), "{status:#}");
    node.wait_hello("");
}

#[test]
fn a_value_put_with_etcdctl_is_what_the_example_shows() {
    let disk = Node::disk();
    let node = Node::boot(&disk, "hull.run=hello");
    node.etcdctl().run(&["put", "/config/hello/greeting", "hi from etcdctl"]);
    node.wait_hello("hi from etcdctl");
    node.etcdctl().run(&["put", "/config/hello/greeting", "and again"]);
    node.wait_hello("and again");
}

#[test]
fn a_node_without_a_disk_keeps_its_state_in_memory() {
    let mut node = Node::start(Node::diskless().append("hull.run=hello"));
    node.wait_store();
    node.store().put("/k", "v").expect("put into the store");
    assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"));
    assert_eq!(node.status()["state"], "memory");
    node.wait_hello("");
}

#[test]
fn ten_thousand_orphans_that_exit_at_once_leave_no_zombie() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    for _ in 0..20 {
        // The subshell ends before its child: each child is an orphan of PID 1.
        node.must("i=0; while [ $i -lt 500 ]; do ( : & ) ; i=$((i+1)); done");
    }
    eventually("no zombie is left", EVENTUALLY, || {
        let zombies = node.must("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l");
        if zombies == "0" { Ok(()) } else { Err(zombies) }
    });
    let reaped = node.status()["pid1"]["orphans_reaped"].as_u64().unwrap_or_default();
    assert!(reaped >= 10_000, "PID 1 reaped {reaped}");
    node.wait_store();
}

#[test]
fn the_state_partition_grows_to_the_end_of_a_larger_disk() {
    let disk = Node::disk();
    let shipped = disk.partition("hull-state").expect("the image has a state partition").length;
    disk.grow_to(1 << 30);
    let mut node = Node::boot(&disk, "");
    let kib: u64 = node.must("df -k /var | tail -n 1 | awk '{print $2}'").parse().expect("df prints a number");
    assert!(kib * 1024 > 2 * shipped, "{kib} KiB are in use of a disk of 1 GiB");
    drop(node);
    let grown = disk.partition("hull-state").expect("the partition is still there").length;
    assert!(grown > 2 * shipped, "the partition has {grown} bytes");
}
