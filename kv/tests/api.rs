//! The gRPC API through the crate `etcd-client`, which nobody here wrote.
mod support;

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions, LeaseGrantOptions, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, WatchOptions, WatchResponse, WatchStream,
};
use support::{Member, folder};

/// Nothing here takes long; what does not come at all must not hang a test run.
const PATIENCE: Duration = Duration::from_secs(30);

async fn client(member: &Member) -> Client {
    Client::connect([member.endpoint()], None).await.expect("connect")
}

/// The next answer of a watch stream.
async fn next(watch: &mut WatchStream) -> WatchResponse {
    let message = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time");
    message.expect("message").expect("open")
}

/// Opens a watch and takes its first answer, which says that it is open.
async fn watch(client: &mut Client, key: &str, options: Option<WatchOptions>) -> WatchStream {
    let mut watch = client.watch(key, options).await.expect("watch");
    let first = next(&mut watch).await;
    assert!(first.created() && first.watch_id() == 0);
    watch
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (i32, String) {
    match result {
        Err(Error::GRpcStatus(status)) => (status.code().into(), status.message().to_owned()),
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn put_get_and_delete_answer_with_revisions_and_previous_values() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    let first = client.put("a", "1", None).await.expect("put");
    assert_eq!(first.header().map(etcd_client::ResponseHeader::revision), Some(2));
    let mut second = client.put("a", "2", Some(PutOptions::new().with_prev_key())).await.expect("put");
    assert_eq!(second.take_prev_key().map(|pair| pair.value().to_vec()), Some(b"1".to_vec()));
    let deleted = client.delete("a", Some(DeleteOptions::new().with_prev_key())).await.expect("delete");
    assert_eq!((deleted.deleted(), deleted.prev_kvs()[0].version()), (1, 2));
    let old = client.get("a", Some(GetOptions::new().with_revision(2))).await.expect("get");
    assert_eq!(old.kvs()[0].value(), b"1");
}

#[tokio::test]
async fn refusals_are_etcds_to_the_letter() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    for n in 0..5 {
        client.put("a", n.to_string(), None).await.expect("put");
    }
    client.compact(4, None).await.expect("compact");
    let get = |revision| Some(GetOptions::new().with_revision(revision));
    assert_eq!(
        refusal(client.get("a", get(3)).await),
        (11, "etcdserver: mvcc: required revision has been compacted".into())
    );
    assert_eq!(
        refusal(client.get("a", get(99)).await),
        (11, "etcdserver: mvcc: required revision is a future revision".into())
    );
    assert_eq!(
        refusal(client.compact(4, None).await),
        (11, "etcdserver: mvcc: required revision has been compacted".into())
    );
    assert_eq!(refusal(client.put("", "v", None).await), (3, "etcdserver: key is not provided".into()));
    assert_eq!(
        refusal(client.put("b", "v", Some(PutOptions::new().with_lease(5))).await),
        (5, "etcdserver: requested lease not found".into())
    );
    assert_eq!(refusal(client.lease_revoke(5).await), (5, "etcdserver: requested lease not found".into()));
    let twice = Txn::new().and_then([TxnOp::put("a", "1", None), TxnOp::put("a", "2", None)]);
    assert_eq!(refusal(client.txn(twice).await), (3, "etcdserver: duplicate key given in txn request".into()));
    let large = vec![0; 1_600_000];
    assert_eq!(refusal(client.put("large", large, None).await), (3, "etcdserver: request is too large".into()));
    assert_eq!(refusal(client.auth_enable().await), (9, "etcdserver: root user does not exist".into()));
}

#[tokio::test]
async fn a_transaction_swaps_only_what_it_expected() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    client.put("a", "1", None).await.expect("put");
    let swap = |from: &str, to: &str| {
        Txn::new()
            .when([Compare::value("a", CompareOp::Equal, from)])
            .and_then([TxnOp::put("a", to, None)])
            .or_else([TxnOp::get("a", None)])
    };
    assert!(client.txn(swap("1", "2")).await.expect("txn").succeeded());
    assert!(!client.txn(swap("1", "3")).await.expect("txn").succeeded());
    assert_eq!(client.get("a", None).await.expect("get").kvs()[0].value(), b"2");
}

#[tokio::test]
async fn a_range_is_sorted_and_limited() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    for key in ["p/c", "p/a", "p/b", "q"] {
        client.put(key, "v", None).await.expect("put");
    }
    let options = GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Descend).with_limit(2);
    let response = client.get("p/", Some(options)).await.expect("get");
    let keys: Vec<_> = response.kvs().iter().map(|pair| pair.key_str().expect("text").to_owned()).collect();
    assert_eq!((keys, response.count(), response.more()), (vec!["p/b".to_owned(), "p/a".to_owned()], 3, true));
}

#[tokio::test]
async fn a_watch_tells_history_then_news_and_ends_when_cancelled() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    client.put("w/1", "old", None).await.expect("put");
    let options = WatchOptions::new().with_prefix().with_start_revision(2).with_prev_key();
    let mut watch = watch(&mut client, "w/", Some(options)).await;
    client.put("w/1", "new", None).await.expect("put");
    client.put("other", "x", None).await.expect("put");
    client.delete("w/1", None).await.expect("delete");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = next(&mut watch).await;
        for event in message.events() {
            let pair = event.kv().expect("pair");
            let before = event.prev_kv().map(|pair| pair.value_str().expect("text").to_owned());
            seen.push((event.event_type() == EventType::Put, pair.mod_revision(), before));
        }
    }
    assert_eq!(seen, [(true, 2, None), (true, 3, Some("old".into())), (false, 5, Some("new".into()))]);
    watch.cancel(0).await.expect("cancel");
    let message = next(&mut watch).await;
    assert!(message.canceled());
}

#[tokio::test]
async fn a_watch_that_is_refused_takes_no_number() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    let mut watch = watch(&mut client, "a", None).await;
    let empty = || WatchOptions::new().with_range("a");
    // Of two reasons etcd names the range.
    for options in [empty(), empty().with_watch_id(1)] {
        watch.watch("b", Some(options)).await.expect("ask");
        let refused = next(&mut watch).await;
        assert!(refused.canceled() && refused.cancel_reason().contains("range is empty"), "{refused:?}");
    }
    watch.watch("c", None).await.expect("ask");
    assert_eq!(next(&mut watch).await.watch_id(), 1);
}

#[tokio::test]
async fn a_watch_below_the_compaction_is_cancelled_with_the_revision_to_go_on_from() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    for n in 0..5 {
        client.put("a", n.to_string(), None).await.expect("put");
    }
    client.compact(4, None).await.expect("compact");
    let mut watch = watch(&mut client, "a", Some(WatchOptions::new().with_start_revision(2))).await;
    let message = next(&mut watch).await;
    assert!(message.canceled());
    assert_eq!(message.compact_revision(), 4);
    assert_eq!(message.header().map(etcd_client::ResponseHeader::revision), Some(0), "it did not get to any");
}

#[tokio::test]
async fn progress_is_told_on_request() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    let mut watch = watch(&mut client, "a", None).await;
    client.put("b", "x", None).await.expect("put");
    watch.request_progress().await.expect("request");
    let message = next(&mut watch).await;
    assert!(message.events().is_empty());
    assert_eq!(message.header().map(etcd_client::ResponseHeader::revision), Some(2));
}

#[tokio::test]
async fn a_lease_lives_while_it_is_kept_and_takes_its_key_when_it_is_not() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    let lease = client.lease_grant(2, Some(LeaseGrantOptions::new().with_id(123))).await.expect("grant");
    assert_eq!((lease.id(), lease.ttl()), (123, 2));
    client.put("leased", "v", Some(PutOptions::new().with_lease(123))).await.expect("put");
    let (mut keeper, mut kept) = client.lease_keep_alive(123).await.expect("keep alive");
    keeper.keep_alive().await.expect("keep alive");
    assert_eq!(kept.message().await.expect("message").expect("open").ttl(), 2);
    let left = client.lease_time_to_live(123, Some(etcd_client::LeaseTimeToLiveOptions::new().with_keys()));
    let left = left.await.expect("time to live");
    assert_eq!((left.granted_ttl(), left.keys()), (2, &[b"leased".to_vec()][..]));
    assert_eq!(client.leases().await.expect("leases").leases()[0].id(), 123);
    let mut watch = watch(&mut client, "leased", None).await;
    let message = next(&mut watch).await;
    assert_eq!(message.events()[0].event_type(), EventType::Delete);
    assert_eq!(client.lease_time_to_live(123, None).await.expect("time to live").ttl(), -1);
}

#[tokio::test]
async fn status_members_and_checksum_are_told() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &["--name", "alone"]);
    let mut client = client(&member).await;
    client.put("a", "1", None).await.expect("put");
    let status = client.status().await.expect("status");
    assert!(status.version().starts_with("3.5.") && status.leader() != 0 && status.db_size() > 0);
    let members = client.member_list().await.expect("members");
    assert_eq!((members.members()[0].name(), members.members()[0].id()), ("alone", status.leader()));
    let hash = client.hash_kv(0).await.expect("hash");
    assert_ne!(hash.hash(), 0);
    client.defragment().await.expect("defragment");
    assert_eq!(client.hash_kv(0).await.expect("hash").hash(), hash.hash());
}

#[tokio::test]
async fn a_checksum_during_a_compaction_is_the_one_before_or_after_it() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &[]);
    let mut client = client(&member).await;
    let mut revision = 0;
    for round in 0..100 {
        let puts = (0..100).map(|n| TxnOp::put(format!("{}", (round * 100 + n) % 7000), format!("{round}"), None));
        let done = client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await.expect("txn");
        revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
    }
    let mut before = client.hash_kv(0).await.expect("hash");
    for back in (0..20).rev() {
        let (mut hashing, mut compacting) = (client.clone(), client.clone());
        let (during, compacted) = tokio::join!(hashing.hash_kv(0), compacting.compact(revision - back, None));
        compacted.expect("compact");
        let (during, after) = (during.expect("hash"), client.hash_kv(0).await.expect("hash"));
        let told = |answer: &etcd_client::HashKvResponse| (answer.hash(), answer.compact_version());
        assert_eq!(told(&after).1, revision - back);
        assert!([told(&before), told(&after)].contains(&told(&during)), "{during:?}");
        before = after;
    }
}

#[tokio::test]
async fn monitors_see_how_many_streams_are_open_and_what_became_of_calls() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    client.put("a", "1", None).await.expect("put");
    client.get("", None).await.expect_err("no key");
    let watch = watch(&mut client, "a", None).await;
    let has = |line: &str| member.http("GET", "/metrics", "").1.lines().any(|known| known.starts_with(line));
    let kv = |method: &str| format!(r#"grpc_method="{method}",grpc_service="etcdserverpb.KV",grpc_type="unary"}} 1"#);
    assert!(has(&format!("grpc_server_started_total{{{}", kv("Put"))));
    assert!(has(&format!(r#"grpc_server_handled_total{{grpc_code="OK",{}"#, kv("Put"))));
    assert!(has(&format!(r#"grpc_server_handled_total{{grpc_code="InvalidArgument",{}"#, kv("Range"))));
    let of_watch = r#"grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 1"#;
    let ended = format!(r#"grpc_server_handled_total{{grpc_code="OK",{of_watch}"#);
    assert!(has(&format!("grpc_server_started_total{{{of_watch}")) && !has(&ended));
    drop((watch, client));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !has(&ended) {
        assert!(tokio::time::Instant::now() < deadline, "the watch never ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_lock_passes_on_in_the_order_of_asking() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    let first = client.lock("l", None).await.expect("lock");
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("l", None).await });
    while client.get("l/", Some(GetOptions::new().with_prefix().with_count_only())).await.expect("get").count() < 2 {}
    assert!(!waiting.is_finished());
    client.unlock(first.key()).await.expect("unlock");
    let second = tokio::time::timeout(PATIENCE, waiting).await.expect("in time").expect("task").expect("lock");
    assert_ne!(second.key(), first.key());
}

#[tokio::test]
async fn who_stops_waiting_for_a_lock_or_an_office_gives_the_place_up() {
    let folder = folder();
    let member = Member::start(folder.path());
    let (mut first, mut second) = (client(&member).await, client(&member).await);
    let held = first.lock("l", None).await.expect("lock");
    let office = first.lease_grant(60, None).await.expect("grant").id();
    first.campaign("e", "first", office).await.expect("office");
    let lease = second.lease_grant(60, None).await.expect("grant").id();
    let a_moment = Duration::from_millis(300);
    let options = etcd_client::LockOptions::new().with_lease(lease);
    assert!(tokio::time::timeout(a_moment, second.lock("l", Some(options))).await.is_err(), "it is held");
    assert!(tokio::time::timeout(a_moment, second.campaign("e", "second", lease)).await.is_err(), "it is taken");
    for queue in ["l/", "e/"] {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while first.get(queue, Some(GetOptions::new().with_prefix())).await.expect("get").count() > 1 {
            assert!(tokio::time::Instant::now() < deadline, "the place in {queue} stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let left = first.get("l/", Some(GetOptions::new().with_prefix())).await.expect("get");
    assert_eq!(left.kvs()[0].key(), held.key());
}

#[tokio::test]
async fn whose_lease_ends_while_waiting_gets_neither_the_lock_nor_the_office() {
    let folder = folder();
    let member = Member::start(folder.path());
    let (mut first, mut second, mut third) = (client(&member).await, client(&member).await, client(&member).await);
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(first.lease_grant(60, None).await.expect("grant").id());
    }
    let with = |lease: i64| Some(etcd_client::LockOptions::new().with_lease(lease));
    let held = first.lock("l", with(leases[0])).await.expect("lock");
    let office = first.campaign("e", "first", leases[0]).await.expect("office").take_leader().expect("leader");
    let (a, b) = (leases[1], leases[2]);
    let waiting = tokio::spawn(async move { second.lock("l", with(a)).await });
    let standing = tokio::spawn(async move { third.campaign("e", "third", b).await });
    for (queue, lease) in [("l/", a), ("e/", b)] {
        while first.get(queue, Some(GetOptions::new().with_prefix())).await.expect("get").count() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        first.lease_revoke(lease).await.expect("revoke");
    }
    first.unlock(held.key()).await.expect("unlock");
    first.resign(Some(etcd_client::ResignOptions::new().with_leader(office))).await.expect("resign");
    let lost = refusal(tokio::time::timeout(PATIENCE, waiting).await.expect("in time").expect("task"));
    assert_eq!(lost, (2, "mutex: session is expired".to_owned()));
    let lost = refusal(tokio::time::timeout(PATIENCE, standing).await.expect("in time").expect("task"));
    assert_eq!(lost, (2, "election: not leader".to_owned()));
}

#[tokio::test]
async fn locks_and_elections_pass_refusals_on_without_their_code() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    let unknown_lease = (2, "etcdserver: requested lease not found".to_owned());
    let options = etcd_client::LockOptions::new().with_lease(99);
    assert_eq!(refusal(client.lock("l", Some(options)).await), unknown_lease);
    assert_eq!(refusal(client.campaign("e", "me", 99).await), unknown_lease);
    assert_eq!(refusal(client.unlock("").await), (2, "etcdserver: key is not provided".to_owned()));
}

#[tokio::test]
async fn an_election_has_one_leader_whose_word_is_observed() {
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    assert_eq!(refusal(client.leader("e").await), (2, "election: no leader".into()));
    let lease = client.lease_grant(60, None).await.expect("grant").id();
    let mut campaign = client.campaign("e", "one", lease).await.expect("campaign");
    let leader = campaign.take_leader().expect("leader");
    let mut observed = client.observe(leader.name()).await.expect("observe");
    let mut word = async || {
        let message = tokio::time::timeout(PATIENCE, observed.message()).await.expect("in time");
        message.expect("message").expect("open").kv().expect("pair").value().to_vec()
    };
    assert_eq!(word().await, b"one");
    let options = etcd_client::ProclaimOptions::new().with_leader(leader.clone());
    client.proclaim("two", Some(options.clone())).await.expect("proclaim");
    assert_eq!(word().await, b"two");
    let resign = etcd_client::ResignOptions::new().with_leader(leader);
    client.resign(Some(resign)).await.expect("resign");
    assert_eq!(refusal(client.proclaim("three", Some(options)).await), (2, "election: not leader".into()));
}

#[tokio::test]
async fn a_stream_of_very_many_watchers_goes_whole_when_its_client_does() {
    const WATCHERS: i64 = 3500;
    let folder = folder();
    let member = Member::start(folder.path());
    let mut client = client(&member).await;
    let mut stream = client.watch("p/0", None).await.expect("watch");
    for id in 1..WATCHERS {
        stream.watch(format!("p/{id}"), Some(WatchOptions::new().with_prefix())).await.expect("watch");
    }
    for _ in 0..WATCHERS {
        assert!(next(&mut stream).await.created());
    }
    let count = |watchers: i64| {
        let line = format!("etcd_debugging_mvcc_watcher_total {watchers}");
        member.http("GET", "/metrics", "").1.lines().any(|known| known == line)
    };
    assert!(count(WATCHERS));
    drop(stream);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !count(0) {
        assert!(tokio::time::Instant::now() < deadline, "the watchers never went");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
