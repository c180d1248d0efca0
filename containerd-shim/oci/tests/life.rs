//! Containers from their creation to their end, by the command line.

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use common::{Bundle, can_run, text};
use serde_json::{Value, json};

/// Where in its life its container is.
fn status(bundle: &Bundle) -> String {
    let state: Value = serde_json::from_slice(&bundle.hull(&["state", &bundle.id]).stdout).unwrap();
    state["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_container_is_created_then_runs_then_has_stopped_then_is_gone() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["wait"]);
    assert!(bundle.leave(&["create", &bundle.id]));
    assert_eq!(status(&bundle), "created");
    assert!(bundle.hull(&["start", &bundle.id]).status.success());
    assert_eq!(status(&bundle), "running");
    assert!(!bundle.hull(&["start", &bundle.id]).status.success());
    assert!(!bundle.hull(&["delete", &bundle.id]).status.success());
    assert!(bundle.hull(&["kill", &bundle.id, "KILL"]).status.success());
    while status(&bundle) != "stopped" {}
    assert!(bundle.hull(&["delete", &bundle.id]).status.success());
    assert!(!bundle.hull(&["state", &bundle.id]).status.success());
    assert!(bundle.leaves_nothing());
}

#[test]
fn run_gives_the_output_and_the_exit_status_of_the_program() {
    if !can_run() {
        return;
    }
    assert_eq!(Bundle::new(&["say", "hello"]).run(), "hello\n");
    let bundle = Bundle::new(&["exit", "7"]);
    assert_eq!(bundle.hull(&["run", &bundle.id]).status.code(), Some(7));
    assert!(bundle.leaves_nothing());
}

#[test]
fn an_end_as_fast_as_the_start_is_never_lost() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["exit", "3"]);
    for _ in 0..50 {
        assert_eq!(bundle.hull(&["run", &bundle.id]).status.code(), Some(3));
    }
}

#[test]
fn options_stand_before_and_behind_the_id() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["wait"]);
    let folder = bundle.folder.to_str().unwrap();
    assert!(bundle.leave(&["create", &bundle.id, "--bundle", folder, "--pid-file", "pid"]));
    assert!(bundle.folder.join("pid").exists());
    assert!(bundle.hull(&["delete", &bundle.id, "--force"]).status.success());
    assert!(bundle.leave(&["create", "-b", folder, &bundle.id]));
    assert!(bundle.hull(&["delete", "-f", &bundle.id]).status.success());
}

#[test]
fn another_program_enters_and_the_first_goes_on() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["wait"]);
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    let entered = bundle.hull(&["exec", "--env", "A=b", &bundle.id, "/probe", "env", "A"]);
    assert_eq!(text(&entered.stdout), "b\n", "{}", text(&entered.stderr));
    assert_eq!(bundle.hull(&["exec", &bundle.id, "/probe", "exit", "9"]).status.code(), Some(9));
    let seen = text(&bundle.hull(&["exec", "--user", "5:6", &bundle.id, "/probe", "cat", "/proc/self/status"]).stdout);
    assert!(seen.contains("Uid:\t5\t5\t5\t5") && seen.contains("Gid:\t6\t6\t6\t6"), "{seen}");
    assert_eq!(bundle.hull(&["exec", &bundle.id, "/nothing"]).status.code(), Some(255));
    assert_eq!(status(&bundle), "running");
}

#[test]
fn a_program_that_enters_ends_on_the_containers_own_processors() {
    if !can_run() {
        return;
    }
    let allowed = |status: &str| {
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    let mut bundle = Bundle::new(&["wait"]);
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    let first: usize =
        allowed(&fs::read_to_string("/proc/self/status").unwrap()).split(['-', ',']).next().unwrap().parse().unwrap();
    let entered = |affinity: Value| {
        let process = json!({"args": ["/probe", "cat", "/proc/self/status"], "cwd": "/", "execCPUAffinity": affinity});
        fs::write(bundle.folder.join("process.json"), process.to_string()).unwrap();
        let output = bundle.hull(&["exec", "--process", "process.json", &bundle.id]);
        allowed(&text(&output.stdout))
    };
    let state: Value = serde_json::from_slice(&bundle.hull(&["state", &bundle.id]).stdout).unwrap();
    let own = allowed(&fs::read_to_string(format!("/proc/{}/status", state["pid"])).unwrap());
    assert_eq!(entered(json!({"initial": first.to_string()})), own);
    assert_eq!(entered(json!({"initial": first.to_string(), "final": first.to_string()})), first.to_string());
    assert!(bundle.leave(&["delete", "-f", &bundle.id]));
    bundle.config["process"]["execCPUAffinity"] = json!({"initial": "x"});
    assert!(bundle.refused().contains("process.execCPUAffinity.initial"));
}

#[test]
fn who_enters_gains_no_privileges_either_unless_that_is_asked_for() {
    if !can_run() {
        return;
    }
    for none in [true, false] {
        let mut bundle = Bundle::new(&["wait"]);
        bundle.config["process"]["noNewPrivileges"] = json!(none);
        assert!(bundle.leave(&["run", "-d", &bundle.id]));
        for (flag, expected) in [("--detach=false", none), ("--no-new-privs", true), ("--no-new-privs=false", false)] {
            let seen = text(&bundle.hull(&["exec", flag, &bundle.id, "/probe", "cat", "/proc/self/status"]).stdout);
            assert!(seen.contains(&format!("NoNewPrivs:\t{}", u8::from(expected))), "{none} {flag}: {seen}");
        }
    }
}

#[test]
fn capabilities_that_nobody_knows_are_warned_of() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    let sets =
        json!({"bounding": ["CAP_KILL", "CAP_TOMORROW"], "effective": ["CAP_KILL", "CAP_TOMORROW", "CAP_NEVER"]});
    bundle.config["process"]["capabilities"] = sets.clone();
    let expected = "ignoring unknown or unavailable capabilities: [CAP_NEVER CAP_TOMORROW]";
    let log = bundle.folder.join("log");
    assert!(bundle.leave(&["--log", "log", "run", "-d", &bundle.id]));
    assert_eq!(fs::read_to_string(&log).unwrap().matches(expected).count(), 1);
    let process = json!({"args": ["/probe", "true"], "cwd": "/", "capabilities": sets});
    fs::write(bundle.folder.join("process.json"), process.to_string()).unwrap();
    let entered = bundle.hull(&["exec", "--process", "process.json", &bundle.id]);
    assert!(entered.status.success() && text(&entered.stderr).contains(expected), "{}", text(&entered.stderr));
}

#[test]
fn what_is_paused_takes_nobody_in_until_it_goes_on() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["wait"]);
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    let paused = bundle.hull(&["pause", &bundle.id]);
    if text(&paused.stderr).contains("no freezer") {
        eprintln!("skipped: this machine lacks a freezer");
        return;
    }
    assert_eq!(status(&bundle), "paused");
    assert!(text(&bundle.hull(&["exec", &bundle.id, "/probe", "true"]).stderr).contains("paused"));
    assert!(bundle.hull(&["resume", &bundle.id]).status.success());
    assert!(bundle.hull(&["exec", &bundle.id, "/probe", "true"]).status.success());
}

#[test]
fn hooks_are_executed_at_all_six_points_in_order() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    let log = bundle.folder.join("log");
    let shell = |name: &str| {
        let script =
            format!("read state; s=${{state#*\\\"status\\\":\\\"}}; echo {name} ${{s%%\\\"*}} >> {}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["hooks"] = json!({
        "prestart": shell("prestart"),
        "createRuntime": shell("createRuntime"),
        "createContainer": shell("createContainer"),
        "startContainer": [{"path": "/probe", "args": ["probe", "write", "/started", "yes"]}],
        "poststart": shell("poststart"),
        "poststop": shell("poststop")
    });
    bundle.run();
    assert_eq!(fs::read_to_string(bundle.inside("started")).unwrap(), "yes");
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "prestart created\ncreateRuntime creating\ncreateContainer creating\npoststart running\npoststop stopped\n"
    );
}

#[test]
fn a_hook_that_fails_leaves_nothing_of_the_container() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    assert!(bundle.refused().contains("hooks.createRuntime[0] /bin/false"));
}

#[test]
fn a_hook_that_fails_after_the_start_or_the_end_stops_nothing() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["exit", "5"]);
    let done = bundle.folder.join("done");
    let hook = |name: String, code: u8| {
        let script = format!("echo {name} >> {}; exit {code}", done.display());
        json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
    };
    let three =
        |name: &str| json!([hook(format!("{name}1"), 3), hook(format!("{name}2"), 0), hook(format!("{name}3"), 4)]);
    bundle.config["hooks"] = json!({"poststart": three("start"), "poststop": three("stop")});
    let order = "start1\nstart2\nstart3\nstop1\nstop2\nstop3\n";
    let ways: [&[&[&str]]; 2] = [&[&["run"]], &[&["create"], &["start"], &["delete", "--force"]]];
    for steps in ways {
        let _ = (fs::remove_file(&done), fs::remove_file(bundle.folder.join("log")));
        for words in steps {
            let words = [&["--log", "log"], *words, &[&bundle.id[..]]].concat();
            let ended = bundle.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert_eq!(ended.code(), Some(if words.contains(&"run") { 5 } else { 0 }), "{words:?}");
        }
        assert_eq!(fs::read_to_string(&done).unwrap(), order);
        let log = fs::read_to_string(bundle.folder.join("log")).unwrap();
        assert_eq!(log.matches("level=warning").count(), 4, "{log}");
        for place in ["poststart[0]", "poststart[2]", "poststop[0]", "poststop[2]"] {
            assert!(log.contains(&format!("hooks.{place} /bin/sh")), "{place}: {log}");
        }
        assert!(bundle.leaves_nothing());
    }
}

#[test]
fn a_hook_in_the_container_is_told_that_it_is_created() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/said"]);
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["hooks"] = json!({"startContainer": [{"path": "/probe", "args": ["probe", "told", "/said"]}]});
    let state: Value = serde_json::from_str(&bundle.run()).unwrap();
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &json!(1)), "{state}");
}

#[test]
fn a_terminal_goes_to_who_listens_for_it() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["say", "on a terminal"]);
    bundle.config["process"]["terminal"] = json!(true);
    let socket = bundle.folder.join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let receiver = std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        hull_runtime::exchange::receive_descriptor(std::os::fd::AsFd::as_fd(&connection)).unwrap()
    });
    assert!(bundle.leave(&["run", "-d", "--console-socket", socket.to_str().unwrap(), &bundle.id]));
    let mut said = [0; 64];
    let length = fs::File::from(receiver.join().unwrap()).read(&mut said).unwrap();
    assert_eq!(text(&said[..length]), "on a terminal\r\n");
}

#[test]
fn a_filter_works_with_and_without_new_privileges() {
    if !can_run() {
        return;
    }
    for none in [true, false] {
        let mut bundle = Bundle::new(&["look", "/probe"]);
        bundle.config["process"]["noNewPrivileges"] = json!(none);
        let stat = json!({"names": ["lstat", "newfstatat", "statx"], "action": "SCMP_ACT_ERRNO", "errnoRet": 105});
        bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [stat]});
        assert_eq!(bundle.run(), "error: No buffer space available (os error 105)\n", "noNewPrivileges {none}");
    }
}

#[test]
fn users_of_a_container_need_not_be_the_hosts() {
    if !can_run() {
        return;
    }
    let words = with_users(&["cat", "/proc/self/uid_map"]).run();
    assert_eq!(words.split_ascii_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

#[test]
fn errors_are_in_the_log_as_json_and_name_the_field() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["process"]["args"] = json!("true");
    let output = bundle.hull(&["--log", "log", "--log-format", "json", "run", &bundle.id]);
    assert!(!output.status.success());
    let line: Value = serde_json::from_slice(&fs::read(bundle.folder.join("log")).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("process.args: invalid type: string"), "{line}");
    assert!(text(&output.stderr).contains("process.args"));
}

#[test]
fn what_is_refused_before_the_verb_is_in_the_log_too() {
    let bundle = Bundle::new(&["true"]);
    let log = bundle.folder.join("log");
    for words in [
        &["--log", "log", "--log-format", "json", "--systemd-cgroup", "list"][..],
        &["--systemd-cgroup", "--log-format", "json", "--log", "log", "create", "x"],
        &["--cgroup-manager", "systemd", "--log", "log", "--log-format", "json", "list"],
        &["--log", "log", "--log-format", "json", "--nosuch", "list"],
    ] {
        let output = bundle.hull(words);
        let refused = if words.contains(&"--nosuch") { "--nosuch" } else { "--systemd-cgroup" };
        assert!(!output.status.success() && text(&output.stderr).contains(refused), "{words:?}");
        let line: Value = serde_json::from_slice(&fs::read(&log).unwrap_or_default()).unwrap_or_default();
        assert!(line["level"] == "error" && line["msg"].as_str().unwrap().contains(refused), "{words:?}: {line}");
        fs::remove_file(&log).unwrap();
    }
}

#[test]
fn systemd_is_not_asked_and_a_plan_does_nothing() {
    let bundle = Bundle::new(&["true"]);
    let refused = bundle.hull(&["--systemd-cgroup", "list"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("--systemd-cgroup"));
    let plan = bundle.command(&["plan", "."]).stdout(Stdio::piped()).output().unwrap();
    assert!(text(&plan.stdout).contains("in / executes /probe true"), "{}", text(&plan.stdout));
    assert!(bundle.leaves_nothing());
}

/// A bundle whose users are others than the host's.
fn with_users(words: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(words);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    std::os::unix::fs::chown(bundle.inside(""), Some(100_000), Some(100_000)).unwrap();
    bundle
}

#[test]
fn a_device_that_the_host_lacks_is_made_for_users_of_the_container() {
    if !can_run() {
        return;
    }
    let mut bundle = with_users(&["owner", "/dev/disk-of-hull"]);
    bundle.config["linux"]["devices"] = json!([{"path": "/dev/disk-of-hull", "type": "b", "major": 1, "minor": 5, "uid": 10, "gid": 11, "fileMode": 0o640}]);
    assert_eq!(bundle.run().trim(), "10:11 60640");
}

#[test]
fn a_declared_device_is_there_or_there_is_no_container() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["owner", "/data/own"]);
    let outside = bundle.folder.join("outside");
    fs::create_dir(&outside).unwrap();
    let mount = json!({"destination": "/data", "type": "bind", "source": outside, "options": ["bind", "ro"]});
    bundle.config["mounts"].as_array_mut().unwrap().push(mount);
    let node = |path: &str| json!({"path": path, "type": "c", "major": 10, "minor": 229});
    bundle.config["linux"]["devices"] = json!([node("/dev/own"), node("/data/own")]);
    let why = bundle.refused();
    assert!(why.contains("/data/own") && why.contains("linux.devices[1]: Read-only file system"), "{why}");
    bundle.config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["options"] = json!(["bind"]);
    assert_eq!(bundle.run().trim(), "0:0 20666");
}

#[test]
fn who_listens_to_a_filter_gets_it_with_the_ids_that_the_host_knows() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    let socket = bundle.folder.join("listener");
    let listener = UnixListener::bind(&socket).unwrap();
    let receiver = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut told = vec![0; 4096];
        let length = connection.read(&mut told).unwrap();
        serde_json::from_slice::<Value>(&told[..length]).unwrap()
    });
    bundle.config["linux"]["seccomp"] =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "listenerMetadata": "for us"});
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    let told = receiver.join().unwrap();
    let state: Value = serde_json::from_slice(&bundle.hull(&["state", &bundle.id]).stdout).unwrap();
    assert_eq!((&told["pid"], &told["state"]["pid"]), (&state["pid"], &state["pid"]), "{told}");
    assert_eq!((&told["fds"], &told["metadata"]), (&json!(["seccompFd"]), &json!("for us")), "{told}");
}

/// Keeps only these kinds of namespaces.
fn only(bundle: &mut Bundle, kinds: &[&str]) {
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| kinds.contains(&namespace["type"].as_str().unwrap()));
    bundle.config["hostname"] = json!("");
}

/// Mounts of this machine below a bundle's root file system.
fn mounts_in(bundle: &Bundle) -> usize {
    let root = bundle.inside("").to_str().unwrap().trim_end_matches('/').to_owned();
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(|line| line.contains(&root)).count()
}

#[test]
fn mounts_without_a_namespace_of_their_own_go_with_the_container() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["write", "/proc/sys/kernel/core_pattern", "x"]);
    only(&mut bundle, &[]);
    assert_eq!(bundle.run(), "error: Read-only file system (os error 30)\n");
    assert_eq!(mounts_in(&bundle), 0);
    bundle.config["process"]["args"] = json!(["/probe", "wait"]);
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    assert!(mounts_in(&bundle) > 5);
    assert_eq!(
        text(&bundle.hull(&["exec", &bundle.id, "/probe", "look", "/probe"]).stdout).trim(),
        "FileType { is_file: true, is_dir: false, is_symlink: false, .. }"
    );
    assert!(bundle.leave(&["delete", "-f", &bundle.id]));
    assert_eq!(mounts_in(&bundle), 0);
    bundle.config["process"]["args"] = json!(["/nothing"]);
    assert!(bundle.refused().contains("/nothing"));
    assert_eq!(mounts_in(&bundle), 0);
}

#[test]
fn a_root_whose_mounts_are_shared_is_entered_too() {
    if !can_run() {
        return;
    }
    for propagation in ["shared", "rshared", "slave", "private", "unbindable"] {
        let mut bundle = Bundle::new(&["cat", "/proc/self/mountinfo"]);
        bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
        let mounts = bundle.run();
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
        assert_eq!(root.contains(" shared:"), propagation.ends_with("shared"), "{propagation}: {root}");
    }
}

/// Every value of `linux.rootfsPropagation`, and none.
const PROPAGATIONS: [&str; 9] =
    ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];

/// What a shell says in mount namespaces of its own whose mounts are all shared, as on a host of systemd. The bundle's root file system is on
/// one, with another one below; the variable `hull` is the runtime with its first words.
fn on_shared_mounts(bundle: &Bundle, script: &str) -> String {
    // The configuration is written.
    bundle.hull(&["list"]);
    let root = bundle.inside("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    let script = format!(
        "set -e; hull='{} --root state'; mkdir {root}/deep; cp -a {root} kept; mount -t tmpfs on-host {root}; cp -a kept/. {root}
        mount -t tmpfs below {root}/deep; mkdir {root}/deep/sub; mount -t tmpfs deeper {root}/deep/sub
        mkdir other; mount -t tmpfs other other; mkdir other/sub; mount -t tmpfs deeper other/sub; mount --make-rshared /
        mounts() {{ sort -n /proc/self/mountinfo; }}; {script}",
        common::binary()
    );
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-c", &script]).current_dir(&bundle.folder);
    let output = shell.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_hosts_mounts_are_the_same_after_a_container_whatever_its_propagation() {
    if !can_run() {
        return;
    }
    // One that runs, one whose program is not there, one with a mount that fails, in the root and in a mount below it; each way to the root.
    let below = json!({"destination": "/deep/sub/own", "type": "tmpfs", "source": "tmpfs"});
    let bad = json!({"destination": "/deep/bad", "type": "nosuchtype", "source": "x"});
    for propagation in PROPAGATIONS {
        for (program, failing) in [("/probe", false), ("/nothing", false), ("/probe", true)] {
            let mut bundle = Bundle::new(&["true"]);
            bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
            bundle.config["process"]["args"][0] = json!(program);
            let mounts = bundle.config["mounts"].as_array_mut().unwrap();
            mounts.push(below.clone());
            mounts.extend(failing.then(|| bad.clone()));
            let said = on_shared_mounts(
                &bundle,
                &format!(
                    "mounts > before; for how in '' --no-pivot; do rc=0; $hull run $how {0} 2>/dev/null || rc=$?
                    $hull delete -f {0}; mounts > after; echo $rc $(diff before after | grep -c '^[<>]' || true); done",
                    bundle.id
                ),
            );
            let ran = program == "/probe" && !failing;
            let expected = if ran { "0 0\n" } else { "1 0\n" };
            assert_eq!(said, expected.repeat(2), "{propagation:?} {program} {failing}");
        }
    }
}

#[test]
fn what_the_host_mounts_later_is_seen_where_propagation_is_inwards() {
    if !can_run() {
        return;
    }
    for propagation in PROPAGATIONS {
        let mut bundle = Bundle::new(&["wait"]);
        bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
        bundle.config["root"]["readonly"] = json!(false);
        let said = on_shared_mounts(
            &bundle,
            &format!(
                "$hull run -d {0} >/dev/null 2>&1; mkdir rootfs/later; mount -t tmpfs later rootfs/later
                $hull exec {0} /probe cat /proc/self/mountinfo; $hull delete -f {0}",
                bundle.id
            ),
        );
        let line = |place: &str| said.lines().find(|line| line.split(' ').nth(4) == Some(place));
        let inwards = propagation.is_empty() || propagation.ends_with("slave");
        assert_eq!(line("/later").is_some(), inwards, "{propagation:?}: {said}");
        let root = line("/").unwrap();
        assert_eq!(root.contains(" master:"), inwards, "{propagation:?}: {root}");
        assert_eq!(root.contains(" shared:"), propagation.ends_with("shared"), "{propagation:?}: {root}");
        assert_eq!(root.contains(" unbindable"), propagation.ends_with("unbindable"), "{propagation:?}: {root}");
    }
}

#[test]
fn a_file_system_changes_when_it_is_mounted_again() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/mountinfo"]);
    let again = |place: &str, option: &str| json!({"destination": place, "type": "x", "source": "x", "options": ["remount", "nosuid", option]});
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.extend([again("/proc", "hidepid=2"), again("/dev/shm", "size=64k")]);
    let said = bundle.run();
    let line = |place: &str| said.lines().find(|line| line.split(' ').nth(4) == Some(place)).unwrap();
    assert!(line("/proc").contains("hidepid=invisible") && line("/proc").contains("nosuid"), "{said}");
    assert!(line("/dev/shm").ends_with("size=64k"), "{said}");
    bundle.config["mounts"].as_array_mut().unwrap().push(again("/dev/shm", "nosuchoption=1"));
    assert!(bundle.refused().contains("/dev/shm nosuchoption=1"));
}

#[test]
fn what_a_later_rule_denies_cannot_be_used() {
    let list = std::path::Path::new("/sys/fs/cgroup/devices");
    if !can_run() || !list.is_dir() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    let rule =
        |allow: bool, minor: i64| json!({"allow": allow, "type": "c", "major": 10, "minor": minor, "access": "rwm"});
    let none = json!({"allow": false, "access": "rwm"});
    bundle.config["linux"]["resources"]["devices"] =
        json!([none, rule(true, 229), rule(true, 237), rule(false, -1), rule(true, 237)]);
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    let listed = fs::read_to_string(list.join(&bundle.id).join("devices.list")).unwrap();
    assert!(listed.contains("c 10:237 rwm\n") && !listed.contains("10:229"), "{listed}");
    assert!(bundle.leave(&["delete", "-f", &bundle.id]));
    bundle.config["linux"]["resources"]["devices"] = json!([none, rule(true, -1), rule(false, 229)]);
    assert!(bundle.refused().contains("linux.resources.devices[2]: \\\"c 10:229 rwm after c 10:* rwm"));
}

#[test]
fn memory_comes_from_the_nodes_that_are_named() {
    if !can_run() {
        return;
    }
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        eprintln!("skipped: this machine's kernel knows no nodes");
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/numa_maps"]);
    bundle.config["linux"]["memoryPolicy"] =
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let maps = bundle.run();
    assert!(maps.lines().next().unwrap().contains(" bind=static:0"), "{maps}");
    bundle.config["linux"]["memoryPolicy"] =
        json!({"mode": "MPOL_DEFAULT", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    assert!(bundle.refused().contains("linux.memoryPolicy"));
}

#[test]
fn a_hook_in_the_container_has_the_variables_of_its_program() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/said"]);
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["process"]["env"].as_array_mut().unwrap().push(json!("ONE=two"));
    let hook = json!({"path": "/probe", "args": ["probe", "keep", "ONE", "/said"]});
    bundle.config["hooks"] = json!({"startContainer": [hook]});
    assert_eq!(bundle.run(), "two");
    bundle.config["hooks"]["startContainer"][0]["env"] = json!(["OTHER=x"]);
    assert_eq!(bundle.run(), "");
}

#[test]
fn clocks_are_the_containers_own_whoever_its_users_are() {
    if !can_run() {
        return;
    }
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        eprintln!("skipped: this machine's kernel has no time namespaces");
        return;
    }
    for mut bundle in
        [Bundle::new(&["cat", "/proc/self/timens_offsets"]), with_users(&["cat", "/proc/self/timens_offsets"])]
    {
        bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
        bundle.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 7881, "nanosecs": 2718}});
        assert!(bundle.run().contains("7881"));
    }
}

#[test]
fn users_of_another_container_are_joined_with_new_process_ids() {
    if !can_run() {
        return;
    }
    let first = with_users(&["wait"]);
    assert!(first.leave(&["run", "-d", &first.id]));
    let state: Value = serde_json::from_slice(&first.hull(&["state", &first.id]).stdout).unwrap();
    let mut second = with_users(&["cat", "/proc/self/uid_map"]);
    for map in ["uidMappings", "gidMappings"] {
        second.config["linux"][map] = json!([]);
    }
    join(&mut second, "user", &format!("/proc/{}/ns/user", state["pid"]));
    let map = second.run();
    assert_eq!(map.split_ascii_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"], "{map}");
    assert!(second.leaves_nothing());
    join(&mut second, "user", "/proc/self/ns/net");
    assert!(second.refused().contains("Invalid argument"));
}

#[test]
fn a_namespace_of_the_hosts_is_joined_by_a_container_with_other_users() {
    if !can_run() {
        return;
    }
    // Made by root of the host, whose it stays.
    let neighbour = Neighbour::new("--net");
    let theirs = fs::read_link(neighbour.namespace("net")).unwrap();
    let mut bundle = with_users(&["wait"]);
    join(&mut bundle, "network", &neighbour.namespace("net"));
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    let state: Value = serde_json::from_slice(&bundle.hull(&["state", &bundle.id]).stdout).unwrap();
    assert_eq!(fs::read_link(format!("/proc/{}/ns/net", state["pid"])).unwrap(), theirs);
}

#[test]
fn a_kill_ends_every_process_where_they_do_not_end_with_the_first() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid");
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    assert!(bundle.leave(&["exec", "-d", &bundle.id, "/probe", "wait"]));
    let processes = || text(&bundle.hull(&["ps", "--format", "json", &bundle.id]).stdout);
    assert_eq!(processes().matches(',').count(), 1, "{}", processes());
    assert!(bundle.leave(&["kill", &bundle.id, "KILL"]));
    soon(|| processes().trim() == "[]");
}

/// Waits until something is so.
fn soon(so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "it does not come to be");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A runtime in the middle of making a container, which takes long enough to be killed.
fn half_way(bundle: &mut Bundle) -> std::process::Child {
    let reached = bundle.folder.join("reached");
    let _ = fs::remove_file(&reached);
    let script = format!("touch {}; sleep 30", reached.display());
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    let mut command = bundle.command(&["create", &bundle.id]);
    let runtime = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    bundle.config["hooks"] = json!({});
    soon(|| reached.exists());
    runtime
}

#[test]
fn what_a_killed_runtime_has_half_made_is_removed_by_force() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    let mut runtime = half_way(&mut bundle);
    runtime.kill().unwrap();
    runtime.wait().unwrap();
    assert!(group(&format!("/{}", bundle.id)).exists());
    assert!(bundle.leave(&["delete", "--force", &bundle.id]));
    assert!(bundle.leaves_nothing());
}

#[test]
fn what_a_killed_runtime_has_half_made_goes_when_nobody_makes_it_any_more() {
    if !can_run() {
        return;
    }
    for words in ["delete", "create"] {
        let mut bundle = Bundle::new(&["wait"]);
        let mut runtime = half_way(&mut bundle);
        let why = |words: &str| text(&bundle.hull(&[words, &bundle.id]).stderr);
        assert!(why("delete").contains("is being created") && why("create").contains("already exists"));
        runtime.kill().unwrap();
        runtime.wait().unwrap();
        // Its process ends by itself.
        soon(|| bundle.leave(&[words, &bundle.id]));
        match words {
            "delete" => assert!(bundle.leaves_nothing()),
            _ => assert_eq!(status(&bundle), "created"),
        }
    }
    // A runtime that ends between the last word of its process and what it would have written is as if it had not heard it.
    let bundle = Bundle::new(&["wait"]);
    assert!(bundle.leave(&["create", &bundle.id]));
    let folder = bundle.folder.join("state").join(&bundle.id);
    let state: Value = serde_json::from_slice(&bundle.hull(&["state", &bundle.id]).stdout).unwrap();
    fs::rename(folder.join("state.json"), folder.join("state.json.new")).unwrap();
    assert!(bundle.leave(&["delete", &bundle.id]) && bundle.leaves_nothing());
    assert!(!std::path::Path::new(&format!("/proc/{}/root", state["pid"])).exists());
    // With another process in its group nobody knows what it is.
    let mut bundle = Bundle::new(&["wait"]);
    let mut runtime = half_way(&mut bundle);
    let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(group(&format!("/{}/cgroup.procs", bundle.id)), other.id().to_string()).unwrap();
    runtime.kill().unwrap();
    runtime.wait().unwrap();
    let why = |words: &str| text(&bundle.hull(&[words, &bundle.id]).stderr);
    soon(|| why("delete").contains("delete it with --force"));
    assert!(why("create").contains("already exists"));
    other.kill().unwrap();
    other.wait().unwrap();
    soon(|| bundle.leave(&["delete", &bundle.id]));
}

#[test]
fn a_network_device_moves_into_the_container_with_its_name_and_address() {
    if !can_run() {
        return;
    }
    let ip = |words: &[&str]| std::process::Command::new("ip").args(words).stderr(Stdio::null()).status();
    let ip = |words: &[&str]| ip(words).is_ok_and(|status| status.success());
    let name = format!("hull{}", std::process::id() % 100_000);
    if !["dummy", "ifb"].iter().any(|kind| ip(&["link", "add", &name, "type", kind])) {
        eprintln!("skipped: this machine has no ip(8), or its kernel no devices to make");
        return;
    }
    assert!(ip(&["address", "add", "10.99.0.7/24", "dev", &name]));
    let mut bundle = Bundle::new(&["cat", "/proc/net/fib_trie"]);
    bundle.config["linux"]["netDevices"] = json!({&name: {"name": "own0"}});
    let tries = bundle.hull(&["run", &bundle.id]);
    let gone = !ip(&["link", "show", &name]);
    assert!(text(&tries.stdout).contains("10.99.0.7"), "{} {}", text(&tries.stdout), text(&tries.stderr));
    assert!(gone);
    assert!(bundle.refused().contains("linux.netDevices"), "it is not there any more");
}

/// A process in namespaces of its own, until it is dropped.
struct Neighbour(std::process::Child);

impl Neighbour {
    /// Made by unshare(1) with this option.
    fn new(option: &str) -> Neighbour {
        let child = std::process::Command::new("unshare").args([option, "--fork", "sleep", "60"]).spawn().unwrap();
        let neighbour = Neighbour(child);
        while neighbour.inner().is_none() {}
        neighbour
    }

    /// The process in the namespaces, once it is there.
    fn inner(&self) -> Option<i32> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let child = children.split_ascii_whitespace().next()?.parse().ok()?;
        let program = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        (program.trim() == "sleep").then_some(child)
    }

    fn namespace(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.inner().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if let Some(pid) = self.inner() {
            let _ = hull_runtime::sys::process::kill(pid, 9);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has the container join a namespace, or makes it a new one.
fn join(bundle: &mut Bundle, kind: &str, path: &str) {
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != kind);
    namespaces.push(json!({"type": kind, "path": path}));
}

#[test]
fn process_ids_are_joined_by_path_and_left_again() {
    if !can_run() {
        return;
    }
    let neighbour = Neighbour::new("--pid");
    let mut bundle = Bundle::new(&["cat", "/proc/1/comm"]);
    join(&mut bundle, "pid", &neighbour.namespace("pid"));
    assert_eq!(bundle.run(), "sleep\n");
    assert!(bundle.leaves_nothing());
}

#[test]
fn a_failure_beside_a_joined_namespace_ends_nobody_else() {
    if !can_run() {
        return;
    }
    let neighbour = Neighbour::new("--pid");
    let mut bundle = Bundle::new(&["true"]);
    join(&mut bundle, "pid", &neighbour.namespace("pid"));
    bundle.config["hostname"] = json!("");
    bundle.config["mounts"].as_array_mut().unwrap().push(json!({"destination": "/x", "type": "nosuchtype"}));
    let mut command = bundle.command(&["run", &bundle.id]);
    // Kept apart from the test: the mistake was to signal a whole process group.
    command.process_group(0).stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{:?} {}", output.status, text(&output.stderr));
    assert!(neighbour.inner().is_some());
    assert!(bundle.leaves_nothing());
}

#[test]
fn a_file_of_another_kind_is_no_namespace_to_join() {
    if !can_run() {
        return;
    }
    for (kind, file) in [("ipc", "mnt"), ("network", "ipc"), ("pid", "uts"), ("uts", "net"), ("cgroup", "ipc")] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.config["hostname"] = json!("");
        join(&mut bundle, kind, &format!("/proc/self/ns/{file}"));
        assert!(bundle.refused().contains("Invalid argument"), "{kind} by {file}");
    }
}

/// Where a version 1 group, or that of version 2, is on this machine: one controller's is enough to look at.
fn group(path: &str) -> std::path::PathBuf {
    let controller = std::path::Path::new("/sys/fs/cgroup/pids");
    let root = if controller.is_dir() { controller } else { std::path::Path::new("/sys/fs/cgroup") };
    root.join(path.trim_start_matches('/'))
}

#[test]
fn containers_that_share_a_control_group_end_one_by_one() {
    if !can_run() {
        return;
    }
    let (mut one, mut other) = (Bundle::new(&["wait"]), Bundle::new(&["wait"]));
    let path = format!("/{}-shared", one.id);
    one.config["linux"]["cgroupsPath"] = json!(path);
    other.config["linux"]["cgroupsPath"] = json!(path);
    assert!(one.leave(&["run", "-d", &one.id]) && other.leave(&["run", "-d", &other.id]));
    assert!(one.leave(&["delete", "-f", &one.id]));
    assert_eq!(status(&other), "running", "the other's processes are not this container's");
    assert!(other.leave(&["delete", "-f", &other.id]));
    assert!(!group(&path).exists());
}

#[test]
fn a_control_group_that_was_there_outlives_a_container_that_fails() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    let path = format!("/{}-before", bundle.id);
    fs::create_dir(group(&path)).unwrap();
    bundle.config["linux"]["cgroupsPath"] = json!(path);
    bundle.config["process"]["args"] = json!(["/nothing"]);
    assert!(!bundle.leave(&["run", &bundle.id]));
    assert!(group(&path).exists());
    fs::remove_dir(group(&path)).unwrap();
}

#[test]
fn a_program_says_that_it_is_ready_to_who_waits_for_it() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["ready"]);
    let socket = bundle.folder.join("notify.sock");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    for words in [&["run", "-d"][..], &["create"]] {
        let mut command = bundle.command(words);
        command.arg(&bundle.id).env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
        if words == ["create"] {
            let mut start = bundle.command(&["start", &bundle.id]);
            assert!(start.env("NOTIFY_SOCKET", &socket).status().unwrap().success());
        }
        let mut bytes = [0; 100];
        let length = manager.recv(&mut bytes).unwrap();
        let pid = text(&bundle.hull(&["state", &bundle.id]).stdout);
        let pid = serde_json::from_str::<Value>(&pid).unwrap()["pid"].to_string();
        assert_eq!(text(&bytes[..length]), format!("MAINPID={pid}\nREADY=1\n"));
        assert!(bundle.leave(&["delete", "-f", &bundle.id]));
    }
}

/// A user of no machine.
const STRANGER: u32 = 54_321;

#[test]
fn a_user_without_rights_runs_and_enters_a_container() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    // Where that user may execute it: a checkout may be in a folder that is not for others.
    let program = bundle.folder.join("hull-oci");
    fs::copy(common::binary(), &program).unwrap();
    let owned = std::process::Command::new("chown").arg("-R").arg(STRANGER.to_string()).arg(&bundle.folder).status();
    assert!(owned.unwrap().success());
    let stranger = |words: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.arg("--root").arg(bundle.folder.join("state")).args(words).current_dir(&bundle.folder);
        command.stdin(Stdio::null()).uid(STRANGER).gid(STRANGER);
        command
    };
    fs::remove_file(bundle.folder.join("config.json")).unwrap();
    assert!(stranger(&["spec", "--rootless"]).status().unwrap().success());
    let file = bundle.folder.join("config.json");
    bundle.config = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    bundle.config["process"]["args"] = json!(["/probe", "wait"]);
    bundle.config["process"]["terminal"] = json!(false);
    fs::write(&file, bundle.config.to_string()).unwrap();
    let made = bundle.folder.join("errors");
    let errors = fs::File::create(&made).unwrap();
    let ran = stranger(&["run", "-d", &bundle.id]).stdout(Stdio::null()).stderr(errors).status().unwrap();
    assert!(ran.success(), "{}", fs::read_to_string(&made).unwrap());
    let map = stranger(&["exec", &bundle.id, "/probe", "cat", "/proc/self/uid_map"]).output().unwrap();
    assert_eq!(
        text(&map.stdout).split_ascii_whitespace().collect::<Vec<_>>(),
        ["0", &STRANGER.to_string(), "1"],
        "{}",
        text(&map.stderr)
    );
    assert!(stranger(&["delete", "-f", &bundle.id]).status().unwrap().success());
}
