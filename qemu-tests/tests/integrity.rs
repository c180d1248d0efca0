//! The running root never changes, and a changed block is an error, not data.

use hull_qemu_tests::{Alarm, Node, PATTERN_PATH, build_again, pattern, same_bytes, test_image};

#[test]
fn nothing_can_write_to_the_root() {
    let disk = Node::disk();
    let mut node = Node::boot(&disk, "");
    for path in ["/new", "/etc/new", "/etc/passwd", "/usr/bin/new"] {
        let shell = node.shell(&format!("echo x >{path}"));
        assert_ne!(shell.status, 0, "{path} was written");
        assert!(shell.output.contains("Read-only file system"), "{path}: {}", shell.output);
    }
    // The device under the root, wherever it is mapped from, and the slot's partition itself.
    node.must("test -b /dev/vda2 && test -b /dev/dm-0");
    for device in ["/dev/dm-0", "/dev/vda2", "/dev/vda"] {
        let hash = node.must(&format!("dd if={device} bs=4096 skip=64 count=16 2>/dev/null | md5sum"));
        let _ = node.shell(&format!("dd if=/dev/zero of={device} bs=4096 seek=64 count=1 conv=notrunc 2>&1"));
        if device == "/dev/vda" {
            continue;
        }
        let after = node.must(&format!(
            "echo 3 >/proc/sys/vm/drop_caches; dd if={device} bs=4096 skip=64 count=16 2>/dev/null | md5sum"
        ));
        assert_eq!(after, hash, "{device} was written");
    }
    assert_ne!(node.shell("mount -o remount,rw /").status, 0);
}

#[test]
fn a_flipped_byte_of_the_active_slot_is_an_io_error_and_never_other_data() {
    let disk = Node::disk();
    let place = disk.find("hull-a", &pattern()[..64]).expect("the pattern lies in the root as it is");
    disk.flip_byte("hull-a", place + 17);
    let mut node = Node::start(Node::machine().disk(&disk).expects(Alarm::VerityCorruption));
    node.wait_store();
    let read = node.shell(&format!("cat {PATTERN_PATH} >/tmp/copy"));
    assert_ne!(read.status, 0, "the changed block was read");
    assert!(read.output.contains("I/O error") || read.output.contains("Input/output error"), "{}", read.output);
    assert_eq!(node.must("wc -c </tmp/copy"), "0");
    node.must("cat /etc/passwd >/dev/null && hullctl status >/dev/null");
}

#[test]
fn a_slot_whose_first_block_is_changed_is_told_and_never_run() {
    let disk = Node::disk();
    // The superblock of erofs lies 1,024 bytes behind the start (linux/fs/erofs/erofs_fs.h).
    disk.flip_byte("hull-a", 1024);
    let machine = Node::machine().disk(&disk).expects(Alarm::VerityCorruption).expects(Alarm::FileSystemError);
    let mut vm = machine.start();
    vm.expect(r"(?i)hull.*(hull-a|slot a|root)");
    vm.expect(r"(?i)(error|corrupt|cannot|EIO|degraded)");
}

#[test]
fn two_builds_give_identical_images() {
    let (first, second) = (test_image(), build_again());
    for name in
        ["initramfs.cpio.zst", "initramfs-diskless.cpio.zst", "root.img", "hull.efi", "targets.json", "disk.img"]
    {
        assert!(same_bytes(&first.join(name), &second.join(name)), "{name} differs between two builds");
    }
}
