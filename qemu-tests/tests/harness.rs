//! The harness itself, on the kernel of the product and an initramfs of one shell: what it promises to tests.

use hull_qemu_tests::{Alarm, Artifacts, Disk, Machine, Vm, run};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// PID 1 of these machines: a shell on the serial console.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /mnt
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
exec /bin/busybox sh </dev/console >/dev/console 2>&1
";

/// An initramfs with busybox (package `busybox-static`) alone.
fn initramfs(dir: &TempDir) -> PathBuf {
    let (root, image) = (dir.path().join("root"), dir.path().join("initramfs.cpio"));
    fs::create_dir_all(root.join("bin")).expect("make the initramfs tree");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("copy busybox; install busybox-static");
    fs::write(root.join("init"), INIT).expect("write init");
    run("chmod", &["755", &root.join("init").display().to_string()]);
    let pack = format!("cd {} && find . | cpio --quiet -o -H newc >{}", root.display(), image.display());
    run("sh", &["-c", &pack]);
    image
}

fn machine(dir: &TempDir) -> Machine {
    Machine::direct(&Artifacts::find().kernel(), &initramfs(dir)).append("console=ttyS0 panic=1")
}

fn at_shell(machine: Machine) -> Vm {
    let mut vm = machine.start();
    vm.expect(r"(?m)^\S* ?# $");
    vm
}

#[test]
fn a_shell_command_gives_its_output_and_its_status() {
    let dir = TempDir::new().expect("make a directory");
    let mut vm = at_shell(machine(&dir));
    let shell = vm.shell("echo one two; (exit 7)");
    assert_eq!((shell.status, shell.output.as_str()), (7, "one two"));
}

#[test]
fn a_panic_of_the_guest_fails_a_test_that_did_not_expect_it() {
    let dir = TempDir::new().expect("make a directory");
    let mut vm = at_shell(machine(&dir));
    let failure = catch_unwind(AssertUnwindSafe(|| {
        vm.type_line("echo c >/proc/sysrq-trigger; exit");
        vm.expect("this never comes");
    }))
    .expect_err("the alarm is a failure");
    let reason = failure.downcast_ref::<String>().expect("a panic message");
    assert!(reason.contains("KernelPanic"), "{reason}");
    // Tolerated from here on: this test has seen what it came for.
    vm.tolerate(Alarm::KernelPanic);
    vm.tolerate(Alarm::Oops);
    vm.tolerate(Alarm::Bug);
}

#[test]
fn a_panic_that_was_declared_resets_the_machine_and_it_comes_again() {
    let dir = TempDir::new().expect("make a directory");
    let mut vm = at_shell(machine(&dir).expects(Alarm::KernelPanic));
    vm.type_line("exit");
    vm.expect("Attempted to kill init");
    vm.expect(r"(?m)^\S* ?# $");
}

#[test]
fn what_the_guest_writes_to_its_disk_is_on_the_host_after_sigkill() {
    let dir = TempDir::new().expect("make a directory");
    let disk = Disk::blank(8 << 20);
    let mut vm = at_shell(machine(&dir).disk(&disk));
    let written = vm.shell("echo hull-was-here >/dev/vda && /bin/busybox sync");
    assert_eq!(written.status, 0, "{}", written.output);
    vm.kill();
    let bytes = fs::read(disk.path()).expect("read the disk");
    assert!(bytes.starts_with(b"hull-was-here\n"));
}

#[test]
fn a_forwarded_port_reaches_a_server_in_the_guest() {
    let dir = TempDir::new().expect("make a directory");
    let mut vm = at_shell(machine(&dir).forward(8080));
    let up = vm.shell(
        "b=/bin/busybox; $b ifconfig eth0 10.0.2.15 up && $b mkdir -p /www && echo from-the-guest >/www/index.html \
         && $b httpd -p 8080 -h /www",
    );
    assert_eq!(up.status, 0, "{}", up.output);
    let port = vm.port(8080);
    let (status, body) = hull_qemu_tests::eventually("the guest's server", Duration::from_secs(60), || {
        hull_qemu_tests::http_get(port, "/index.html")
    });
    assert_eq!((status, body.trim()), (200, "from-the-guest"));
}

#[test]
fn a_machine_that_switches_itself_off_is_seen_to_end() {
    let dir = TempDir::new().expect("make a directory");
    let mut vm = at_shell(machine(&dir));
    vm.type_line("/bin/busybox poweroff -f");
    assert!(vm.wait_off(Duration::from_secs(60)).success());
}

#[test]
fn a_shared_directory_is_there_and_read_only() {
    let dir = TempDir::new().expect("make a directory");
    let shared = TempDir::new().expect("make a directory");
    fs::write(shared.path().join("note"), "from-the-host").expect("write a note");
    let mut vm = at_shell(machine(&dir).share(shared.path()));
    let mount =
        vm.shell("/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L host /mnt && /bin/busybox cat /mnt/note");
    assert_eq!((mount.status, mount.output.as_str()), (0, "from-the-host"));
    assert_ne!(vm.shell("echo x >/mnt/new").status, 0);
}
