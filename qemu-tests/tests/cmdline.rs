//! The kernel command line: nothing on it stops a boot, and what is wrong is said.

use hull_qemu_tests::{Node, STORE_PORT, test_kernel_and_initramfs};

/// Length of the longest command line of these tests, bytes; the kernel takes 2,047 (COMMAND_LINE_SIZE on x86).
const LONG: usize = 2_000;

#[test]
fn unknown_keys_and_bad_values_are_told_and_the_defaults_apply() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "hull.no.such=1 hull.watchdog=banana hull.update.tries=-3 hull.log.level");
    let status = node.status();
    let errors = status["command_line_errors"].as_array().expect("a list of errors").clone();
    for (key, value) in [("hull.no.such", "1"), ("hull.watchdog", "banana"), ("hull.update.tries", "-3")] {
        let error = errors.iter().find(|error| error["key"] == key).unwrap_or_else(|| panic!("{key}: {errors:?}"));
        assert_eq!(error["value"], value);
        assert!(error["expected"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    }
    let console = node.vm.console();
    for word in ["hull.no.such", "banana"] {
        assert!(console.contains(word), "{word} is not on the console");
    }
    let text = node.must("hullctl status");
    assert!(text.contains("hull.watchdog=banana"), "{text}");
}

#[test]
fn an_empty_command_line_boots() {
    let (kernel, initramfs) = test_kernel_and_initramfs();
    let disk = Node::disk();
    let mut vm = hull_qemu_tests::Machine::direct(&kernel, &initramfs).disk(&disk).start();
    vm.expect(r"0\.1\.0");
    vm.expect(r"10\.0\.2\.15");
}

#[test]
fn a_command_line_of_2000_bytes_boots() {
    let disk = Node::disk();
    let base = "hull.name=node1 hull.kv.listen=0.0.0.0:2379 loglevel=5 hull.console=/bin/busybox,sh ".len();
    let mut words = String::from("hull.run=hello");
    let mut number = 0;
    while base + words.len() + 40 < LONG {
        number += 1;
        words.push_str(&format!(" user.word{number}=abcdef"));
    }
    words.push_str(&format!(" user.last={}", "x".repeat(LONG - base - words.len() - " user.last=".len())));
    let mut node = Node::boot(&disk, &words);
    let length: usize = node.must("wc -c </proc/cmdline").parse().expect("wc prints a number");
    assert!(length >= LONG, "{length} bytes arrived");
    node.wait_hello("");
}

#[test]
fn rubbish_on_the_command_line_is_survived() {
    let disk = Node::disk();
    let rubbish = "= == hull. hull.= hull.name= hull.run=,, hull.run== hull.net=eth9:999.1.1.1/99:x hull.kv.listen=:::: \
                   hull.boot.slot=z -- \"hull.name=a b\" 'x";
    let node = Node::start(Node::machine().disk(&disk).append(rubbish));
    let _ = node.vm.port(STORE_PORT);
    assert!(node.vm.console().contains("hull.boot.slot"), "the bad slot is not on the console");
}

#[test]
fn a_static_address_is_used() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "hull.net=eth0:10.0.2.15/24:10.0.2.2:10.0.2.3");
    assert!(node.must("ip addr show eth0").contains("10.0.2.15/24"));
    assert!(node.must("ip route").contains("default via 10.0.2.2"));
    assert!(node.must("cat /etc/resolv.conf").contains("10.0.2.3"));
}
