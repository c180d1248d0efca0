//! The shim without a daemon: what `start` and `delete` print, and what is answered over its socket.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{Daemon, can_run, shim, text_of};
use prost::Message;

/// ttrpc's request.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
}

/// ttrpc's response.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// Why a call was refused.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The answer to Connect, and to Delete as far as it is looked at: a process id, then a number.
#[derive(Clone, PartialEq, Message)]
struct Two {
    #[prost(uint32, tag = "1")]
    first: u32,
    #[prost(uint32, tag = "2")]
    second: u32,
}

/// A request that asks for a container.
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "1")]
    id: String,
    /// For Create.
    #[prost(string, tag = "2")]
    bundle: String,
}

/// Calls a method and waits for the answer.
fn call(socket: &mut UnixStream, service: &str, method: &str, id: &str) -> Response {
    call_with(socket, service, method, &Asked { id: id.into(), bundle: String::new() })
}

fn call_with(socket: &mut UnixStream, service: &str, method: &str, asked: &Asked) -> Response {
    let payload = asked.encode_to_vec();
    let data = Request { service: service.into(), method: method.into(), payload }.encode_to_vec();
    let mut frame = (data.len() as u32).to_be_bytes().to_vec();
    frame.extend([0, 0, 0, 1, 1, 0]);
    frame.extend(data);
    socket.write_all(&frame).unwrap();
    let mut header = [0; 10];
    socket.read_exact(&mut header).unwrap();
    assert_eq!(header[4..], [0, 0, 0, 1, 2, 0]);
    let mut data = vec![0; u32::from_be_bytes(header[..4].try_into().unwrap()) as usize];
    socket.read_exact(&mut data).unwrap();
    Response::decode(&*data).unwrap()
}

/// A bundle that only names its configuration.
fn bundle(name: &str) -> PathBuf {
    let bundle = std::env::temp_dir().join(format!("hull-shim-{}-{name}", std::process::id()));
    fs::create_dir_all(&bundle).unwrap();
    fs::write(bundle.join("config.json"), r#"{"ociVersion":"1.0.2"}"#).unwrap();
    bundle
}

fn start(bundle: &Path, environment: &[(&str, &str)]) -> String {
    let id = bundle.file_name().unwrap();
    let mut command = Command::new(shim());
    let publisher = bundle.join("publisher");
    command
        .args(["-namespace", "test", "-address", "/nowhere.sock", "-id"])
        .arg(id)
        .arg("-publish-binary")
        .arg(publisher);
    let output = command.arg("start").envs(environment.iter().copied()).current_dir(bundle).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    assert_eq!(text_of(&output.stderr), "");
    text_of(&output.stdout)
}

#[test]
fn start_prints_an_address_and_nothing_else_and_both_versions_of_the_service_answer_there() {
    if !can_run() {
        return;
    }
    let bundle = bundle("start");
    let address = start(&bundle, &[]);
    assert_eq!(fs::read_to_string(bundle.join("address")).unwrap(), address);
    // Whoever asks again finds the same one.
    assert_eq!(start(&bundle, &[]), address);
    let json: serde_json::Value = serde_json::from_str(&start(&bundle, &[("MAX_SHIM_VERSION", "3")])).unwrap();
    assert_eq!(json, serde_json::json!({"version": 3, "address": address, "protocol": "ttrpc"}));
    let path = address.strip_prefix("unix://").unwrap();
    let mut socket = UnixStream::connect(path).unwrap();
    let pid: u32 = fs::read_to_string(bundle.join("shim.pid")).unwrap().parse().unwrap();
    for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
        let answer = Two::decode(&*call(&mut socket, service, "Connect", "x").payload).unwrap();
        assert_eq!(answer, Two { first: pid, second: 0 });
        assert_eq!(call(&mut socket, service, "State", "x").status.unwrap().code, 5);
        let checkpoint = call(&mut socket, service, "Checkpoint", "x").status.unwrap();
        assert!(checkpoint.code == 12 && checkpoint.message.starts_with("checkpoint:"), "{checkpoint:?}");
        assert_eq!(call(&mut socket, service, "Fly", "x").status.unwrap().code, 12);
    }
    assert_eq!(call(&mut socket, "containerd.task.v1.Task", "Connect", "x").status.unwrap().code, 12);
    assert_eq!(call(&mut socket, "containerd.task.v3.Task", "Shutdown", "x").status, None);
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    while Path::new(path).exists() {}
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn whoever_does_not_speak_the_protocol_is_let_go_and_others_are_served() {
    if !can_run() {
        return;
    }
    let bundle = bundle("noise");
    let address = start(&bundle, &[]);
    let path = address.strip_prefix("unix://").unwrap();
    let mut noise = UnixStream::connect(path).unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(noise.read(&mut [0]).unwrap_or(0), 0);
    let mut socket = UnixStream::connect(path).unwrap();
    assert_eq!(call(&mut socket, "containerd.task.v2.Task", "Shutdown", "x").status, None);
    while Path::new(path).exists() {}
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn where_the_daemon_has_no_socket_for_events_a_program_tells_them_and_again_when_it_fails() {
    if !can_run() {
        return;
    }
    let bundle = bundle("publish");
    let id = bundle.file_name().unwrap().to_str().unwrap().to_owned();
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    fs::copy("/bin/busybox", bundle.join("rootfs/true")).unwrap();
    let config = serde_json::json!({
        "ociVersion": "1.0.2", "root": {"path": "rootfs"},
        "process": {"args": ["/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "linux": {"cgroupsPath": format!("/{id}"), "namespaces": [{"type": "pid"}, {"type": "mount"}]}
    });
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    // The first time it fails.
    let script = "#!/bin/sh\ncd \"${0%/*}\"\n[ -e failed ] || { : >failed; exit 1; }\n[ $(wc -c) -gt 0 ] && echo \"$5 $7\" >>told\n";
    fs::write(bundle.join("publisher"), script).unwrap();
    Command::new("chmod").arg("755").arg(bundle.join("publisher")).status().unwrap();
    let address = start(&bundle, &[]);
    let path = address.strip_prefix("unix://").unwrap();
    let mut socket = UnixStream::connect(path).unwrap();
    let service = "containerd.task.v3.Task";
    let asked = Asked { id: id.clone(), bundle: bundle.display().to_string() };
    assert_eq!(call_with(&mut socket, service, "Create", &asked).status, None);
    for method in ["Start", "Wait", "Delete", "Shutdown"] {
        assert_eq!(call(&mut socket, service, method, &id).status, None, "{method}");
    }
    while Path::new(path).exists() {}
    let told = fs::read_to_string(bundle.join("told")).unwrap();
    assert_eq!(told, "/tasks/create test\n/tasks/start test\n/tasks/exit test\n/tasks/delete test\n");
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn delete_cleans_up_when_shim_and_daemon_are_dead() {
    if !can_run() {
        return;
    }
    let mut daemon = Daemon::new();
    let id = daemon.id("a");
    daemon.detach(&[], &id, &["sleep", "1000"]);
    let (pid, _) = daemon.task(&id).unwrap();
    let shim_pid = rustix::process::Pid::from_raw(daemon.shim_of(&id)).unwrap();
    daemon.kill();
    rustix::process::kill_process(shim_pid, rustix::process::Signal::KILL).unwrap();
    let mut command = Command::new(shim());
    command.args(["-namespace", "default", "-address", "/nowhere.sock", "-publish-binary", "/bin/false", "-id", &id]);
    command.arg("-bundle").arg(daemon.bundle(&id)).arg("delete").current_dir(daemon.bundle(&id)).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    assert_eq!(Two::decode(&*output.stdout).unwrap(), Two { first: pid as u32, second: 137 });
    let ended = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(!ended, "process {pid} still runs");
    assert!(daemon.leaves_nothing());
}

#[test]
fn a_shim_that_is_killed_is_cleaned_up_after_by_the_daemon() {
    if !can_run() {
        return;
    }
    let daemon = Daemon::new();
    let events = daemon.events();
    let id = daemon.id("a");
    daemon.detach(&[], &id, &["sleep", "1000"]);
    let shim_pid = rustix::process::Pid::from_raw(daemon.shim_of(&id)).unwrap();
    rustix::process::kill_process(shim_pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(events.wait_for(&id, "delete"), ["create", "start", "exit", "delete"]);
    assert!(daemon.leaves_nothing());
}
