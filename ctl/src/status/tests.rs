//! What the status looks like: a healthy node, and one with everything wrong.

use super::*;
use hull_init_core::control::{Complaint, SlotName, cut, line};
use hull_oci_core::api::Container;

fn node() -> Node {
    Node {
        name: cut("node1"),
        version: cut("0.1.0"),
        root: RunningRoot::Slot { slot: SlotName::A, root_hash: cut(&"0123456789abcdef".repeat(4)) },
        uptime_ms: 725_000,
        up_after_ms: Some(140),
        state: State::Disk,
        addresses: line("eth0 10.0.2.15/24"),
        kv_endpoint: cut("0.0.0.0:2379"),
        trial: Trial::None,
        swap_gap_ms: None,
        allocations_since_up: 0,
        orphans_reaped: 0,
        resident_kib: 700,
        lost_messages: 0,
    }
}

fn service(name: &str, state: ServiceState, restarts: u32) -> Service {
    Service { name: cut(name), state, restarts, status: line(""), memory_bytes: Some(4 << 20) }
}

fn glance() -> Glance {
    Glance { version: "3.6.0".into(), revision: 42, db_bytes: 20_480, leader: 1, member: 1, errors: Vec::new() }
}

fn report(inside: Inside, store: Result<Glance, Failure>) -> String {
    render(&Report { view: View::Inside(Box::new(inside)), store }, Paint::Plain, 80)
}

fn healthy() -> Inside {
    Inside {
        node: node(),
        services: vec![
            service("kv", ServiceState::Ready { pid: 31, for_ms: 724_000 }, 0),
            service("launcher", ServiceState::Ready { pid: 32, for_ms: 723_000 }, 2),
        ],
        complaints: Vec::new(),
        notes: Vec::new(),
        slots: Vec::new(),
        asked_ms: 0,
        containers: Ok(Vec::<Container>::new()),
    }
}

#[test]
fn a_healthy_node_is_one_quiet_page() {
    assert_eq!(
        report(healthy(), Ok(glance())),
        "node       node1\n\
         version    0.1.0\n\
         slot       a  root 0123456789ab\n\
         uptime     12 min 5 s, ready 140 ms after PID 1 started\n\
         state      on disk\n\
         addresses  eth0 10.0.2.15/24\n\
         kv         0.0.0.0:2379  revision 42  leader  20.0 KiB\n\
         services\n\
         \x20 kv        ready  pid 31, 12 min 4 s, 4.0 MiB\n\
         \x20 launcher  ready  pid 32, 12 min 3 s, 4.0 MiB, 2 restarts\n\
         containers\n\
         \x20 none\n"
    );
}

#[test]
fn whatever_is_wrong_is_said_and_fits_80_columns() {
    let mut inside = healthy();
    inside.node.state = State::Degraded {
        reason: line(
            "the state partition hull-state has no ext4 file system; write a fresh image of it, or replace the disk",
        ),
    };
    inside.services[0].state = ServiceState::HeldBack { reason: line("the state partition is broken") };
    inside.complaints.push(Complaint {
        key: cut("hull.kv.listen"),
        value: cut("banana"),
        expected: line("expected ip:port; 127.0.0.1:2379 applies"),
    });
    inside.slots.push(Slot {
        slot: SlotName::B,
        content: SlotContent::Bad,
        priority: 2,
        usage: SlotUsage::Idle,
        version: cut("0.2.0"),
        root_hash: cut("00"),
        reason: line("kv was not ready within 60 s"),
    });
    let refused = Failure::new("reach", "the store at /run/hull/kv.sock", "connection refused", "see hullctl logs kv");
    let text = report(inside, Err(refused));
    for fact in [
        "degraded",
        "no ext4 file system",
        "held back",
        "hull.kv.listen=banana: expected ip:port",
        "slot b is bad: version 0.2.0: kv was not ready within 60 s",
        "connection refused",
    ] {
        assert!(text.contains(fact), "{fact}:\n{text}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn from_outside_a_node_shows_what_it_wrote_about_itself() {
    let record = serde_json::json!({
        "version": "0.1.0", "slot": "a", "root_hash": "8cf9bd65aea3ffff", "booted_at": 1, "state": "disk",
        "addresses": "eth0 10.0.2.15/24",
        "services": [{ "name": "kv", "state": "ready", "restarts": 0, "status": "" }],
        "containers": [
            { "name": "hello", "image": "hello", "state": "running", "restarts": 0 },
            { "name": "again\u{1b}[31m", "image": "hello", "state": "backing-off", "restarts": 2, "reason": "exit status 1" },
        ],
        "command_line_errors": [{ "key": "hull.watchdog", "value": "banana", "expected": "seconds" }],
        "notes": ["the disk is small"],
    });
    let nodes = vec![("node1".into(), record), ("node2".into(), serde_json::json!("rubbish"))];
    let view = View::Outside { endpoint: "127.0.0.1:2379".into(), nodes };
    let text = render(&Report { view, store: Ok(glance()) }, Paint::Plain, 80);
    for fact in [
        "127.0.0.1:2379  revision 42",
        "  node1\n    version    0.1.0\n    slot       a  root 8cf9bd65aea3\n    uptime     about ",
        "    service  kv  ready\n",
        "    container  hello       running      hello\n",
        "again\u{FFFD}[31m  backing-off  hello, exit status 1, 2 restarts",
        "! hull.watchdog=banana: seconds",
        "! the disk is small",
        "  node2\n    rubbish\n",
    ] {
        assert!(text.contains(fact), "{fact}:\n{text}");
    }
}
