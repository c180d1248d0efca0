//! The shim under a containerd that nobody here wrote: Debian's, with its client `ctr`.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::common::{Daemon, IMAGE, can_run, text_of};

#[test]
fn a_container_runs_says_reads_and_ends_with_its_status() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let hello = daemon.runs(&[], &daemon.id("a"), &["sh", "-c", "echo hello; echo oh >&2"]).output().unwrap();
    assert_eq!((text_of(&hello.stdout), text_of(&hello.stderr)), ("hello\n".into(), "oh\n".into()));
    let seven = daemon.runs(&[], &daemon.id("b"), &["sh", "-c", "exit 7"]).status().unwrap();
    assert_eq!(seven.code(), Some(7));
    let mut cat = daemon.runs(&[], &daemon.id("c"), &["cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(&[b'x'; 200_000]).unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout.len(), 200_000);
    assert!(daemon.leaves_nothing());
}

#[test]
fn a_program_that_is_not_there_is_named_and_nothing_stays() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let missing = daemon.runs(&[], &daemon.id("a"), &["/missing"]).output().unwrap();
    assert!(!missing.status.success());
    assert!(text_of(&missing.stderr).contains("/missing"), "{}", text_of(&missing.stderr));
    assert!(daemon.leaves_nothing());
}

#[test]
fn a_terminal_is_one() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let line = format!(
        "ctr -a {}/c.sock run --rm -t --runtime io.containerd.hull.v2 {IMAGE} {} sh -c 'tty; read x; echo got $x; exit 4'",
        daemon.folder.display(),
        daemon.id("a")
    );
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    script.stdin.take().unwrap().write_all(b"yes\n").unwrap();
    let output = script.wait_with_output().unwrap();
    let said = text_of(&output.stdout);
    assert!(said.contains("/dev/pts/0") && said.contains("got yes"), "{said}");
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn other_programs_enter_a_container_and_it_is_paused_measured_and_killed() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let events = daemon.events();
    let id = daemon.id("a");
    daemon.detach(&[], &id, &["sleep", "1000"]);
    let (pid, status) = daemon.task(&id).unwrap();
    assert_eq!(status, "RUNNING");
    let five =
        daemon.command(&["task", "exec", "--exec-id", "e1", &id, "sh", "-c", "echo in; exit 5"]).output().unwrap();
    assert_eq!((text_of(&five.stdout), five.status.code()), ("in\n".into(), Some(5)));
    let mut cat = daemon.command(&["task", "exec", "--exec-id", "e2", &id, "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(text_of(&cat.wait_with_output().unwrap().stdout), "through");
    let missing = daemon.ctr(&["task", "exec", "--exec-id", "e3", &id, "/missing"]);
    assert!(!missing.status.success() && text_of(&missing.stderr).contains("/missing"));
    daemon.must(&["task", "pause", &id]);
    assert_eq!(daemon.task(&id).unwrap().1, "PAUSED");
    daemon.must(&["task", "resume", &id]);
    assert_eq!(daemon.task(&id).unwrap().1, "RUNNING");
    assert!(daemon.must(&["task", "ps", &id]).contains(&pid.to_string()));
    let metrics = daemon.must(&["task", "metrics", &id]);
    assert!(metrics.contains("pids.current") && metrics.contains("memory"), "{metrics}");
    daemon.must(&["task", "kill", "-s", "KILL", &id]);
    daemon.wait_for(&id, "STOPPED");
    let deleted = daemon.ctr(&["task", "rm", &id]);
    assert!(text_of(&deleted.stderr).contains("137"), "{}", text_of(&deleted.stderr));
    let expected = [
        "create",
        "start",
        "exec-added",
        "exec-started",
        "exit",
        "exec-added",
        "exec-started",
        "exit",
        "exec-added",
        "paused",
        "resumed",
        "exit",
        "delete",
    ];
    assert_eq!(events.wait_for(&id, "delete"), expected);
    assert!(daemon.leaves_nothing());
}

#[test]
fn a_container_that_runs_out_of_memory_is_told_before_its_end() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let events = daemon.events();
    let id = daemon.id("a");
    let fill = ["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1048576", "count=60"];
    let filled = daemon.runs(&["--memory-limit", "16777216"], &id, &fill).output().unwrap();
    assert_eq!(filled.status.code(), Some(137), "{}", text_of(&filled.stderr));
    assert_eq!(events.wait_for(&id, "delete"), ["create", "start", "oom", "exit", "delete"]);
}

#[test]
fn a_daemon_that_is_killed_leaves_its_containers_running_and_finds_them_again() {
    if !can_run() {
        return;
    }
    let mut daemon = Daemon::new();
    let (stays, ends) = (daemon.id("stays"), daemon.id("ends"));
    daemon.detach(&[], &stays, &["sh", "-c", "while true; do echo tick; sleep 0.01; done"]);
    daemon.detach(&[], &ends, &["sh", "-c", "sleep 1000 & wait; exit 9"]);
    let before = daemon.task(&stays).unwrap();
    let (ending, _) = daemon.task(&ends).unwrap();
    daemon.kill();
    // It ends while nobody is there to be told.
    rustix::process::kill_process(rustix::process::Pid::from_raw(ending).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    while fs::read_to_string(format!("/proc/{ending}/stat")).is_ok() {}
    daemon.start();
    assert_eq!(daemon.task(&stays), Some(before));
    assert_eq!(daemon.task(&ends).unwrap().1, "STOPPED");
    let zero = daemon.ctr(&["task", "exec", "--exec-id", "e", &stays, "true"]);
    assert!(zero.status.success(), "{}", text_of(&zero.stderr));
    let deleted = daemon.ctr(&["task", "rm", &ends]);
    assert!(text_of(&deleted.stderr).contains("137"), "{}", text_of(&deleted.stderr));
    daemon.must(&["task", "kill", "-s", "KILL", &stays]);
    daemon.wait_for(&stays, "STOPPED");
}

#[test]
fn ends_as_fast_as_their_starts_are_all_told_in_order() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let events = daemon.events();
    for number in 0..30 {
        let id = daemon.id(&number.to_string());
        let three = daemon.runs(&["--null-io"], &id, &["sh", "-c", "exit 3"]).status().unwrap();
        assert_eq!(three.code(), Some(3));
        assert_eq!(events.wait_for(&id, "delete"), ["create", "start", "exit", "delete"]);
    }
    assert!(daemon.leaves_nothing());
}

#[test]
fn fifty_containers_at_once_all_run() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let run = |number: u32| {
        let mut command = daemon.runs(&[], &daemon.id(&number.to_string()), &["sh", "-c", &format!("echo {number}")]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..50).map(run).collect();
    for (number, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(text_of(&output.stdout), format!("{number}\n"), "{}", text_of(&output.stderr));
    }
    assert!(daemon.leaves_nothing());
}

#[test]
fn containers_of_a_pod_share_a_shim_and_others_do_not() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let pod = format!("io.kubernetes.cri.sandbox-id={}", daemon.id("pod"));
    let (first, second, other) = (daemon.id("first"), daemon.id("second"), daemon.id("other"));
    daemon.detach(&["--annotation", &pod], &first, &["sleep", "1000"]);
    daemon.detach(&["--annotation", &pod], &second, &["sleep", "1000"]);
    daemon.detach(&[], &other, &["sleep", "1000"]);
    let address = |id: &str| fs::read_to_string(daemon.bundle(id).join("address")).unwrap();
    assert_eq!(address(&first), address(&second));
    assert_ne!(address(&first), address(&other));
    daemon.must(&["task", "kill", "-s", "KILL", &first]);
    daemon.wait_for(&first, "STOPPED");
    let _ = daemon.ctr(&["task", "rm", &first]);
    assert!(daemon.ctr(&["task", "exec", "--exec-id", "e", &second, "true"]).status.success());
}

#[test]
fn output_goes_to_files_and_to_programs_that_log() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let file = daemon.folder.join("said");
    let uri = format!("file://{}", file.display());
    let id = daemon.id("a");
    daemon.detach(&["--log-uri", &uri], &id, &["echo", "to a file"]);
    daemon.wait_for(&id, "STOPPED");
    assert_eq!(fs::read_to_string(&file).unwrap(), "to a file\n");
    let logger = daemon.folder.join("logger");
    let logged = daemon.folder.join("logged");
    let script =
        "#!/bin/sh\nexec 5>&-\necho \"$CONTAINER_NAMESPACE $1 $2\" >\"$2\"\ncat <&3 >>\"$2\"\necho end >>\"$2\"\n";
    fs::write(&logger, script).unwrap();
    std::process::Command::new("chmod").arg("755").arg(&logger).status().unwrap();
    let uri = format!("binary://{}?to={}", logger.display(), logged.display());
    let id = daemon.id("b");
    daemon.detach(&["--log-uri", &uri], &id, &["echo", "to a program"]);
    daemon.wait_for(&id, "STOPPED");
    let expected = format!("default to {}\nto a program\nend\n", logged.display());
    while fs::read_to_string(&logged).unwrap() != expected {}
    // One that is not there is an error, not silence.
    let id = daemon.id("c");
    let ran = daemon.runs(&["--log-uri", "binary:///nothing"], &id, &["true"]).output().unwrap();
    assert!(!ran.status.success() && text_of(&ran.stderr).contains("start /nothing"), "{}", text_of(&ran.stderr));
}
