//! The swap: good releases pass their trial, bad ones end on the old slot, and power cuts leave one of the two whole.

use hull_qemu_tests::{
    Alarm, Disk, EVENTUALLY, NEWER, Node, ReleaseKind, SWAP, Slot, eventually, long_run, make_release, shared_releases,
};
use std::time::Duration;

/// Command line of every node here: the shared releases, the example, and a trial that does not take a minute.
const WORDS: &str = "hull.host.share=host hull.run=hello hull.update.deadline=30";

fn boot(disk: &Disk, tolerated: &[Alarm]) -> Node {
    let machine = Node::machine().disk(disk).share(&shared_releases()).append(WORDS);
    let node = Node::start(tolerated.iter().fold(machine, |machine, alarm| machine.expects(*alarm)));
    node.wait_store();
    node
}

fn slot(node: &mut Node, slot: Slot) -> serde_json::Value {
    let status = node.status();
    let found = status["slots"].as_array().and_then(|list| list.iter().find(|entry| entry["slot"] == slot.letter()));
    found.cloned().unwrap_or_else(|| panic!("slot {}: {status:#}", slot.letter()))
}

#[test]
fn a_good_release_passes_its_trial_and_keeps_data_and_container() {
    let release = make_release(ReleaseKind::Newer);
    let disk = Node::disk();
    let mut node = boot(&disk, &[]);
    node.store().put("/config/hello/greeting", "kept").expect("put into the store");
    node.must(&format!("hullctl update stage {release}"));
    assert_eq!(slot(&mut node, Slot::B)["state"], "staged");
    node.end_with("hullctl update swap");
    node.expect_up(NEWER, Slot::B, SWAP);
    eventually("the trial passes", EVENTUALLY, || {
        let state = slot(&mut node, Slot::B)["state"].clone();
        if state == "good" { Ok(()) } else { Err(state) }
    });
    let status = node.status();
    assert_eq!((&status["slot"], &status["version"]), (&"b".into(), &NEWER.into()), "{status:#}");
    assert!(status["swap_gap_ms"].is_u64(), "the time without a store is not told: {status:#}");
    assert_eq!(node.store().get("/config/hello/greeting").expect("get from the store").as_deref(), Some("kept"));
    node.wait_hello("kept");
    assert!(node.vm.console().contains("without a store"), "the time without a store is not printed");
    // Without the kernel of the new slot: the old one looks at the slots and goes there.
    node.vm.kill();
    let mut node = boot(&disk, &[]);
    assert_eq!(node.status()["slot"], "b");
}

#[test]
fn a_release_that_must_not_be_staged_is_refused_by_name_and_nothing_changes() {
    let disk = Node::disk();
    let mut node = boot(&disk, &[]);
    let before = node.must("hullctl update status -o json");
    for (kind, word) in [
        (ReleaseKind::WrongSignature, "sign"),
        (ReleaseKind::ChangedRoot, "root.img"),
        (ReleaseKind::TooOld, "older than 0.1.0"),
    ] {
        let release = make_release(kind);
        let shell = node.shell(&format!("hullctl update stage {release}"));
        assert_eq!(shell.status, 1, "{kind:?}: {}", shell.output);
        assert!(shell.output.contains(&release), "{kind:?} is not named: {}", shell.output);
        assert!(shell.output.contains(word), "{kind:?}: {}", shell.output);
        assert_eq!(node.must("hullctl update status -o json"), before, "{kind:?} changed a slot");
    }
    assert_eq!(node.shell("hullctl update stage /no/such/release").status, 1);
    assert_eq!(node.shell("hullctl update swap").status, 1, "there is nothing to swap to");
    node.wait_store();
}

/// Stages and swaps to a bad release, and finds the node on the old slot, with its data and a reason.
fn ends_on_the_old_slot(kind: ReleaseKind, tolerated: &[Alarm]) {
    let release = make_release(kind);
    let disk = Node::disk();
    let mut node = boot(&disk, tolerated);
    node.store().put("/k", "v").expect("put into the store");
    node.must(&format!("hullctl update stage {release}"));
    node.end_with("hullctl update swap");
    node.expect_up("0.1.0", Slot::A, SWAP);
    node.wait_store();
    let bad = slot(&mut node, Slot::B);
    assert_eq!(bad["state"], "bad", "{bad}");
    assert!(bad["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{bad}");
    let status = node.must("hullctl status");
    assert!(status.contains("slot b is bad"), "{status}");
    assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"));
    node.wait_hello("");
}

#[test]
fn a_release_whose_kernel_panics_ends_on_the_old_slot() {
    ends_on_the_old_slot(ReleaseKind::KernelPanics, &[Alarm::KernelPanic]);
}

#[test]
fn a_release_whose_pid_1_exits_ends_on_the_old_slot() {
    ends_on_the_old_slot(ReleaseKind::InitExits, &[Alarm::KernelPanic]);
}

#[test]
fn a_release_whose_pid_1_hangs_ends_on_the_old_slot() {
    ends_on_the_old_slot(ReleaseKind::InitHangs, &[]);
}

#[test]
fn a_release_whose_root_is_empty_ends_on_the_old_slot() {
    ends_on_the_old_slot(ReleaseKind::EmptyRoot, &[]);
}

#[test]
fn a_release_whose_kv_never_gets_ready_ends_on_the_old_slot() {
    ends_on_the_old_slot(ReleaseKind::KvNeverReady, &[]);
}

#[test]
fn an_unhealthy_node_is_not_swapped_unless_forced_and_the_reason_is_kept() {
    let release = make_release(ReleaseKind::Newer);
    let disk = Node::disk();
    let mut node = boot(&disk, &[]);
    node.store().put("/hull/containers/bad", "not json").expect("put into the store");
    node.must(&format!("hullctl update stage {release}"));
    let refused = node.shell("hullctl update swap");
    assert_eq!(refused.status, 1, "{}", refused.output);
    for word in ["launcher reports", "container bad", "--force"] {
        assert!(refused.output.contains(word), "no {word}: {}", refused.output);
    }
    node.wait_store();
    node.end_with("hullctl update swap --force");
    node.expect_up("0.1.0", Slot::A, SWAP);
    let bad = slot(&mut node, Slot::B);
    assert!(bad["reason"].as_str().is_some_and(|reason| reason.contains("container bad")), "{bad}");
}

#[test]
fn a_machine_killed_at_any_moment_of_stage_and_swap_boots_old_or_new_whole() {
    let release = make_release(ReleaseKind::Newer);
    let seeds = long_run(3, 60);
    for seed in 0..seeds {
        let disk = Node::disk();
        let mut node = boot(&disk, &[]);
        node.store().put("/k", "v").expect("put into the store");
        node.vm.type_line(&format!("hullctl update stage {release} && hullctl update swap"));
        std::thread::sleep(moment(seed, seeds));
        node.vm.kill();

        let mut node = boot(&disk, &[]);
        let status = node.status();
        let whole = (status["slot"] == "a" && status["version"] == "0.1.0")
            || (status["slot"] == "b" && status["version"] == NEWER);
        assert!(whole, "seed {seed}: {status:#}");
        assert_eq!(node.store().get("/k").expect("get from the store").as_deref(), Some("v"), "seed {seed}");
        node.wait_hello("");
    }
}

/// Moments spread over the seconds that stage, swap and trial take, the same for the same seed, near ones not in a row.
fn moment(seed: u64, seeds: u64) -> Duration {
    /// Stage, swap and trial of a test image under emulation take about so long.
    const WHOLE: Duration = Duration::from_secs(25);
    /// A stride that visits every place, since it is prime and no number of seeds is a multiple of it.
    const STRIDE: u64 = 37;
    let place = seed * STRIDE % seeds;
    WHOLE * u32::try_from(place * 2 + 1).unwrap_or(1) / u32::try_from(seeds * 2).unwrap_or(u32::MAX)
}
