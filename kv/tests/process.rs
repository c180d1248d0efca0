//! The program as a process: killed, stopped, started again.
mod support;

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use etcd_client::{Client, GetOptions};
use support::{Member, folder};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_survives_a_kill_during_writes() {
    let folder = folder();
    let acknowledged = Arc::new(Mutex::new(Vec::<String>::new()));
    for round in 0..5 {
        let member = Member::start(folder.path());
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for writer in 0..8 {
            let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
            let mut client = Client::connect([member.endpoint()], None).await.expect("connect");
            writers.push(tokio::spawn(async move {
                for n in 0.. {
                    let key = format!("r{round}/w{writer}/{n}");
                    if stop.load(Ordering::Relaxed) || client.put(key.clone(), "v", None).await.is_err() {
                        return;
                    }
                    acknowledged.lock().expect("list").push(key);
                }
            }));
        }
        let goal = (round + 1) * 400;
        while acknowledged.lock().expect("list").len() < goal {
            tokio::task::yield_now().await;
        }
        member.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.expect("writer");
        }
        let member = Member::start(folder.path());
        let mut client = Client::connect([member.endpoint()], None).await.expect("connect");
        let everything = GetOptions::new().with_all_keys().with_keys_only();
        let there = client.get("", Some(everything)).await.expect("get");
        let there: HashSet<&[u8]> = there.kvs().iter().map(etcd_client::KeyValue::key).collect();
        for key in acknowledged.lock().expect("list").iter() {
            assert!(there.contains(key.as_bytes()), "{key} was acknowledged and is gone");
        }
        assert!(member.stop(), "a stop on request is no failure");
    }
}

#[test]
fn the_socket_is_open_to_everyone_and_made_anew_after_a_kill() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mode = std::fs::metadata(member.socket()).expect("socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    member.kill();
    let member = Member::start(folder.path());
    assert!(std::os::unix::net::UnixStream::connect(member.socket()).is_ok());
}

#[test]
fn a_stopped_member_keeps_its_revision() {
    let folder = folder();
    let member = Member::start(folder.path());
    member.http("PUT", "/kv/a", "1");
    assert!(member.stop());
    let member = Member::start(folder.path());
    let (head, body) = member.http("GET", "/kv/a", "");
    assert!(head.contains("x-hull-revision: 2"), "{head}");
    assert_eq!(body, "1");
}

#[test]
fn a_socket_that_the_manager_bound_is_served_and_stays_where_it_is() {
    let folder = folder();
    let path = folder.path().join("passed.sock");
    let bound = UnixListener::bind(&path).expect("bind");
    let inode = std::fs::metadata(&path).expect("socket").ino();
    let (mut client, member) = Member::start_passed(folder.path(), &path, bound);
    client.write_all(b"GET /kv/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("send");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 404") && answer.ends_with("no such key: /nothing\n"), "{answer}");
    member.kill();
    assert_eq!(std::fs::metadata(&path).expect("socket").ino(), inode);
}

/// Writers that do not wait for each other, on one connection each, until the member is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_asked_to_stop_answers_what_was_asked_before() {
    let folder = folder();
    let member = Member::start(folder.path());
    let endpoint = member.endpoint();
    let writer = |writer: usize| {
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            let mut client = etcd_client::Client::connect([endpoint], None).await.expect("connect");
            for n in 0.. {
                if let Err(refused) = client.put(format!("w{writer}/{n}"), "v", None).await {
                    return (n, refused.to_string());
                }
            }
            unreachable!("it stops")
        })
    };
    let writers: Vec<_> = (0..30).map(writer).collect();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(member.stop());
    let member = Member::start(folder.path());
    let mut client = etcd_client::Client::connect([member.endpoint()], None).await.expect("connect");
    for (number, writer) in writers.into_iter().enumerate() {
        let (acknowledged, refused) = writer.await.expect("no panic");
        // What was not acknowledged was not taken: the client can ask again without a doubt.
        let prefix = etcd_client::GetOptions::new().with_prefix().with_count_only();
        let there = client.get(format!("w{number}/"), Some(prefix)).await.expect("get").count();
        assert_eq!(there, i64::from(acknowledged), "writer {number} heard: {refused}");
    }
}

#[test]
fn a_log_on_another_disk_is_found_again_and_never_begun_anew() {
    let (folder, other) = (folder(), support::folder());
    let log = other.path().join("log");
    let flags = ["--wal-dir", &log.display().to_string()];
    let names = |folder: &std::path::Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("list").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let member = Member::start_with(folder.path(), &flags);
    assert!(member.http("PUT", "/kv/a", "1").0.starts_with("HTTP/1.1 2"));
    let data = folder.path().join("data");
    assert!(names(&log).iter().any(|name| name.starts_with("wal-")), "{:?}", names(&log));
    assert!(!names(&data).iter().any(|name| name.starts_with("wal-")), "{:?}", names(&data));
    member.kill();
    // Whoever forgets to say where it is gets it all the same.
    let member = Member::start(folder.path());
    assert_eq!(member.http("GET", "/kv/a", "").1, "1");
    member.kill();
    let refused = |data: &std::path::Path, log: &std::path::Path| {
        let paths = [data, log].map(|path| path.display().to_string());
        let flags = ["--data-dir", &paths[0], "--wal-dir", &paths[1], "--listen-client-urls", "http://127.0.0.1:1"];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hull-kv")).args(flags).output().expect("start");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let elsewhere = other.path().join("elsewhere");
    let why = refused(&data, &elsewhere);
    assert!(why.contains("start it without --wal-dir") && !elsewhere.exists(), "{why}");
    // As when its disk is not mounted: gone, or an empty folder.
    let away = other.path().join("away");
    std::fs::rename(&log, &away).expect("move");
    for _ in 0..2 {
        let why = refused(&data, &log);
        assert!(why.contains("is its disk mounted?"), "{why}");
        std::fs::create_dir_all(&log).expect("an empty folder");
    }
    std::fs::remove_dir(&log).expect("it is still empty");
    std::fs::rename(&away, &log).expect("move");
    let why = refused(&other.path().join("new"), &log);
    assert!(why.contains("another member's log is there"), "{why}");
    let together = support::folder();
    Member::start(together.path()).kill();
    let why = refused(&together.path().join("data"), &elsewhere);
    assert!(why.contains("holds a member with its log already"), "{why}");
    let member = Member::start_with(folder.path(), &flags);
    assert_eq!(member.http("GET", "/kv/a", "").1, "1");
}
