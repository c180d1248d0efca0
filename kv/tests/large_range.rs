//! An answer of a hundred megabytes is sent as it is read: the member never has it in memory.
mod support;

use etcd_client::{Client, GetOptions, SortOrder, SortTarget};
use support::{Member, folder};

const VALUES: usize = 100;
const VALUE_BYTES: usize = 1_000_000;

/// Bytes that the member had in memory at most since its peak was last forgotten.
fn peak(member: &Member) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", member.process())).expect("status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") * 1024
}

/// From now on the peak counts afresh (proc_pid_clear_refs(5)).
fn forget_peak(member: &Member) {
    std::fs::write(format!("/proc/{}/clear_refs", member.process()), "5").expect("clear_refs");
}

#[tokio::test]
async fn a_range_far_larger_than_the_members_memory_is_answered_whole_and_right() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = Client::connect([member.endpoint()], None).await.expect("connect");
    for n in 0..VALUES {
        let value = vec![n as u8; VALUE_BYTES];
        client.put(format!("k{n:03}"), value, None).await.expect("put");
    }
    client.defragment().await.expect("values leave memory");
    for order in [SortOrder::Ascend, SortOrder::Descend] {
        forget_peak(&member);
        let before = peak(&member);
        let options = GetOptions::new().with_all_keys().with_sort(SortTarget::Mod, order);
        let mut reader = client.kv_client().max_decoding_message_size(usize::MAX);
        let all = reader.get("", Some(options)).await.expect("range");
        let grown = peak(&member).saturating_sub(before);
        assert!(grown < (VALUES * VALUE_BYTES / 5) as u64, "{grown} bytes for an answer of {VALUES} MB");
        assert_eq!((all.count(), all.more(), all.kvs().len()), (VALUES as i64, false, VALUES));
        for (n, pair) in all.kvs().iter().enumerate() {
            let n = if order == SortOrder::Ascend { n } else { VALUES - 1 - n };
            assert_eq!((pair.key(), pair.value().len()), (format!("k{n:03}").as_bytes(), VALUE_BYTES));
            assert!(pair.value().iter().all(|byte| usize::from(*byte) == n), "value {n}");
            assert_eq!((pair.version(), pair.mod_revision()), (1, n as i64 + 2));
        }
        assert_eq!(all.header().expect("header").revision(), VALUES as i64 + 1);
    }
}

#[tokio::test]
async fn answers_are_the_same_in_pieces_and_whole_and_writes_go_on_between() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = Client::connect([member.endpoint()], None).await.expect("connect");
    for n in 0..60 {
        client.put(format!("k{n:02}"), vec![b'v'; 40_000], None).await.expect("put");
    }
    let revision = client.get("k00", None).await.expect("get").header().expect("header").revision();
    let then = GetOptions::new().with_all_keys().with_revision(revision);
    // Sent in pieces, since it is over a megabyte; few pairs at a time are sent whole.
    let (large, delete) = {
        let mut writer = client.clone();
        tokio::join!(client.get("", Some(then.clone().with_limit(50))), writer.delete("k10", None))
    };
    delete.expect("delete");
    let large = large.expect("range");
    assert_eq!((large.count(), large.more(), large.kvs().len()), (60, true, 50));
    for (n, pair) in large.kvs().iter().enumerate() {
        let one = client.get(pair.key(), Some(GetOptions::new().with_revision(revision))).await.expect("get");
        let [one] = one.kvs() else { panic!("pair {n} is there once") };
        assert_eq!(
            (one.value(), one.mod_revision(), one.version()),
            (pair.value(), pair.mod_revision(), pair.version())
        );
    }
    let named = client.get("", Some(then.with_keys_only())).await.expect("range");
    assert!(named.kvs().iter().all(|pair| pair.value().is_empty()) && named.kvs().len() == 60);
}
