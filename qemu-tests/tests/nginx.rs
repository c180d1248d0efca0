//! A real image: Debian's nginx, built from Debian's packages by `examples/nginx/build.sh`, on a node (`make test-nginx`).

use std::time::{Duration, Instant};

use hull_qemu_tests::{Artifacts, EVENTUALLY, Node, eventually, http_get, run};

/// The port that Debian's nginx listens on.
const PORT: u16 = 80;

/// Deadline of a load: a hundred megabytes are hashed and unpacked by an emulated processor.
const LOADED: Duration = Duration::from_secs(600);

/// Size of the node's disk: archive, its blob and its unpacked layer.
const DISK_BYTES: u64 = 2 << 30;

/// Memory that the node has used, in MiB, by `/proc/meminfo`; without what it can give back at once.
fn used_mib(node: &mut Node) -> u64 {
    let text = node.must("grep -E ^Mem /proc/meminfo");
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    (value("MemTotal").saturating_sub(value("MemAvailable"))) / 1024
}

#[test]
fn debians_nginx_serves_from_a_node() {
    let archive = Artifacts::find().out().join("nginx/nginx.tar");
    if !archive.exists() {
        println!("{}: not there; `make test-nginx` builds it and runs this test", archive.display());
        return;
    }
    let disk = Node::disk();
    disk.grow_to(DISK_BYTES);
    let folder = archive.parent().expect("a folder");
    let mut node = Node::start(Node::machine().disk(&disk).forward(PORT).share(folder).append("hull.host.share=host"));
    node.wait_store();
    let before = used_mib(&mut node);
    let loading = Instant::now();
    // Beside the shell, which waits for no command this long on an emulated processor.
    let load = "hullctl image load /run/host/nginx.tar > /run/load.log 2>&1; echo status $? >> /run/load.log";
    node.must(&format!("sh -c '{load}' & true"));
    eventually("the image is loaded", LOADED, || {
        let log = node.must("tail -n 1 /run/load.log");
        if log.contains("status 0") { Ok(()) } else { Err(log) }
    });
    let loaded = loading.elapsed();
    // Declared from outside, through the store.
    let declaring = Instant::now();
    node.hullctl(&["run", "web", "nginx", "--memory", "64M", "--tmpfs", "/var/lib/nginx:16M"]);
    let port = node.vm.port(PORT);
    let page = eventually("nginx answers", EVENTUALLY, || match http_get(port, "/")? {
        (200, page) => Ok(page),
        (status, page) => Err(format!("{status}: {page}")),
    });
    let served = declaring.elapsed();
    assert!(page.contains("Welcome to nginx!"), "{page}");
    let fetched = run("curl", &["--silent", "--show-error", "--fail", "--head", &format!("http://127.0.0.1:{port}/")]);
    assert!(fetched.contains("Server: nginx/"), "{fetched}");
    let log = node.must("hullctl logs web");
    assert!(log.contains("GET / HTTP/1.1") && log.contains("curl/"), "{log}");
    let user =
        node.must("stat -c %u /proc/$(grep -l 'nginx: worker' /proc/[0-9]*/cmdline | head -n 1 | cut -d / -f 3)");
    assert!(
        user.trim().parse::<u32>().is_ok_and(|uid| uid > 65_536),
        "the worker is a user of the container's: {user}"
    );
    let after = used_mib(&mut node);
    // For people; nothing is asserted of times.
    println!("archive {} bytes", archive.metadata().map_or(0, |data| data.len()));
    println!("loaded in {loaded:?}, declared to first page {served:?}; memory in use {before} -> {after} MiB");
    node.hullctl(&["stop", "web"]);
    eventually("nginx is gone", EVENTUALLY, || match http_get(port, "/") {
        Err(_) => Ok(()),
        Ok((status, _)) => Err(status),
    });
}
