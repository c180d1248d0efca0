//! The operator's console: hullctl on the terminal, without a shell.

use hull_qemu_tests::{Node, Vm};

fn at_prompt(vm: &mut Vm) {
    vm.expect(r"hull> $");
}

#[test]
fn an_operator_types_verbs_without_a_shell() {
    let disk = Node::disk();
    let machine = Node::machine_without_shell().disk(&disk).append("hull.console=hullctl hull.run=hello");
    let mut vm = machine.start();
    at_prompt(&mut vm);
    vm.type_line("status");
    vm.expect("node +node1");
    vm.expect("version +0\\.1\\.0");
    at_prompt(&mut vm);
    vm.type_line("kv put /k 'two words'");
    vm.expect("revision \\d+");
    at_prompt(&mut vm);
    vm.type_line("kv get /k");
    vm.expect("\ntwo words\n");
    at_prompt(&mut vm);
    vm.type_line("no-such-verb");
    vm.expect("error: ");
    at_prompt(&mut vm);
    vm.type_line("logs -f kv");
    vm.expect("logs -f kv\n");
    vm.send(&[3]);
    at_prompt(&mut vm);
    // The arrow brings the line before back, and Ctrl-C drops it.
    vm.send(b"\x1b[A");
    vm.expect("logs -f kv");
    vm.send(&[3]);
    at_prompt(&mut vm);
    vm.type_line("help");
    vm.expect("Commands:");
    at_prompt(&mut vm);
    // The end of input starts a fresh console, never a machine without one.
    vm.send(&[4]);
    at_prompt(&mut vm);
}
