//! Known ways out of a container, each tried.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use common::{Bundle, binary, can_run, text};
use serde_json::json;

/// Without the file system in memory that usually covers the image's `/dev`.
fn without_dev(bundle: &mut Bundle) {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle.config["root"]["readonly"] = json!(false);
}

#[test]
fn cve_2019_5736_the_runtimes_file_cannot_be_written_to_from_inside() {
    if !can_run() {
        return;
    }
    let before = fs::read(binary()).unwrap();
    let mut bundle = Bundle::new(&["catch"]);
    // The most that a container without its own users can have.
    let all: Vec<String> = hull_oci_core::oci::capability::NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    bundle.config["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    // Detached: while a process of the runtime is there, the kernel lets nobody write to its file anyway.
    let mut first = bundle.command(&["run", "-d", &bundle.id]).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(first.wait().unwrap().success());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    assert_eq!(told.recv().unwrap(), "waits");
    while told.try_recv().is_err() {
        // What it executes is the runtime itself, as the kernel sees it from there.
        bundle.hull(&["exec", &bundle.id, "/proc/self/exe", "--version"]);
    }
    let caught = told.recv().unwrap();
    assert!(!caught.contains("can be written to"), "{caught}");
    assert!(fs::read(binary()).unwrap() == before);
}

#[test]
fn cve_2024_21626_no_descriptor_of_the_host_is_a_working_directory() {
    if !can_run() {
        return;
    }
    for number in 3..16 {
        let mut bundle = Bundle::new(&["look", "."]);
        bundle.config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        assert!(bundle.refused().contains("process.cwd"), "descriptor {number}");
    }
}

/// The runtime with these words, called by a shell that leaves folders of the host open as the descriptors 6 and 7.
fn with_folders_open(bundle: &Bundle, words: &str) -> (bool, String) {
    bundle.hull(&["list"]);
    let script = format!("exec 6</etc 7</; exec {} --root state {words}", binary());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).current_dir(&bundle.folder).stdin(Stdio::null());
    let output = shell.output().unwrap();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn cve_2024_21626_a_folder_of_the_host_that_is_open_is_no_working_directory_either() {
    if !can_run() {
        return;
    }
    // They are handed through on purpose here, so that only the look at where the process has come to is left.
    let mut bundle = Bundle::new(&["look", "shadow"]);
    for folder in ["/proc/self/fd/6", "/proc/self/fd/7", "/proc/self/fd/7/etc", "/proc/1/fd/6"] {
        bundle.config["process"]["cwd"] = json!(folder);
        let (ran, said) = with_folders_open(&bundle, &format!("run --preserve-fds 5 {}", bundle.id));
        assert!(!ran && said.contains("process.cwd"), "{folder}: {said}");
        assert!(bundle.leaves_nothing());
    }
    bundle.config["process"]["cwd"] = json!("/");
    bundle.config["process"]["args"] = json!(["/probe", "wait"]);
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    for folder in ["/proc/self/fd/6", "/proc/self/fd/7/etc"] {
        let words = format!("exec --preserve-fds 5 --cwd {folder} {} /probe look shadow", bundle.id);
        let (ran, said) = with_folders_open(&bundle, &words);
        assert!(!ran && said.contains("process.cwd"), "{folder}: {said}");
    }
}

#[test]
fn cve_2021_30465_a_link_in_the_image_leads_no_mount_out() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["look", "/link/new"]);
    let outside = bundle.folder.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.inside("link")).unwrap();
    symlink("../../../../../../..", bundle.inside("up")).unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    for destination in ["/link/new", "/up/fresh"] {
        let mount = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
        bundle.config["mounts"].as_array_mut().unwrap().push(mount);
    }
    assert!(bundle.run().contains("is_dir: true"));
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
    assert!(!std::path::Path::new("/fresh").exists());
    assert!(bundle.inside("fresh").exists());
}

#[test]
fn cve_2025_31133_what_masks_a_file_is_dev_null_and_nothing_else() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    without_dev(&mut bundle);
    fs::create_dir(bundle.inside("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", bundle.inside("dev/null")).unwrap();
    bundle.config["linux"]["maskedPaths"] = json!(["/proc/keys"]);
    assert!(bundle.refused().contains("/dev/null"));
    // Where the runtime makes no devices, what masks is all that looks.
    let own = bundle.folder.join("own-dev");
    fs::create_dir(&own).unwrap();
    symlink("/proc/sys/kernel/core_pattern", own.join("null")).unwrap();
    let mount = json!({"destination": "/dev", "type": "bind", "source": own, "options": ["bind"]});
    bundle.config["mounts"].as_array_mut().unwrap().push(mount);
    assert!(bundle.refused().contains("hide /proc/keys"));
}

#[test]
fn cve_2025_52565_a_terminal_is_made_by_what_makes_terminals() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    without_dev(&mut bundle);
    fs::create_dir_all(bundle.inside("dev/pts")).unwrap();
    symlink("/proc/sysrq-trigger", bundle.inside("dev/pts/ptmx")).unwrap();
    bundle.config["process"]["terminal"] = json!(true);
    assert!(bundle.refused().contains("terminal"));
}

#[test]
fn cve_2025_52565_a_console_that_is_a_link_covers_nothing_else() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["look", "/proc/sys/kernel/core_pattern"]);
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    bundle.config["root"]["readonly"] = json!(false);
    fs::create_dir_all(bundle.inside("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", bundle.inside("dev/console")).unwrap();
    bundle.config["process"]["terminal"] = json!(true);
    let output = bundle.hull(&["run", &bundle.id]);
    let covered = text(&output.stdout).contains("is_file: false");
    assert!(!covered, "{} {}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn cve_2025_52881_proc_is_mounted_on_a_folder_and_no_link_is_followed() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    fs::create_dir(bundle.inside("elsewhere")).unwrap();
    symlink("/elsewhere", bundle.inside("proc")).unwrap();
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    assert!(bundle.refused().contains("ordinary directory"));
}

#[test]
fn cve_2026_41579_a_dev_that_is_a_link_leads_no_device_out() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    without_dev(&mut bundle);
    let outside = bundle.folder.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.inside("dev")).unwrap();
    bundle.config["linux"]["maskedPaths"] = json!([]);
    let output = bundle.hull(&["run", &bundle.id]);
    assert!(fs::read_dir(&outside).unwrap().next().is_none(), "{}", text(&output.stderr));
}

#[test]
fn a_mount_cannot_cover_a_part_of_proc() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    fs::create_dir(bundle.folder.join("own")).unwrap();
    let own = bundle.folder.join("own").to_str().unwrap().to_owned();
    let mount = json!({"destination": "/proc/self/attr", "type": "bind", "source": own, "options": ["bind"]});
    bundle.config["mounts"].as_array_mut().unwrap().push(mount);
    assert!(bundle.refused().contains("/proc"));
}

#[test]
fn ids_and_control_groups_are_names_and_never_ways_out() {
    let bundle = Bundle::new(&["true"]);
    assert!(!bundle.leave(&["create", "../outside"]));
    for id in ["../x", "/etc", "..", "a/b", ""] {
        let output = bundle.hull(&["create", id]);
        assert!(
            !output.status.success() && text(&output.stderr).contains("container id"),
            "{id:?}: {}",
            text(&output.stderr)
        );
    }
    let mut bundle = Bundle::new(&["true"]);
    for path in ["/../../etc", "a/../../b", "/"] {
        bundle.config["linux"]["cgroupsPath"] = json!(path);
        let output = bundle.hull(&["create", &bundle.id]);
        assert!(text(&output.stderr).contains("linux.cgroupsPath"), "{path}: {}", text(&output.stderr));
    }
}

#[test]
fn a_memory_limit_too_small_for_its_own_start_says_so_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 4096, "swap": 4096});
    let why = bundle.refused();
    if why.contains("this host has no") {
        eprintln!("skipped: this machine lacks the memory controller");
        return;
    }
    assert!(why.contains("memory"), "{why}");
}

#[test]
fn what_is_hidden_and_read_only_stays_so() {
    if !can_run() {
        return;
    }
    let read = Bundle::new(&["cat", "/proc/kcore"]).run();
    assert!(read.is_empty() || read.contains("No such file"), "{read}");
    let written = Bundle::new(&["write", "/proc/sys/kernel/core_pattern", "|/x"]).run();
    assert_eq!(written, "error: Read-only file system (os error 30)\n");
    assert_eq!(Bundle::new(&["write", "/new", "x"]).run(), "error: Read-only file system (os error 30)\n");
}

#[test]
fn a_container_that_waits_holds_nothing_of_the_host_open() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    // The shell leaves 7 and 8 open for whatever it executes, as callers do that forget.
    let create = format!("exec 7</etc 8>/dev/full; exec {} --root state create {}", binary(), bundle.id);
    bundle.hull(&["list"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &create]).current_dir(&bundle.folder);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(shell.status().unwrap().success());
    let state: serde_json::Value = serde_json::from_slice(&bundle.hull(&["state", &bundle.id]).stdout).unwrap();
    let open = fs::read_dir(format!("/proc/{}/fd", state["pid"])).unwrap().flatten();
    let open: Vec<String> = open.map(|fd| fs::read_link(fd.path()).unwrap().to_string_lossy().into_owned()).collect();
    let allowed = |target: &String| ["/dev/null", "socket:", "pipe:"].iter().any(|start| target.starts_with(start));
    assert!(open.iter().all(allowed), "{open:?}");
}

#[test]
fn what_is_kept_open_is_the_callers_and_never_the_runtimes_own() {
    if !can_run() {
        return;
    }
    for (open, expected) in
        [("", ""), ("5</dev/null", "5 /dev/null\n"), ("3</dev/null 7</dev/full", "3 /dev/null\n7 /dev/full\n")]
    {
        let mut bundle = Bundle::new(&["descriptors"]);
        let folder = bundle.folder.clone();
        let shell = |words: &str| {
            let script = format!("exec {open} {} --root state {words}", binary());
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]).current_dir(&folder).stdin(Stdio::null());
            shell
        };
        bundle.hull(&["list"]);
        let run = shell(&format!("run --preserve-fds 7 {}", bundle.id)).output().unwrap();
        assert_eq!(text(&run.stdout), expected, "run: {}", text(&run.stderr));
        let said = bundle.folder.join("said");
        let create =
            shell(&format!("create --preserve-fds 7 {}", bundle.id)).stdout(fs::File::create(&said).unwrap()).status();
        assert!(create.unwrap().success() && bundle.leave(&["start", &bundle.id]));
        while text(&bundle.hull(&["state", &bundle.id]).stdout).contains("running") {}
        assert_eq!(fs::read_to_string(said).unwrap(), expected, "create");
        assert!(bundle.leave(&["delete", &bundle.id]));
        bundle.config["process"]["args"] = json!(["/probe", "wait"]);
        assert!(bundle.leave(&["run", "-d", &bundle.id]));
        let entered = shell(&format!("exec --preserve-fds 7 {} /probe descriptors", bundle.id)).output().unwrap();
        assert_eq!(text(&entered.stdout), expected, "exec: {}", text(&entered.stderr));
    }
}

#[test]
fn no_number_of_descriptors_to_keep_is_too_large() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new(&["say", "here"]);
    let output = bundle.hull(&["run", "--preserve-fds", "4294967295", &bundle.id]);
    assert_eq!(text(&output.stdout), "here\n", "{}", text(&output.stderr));
}

/// Runs the runtime on a terminal of its own that controls its session, as at a person's prompt; what was shown there.
fn at_a_prompt(bundle: &Bundle, words: &[&str]) -> String {
    let command = bundle.command(words);
    let line: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into())
        .collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]).current_dir(&bundle.folder);
    text(&script.stdin(Stdio::null()).output().unwrap().stdout)
}

#[test]
fn nothing_is_typed_at_the_terminal_of_whoever_runs_a_container() {
    if !can_run() {
        return;
    }
    // What is typed by TIOCSTI goes to the terminal that controls the typist's session (ioctl_tty(2)): a container has none.
    let type_there = ["write", "/dev/tty", "typed"];
    let bundle = Bundle::new(&type_there);
    let shown = at_a_prompt(&bundle, &["run", &bundle.id]);
    assert!(shown.contains("No such device or address"), "run: {shown}");
    let bundle = Bundle::new(&["wait"]);
    assert!(bundle.leave(&["run", "-d", &bundle.id]));
    let entering = [&["exec", &bundle.id, "/probe"], &type_there[..]].concat();
    let shown = at_a_prompt(&bundle, &entering);
    assert!(shown.contains("No such device or address"), "exec: {shown}");
    // Here it could be.
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", "echo typed > /dev/tty", "/dev/null"]).stdin(Stdio::null());
    assert_eq!(text(&script.output().unwrap().stdout), "typed\r\n");
}
