//! Snapshots in etcd's database format: what is written is read back, by this project and by etcd's own tools.
mod support;

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use etcd_client::{Client, GetOptions, LeaseGrantOptions, PutOptions};
use hull_kv::{bolt::Reader, import::read_store};
use sha2::{Digest as _, Sha256};
use support::{Member, folder};

async fn client(member: &Member) -> Client {
    Client::connect([member.endpoint()], None).await.expect("connect")
}

/// Keys with a history, small and large, deleted and leased, and a compaction through the middle.
async fn fill(client: &mut Client) {
    client.lease_grant(1000, Some(LeaseGrantOptions::new().with_id(77))).await.expect("grant");
    for n in 0..600_usize {
        let value = "v".repeat(n * 7 % 900);
        client.put(format!("k{:03}", n % 200), value, None).await.expect("put");
    }
    client.put("large", "l".repeat(100_000), Some(PutOptions::new().with_lease(77))).await.expect("put");
    for n in 0..20 {
        client.delete(format!("k{n:03}"), None).await.expect("delete");
    }
    client.compact(400, None).await.expect("compact");
    client.user_add("ann", "a", None).await.expect("user");
    client.role_add("r").await.expect("role");
}

/// Saves a snapshot as a file; the digest at its end is checked.
async fn save(client: &mut Client, path: &Path) {
    let mut stream = client.snapshot().await.expect("snapshot");
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await.expect("piece") {
        bytes.extend_from_slice(piece.blob());
    }
    let (file, digest) = bytes.split_at(bytes.len() - 32);
    assert_eq!(&Sha256::digest(file)[..], digest);
    File::create(path).and_then(|mut to| to.write_all(&bytes)).expect("write");
}

async fn everything(client: &mut Client, revision: i64) -> Vec<(Vec<u8>, Vec<u8>, i64, i64, i64)> {
    let options = GetOptions::new().with_all_keys().with_revision(revision);
    let response = client.get("", Some(options)).await.expect("get");
    let row = |pair: &etcd_client::KeyValue| {
        (pair.key().to_vec(), pair.value().to_vec(), pair.mod_revision(), pair.version(), pair.lease())
    };
    response.kvs().iter().map(row).collect()
}

#[tokio::test]
async fn a_snapshot_is_imported_with_all_revisions_leases_and_users() {
    let folder = folder();
    let path: PathBuf = folder.path().join("snapshot.db");
    let member = Member::start_with(folder.path(), &["--bcrypt-cost", "4"]);
    let mut old = client(&member).await;
    fill(&mut old).await;
    save(&mut old, &path).await;
    let other = support::folder();
    let import = Command::new(env!("CARGO_BIN_EXE_hull-kv"))
        .args(["import".as_ref(), path.as_os_str(), "--data-dir".as_ref(), other.path().join("data").as_os_str()])
        .output()
        .expect("import");
    assert!(import.status.success(), "{import:?}");
    let copy = Member::start(other.path());
    let mut new = client(&copy).await;
    for revision in [0, 450, 610] {
        assert_eq!(everything(&mut new, revision).await, everything(&mut old, revision).await);
    }
    let (old_hash, new_hash) = (old.hash_kv(0).await.expect("hash"), new.hash_kv(0).await.expect("hash"));
    assert_eq!(new_hash.hash(), old_hash.hash());
    let lease = new.lease_time_to_live(77, Some(etcd_client::LeaseTimeToLiveOptions::new().with_keys()));
    assert_eq!(lease.await.expect("lease").keys(), [b"large".to_vec()]);
    assert_eq!(new.user_list().await.expect("users").users(), ["ann"]);
    let again = Command::new(env!("CARGO_BIN_EXE_hull-kv"))
        .args(["import".as_ref(), path.as_os_str(), "--data-dir".as_ref(), other.path().join("data").as_os_str()])
        .output()
        .expect("import");
    assert!(!again.status.success(), "a folder with a member in it is left alone");
}

#[tokio::test]
async fn an_empty_store_and_one_with_many_pages_are_read_back() {
    let folder = folder();
    let path = folder.path().join("snapshot.db");
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    for keys in [0, 1, 3000] {
        for n in 0..keys {
            client.put(format!("key-{n:05}"), "v".repeat(n % 40), None).await.expect("put");
        }
        save(&mut client, &path).await;
        let reader = Reader::open(File::open(&path).expect("open")).expect("read");
        let store = read_store(&reader).expect("store");
        let status = client.get("", Some(GetOptions::new().with_all_keys().with_count_only())).await.expect("get");
        assert_eq!(store.usage().keys as i64, status.count());
        assert_eq!(store.revision(), status.header().map_or(0, etcd_client::ResponseHeader::revision));
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_its_page() {
    let folder = folder();
    let path = folder.path().join("snapshot.db");
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    for n in 0..500 {
        client.put(format!("key-{n:05}"), "v", None).await.expect("put");
    }
    save(&mut client, &path).await;
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[5 * 4096] ^= 1;
    std::fs::write(&path, &bytes).expect("write");
    let reader = Reader::open(File::open(&path).expect("open")).expect("meta pages are whole");
    let error = read_store(&reader).expect_err("damage").to_string();
    assert!(error.contains("page 5"), "{error}");
    std::fs::write(&path, &bytes[..50]).expect("write");
    Reader::open(File::open(&path).expect("open")).expect_err("too short");
}

/// Runs etcd's own client; `None` where it is not installed.
fn etcdctl(args: &[&std::ffi::OsStr]) -> Option<String> {
    let output = Command::new("etcdctl").env("ETCDCTL_API", "3").args(args).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn etcdctl_saves_and_checks_a_snapshot() {
    let folder = folder();
    let path = folder.path().join("snapshot.db");
    let member = Member::start_with(folder.path(), &["--bcrypt-cost", "4"]);
    let mut client = client(&member).await;
    fill(&mut client).await;
    let endpoint = member.endpoint();
    let save = ["--endpoints".as_ref(), endpoint.as_ref(), "snapshot".as_ref(), "save".as_ref(), path.as_os_str()];
    if etcdctl(&save).is_none() {
        eprintln!("skipped: etcdctl is not installed");
        return;
    }
    let status = ["snapshot".as_ref(), "status".as_ref(), path.as_os_str(), "-w".as_ref(), "json".as_ref()];
    let status = etcdctl(&status).expect("was there a moment ago");
    assert!(status.contains("\"revision\":622"), "{status}");
}

#[tokio::test]
async fn what_etcdctl_restored_is_served_and_stays_as_it_is() {
    let folder = folder();
    let path = folder.path().join("snapshot.db");
    let member = Member::start_with(folder.path(), &["--bcrypt-cost", "4"]);
    let mut old = client(&member).await;
    fill(&mut old).await;
    save(&mut old, &path).await;
    let other = support::folder();
    let data = other.path().join("data");
    let restore = |flags: &[&str]| {
        let mut args =
            vec!["snapshot".as_ref(), "restore".as_ref(), path.as_os_str(), "--data-dir".as_ref(), data.as_os_str()];
        args.extend(flags.iter().map(std::ffi::OsStr::new));
        etcdctl(&args)
    };
    if restore(&["--initial-cluster-token", "another"]).is_none() {
        eprintln!("skipped: etcdctl is not installed");
        return;
    }
    // For another cluster than the flags describe.
    let start = || {
        let flags =
            ["--data-dir".as_ref(), data.as_os_str(), "--listen-client-urls".as_ref(), "http://127.0.0.1:1".as_ref()];
        Command::new(env!("CARGO_BIN_EXE_hull-kv")).args(flags).output().expect("start")
    };
    let refused = start();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("was restored for member"), "{why}");
    let files = || std::fs::read_dir(&data).expect("list").count();
    assert_eq!(files(), 1, "nothing but what was restored");
    std::fs::remove_dir_all(&data).expect("remove");
    restore(&[]).expect("was there a moment ago");
    let wal = data.join("member/wal/0000000000000000-0000000000000000.wal");
    let (log, database) =
        (std::fs::read(&wal).expect("log"), std::fs::read(data.join("member/snap/db")).expect("database"));
    for _ in 0..2 {
        let copy = Member::start(other.path());
        let mut new = client(&copy).await;
        for revision in [0, 450, 610] {
            assert_eq!(everything(&mut new, revision).await, everything(&mut old, revision).await);
        }
    }
    assert_eq!(
        (std::fs::read(&wal).expect("log"), std::fs::read(data.join("member/snap/db")).expect("database")),
        (log, database)
    );
    // Whatever it is that cannot be read to its end: it is not served as an empty store, and nothing is lost.
    for name in ["snapshot-", "wal-"] {
        let ours = std::fs::read_dir(&data).expect("list").flatten().map(|file| file.path());
        ours.filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
            .for_each(|path| std::fs::remove_file(path).expect("remove"));
    }
    let torn = std::fs::read(&wal).expect("log");
    std::fs::write(&wal, &torn[..50]).expect("write");
    let refused = start();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("holds an etcd's data"), "{why}");
}
