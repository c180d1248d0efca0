//! The same choice of slot when UEFI firmware starts the machine from its disk.

use hull_qemu_tests::{Alarm, Disk, EVENTUALLY, NEWER, Node, ReleaseKind, SWAP, Slot, eventually, make_release};

fn boot(disk: &Disk, tolerated: &[Alarm]) -> Node {
    let machine = Node::firmware(disk);
    let machine = tolerated.iter().fold(machine, |machine, alarm| machine.expects(*alarm));
    let mut node = Node { vm: machine.start() };
    node.expect_shell_within(SWAP);
    node.wait_store_within(SWAP);
    node
}

#[test]
fn firmware_boots_the_disk_image_and_the_example_answers() {
    let disk = Node::disk();
    let mut node = boot(&disk, &[]);
    let status = node.status();
    assert_eq!((&status["slot"], &status["node"]), (&"a".into(), &"node1".into()), "{status:#}");
    node.wait_hello("");
}

#[test]
fn a_swap_is_kept_over_a_power_cycle_by_firmware() {
    let release = make_release(ReleaseKind::Newer);
    let disk = Node::disk();
    let mut node = boot(&disk, &[]);
    node.store().put("/k", "v").expect("put into the store");
    node.must(&format!("hullctl update stage {release}"));
    node.end_with("hullctl update swap");
    node.expect_up(NEWER, Slot::B, SWAP);
    eventually("the trial passes", EVENTUALLY, || {
        let status = node.status();
        if status["trial"]["state"] == "good" { Ok(()) } else { Err(status["trial"].clone()) }
    });
    node.vm.kill();
    let mut node = boot(&disk, &[]);
    let status = node.status();
    assert_eq!((&status["slot"], &status["version"]), (&"b".into(), &NEWER.into()), "{status:#}");
    assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"));
}

#[test]
fn a_bad_release_ends_on_the_old_slot_by_firmware_too() {
    let release = make_release(ReleaseKind::InitExits);
    let disk = Node::disk();
    let mut node = boot(&disk, &[Alarm::KernelPanic]);
    node.must(&format!("hullctl update stage {release}"));
    node.end_with("hullctl update swap");
    node.expect_up("0.1.0", Slot::A, SWAP);
    node.wait_store_within(SWAP);
    let status = node.status();
    assert_eq!(status["slot"], "a", "{status:#}");
    assert!(node.must("hullctl status").contains("slot b is bad"));
}
