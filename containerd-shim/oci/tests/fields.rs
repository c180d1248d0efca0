//! Fields of `config.json`, each with what it does seen by the kernel or from inside the container, or the field's name in what refuses it.

mod common;
#[path = "common/neighbour.rs"]
mod neighbour;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Bundle, can_run, text};
use neighbour::Neighbour;
use serde_json::{Value, json};

/// Runs it and leaves what it has made; what it said was wrong.
fn complaint(bundle: &Bundle, words: &[&str]) -> String {
    let file = bundle.folder.join("complaint");
    let mut command = bundle.command(words);
    let _ = command.stdout(Stdio::null()).stderr(fs::File::create(&file).unwrap()).status().unwrap();
    fs::read_to_string(file).unwrap()
}

/// Starts a container that waits. Its process.
fn started(bundle: &Bundle) -> i64 {
    assert_eq!(complaint(bundle, &["run", "-d", &bundle.id]), "");
    state(bundle)["pid"].as_i64().unwrap()
}

fn state(bundle: &Bundle) -> Value {
    serde_json::from_slice(&bundle.hull(&["state", &bundle.id]).stdout).unwrap()
}

/// What another program in it reads.
fn reads(bundle: &Bundle, file: &str) -> String {
    text(&bundle.hull(&["exec", &bundle.id, "/probe", "cat", file]).stdout).trim().to_owned()
}

/// What a tool of this machine says, where it has that tool.
fn tool(program: &str, words: &[&str]) -> Option<String> {
    Command::new(program).args(words).output().ok().map(|output| text(&output.stdout))
}

fn add(bundle: &mut Bundle, list: &str, value: Value) {
    bundle.config.pointer_mut(list).unwrap().as_array_mut().unwrap().push(value);
}

#[test]
fn a_process_is_what_its_fields_say() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    let process = &mut bundle.config["process"];
    process["user"] = json!({"uid": 7, "gid": 8, "umask": 0o77, "additionalGids": [5, 6, 4_294_967_294_u32]});
    process["oomScoreAdj"] = json!(500);
    process["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
        {"type": "RLIMIT_MSGQUEUE", "soft": 1000, "hard": 1001},
    ]);
    process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 3});
    bundle.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    let pid = started(&bundle);
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let status = of("status");
    for line in ["Umask:\t0077", "Uid:\t7\t7\t7\t7", "Gid:\t8\t8\t8\t8", "Groups:\t5 6 4294967294 "] {
        assert!(status.lines().any(|own| own == line), "{line:?} is not in\n{status}");
    }
    assert_eq!(of("oom_score_adj").trim(), "500");
    let limits = of("limits");
    for (name, values) in [
        ("Max open files", ["50", "60"]),
        ("Max core file size", ["0", "4096"]),
        ("Max msgqueue size", ["1000", "1001"]),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert_eq!(line.split_ascii_whitespace().take(2).collect::<Vec<_>>(), values, "{name}");
    }
    // proc_pid_stat(5): behind the name, niceness is field 19 and policy field 41, SCHED_BATCH.
    let stat = of("stat");
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    assert_eq!((fields[19 - 3], fields[41 - 3]), ("5", "3"), "{stat}");
    assert_eq!(of("personality").trim(), "00000008");
    if let Some(said) = tool("ionice", &["-p", &pid.to_string()]) {
        assert_eq!(said.trim(), "best-effort: prio 3");
    }
}

#[test]
fn a_deadline_is_kept_by_the_scheduler() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        "runtime": 10_000_000, "deadline": 20_000_000, "period": 30_000_000});
    let complaint = complaint(&bundle, &["run", "-d", &bundle.id]);
    if !complaint.is_empty() {
        // Where a processor set is not a whole machine's there are none.
        assert!(complaint.contains("process.scheduler: "), "{complaint}");
        eprintln!("skipped: this machine has no time to promise");
        return;
    }
    let Some(said) = tool("chrt", &["-p", &state(&bundle)["pid"].to_string()]) else { return };
    assert!(
        said.contains("SCHED_DEADLINE|SCHED_RESET_ON_FORK") && said.contains("10000000/20000000/30000000"),
        "{said}"
    );
}

#[test]
fn names_annotations_clocks_and_parameters_are_the_containers_own() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    bundle.config["hostname"] = json!("box");
    bundle.config["domainname"] = json!("dom.test");
    bundle.config["annotations"] = json!({"org.a": "b", "x/y": ""});
    bundle.config["linux"]["sysctl"] = json!({"net.core.somaxconn": "77", "kernel.shmmax": "123456", "fs.mqueue.msg_max": "9", "net/ipv4/ip_forward": "1"});
    let clocks = Path::new("/proc/self/ns/time").exists();
    if clocks {
        add(&mut bundle, "/linux/namespaces", json!({"type": "time"}));
        bundle.config["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": 100_000, "nanosecs": 5}, "boottime": {"secs": 200_000, "nanosecs": 6}});
    }
    started(&bundle);
    for (file, expected) in [
        ("kernel/hostname", "box"),
        ("kernel/domainname", "dom.test"),
        ("net/core/somaxconn", "77"),
        ("kernel/shmmax", "123456"),
        ("fs/mqueue/msg_max", "9"),
        ("net/ipv4/ip_forward", "1"),
    ] {
        assert_eq!(reads(&bundle, &format!("/proc/sys/{file}")), expected, "{file}");
    }
    if clocks {
        let offsets = reads(&bundle, "/proc/self/timens_offsets");
        let words: Vec<&str> = offsets.split_ascii_whitespace().collect();
        assert_eq!(words, ["monotonic", "100000", "5", "boottime", "200000", "6"]);
    }
    assert_eq!(state(&bundle)["annotations"], json!({"org.a": "b", "x/y": ""}));
}

/// Mounts on this machine of which the container gets some: one that forbids nothing, one that forbids everything, one that is shared, each
/// with another one on its folder `sub`.
const SOURCES: &str = "for source in open closed peers; do mkdir -p $source; mount -t tmpfs tmpfs $source; mkdir $source/sub; \
    mount -t tmpfs tmpfs $source/sub; done; for mount in closed closed/sub; do \
    mount -o remount,bind,ro,nosuid,nodev,noexec,noatime,nodiratime $mount; done; mount --make-rshared peers";

/// Runs the container where [`SOURCES`] are mounted and nobody else sees them; its program reads its mounts. Each mount's target, its own
/// options with its propagation, and those of its file system.
fn mounted(bundle: &Bundle) -> Vec<(String, String, String)> {
    let hull = bundle.command(&["run", &bundle.id]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &format!("{SOURCES}; exec \"$@\""), "sh"]);
    let output = command.arg(hull.get_program()).args(hull.get_args()).current_dir(&bundle.folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let words = text(&output.stdout);
    let line = |line: &str| {
        let (mount, system) = line.split_once(" - ").unwrap();
        let mut fields = mount.split(' ').skip(4);
        let target = fields.next().unwrap().to_owned();
        (target, fields.collect::<Vec<_>>().join(","), system.rsplit(' ').next().unwrap().to_owned())
    };
    words.lines().map(line).collect()
}

#[test]
fn options_of_mounts_reach_what_they_are_for() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/mountinfo"]);
    // Words on a bound tree; what the mount has or lacks; whether the mount below is like it.
    let trees = [
        ("open", "ro", "ro", "", false),
        ("open", "nosuid", "nosuid", "", false),
        ("open", "nodev", "nodev", "", false),
        ("open", "noexec", "noexec", "", false),
        ("open", "noatime", "noatime", "", false),
        ("open", "strictatime", "", "relatime", false),
        ("open", "nodiratime", "nodiratime", "", false),
        ("open", "nosymfollow", "nosymfollow", "", false),
        ("open", "rro", "ro", "", true),
        ("open", "rnosuid", "nosuid", "", true),
        ("open", "rnodev", "nodev", "", true),
        ("open", "rnoexec", "noexec", "", true),
        ("open", "rnoatime", "noatime", "", true),
        ("open", "rstrictatime", "", "relatime", true),
        ("open", "rnodiratime", "nodiratime", "", true),
        ("open", "rnosymfollow", "nosymfollow", "", true),
        ("closed", "rw", "", "ro", false),
        ("closed", "suid", "", "nosuid", false),
        ("closed", "dev", "", "nodev", false),
        ("closed", "exec", "", "noexec", false),
        ("closed", "atime", "", "noatime", false),
        ("closed", "diratime", "", "nodiratime", false),
        ("closed", "rrw", "", "ro", true),
        ("closed", "rsuid", "", "nosuid", true),
        ("closed", "rdev", "", "nodev", true),
        ("closed", "rexec", "", "noexec", true),
        ("closed", "ratime", "", "noatime", true),
        ("closed", "rrelatime", "relatime", "", true),
        ("closed", "rnorelatime", "", "noatime", true),
        ("closed", "rnostrictatime", "", "noatime", true),
        ("closed", "rdiratime", "", "nodiratime", true),
        // What is bound is no peer of the host's unless it is asked to be.
        ("peers", "nosuid", "", "shared:", true),
        ("peers", "suid", "", "master:", true),
        ("peers", "private", "", "master:", false),
        ("peers", "rprivate", "", "master:", true),
        ("peers", "rslave", "master:", "", true),
        ("peers", "slave", "master:", "", true),
        ("peers", "shared", "shared:", "", false),
        ("peers", "rshared", "shared:", "", true),
        ("peers", "unbindable", "unbindable", "", false),
        ("peers", "runbindable", "unbindable", "", true),
    ];
    for (number, (source, word, ..)) in trees.iter().enumerate() {
        let target = format!("/trees/{number}");
        add(&mut bundle, "/mounts", json!({"destination": target, "source": source, "options": ["rbind", word]}));
    }
    // New file systems: words, what the mount and what the file system has.
    let new = [
        ("nosuid nodev noexec noatime", "nosuid,nodev,noexec,noatime", ""),
        ("rw ro", "ro", ""),
        ("size=64k mode=700", "rw", "size=64k"),
        ("sync", "rw", "sync"),
        ("dirsync lazytime", "rw", "dirsync"),
        ("iversion nosuid sync size=64k", "nosuid", "sync"),
        ("iversion ro size=64k", "ro", "size=64k"),
        ("defaults auto _netdev user x-comment silent", "rw", "rw"),
    ];
    for (number, (words, ..)) in new.iter().enumerate() {
        let (target, options) = (format!("/new/{number}"), words.split(' ').collect::<Vec<_>>());
        add(&mut bundle, "/mounts", json!({"destination": target, "type": "tmpfs", "options": options}));
    }
    // What has a type of its own, and what needs none.
    for mount in [
        json!({"destination": "/kinds/overlay", "type": "overlay", "options": ["lowerdir=open/sub:open", "ro"]}),
        json!({"destination": "/kinds/ramfs", "type": "ramfs"}),
        json!({"destination": "/kinds/untyped", "source": "open", "options": ["bind"]}),
        json!({"destination": "/kinds/bind", "type": "bind", "source": "open"}),
        json!({"destination": "kinds/relative", "type": "none", "source": "open", "options": ["rbind"]}),
    ] {
        add(&mut bundle, "/mounts", mount);
    }
    let mounts = mounted(&bundle);
    let of =
        |target: &str| mounts.iter().find(|(own, ..)| own == target).unwrap_or_else(|| panic!("{target}: {mounts:?}"));
    let has = |options: &str, wanted: &str| {
        wanted
            .split(',')
            .all(|word| options.split(',').any(|own| own == word || word.ends_with(':') && own.starts_with(word)))
    };
    for kind in ["overlay", "ramfs", "untyped", "bind", "relative", "relative/sub"] {
        of(&format!("/kinds/{kind}"));
    }
    assert!(!mounts.iter().any(|(target, ..)| target == "/kinds/bind/sub"), "bind is of one mount");
    for (number, (source, word, expected, gone, below)) in trees.iter().enumerate() {
        let as_asked =
            |options: &str| (expected.is_empty() || has(options, expected)) && (gone.is_empty() || !has(options, gone));
        let (top, sub) = (&of(&format!("/trees/{number}")).1, &of(&format!("/trees/{number}/sub")).1);
        assert!(as_asked(top), "{word} on {source}: {top}");
        assert_eq!(as_asked(sub), *below, "{word} on {source}, below: {sub}");
    }
    for (number, (words, expected, system)) in new.iter().enumerate() {
        let (_, options, own) = of(&format!("/new/{number}"));
        assert!(has(options, expected) && (system.is_empty() || has(own, system)), "{words}: {options} and {own}");
    }
}

#[test]
fn a_tmpfs_begins_with_what_it_covers() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/full/file"]);
    fs::create_dir(bundle.inside("full")).unwrap();
    fs::write(bundle.inside("full/file"), "below\n").unwrap();
    let mount = |options: Value| json!({"destination": "/full", "type": "tmpfs", "options": options});
    add(&mut bundle, "/mounts", mount(json!(["tmpcopyup", "mode=755"])));
    assert_eq!(bundle.run(), "below\n");
    bundle.config["process"]["args"] = json!(["/probe", "write", "/full/file", "above"]);
    assert_eq!(bundle.run(), "written\n");
    assert_eq!(fs::read_to_string(bundle.inside("full/file")).unwrap(), "below\n");
}

#[test]
fn a_mount_shows_its_files_with_the_ids_that_are_asked_for() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["owner", "/ids/file"]);
    let source = bundle.folder.join("ids");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(2000)).unwrap();
    let map = |host: u32, container: u32| json!([{"containerID": container, "hostID": host, "size": 1}]);
    let mapping = json!({"destination": "/ids", "source": source, "options": ["bind", "idmap"],
        "uidMappings": map(7, 1000), "gidMappings": map(8, 2000)});
    add(&mut bundle, "/mounts", mapping);
    let output = bundle.hull(&["run", &bundle.id]);
    if text(&output.stderr).contains("map the ids of") {
        eprintln!("skipped: this machine's file system of temporary files shows no other ids");
        return;
    }
    assert!(text(&output.stdout).starts_with("7:8 "), "{} {}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn namespaces_are_joined_by_path() {
    if !can_run() {
        return;
    }
    let mut kinds = vec![
        ("ipc", "ipc", "--ipc"),
        ("uts", "uts", "--uts"),
        ("cgroup", "cgroup", "--cgroup"),
        ("mount", "mnt", "--mount"),
    ];
    if Path::new("/proc/self/ns/time").exists() {
        kinds.push(("time", "time", "--time"));
    }
    let neighbour = Neighbour::new(&kinds.iter().map(|kind| kind.2).collect::<Vec<_>>());
    for (kind, file, _) in kinds {
        let mut bundle = Bundle::new(&["wait"]);
        bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != kind);
        let path = neighbour.namespace(file);
        add(&mut bundle, "/linux/namespaces", json!({"type": kind, "path": path}));
        if kind == "uts" {
            bundle.config["hostname"] = json!("");
        }
        let pid = started(&bundle);
        assert_eq!(fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap(), fs::read_link(&path).unwrap(), "{kind}");
        assert!(bundle.leave(&["delete", "-f", &bundle.id]));
    }
}

#[test]
fn flags_of_a_filter_are_the_kernels() {
    if !can_run() {
        return;
    }
    for flag in ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"] {
        let mut bundle = Bundle::new(&["cat", "/proc/self/status"]);
        bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag]});
        assert!(bundle.run().contains("Seccomp:\t2"), "{flag}");
    }
    let mut bundle = Bundle::new(&["true"]);
    // Of use to who listens only, and nobody does.
    bundle.config["linux"]["seccomp"] =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]});
    assert!(bundle.refused().contains("linux.seccomp: "));
}

#[test]
fn a_terminal_has_the_size_that_is_asked_for() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({"height": 33, "width": 101});
    let socket = bundle.folder.join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let receiver = std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        hull_runtime::exchange::receive_descriptor(connection.as_fd()).unwrap()
    });
    assert!(bundle.leave(&["run", "-d", "--console-socket", socket.to_str().unwrap(), &bundle.id]));
    let size = rustix::termios::tcgetwinsize(receiver.join().unwrap()).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (33, 101));
}

/// Where a file of its control group is on a machine of the one version or the other, if it has that.
fn group_file(bundle: &Bundle, controller: &str, files: [&str; 2]) -> Option<String> {
    let root = Path::new("/sys/fs/cgroup");
    let places = [root.join(controller).join(&bundle.id).join(files[0]), root.join(&bundle.id).join(files[1])];
    places.iter().find_map(|place| fs::read_to_string(place).ok())
}

#[test]
fn limits_of_either_version_are_in_their_files() {
    if !can_run() {
        return;
    }
    // The files of version 1 and 2, and how what is in them begins.
    for (resources, controller, files, expected) in [
        (json!({"cpu": {"quota": 50_000, "burst": 10_000}}), "cpu", ["cpu.cfs_burst_us", "cpu.max.burst"], "10000"),
        (json!({"cpu": {"idle": 1}}), "cpu", ["cpu.idle", "cpu.idle"], "1"),
        (json!({"cpu": {"mems": "0"}}), "cpuset", ["cpuset.mems", "cpuset.mems"], "0"),
        (json!({"memory": {"disableOOMKiller": true}}), "memory", ["memory.oom_control", ""], "oom_kill_disable 1"),
        (json!({"memory": {"swappiness": 33}}), "memory", ["memory.swappiness", ""], "33"),
        (json!({"pids": {"limit": 7}}), "pids", ["pids.max", "pids.max"], "7"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["linux"]["resources"] = resources.clone();
        let complaint = complaint(&bundle, &["create", &bundle.id]);
        if !complaint.is_empty() {
            // Of the other version, or without its controller; by its name.
            let section = resources.as_object().unwrap().iter().next().unwrap().0;
            assert!(complaint.contains(&format!("linux.resources.{section}.")), "{complaint}");
            continue;
        }
        let found = group_file(&bundle, controller, files).unwrap();
        assert!(found.starts_with(expected), "{resources}: {found}");
    }
}

#[test]
fn a_limit_below_what_is_in_use_is_not_set_where_that_is_looked_at() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["wait"]);
    started(&bundle);
    let used = group_file(&bundle, "memory", ["memory.usage_in_bytes", "memory.current"]);
    if used.is_none_or(|used| used.trim() == "0") {
        eprintln!("skipped: this machine counts no memory");
        return;
    }
    let wanted = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}});
    fs::write(bundle.folder.join("wanted"), wanted.to_string()).unwrap();
    let refused = bundle.hull(&["update", "-r", "wanted", &bundle.id]);
    assert!(text(&refused.stderr).contains("linux.resources.memory.limit: 4096 is below"), "{}", text(&refused.stderr));
    assert_eq!(state(&bundle)["status"], "running");
}

#[test]
fn a_limit_that_this_kernel_lacks_is_refused_by_its_field() {
    if !can_run() {
        return;
    }
    for (resources, field) in [
        (json!({"blockIO": {"leafWeight": 300}}), "linux.resources.blockIO.leafWeight"),
        // No disk has this number.
        (
            json!({"blockIO": {"weightDevice": [{"major": 4000, "minor": 7, "weight": 300}]}}),
            "linux.resources.blockIO.weightDevice[0].weight",
        ),
        (json!({"memory": {"kernel": 8_388_608}}), "linux.resources.memory.kernel"),
        (json!({"memory": {"useHierarchy": false}}), "linux.resources.memory.useHierarchy"),
        (json!({"cpu": {"cpus": "900"}}), "linux.resources.cpu.cpus"),
        (json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}), "linux.resources.hugepageLimits[0]"),
        (json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}), "linux.resources.rdma.mlx5_1"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["linux"]["resources"] = resources;
        let refused = bundle.refused();
        assert!(refused.contains(field), "{field}: {refused}");
    }
}

#[test]
fn a_weight_of_disks_is_in_its_file_or_is_refused() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    for (weight, lines) in [(300, ["300", "default 300", "default 2930"]), (0, ["100", "default 100", ""])] {
        bundle.config["linux"]["resources"] = json!({"blockIO": {"weight": weight}});
        let complaint = complaint(&bundle, &["create", &bundle.id]);
        if weight != 0 && !complaint.is_empty() {
            assert!(complaint.contains("linux.resources.blockIO.weight: "), "{complaint}");
            continue;
        }
        assert_eq!(complaint, "");
        for files in [["blkio.weight", "io.weight"], ["blkio.bfq.weight", "io.bfq.weight"]] {
            let Some(found) = group_file(&bundle, "blkio", files) else { continue };
            assert!(lines.contains(&found.lines().next().unwrap()), "{files:?}: {found}");
        }
        assert!(bundle.leave(&["delete", "-f", &bundle.id]));
    }
}

#[test]
fn what_the_kernel_refuses_has_the_name_of_its_field() {
    if !can_run() {
        return;
    }
    let map = |size: u32| json!([{"containerID": 0, "hostID": 100_000, "size": size}]);
    let bind = |uids: Value| {
        let mounts = [
            json!({"destination": "/proc", "type": "proc"}),
            json!({"destination": "/x", "source": "/tmp",
            "options": ["bind", "idmap"], "uidMappings": uids, "gidMappings": map(1)}),
        ];
        json!(mounts)
    };
    let twice = json!([{"containerID": 0, "hostID": 5, "size": 2}, {"containerID": 1, "hostID": 9, "size": 2}]);
    let joined = |kind: &str, file: &str| json!([{"type": "mount"}, {"type": kind, "path": file}]);
    let nosense = json!([{"destination": "/x", "type": "tmpfs", "options": ["nosense"]}]);
    let mut cases = vec![
        ("/process", Value::Null, "process: missing"),
        ("/mounts", nosense, "mount tmpfs on /x nosense: option nosense: "),
        ("/linux/sysctl", json!({"net.nothing.here": "1"}), "linux.sysctl.net.nothing.here: "),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "soon"}), "linux.sysctl.net.ipv4.ip_forward: "),
        ("/mounts", bind(map(0)), "mounts[1].uidMappings[0].size: "),
        ("/mounts", bind(twice), "mounts[1].uidMappings: write "),
        ("/linux/namespaces", joined("user", "/proc/self/ns/net"), "linux.namespaces: user /proc/self/ns/net: "),
        ("/linux/namespaces", joined("network", "/etc/passwd"), "linux.namespaces: network /etc/passwd: "),
        ("/linux/namespaces", joined("time", "/proc/self/ns/uts"), "linux.namespaces: time /proc/self/ns/uts: "),
        ("/linux/namespaces", joined("ipc", "/run/nothing"), "linux.namespaces: ipc /run/nothing: "),
        ("/process/user", json!({"uid": 0, "gid": 0, "username": "bob"}), "process.user.username: "),
    ];
    if Path::new("/proc/self/ns/time").exists() {
        cases.push(("/linux/timeOffsets", json!({"monotonic": {"secs": -999_999_999}}), "linux.timeOffsets: "));
    }
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        cases.push(("/linux/mountLabel", json!("system_u:object_r:container_file_t:s0"), "linux.mountLabel: "));
    }
    for (place, value, field) in cases {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["hostname"] = json!("");
        if place == "/linux/timeOffsets" {
            add(&mut bundle, "/linux/namespaces", json!({"type": "time"}));
        }
        let (parent, name) = place.rsplit_once('/').unwrap();
        bundle.config.pointer_mut(parent).unwrap()[name] = value;
        let refused = bundle.refused();
        assert!(refused.contains(field), "{field}: {refused}");
    }
}

#[test]
fn a_capability_that_cannot_be_given_is_warned_of_and_left_out() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/status"]);
    let names = json!(["CAP_KILL", "CAP_NEW_THING"]);
    bundle.config["process"]["capabilities"] = json!({"bounding": names, "permitted": names, "effective": names, "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_KILL"]});
    let ran = bundle.hull(&["--log", "log", "--log-format", "json", "run", &bundle.id]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("CapBnd:\t0000000000000020"), "{}", text(&ran.stdout));
    let log = fs::read_to_string(bundle.folder.join("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{log}");
    for (line, name) in lines.iter().zip(["CAP_NEW_THING", "CAP_CHOWN", "CAP_KILL"]) {
        let said = &format!("capabilities: [{name}]");
        assert_eq!(line["level"], "warning");
        assert!(line["msg"].as_str().unwrap().contains(said), "{log}");
    }
    // Whoever has a log reads it there: here it would stand in the program's own output.
    assert_eq!(text(&ran.stderr), "");
    assert!(bundle.leave(&["create", &bundle.id]));
    let entered = bundle.hull(&["exec", "--cap", "CAP_OTHER_THING", &bundle.id, "/probe", "true"]);
    assert!(text(&entered.stderr).contains("CAP_NEW_THING CAP_OTHER_THING]"), "{}", text(&entered.stderr));
}

#[test]
fn verbs_list_tell_what_is_known_and_refuse_by_name() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    let listed = |words: &[&str]| text(&bundle.hull(words).stdout);
    assert_eq!((listed(&["list", "-q"]), listed(&["list", "-f", "json"])), (String::new(), "null\n".to_owned()));
    let pid = started(&bundle);
    assert_eq!(listed(&["list", "--quiet"]), format!("{}\n", bundle.id));
    let all: Value = serde_json::from_str(&listed(&["list", "--format", "json"])).unwrap();
    assert_eq!((&all[0]["id"], &all[0]["pid"], &all[0]["status"]), (&json!(bundle.id), &json!(pid), &json!("running")));
    let table = listed(&["list"]);
    assert!(table.starts_with("ID ") && table.contains(&bundle.id) && table.contains(" running "), "{table}");
    let features: Value = serde_json::from_str(&listed(&["features"])).unwrap();
    assert_eq!(features["linux"]["cgroup"]["systemd"], json!(false));
    for word in ["rro", "idmap", "iversion", "tmpcopyup"] {
        assert!(features["mountOptions"].as_array().unwrap().contains(&json!(word)), "{word}");
    }
    for (words, said) in [
        (&["checkpoint", &bundle.id][..], "checkpoint: out of scope: "),
        (&["restore", &bundle.id], "restore: out of scope: "),
        (&["frobnicate"], "frobnicate\\\" is no verb"),
    ] {
        let refused = bundle.hull(words);
        assert!(!refused.status.success() && text(&refused.stderr).contains(said), "{}", text(&refused.stderr));
    }
    add(&mut bundle, "/mounts", json!({"destination": "/x", "source": "/tmp", "options": ["bind", "idmap"]}));
    let refused = bundle.hull(&["plan", "."]);
    assert!(
        text(&refused.stderr).contains("].options: \\\"idmap\\\" is not given together with"),
        "{}",
        text(&refused.stderr)
    );
}
