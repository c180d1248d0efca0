//! A Hull node in a machine: what tests of the product share.

use crate::artifacts::Artifacts;
use crate::client::{Etcdctl, Store, http_get};
use crate::disk::Disk;
use crate::images::test_image;
use crate::limits::{EVENTUALLY, HELLO_PORT, STORE_PORT};
use crate::machine::Machine;
use crate::release::shared_releases;
use crate::tool::{eventually, run};
use crate::vm::{Shell, Vm};
use std::time::Duration;

/// The command line of `make run` less the console, which a test chooses, and with the kernel's warnings: they are alarms.
const COMMAND_LINE: &str = "hull.name=node1 hull.kv.listen=0.0.0.0:2379 loglevel=5";

/// What a node is asked when its test failed.
const LAST_WORDS: &str = "hullctl status; for log in init update kv launcher network; do echo \"-- $log\"; hullctl logs $log | tail -n 25; done";

/// A root shell on the console, in images built with one.
const SHELL: &str = "hull.console=/bin/busybox,sh";

/// One of the two root slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `hull-a`
    A,
    /// `hull-b`
    B,
}

impl Slot {
    /// The partition's name.
    pub fn partition(self) -> &'static str {
        match self {
            Self::A => "hull-a",
            Self::B => "hull-b",
        }
    }

    /// The name that people see.
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// A node with a shell on its console and the store's and the example's ports forwarded.
pub struct Node {
    /// The machine it runs in.
    pub vm: Vm,
}

impl Node {
    /// A fresh copy of the test image's disk.
    pub fn disk() -> Disk {
        Disk::copy_of(&test_image().join("disk.img"))
    }

    /// A direct boot of the test image with a shell, no disk yet.
    pub fn machine() -> Machine {
        Self::machine_without_ports().forward(STORE_PORT).forward(HELLO_PORT)
    }

    /// [`Node::machine`] that nothing outside can reach.
    pub fn machine_without_ports() -> Machine {
        Self::machine_without_shell().append(SHELL)
    }

    /// A direct boot of the test image with nothing on the console yet.
    pub fn machine_without_shell() -> Machine {
        Self::direct("initramfs.cpio.zst")
    }

    /// A direct boot of the test image without any disk: its root comes in the initramfs.
    pub fn diskless() -> Machine {
        Self::direct("initramfs-diskless.cpio.zst").append(SHELL).forward(STORE_PORT).forward(HELLO_PORT)
    }

    fn direct(initramfs: &str) -> Machine {
        Machine::direct(&Artifacts::find().kernel(), &test_image().join(initramfs)).append(COMMAND_LINE)
    }

    /// A boot of the test image by UEFI firmware; its command line is in the image.
    pub fn firmware(disk: &Disk) -> Machine {
        Machine::firmware(disk).forward(STORE_PORT).forward(HELLO_PORT).share(&shared_releases())
    }

    /// Starts `machine` and waits for the shell.
    pub fn start(machine: Machine) -> Self {
        let mut node = Self { vm: machine.start() };
        node.expect_shell();
        node.vm.on_failure(LAST_WORDS);
        node
    }

    /// Starts the test image on `disk` with `words` added to the command line, and waits for the store.
    pub fn boot(disk: &Disk, words: &str) -> Self {
        let node = Self::start(Self::machine().disk(disk).append(words));
        node.wait_store();
        node
    }

    /// Waits until a shell's prompt is on the console, at boot or after one.
    pub fn expect_shell(&mut self) {
        self.expect_shell_within(crate::limits::EXPECT);
    }

    /// [`Node::expect_shell`] with a deadline of its own.
    pub fn expect_shell_within(&mut self, deadline: Duration) {
        self.vm.expect_within(r"(?m)^\S* ?# $", deadline);
    }

    /// Types a command that ends this boot, and waits until everything is stopped.
    pub fn end_with(&mut self, command: &str) {
        self.vm.type_line(command);
        self.vm.expect("everything is stopped and flushed");
    }

    /// Waits until `version` is up on `slot`, says so on the console, and has a shell there.
    pub fn expect_up(&mut self, version: &str, slot: Slot, deadline: Duration) {
        let version = version.replace('.', r"\.");
        self.vm.expect_within(&format!(r"Hull {version} +\S+\s+slot +{} ", slot.letter()), deadline);
        self.vm.type_line("");
        self.expect_shell();
    }

    /// Runs a command at the node's shell.
    pub fn shell(&mut self, command: &str) -> Shell {
        self.vm.shell(command)
    }

    /// Runs a command that must succeed.
    ///
    /// # Panics
    /// When its exit status is not 0.
    pub fn must(&mut self, command: &str) -> String {
        let shell = self.shell(command);
        assert_eq!(shell.status, 0, "{command}: {}", shell.output);
        shell.output
    }

    /// `hullctl status` as data.
    ///
    /// # Panics
    /// When it fails or does not speak JSON.
    pub fn status(&mut self) -> serde_json::Value {
        let text = self.must("hullctl status -o json");
        let start = text.find('{').unwrap_or_else(|| panic!("hullctl status: no object: {text}"));
        let end = text.rfind('}').map_or(text.len(), |end| end + 1);
        serde_json::from_str(&text[start..end]).unwrap_or_else(|error| panic!("hullctl status: {error}: {text}"))
    }

    /// Waits until `hullctl ps` shows container `name` in `state`; gives its entry.
    pub fn wait_container(&mut self, name: &str, state: &str) -> serde_json::Value {
        eventually(&format!("{name} is {state}"), EVENTUALLY, || {
            let list = self.status()["containers"].clone();
            let found = list.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == name)).cloned();
            match found {
                Some(entry) if entry["state"] == state => Ok(entry),
                other => Err(format!("{other:?} of {list}")),
            }
        })
    }

    /// Process id of the first process whose command line has `name`, as the node sees it.
    pub fn pid_of(&mut self, name: &str) -> Option<u32> {
        let first = name.chars().next()?;
        let rest: String = name.chars().skip(1).collect();
        // The brackets keep the search from finding itself.
        let output = self.shell(&format!("/bin/busybox pgrep -f '[{first}]{rest}'")).output;
        output.lines().find_map(|line| line.trim().parse().ok())
    }

    /// The crate `etcd-client` on this node.
    pub fn store(&self) -> Store {
        Store::connect(self.vm.port(STORE_PORT)).expect("connect to the store")
    }

    /// The host's `hullctl` on this node: what an operator types elsewhere.
    ///
    /// # Panics
    /// When it fails.
    pub fn hullctl(&self, arguments: &[&str]) -> String {
        let endpoint = format!("127.0.0.1:{}", self.vm.port(STORE_PORT));
        let program = Artifacts::find().must("bin/hullctl");
        run(&program.to_string_lossy(), &[&["--endpoint", &endpoint], arguments].concat())
    }

    /// `etcdctl` on this node.
    pub fn etcdctl(&self) -> Etcdctl {
        Etcdctl::new(self.vm.port(STORE_PORT))
    }

    /// Waits until the store says it is healthy.
    pub fn wait_store(&self) {
        self.wait_store_within(EVENTUALLY);
    }

    /// [`Node::wait_store`] with a deadline of its own.
    pub fn wait_store_within(&self, deadline: Duration) {
        eventually("the store serves", deadline, || match http_get(self.vm.port(STORE_PORT), "/health")? {
            (200, body) if body.contains("true") => Ok(()),
            (status, body) => Err(format!("{status}: {body}")),
        });
    }

    /// Waits until the example shows `text`.
    pub fn wait_hello(&self, text: &str) {
        eventually("the example answers", EVENTUALLY, || {
            let (status, body) = http_get(self.vm.port(HELLO_PORT), "/")?;
            if status == 200 && body.contains(text) { Ok(()) } else { Err(format!("{status}: {body}")) }
        });
    }
}
