//! Orderly ends: power button, verbs, and what a restart finds.

use hull_qemu_tests::{EXPECT, Node, Slot};

#[test]
fn the_power_button_stops_everything_in_order_and_switches_off() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "hull.run=hello");
    node.wait_hello("");
    node.store().put("/k", "v").expect("put into the store");
    node.vm.press_power_button();
    assert!(node.vm.wait_off(EXPECT).success());
    drop(node);
    let node = Node::boot(&disk, "");
    assert!(!node.vm.console().contains("recovery complete"), "the state partition was not unmounted");
    assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"));
}

#[test]
fn hullctl_poweroff_switches_off() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.vm.type_line("hullctl poweroff");
    assert!(node.vm.wait_off(EXPECT).success());
}

#[test]
fn hullctl_reboot_comes_back_with_everything() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "hull.run=hello");
    node.store().put("/k", "v").expect("put into the store");
    node.end_with("hullctl reboot");
    node.expect_up("0.1.0", Slot::A, EXPECT);
    node.wait_store();
    assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"));
    node.wait_hello("");
}

#[test]
fn the_reset_button_loses_nothing_that_was_acknowledged() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    node.store().put("/k", "v").expect("put into the store");
    node.vm.reset();
    node.expect_shell();
    node.wait_store();
    assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"));
}
