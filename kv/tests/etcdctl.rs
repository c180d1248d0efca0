//! Every verb of etcdctl, as Debian ships it, against a real etcd and against this store: the same words must come out. Numbers of
//! members, clusters and leases are masked, since they differ by design; so are addresses and times.
//!
//! Left out is what etcd 3.4 does not do well: asked for progress, it tells a revision whose events it has not sent yet; and the refusals
//! of maintenance calls to users without the root role come without their code.
#[path = "support/etcd.rs"]
mod etcd;
mod support;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use etcd::Etcd;
use support::{Member, folder};

/// What etcdctl wrote and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A store, and a folder for its files.
struct Side<'a> {
    port: u16,
    folder: &'a Path,
}

impl Side<'_> {
    fn run(&self, words: &str, input: &str) -> Said {
        let endpoint = format!("127.0.0.1:{}", self.port);
        let script = match words.strip_prefix("for a while: ") {
            // What it reads stays open, so that it does not end by itself.
            Some(words) => format!("{{ cat; sleep 5; }} | timeout 3 etcdctl --endpoints {endpoint} {words}"),
            None => format!("etcdctl --endpoints {endpoint} {words}"),
        };
        let script = script.replace("SELF", &endpoint);
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(self.folder)
            .env("ETCDCTL_API", "3")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start");
        // A verb that reads nothing may have ended.
        let _ = child.stdin.take().expect("stdin").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("etcdctl");
        let text = |bytes: &[u8]| mask(&String::from_utf8_lossy(bytes).replace(&endpoint, "ENDPOINT"));
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Numbers of members and the like (ten hexadecimal digits and more), and times, are masked; lines of a log say when they were written.
fn mask(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        if line.starts_with('{') && line.contains(r#""level":"#) {
            continue;
        }
        for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let rest = &word[digits.len()..];
            let number = digits.len() >= 10 && digits.chars().all(|c| c.is_ascii_hexdigit());
            masked.push_str(if number { "ID" } else { digits });
            masked.push_str(rest);
        }
        masked.push('\n');
    }
    for (before, after) in [("took = ", "s"), ("remaining(", "s)"), ("raft_term\":", "}"), ("\"raft_term\":", ",")] {
        masked = without(&masked, before, after);
    }
    masked
}

/// Leaves out what stands between two words on one line.
fn without(text: &str, before: &str, after: &str) -> String {
    let cut = |line: &str| match line.split_once(before) {
        Some((head, tail)) => match tail.split_once(after) {
            Some((_, rest)) => format!("{head}{before}{after}{rest}"),
            None => line.to_owned(),
        },
        None => line.to_owned(),
    };
    text.lines().map(|line| cut(line) + "\n").collect()
}

const KEYS: &[(&str, &str)] = &[
    ("put a 1", ""),
    ("put a 2 --prev-kv", ""),
    ("put b", "from standard input"),
    ("put k/1 one -w json", ""),
    ("put k/2 two -w fields", ""),
    ("put k/3 three", ""),
    ("put a --ignore-value", ""),
    ("put none --ignore-value", ""),
    ("put a x --lease=7", ""),
    ("put '' x", ""),
    ("get a", ""),
    ("get a -w json", ""),
    ("get a -w fields", ""),
    ("get a -w simple --print-value-only", ""),
    ("get none", ""),
    ("get k/ --prefix", ""),
    ("get k/ --prefix --keys-only", ""),
    ("get k/ --prefix --limit=2", ""),
    ("get k/ --prefix --limit=2 -w json", ""),
    ("get k/ --prefix --count-only -w fields", ""),
    ("get '' --prefix --count-only -w json", ""),
    ("get a k/2", ""),
    ("get b --from-key", ""),
    ("get '' --from-key --sort-by=MODIFY --order=DESCEND", ""),
    ("get '' --prefix --sort-by=VERSION --order=ASCEND", ""),
    ("get '' --prefix --sort-by=CREATE --order=DESCEND", ""),
    ("get '' --prefix --sort-by=VALUE", ""),
    ("get '' --prefix --sort-by=KEY --order=DESCEND --limit=2", ""),
    ("get a --rev=2", ""),
    ("get a --rev=999", ""),
    ("get a --consistency=s", ""),
    ("get a --hex", ""),
    ("del none", ""),
    ("del k/1 --prev-kv", ""),
    ("del k/ --prefix --prev-kv", ""),
    ("put k/4 four", ""),
    ("del k/ --from-key -w json", ""),
    ("txn -i", "value(\"a\") = \"2\"\n\nput c 3\nget c\n\ndel a\n\n"),
    ("txn", "mod(\"a\") > \"99\"\n\nput c 4\n\nget c\nget a\n\n"),
    ("txn -w json", "version(\"new\") = \"0\"\ncreate(\"a\") != \"0\"\n\nput new v\ndel c\n\n\n"),
    ("txn", "ver(\"a\") = \"0\"\n\nput a 1\nput a 2\n\n\n"),
    ("txn", "\nput a 1\nput a 2\n\n\n"),
    ("for a while: watch a --rev=2", ""),
    ("for a while: watch '' --prefix --rev=2 --prev-kv", ""),
    ("for a while: watch k/ --prefix --rev=2 -w json", ""),
    ("for a while: watch -i", "watch k/ --prefix --rev=3\n"),
    ("for a while: watch a --rev=2 -- sh -c 'env | grep ETCD_WATCH | sort'", ""),
    ("compaction 4", ""),
    ("compaction 4", ""),
    ("compaction 999", ""),
    ("compaction 6 --physical", ""),
    ("get a --rev=3", ""),
    ("for a while: watch a --rev=2", ""),
    ("endpoint hashkv", ""),
    ("endpoint hashkv --rev 8", ""),
    ("for a while: make-mirror --prefix=a --dest-prefix=mirror/ SELF", ""),
    ("get mirror/ --prefix", ""),
    ("for a while: make-mirror --prefix=c SELF --no-dest-prefix", ""),
];

const REST: &[(&str, &str)] = &[
    ("lease grant 60", ""),
    ("lease grant 0", ""),
    ("lease grant x", ""),
    ("lease list", ""),
    ("lease revoke 7", ""),
    ("lease timetolive 7", ""),
    ("lease timetolive 7 --keys", ""),
    ("lease keep-alive 7", ""),
    ("lease keep-alive --once 7", ""),
    ("lease list | tail -1 | xargs etcdctl --endpoints SELF put leased v --lease", ""),
    ("lease list | tail -1 | xargs etcdctl --endpoints SELF lease timetolive --keys", ""),
    ("lease list | tail -1 | xargs etcdctl --endpoints SELF lease keep-alive --once", ""),
    ("lease list | tail -1 | xargs etcdctl --endpoints SELF lease revoke", ""),
    ("get leased", ""),
    ("lock l echo held", ""),
    ("lock l sh -c 'exit 3'", ""),
    ("for a while: lock l --ttl=5", ""),
    ("for a while: elect e me", ""),
    ("for a while: elect -l e", ""),
    ("alarm list", ""),
    ("alarm disarm", ""),
    ("defrag", ""),
    ("endpoint health", ""),
    ("endpoint health --cluster", ""),
    ("move-leader 1", ""),
    ("member list --hex=false | wc -l", ""),
    ("member add x", ""),
    ("member add x --peer-urls=nonsense", ""),
    ("member remove 1", ""),
    ("member update 1 --peer-urls=http://127.0.0.1:1", ""),
    ("member promote 1", ""),
    ("snapshot save db | wc -l", ""),
    ("snapshot status db | wc -w", ""),
    ("snapshot restore db --data-dir restored", ""),
    ("user add root:r", ""),
    ("user add root:r", ""),
    ("user add ann --interactive=false", "a\n"),
    ("user add nopass --no-password", ""),
    ("user passwd ann --interactive=false", "b\n"),
    ("user list", ""),
    ("user get ann", ""),
    ("user get nobody", ""),
    ("role add root", ""),
    ("role add anns", ""),
    ("role add anns", ""),
    ("role grant-permission anns readwrite ann/ --prefix", ""),
    ("role grant-permission anns read x y", ""),
    ("role grant-permission anns write z --from-key", ""),
    ("role grant-permission none read x", ""),
    ("role get anns", ""),
    ("role get anns -w json", ""),
    ("role revoke-permission anns x y", ""),
    ("role revoke-permission anns x y", ""),
    ("role list", ""),
    ("auth enable", ""),
    ("user grant-role root root", ""),
    ("user grant-role ann anns", ""),
    ("user grant-role ann none", ""),
    ("user get ann --detail", ""),
    ("auth enable", ""),
    ("put ann/1 v", ""),
    ("--user ann:wrong put ann/1 v", ""),
    ("--user ann:b put ann/1 v", ""),
    ("--user ann --password b get ann/ --prefix", ""),
    ("--user ann:b put other v", ""),
    ("--user ann:b get other", ""),
    ("--user ann:b user list", ""),
    ("--user ann:b user get ann", ""),
    ("--user ann:b role get anns", ""),
    ("--user ann:b txn", "value(\"ann/1\") = \"v\"\n\nput ann/2 w\n\nput other w\n\n"),
    ("--user root:r user list", ""),
    ("--user root:r user revoke-role ann anns", ""),
    ("--user ann:b get ann/1", ""),
    ("--user root:r user delete ann", ""),
    ("--user root:r role delete anns", ""),
    ("--user root:r auth disable", ""),
    ("auth disable", ""),
    ("get ann/1", ""),
];

/// Both stores side by side; `None` where etcd is not installed.
fn compare(verbs: &[(&str, &str)]) {
    let folder = folder();
    let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
    for side in [&theirs, &ours] {
        std::fs::create_dir(side).expect("folder");
    }
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let Some(etcd) = Etcd::start(&folder.path().join("etcd")) else {
        return eprintln!("skipped: etcd is not installed");
    };
    if Command::new("etcdctl").arg("version").output().is_err() {
        return eprintln!("skipped: etcdctl is not installed");
    }
    drop(runtime.block_on(etcd.client()));
    let member = Member::start_with(folder.path(), &["--bcrypt-cost", "4"]);
    let (theirs, ours) = (Side { port: etcd.port, folder: &theirs }, Side { port: member.port, folder: &ours });
    let mut differ = Vec::new();
    for (words, input) in verbs {
        let (said, expected) = std::thread::scope(|scope| {
            let etcds = scope.spawn(|| theirs.run(words, input));
            (ours.run(words, input), etcds.join().expect("etcdctl"))
        });
        if expected != said {
            differ.push(format!("etcdctl {words}\n  etcd: {expected:?}\n  here: {said:?}"));
        }
    }
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), verbs.len(), differ.join("\n"));
}

#[test]
fn keys_transactions_watches_and_compaction_read_as_with_etcd() {
    compare(KEYS);
}

#[test]
fn leases_locks_elections_members_users_and_roles_read_as_with_etcd() {
    compare(REST);
}
