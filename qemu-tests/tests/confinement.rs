//! What a container may do, seen from inside; what it keeps; and what it cannot take from the node.

use std::path::Path;

use hull_oci_core::layout::{Contents, build};
use hull_qemu_tests::{
    Alarm, EVENTUALLY, Node, TOOLBOX, eventually, node_with_toolbox, node_with_toolbox_on, pack, pattern,
};
use tempfile::TempDir;

/// The value of a line of /proc/self/status.
fn field<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
}

#[test]
fn a_container_is_unprivileged_unless_it_asks() {
    let disk = Node::disk();
    let mut node = node_with_toolbox(&disk);
    let seen = node.try_inside(
        "inside",
        "",
        "cat /proc/self/uid_map /proc/self/status; touch /file || echo root:sealed; touch /tmp/file && echo tmp:free; \
         mknod /tmp/disk b 254 0 || echo mknod:refused; mount -t tmpfs x /tmp || echo mount:refused; \
         echo 1 > /proc/sys/kernel/panic || echo sys:refused; hostname; ls /proc | grep -c ^[0-9]; \
         for n in net mnt pid ipc uts user cgroup time; do readlink /proc/self/ns/$n; done",
    );
    let map: Vec<&str> = seen.lines().next().unwrap_or_default().split_whitespace().collect();
    assert!(map[0] == "0" && map[1].parse::<u32>().is_ok_and(|first| first >= 65_536) && map[2] == "65536", "{seen}");
    // By their numbers: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE.
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(&seen, set), "00000000000005fb", "{set}: {seen}");
    }
    assert_eq!((field(&seen, "CapInh"), field(&seen, "CapAmb")), ("0000000000000000", "0000000000000000"));
    assert_eq!((field(&seen, "NoNewPrivs"), field(&seen, "Seccomp")), ("1", "2"), "{seen}");
    for fact in ["root:sealed", "tmp:free", "mknod:refused", "mount:refused", "sys:refused", "inside"] {
        assert!(seen.lines().any(|line| line.trim() == fact), "{fact}: {seen}");
    }
    let own = node.must("for n in net mnt pid ipc uts user cgroup time; do readlink /proc/self/ns/$n; done");
    for namespace in own.lines().map(str::trim).filter(|line| !line.starts_with("net:")) {
        assert!(!seen.contains(namespace), "{namespace} is the node's: {seen}");
    }
}

#[test]
fn what_is_asked_for_is_given_and_what_is_not_allowed_is_refused_by_name() {
    let disk = Node::disk();
    let mut node = node_with_toolbox(&disk);
    let seen = node.try_inside(
        "asks",
        "--user 7:8 --directory /srv --tmpfs /cache:1M --cap-drop ALL --cap-add SYS_CHROOT -e A=b",
        "id -u; id -g; pwd; echo $A; grep CapBnd /proc/self/status; dd if=/dev/zero of=/cache/f bs=64k count=64 || echo tmpfs:full",
    );
    for fact in ["7", "8", "/srv", "b", "tmpfs:full"] {
        assert!(seen.lines().any(|line| line.trim() == fact), "{fact}: {seen}");
    }
    assert_eq!(field(&seen, "CapBnd"), "0000000000040000", "{seen}");
    for (declaration, field) in [
        (r#"{"image":"toolbox","capabilities":["SYS_ADMIN"]}"#, "capabilities"),
        (r#"{"image":"toolbox","volumes":{"/proc/sys":"x"}}"#, "volumes"),
        (r#"{"image":"toolbox","volumes":{"/x":"../kv"}}"#, "volumes"),
        (r#"{"image":"toolbox","privileged":true}"#, "privileged"),
    ] {
        node.store().put("/hull/containers/bad", declaration).expect("put a declaration");
        let entry = eventually(&format!("{field} is refused"), EVENTUALLY, || {
            let list = node.status()["containers"].clone();
            let found = list.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == "bad")).cloned();
            found.filter(|entry| entry["reason"].as_str().is_some_and(|reason| reason.contains(field))).ok_or(list)
        });
        assert_eq!(entry["state"], "refused", "{entry}");
    }
}

#[test]
fn an_out_of_memory_kill_is_told_as_one() {
    let disk = Node::disk();
    let mut node = node_with_toolbox_on(Node::machine().disk(&disk).expects(Alarm::OutOfMemory));
    // `tail` keeps what has no line end; the kernel kills it at the limit, and the node goes on.
    node.must(&format!("hullctl run greedy {TOOLBOX} --memory 16M --restart never -- /bin/busybox tail /dev/zero"));
    let entry = node.wait_container("greedy", "ended");
    assert_eq!(entry["reason"], "killed: out of its memory limit", "{entry}");
    let kills = node.must("grep oom_kill /proc/vmstat");
    assert!(!kills.trim().ends_with(" 0"), "{kills}");
    node.store().put("/k", "v").expect("the store goes on");
}

#[test]
fn a_volume_outlives_its_container_and_the_node() {
    let disk = Node::disk();
    {
        let mut node = node_with_toolbox(&disk);
        node.try_inside("writer", "--volume db:/srv/db --user 7:8", "echo kept > /srv/db/row");
        let seen = node.try_inside(
            "reader",
            "--volume db:/other:ro",
            "cat /other/row; stat -c %u:%g /other/row; echo x > /other/row || echo volume:sealed",
        );
        for fact in ["kept", "7:8", "volume:sealed"] {
            assert!(seen.lines().any(|line| line.trim() == fact), "{fact}: {seen}");
        }
        assert_eq!(node.must("stat -c %u:%g /var/lib/hull/volumes/db/row").trim(), "7:8", "ids are the container's");
        node.end_with("hullctl poweroff");
    }
    let mut node = Node::boot(&disk, "");
    let seen = node.try_inside("again", "--volume db:/srv/db", "cat /srv/db/row /srv/readme");
    assert!(seen.contains("kept") && seen.contains("shipped"), "{seen}");
}

#[test]
fn a_container_that_fills_its_disk_does_not_stop_the_store() {
    let disk = Node::disk();
    disk.grow_to(1 << 30);
    let mut node = node_with_toolbox(&disk);
    let script = "dd if=/dev/zero of=/srv/big/fill bs=1M || echo volume:full; dd if=/dev/zero of=/fill bs=4k || echo root:full; sleep 9999";
    let flags = "--writable --volume big:/srv/big";
    node.must(&format!("hullctl run hog {TOOLBOX} {flags} -- /bin/busybox sh -c '{script}'"));
    eventually("the disk is full", EVENTUALLY, || {
        let log = node.shell("hullctl logs hog").output;
        if log.contains("volume:full") && log.contains("root:full") { Ok(()) } else { Err(log) }
    });
    let room = node.must("df -k /var | tail -n 1");
    let left = room.split_whitespace().nth(3).and_then(|kib| kib.parse::<u64>().ok());
    assert!(left.is_some_and(|kib| kib < 64), "what is left to containers is too much for this test: {room}");
    for number in 0..64 {
        let put = node.store().put(&format!("/k/{number}"), &"x".repeat(64 << 10));
        put.unwrap_or_else(|error| panic!("put number {number}: {error}; {room}"));
    }
    assert_eq!(node.store().get("/k/63").expect("get").map(|value| value.len()), Some(64 << 10));
    assert!(!node.etcdctl().run(&["alarm", "list"]).contains("NOSPACE"), "{room}");
    // Deleted, it gives back what it wrote itself; the volume stays.
    node.must("hullctl stop hog");
    node.must("test -s /var/lib/hull/volumes/big/fill");
}

/// An archive of an image with one file.
fn archive_of(folder: &Path, name: &str, content: Vec<u8>) {
    let contents = Contents {
        name: name.to_owned(),
        files: vec![("file".to_owned(), 0o644, content)],
        entrypoint: vec!["/file".to_owned()],
        ..Contents::default()
    };
    pack(&folder.join(format!("{name}.tar")), &build(&contents).expect("build an image"));
}

/// What the node keeps of images, and what is half-made.
fn kept(node: &mut Node) -> String {
    node.must("cd /var/lib/hull/images && ls -A blobs/sha256 names layers incoming")
}

#[test]
fn a_layer_that_is_a_bomb_and_a_disk_that_is_full_leave_nothing_half_made() {
    let (disk, folder) = (Node::disk(), TempDir::new().expect("make a folder"));
    // Packed 1,000 to 1, unpacked twice what the state partition holds; and one that does not shrink.
    archive_of(folder.path(), "bomb", vec![0; 96 << 20]);
    archive_of(folder.path(), "large", pattern().repeat(48));
    let shared = Node::machine().disk(&disk).share(folder.path()).append("hull.host.share=host");
    let mut node = Node::start(shared);
    node.wait_store();
    let before = kept(&mut node);
    let bomb = node.shell("hullctl image load /run/host/bomb.tar 2>&1");
    assert_eq!(bomb.status, 1, "{}", bomb.output);
    assert!(bomb.output.contains("unpacks to more than the node takes"), "{}", bomb.output);
    assert_eq!(kept(&mut node), before, "something of the bomb is left");
    // Room for the archive and not for what is in it.
    node.must("dd if=/dev/zero of=/var/ballast bs=1M count=$(($(df -k /var | tail -n 1 | awk '{ print $4 }') / 1024 - 18)) 2>/dev/null");
    let full = node.shell("hullctl image load /run/host/large.tar 2>&1");
    assert_eq!(full.status, 1, "{}", full.output);
    assert!(
        full.output.contains("No space left") || full.output.contains("more than the node takes"),
        "{}",
        full.output
    );
    assert_eq!(kept(&mut node), before, "something of an archive that did not fit is left");
    node.must("rm /var/ballast && hullctl image load /run/host/large.tar");
    node.store().put("/k", "v").expect("the store goes on");
}
