//! A running virtual machine: console, ports, QMP; it ends when dropped.

use crate::acceleration::Acceleration;
use crate::alarm::Alarm;
use crate::console::{Console, Unmet};
use crate::limits::{COMMAND, EXPECT, LAST_WORDS, POLL};
use crate::machine::{Link, Machine, Start};
use crate::permit::Permit;
use crate::qmp::Qmp;
use regex::Regex;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// UEFI firmware as Debian and Ubuntu install it (package `ovmf`), newest layout first: code, variables.
const FIRMWARE: &[(&str, &str)] = &[
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// A running machine.
pub struct Vm {
    child: Child,
    console: Console,
    qmp: Qmp,
    /// (guest port, host port)
    ports: Vec<(u16, u16)>,
    tolerated: Vec<Alarm>,
    commands: u32,
    /// Typed before the machine of a failing test ends.
    last_words: Option<String>,
    _dir: TempDir,
    _permit: Permit,
}

/// What a command typed at a shell gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// Exit status.
    pub status: i32,
    /// Output and errors, as the console showed them.
    pub output: String,
}

impl Vm {
    pub(crate) fn start(machine: Machine) -> Self {
        let permit = Permit::take();
        let dir = TempDir::with_prefix("hull-vm-").expect("make a directory for a machine");
        let socket = dir.path().join("qmp");
        let arguments = arguments(&machine, &socket);
        // A test process that dies takes its machines with it.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args(&arguments)
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start setpriv and qemu-system-x86_64");
        let output = child.stdout.take().expect("the console's output is piped");
        let input = child.stdin.take().expect("the console's input is piped");
        let mut qmp = Qmp::connect(&socket).unwrap_or_else(|error| {
            let _ = child.kill();
            panic!("qemu-system-x86_64 {}: {error:?}", arguments.join(" "))
        });
        let usernet = qmp.monitor("info usernet").unwrap_or_default();
        let ports = machine.forwards.iter().map(|guest| (*guest, forwarded(&usernet, *guest))).collect();
        Self {
            child,
            console: Console::attach(output, input),
            qmp,
            ports,
            tolerated: machine.tolerated,
            commands: 0,
            last_words: None,
            _dir: dir,
            _permit: permit,
        }
    }

    /// Waits until the console says `pattern` (a regular expression) behind the last match, within the usual deadline.
    /// Gives the capture groups, the whole match first.
    ///
    /// # Panics
    /// When an alarm comes first, the machine ends, or the deadline passes.
    pub fn expect(&mut self, pattern: &str) -> Vec<String> {
        self.expect_within(pattern, EXPECT)
    }

    /// [`Vm::expect`] with a deadline of its own.
    pub fn expect_within(&mut self, pattern: &str, deadline: Duration) -> Vec<String> {
        let regex = Regex::new(pattern).expect("a test's pattern is a regular expression");
        match self.console.expect(&regex, deadline, &self.tolerated) {
            Ok(groups) => groups,
            Err(Unmet::Late) => panic!("console: {pattern:?} did not come within {} s", deadline.as_secs()),
            Err(Unmet::Ended) => panic!("console: the machine ended before {pattern:?}"),
            Err(Unmet::Alarm(alarm, line)) => {
                panic!("console: {alarm:?} before {pattern:?}: {line}")
            }
        }
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    /// Types bytes as they are: control characters too.
    pub fn send(&mut self, bytes: &[u8]) {
        self.console.send(bytes).expect("type at the console of a running machine");
    }

    /// Types a command at the POSIX shell that has the console, and waits for its end.
    pub fn shell(&mut self, command: &str) -> Shell {
        self.commands += 1;
        let number = self.commands;
        // The quotes keep the echo of the typed line from matching.
        self.console.skip();
        self.type_line(&format!("echo BEG''IN-{number}; {{ {command}; }}; echo EN''D-{number}:$?"));
        let groups = self.expect_within(&format!(r"(?s)BEGIN-{number}\n(.*?)END-{number}:(\d+)"), COMMAND);
        Shell { status: groups[2].parse().unwrap_or(-1), output: without_kernel_lines(&groups[1]) }
    }

    /// The loopback port that reaches port `guest` of the machine.
    ///
    /// # Panics
    /// When the machine was built without that forward.
    pub fn port(&self, guest: u16) -> u16 {
        self.ports
            .iter()
            .find(|(inside, _)| *inside == guest)
            .map_or_else(|| panic!("port {guest} is not forwarded"), |(_, host)| *host)
    }

    /// Everything the console said so far.
    pub fn console(&self) -> String {
        self.console.text()
    }

    /// QEMU's own commands.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Declares that this test expects `alarm` from now on.
    pub fn tolerate(&mut self, alarm: Alarm) {
        self.tolerated.push(alarm);
    }

    /// Has `command` typed when the test fails, so that the console that is printed says more.
    pub fn on_failure(&mut self, command: &str) {
        self.last_words = Some(command.into());
    }

    /// Presses the power button.
    pub fn press_power_button(&mut self) {
        self.command("system_powerdown");
    }

    /// Resets the machine, as the reset button does.
    pub fn reset(&mut self) {
        self.command("system_reset");
    }

    /// Stops the processors, as a long pause of a hypervisor does.
    pub fn pause(&mut self) {
        self.command("stop");
    }

    /// Lets paused processors go on.
    pub fn resume(&mut self) {
        self.command("cont");
    }

    /// Ends QEMU with SIGKILL and waits until it is gone: what is not on the disk now never was.
    pub fn kill(mut self) {
        self.child.kill().expect("kill QEMU");
        self.child.wait().expect("wait for QEMU");
    }

    /// Waits until the machine switched itself off.
    ///
    /// # Panics
    /// When it is still on at the deadline.
    pub fn wait_off(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().expect("look at QEMU") {
                return status;
            }
            assert!(Instant::now() < end, "the machine is still on after {} s", deadline.as_secs());
            thread::sleep(POLL);
        }
    }

    fn command(&mut self, name: &str) {
        if let Err(error) = self.qmp.execute(name, json!({})) {
            panic!("QMP {name}: {error:?}");
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if let Some(words) = self.last_words.take().filter(|_| thread::panicking()) {
            let _ = self.console.send(format!("\n{words}\n").as_bytes());
            thread::sleep(LAST_WORDS);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("---- console ----\n{}\n---- end of console ----", self.console.text());
        } else if let Some((alarm, line)) = self.console.alarm(&self.tolerated) {
            panic!("console: {alarm:?}: {line}\n---- console ----\n{}\n---- end of console ----", self.console.text());
        }
    }
}

/// What a command wrote, less what the kernel wrote to the same console meanwhile, `[   13.454813] ...` to the end of its line:
/// that may begin in the middle of a line of the command's, which goes on behind it.
fn without_kernel_lines(text: &str) -> String {
    static MESSAGE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[ *[0-9]+\.[0-9]{6}\] [^\n]*(\n|$)").expect("a valid pattern"));
    MESSAGE.replace_all(text, "").trim().to_owned()
}

/// QEMU's arguments for `machine`.
fn arguments(machine: &Machine, socket: &Path) -> Vec<String> {
    let mut list = words("-machine q35 -cpu max -nodefaults -display none");
    list.extend(["-accel".into(), Acceleration::detect().qemu_name().into()]);
    list.extend(["-m".into(), machine.memory_mib.to_string()]);
    list.extend(["-smp".into(), machine.processors.to_string()]);
    list.extend(words("-chardev stdio,id=console,signal=off -serial chardev:console"));
    list.extend(["-qmp".into(), format!("unix:{},server=on,wait=off", socket.display())]);
    list.extend(words("-device i6300esb -action watchdog=reset -device virtio-rng-pci"));
    list.extend(start_arguments(machine));
    if let Some((disk, _)) = &machine.disk {
        let disk = disk.display();
        list.extend(words(&format!("-drive file={disk},if=virtio,format=raw,cache=writeback")));
    }
    if machine.link == Link::User {
        // Host port 0: the kernel picks a free one, QEMU tells which.
        let forwards: String =
            machine.forwards.iter().map(|guest| format!(",hostfwd=tcp:127.0.0.1:0-:{guest}")).collect();
        list.extend([
            "-netdev".into(),
            format!("user,id=net{forwards}"),
            "-device".into(),
            "virtio-net-pci,netdev=net,romfile=".into(),
        ]);
    }
    if let Some(share) = &machine.share {
        let share = share.display();
        list.extend(words(&format!("-virtfs local,path={share},mount_tag=host,security_model=none,readonly=on")));
    }
    list
}

fn start_arguments(machine: &Machine) -> Vec<String> {
    match &machine.start {
        Start::Kernel { kernel, initramfs } => vec![
            "-kernel".into(),
            kernel.display().to_string(),
            "-initrd".into(),
            initramfs.display().to_string(),
            "-append".into(),
            machine.append.join(" "),
        ],
        Start::Firmware => {
            let variables =
                machine.disk.as_ref().map(|(_, variables)| variables.clone()).expect("a firmware boot needs a disk");
            firmware_arguments(&variables)
        }
    }
}

fn firmware_arguments(variables: &PathBuf) -> Vec<String> {
    let (code, template) = FIRMWARE
        .iter()
        .find(|(code, _)| Path::new(code).exists())
        .expect("UEFI firmware: not found; install the package ovmf");
    if !variables.exists() {
        std::fs::copy(template, variables).expect("copy the firmware's variables");
    }
    let variables = variables.display();
    words(&format!(
        "-drive if=pflash,unit=0,format=raw,readonly=on,file={code} \
         -drive if=pflash,unit=1,format=raw,file={variables}"
    ))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(Into::into).collect()
}

/// The host port of the forward to `guest`, from `info usernet`:
/// `TCP[HOST_FORWARD]  12  127.0.0.1 40123  10.0.2.15  2379  0  0`.
fn forwarded(usernet: &str, guest: u16) -> u16 {
    usernet
        .lines()
        .filter(|line| line.contains("HOST_FORWARD"))
        .find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let inside: u16 = fields.get(5)?.parse().ok()?;
            let outside: u16 = fields.get(3)?.parse().ok()?;
            (inside == guest).then_some(outside)
        })
        .unwrap_or_else(|| panic!("QEMU does not forward to port {guest}:\n{usernet}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_meanwhile_is_not_a_commands_output() {
        let text = "[   13.454813] hull-init: kv: ready\none\n[not a stamp] two\n\"upt[    4.119290] Memory cgroup out of memory\nime\": 4\n";
        assert_eq!(without_kernel_lines(text), "one\n[not a stamp] two\n\"uptime\": 4");
    }

    #[test]
    fn the_port_that_was_picked_is_read_from_qemu() {
        let usernet = "Hub -1 (net):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  \
                       TCP[HOST_FORWARD]  13       127.0.0.1 41867       10.0.2.15  8080     0     0\n  \
                       TCP[HOST_FORWARD]  12       127.0.0.1 35001       10.0.2.15  2379     0     0\n";
        assert_eq!((forwarded(usernet, 2379), forwarded(usernet, 8080)), (35001, 41867));
    }
}
