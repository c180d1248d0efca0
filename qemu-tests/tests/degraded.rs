//! Broken and missing disks: the node boots as far as it can and says why.

use hull_qemu_tests::{Alarm, Disk, EVENTUALLY, EXPECT, Link, Machine, Node, eventually, test_kernel_and_initramfs};

/// What PID 1 says when it has no root to go to.
const NO_ROOT: &str = r"Hull [0-9.]+: no root file system\n[^\n]+\n[^\n]+looks for a disk";

fn machine() -> Machine {
    let (kernel, initramfs) = test_kernel_and_initramfs();
    Machine::direct(&kernel, &initramfs)
}

#[test]
fn without_a_disk_the_node_says_so_and_does_not_panic() {
    let mut vm = machine().start();
    vm.expect(NO_ROOT);
}

#[test]
fn a_disk_without_slots_is_named() {
    let disk = Disk::blank(64 << 20);
    let mut vm = machine().disk(&disk).start();
    vm.expect(NO_ROOT);
}

#[test]
fn a_state_partition_of_zeros_boots_degraded_without_the_old_store() {
    let disk = Node::disk();
    disk.zero("hull-state");
    let mut node = Node::start(Node::machine().disk(&disk).append("hull.run=hello"));
    let status = node.status();
    assert_eq!(status["state"], "degraded", "{status:#}");
    let kv = status["services"].as_array().and_then(|list| list.iter().find(|entry| entry["name"] == "kv").cloned());
    assert_eq!(kv.as_ref().map(|kv| kv["state"].clone()), Some("held-back".into()), "{status:#}");
    let text = node.must("hullctl status");
    assert!(text.contains("degraded"), "{text}");
}

#[test]
fn a_full_state_partition_boots_and_the_store_still_reads() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.store().put("/k", "v").expect("put into the store");
    let _ = node.shell(
        "dd if=/dev/zero of=/var/full bs=64k 2>/dev/null; dd if=/dev/zero of=/var/full2 bs=512 2>/dev/null; sync",
    );
    node.vm.press_power_button();
    node.vm.wait_off(EXPECT);
    drop(node);
    let mut node = Node::start(Node::machine().disk(&disk));
    let status = node.status();
    assert_eq!(status["node"], "node1", "{status:#}");
    node.must("df /var | grep -q '100%'");
    eventually("the store reads", EVENTUALLY, || match node.store().get("/k") {
        Ok(Some(value)) if value == "v" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // Room again: the alarm is taken back as an operator of etcd does it, and the store takes writes.
    node.must("rm /var/full /var/full2");
    eventually("the store takes writes again", EVENTUALLY, || {
        node.etcdctl().try_run(&["alarm", "disarm"], "");
        node.store().put("/k", "w").map_err(|error| error.to_string())
    });
    node.wait_store();
}

#[test]
fn a_lost_primary_partition_table_is_replaced_by_its_backup() {
    let disk = Node::disk();
    drop(Node::boot(&disk, ""));
    disk.zero_primary_table();
    let mut node = Node::start(Node::machine().disk(&disk).expects(Alarm::Warning));
    node.wait_store();
    let status = node.status();
    assert_eq!(status["slot"], "a", "{status:#}");
    assert!(status["notes"].as_array().is_some_and(|notes| !notes.is_empty()), "{status:#}");
}

#[test]
fn without_a_network_card_the_node_serves_itself() {
    let disk = Node::disk();
    let mut node = Node::start(Node::machine_without_ports().disk(&disk).link(Link::Absent));
    eventually("the store serves", EVENTUALLY, || {
        let shell = node.shell("hullctl kv put /k v");
        if shell.status == 0 { Ok(()) } else { Err(shell.output) }
    });
}
