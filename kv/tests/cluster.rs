//! Clusters of real processes on loopback: killed, stopped, left behind, added and removed, while clients write.
mod support;

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use etcd_client::{Client, EventType, GetOptions, MemberAddOptions, PutOptions, WatchOptions};
use hull_kv_proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, WatchCreateRequest, WatchRequest, WatchResponse,
    watch_request::RequestUnion,
};
use prost::Message;
use support::{Member, Starting, folder, free_port};
use tempfile::TempDir;

/// Members that are started with one list.
struct Cluster {
    folders: Vec<TempDir>,
    ports: Vec<(u16, u16)>,
    members: Vec<Option<Member>>,
    /// How members reach each other.
    way: Way,
}

#[derive(Clone, Copy)]
enum Way {
    Tcp,
    UnixSockets,
}

impl Cluster {
    fn start(size: usize) -> Self {
        Self::start_by(size, Way::Tcp)
    }

    fn start_by(size: usize, way: Way) -> Self {
        let mut cluster = Self { folders: Vec::new(), ports: Vec::new(), members: Vec::new(), way };
        for _ in 0..size {
            cluster.add_place();
        }
        let starting: Vec<Starting> = (0..size).map(|at| cluster.spawn(at, size, "new")).collect();
        cluster.members = starting.into_iter().map(|starting| Some(starting.ready())).collect();
        cluster
    }

    fn add_place(&mut self) -> usize {
        self.folders.push(folder());
        self.ports.push((free_port(), free_port()));
        self.members.push(None);
        self.ports.len() - 1
    }

    fn peer_url(&self, at: usize) -> String {
        match self.way {
            Way::Tcp => format!("http://127.0.0.1:{}", self.ports[at].1),
            Way::UnixSockets => format!("unix://{}", self.folders[at].path().join("peer.sock").display()),
        }
    }

    /// Starts a member that knows the first `size` places.
    fn spawn(&self, at: usize, size: usize, state: &str) -> Starting {
        let list: Vec<String> = (0..size).map(|other| format!("m{other}={}", self.peer_url(other))).collect();
        let (name, list, port) = (format!("m{at}"), list.join(","), self.ports[at].0);
        let peer_url = self.peer_url(at);
        let flags = [
            "--name",
            &name,
            "--initial-cluster",
            &list,
            "--initial-cluster-state",
            state,
            "--listen-peer-urls",
            &peer_url,
        ];
        Member::spawn(self.folders[at].path(), port, &flags)
    }

    fn restart(&mut self, at: usize) {
        self.members[at] = Some(self.spawn(at, self.ports.len(), "new").ready());
    }

    fn member(&self, at: usize) -> &Member {
        self.members[at].as_ref().expect("a running member")
    }

    fn take(&mut self, at: usize) -> Member {
        self.members[at].take().expect("a running member")
    }

    async fn client(&self, at: usize) -> Client {
        Client::connect([format!("127.0.0.1:{}", self.ports[at].0)], None).await.expect("connect")
    }

    fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|at| self.members[*at].is_some()).collect()
    }

    /// The place of the leader, once there is one that the member `asked` knows.
    async fn leader(&self, asked: usize) -> usize {
        let mut client = self.client(asked).await;
        loop {
            let leader = client.status().await.expect("status").leader();
            for at in self.running() {
                let own = self.client(at).await.status().await.expect("status");
                if leader != 0 && own.header().expect("header").member_id() == leader {
                    return at;
                }
            }
            pause().await;
        }
    }

    /// Waits until all running members have the same keys; answers their number.
    async fn agree(&self) -> usize {
        loop {
            let mut hashes = HashSet::new();
            for at in self.running() {
                let answer = self.client(at).await.hash_kv(0).await.expect("hash");
                hashes.insert((answer.hash(), answer.header().expect("header").revision()));
            }
            if hashes.len() == 1 {
                let everything = GetOptions::new().with_all_keys().with_count_only();
                let mut client = self.client(self.running()[0]).await;
                return client.get("", Some(everything)).await.expect("count").count() as usize;
            }
            pause().await;
        }
    }
}

/// Between two looks at something that will happen.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Writes different keys through one member after the other, until it is stopped; what was acknowledged is written down.
fn write_on(
    cluster: &Cluster,
    acknowledged: &Arc<Mutex<Vec<String>>>,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let endpoints: Vec<String> = cluster.ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
    let writer = |writer: usize| {
        let (endpoints, acknowledged, stop) = (endpoints.clone(), Arc::clone(acknowledged), Arc::clone(stop));
        tokio::spawn(async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let endpoint = endpoints[(writer + n) % endpoints.len()].clone();
                let Ok(mut client) = Client::connect([endpoint], None).await else { continue };
                for _ in 0..50 {
                    n += 1;
                    let key = format!("w{writer}/{n}");
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let put = client.put(key.clone(), "v", None);
                    match tokio::time::timeout(Duration::from_secs(8), put).await {
                        Ok(Ok(_)) => acknowledged.lock().expect("list").push(key),
                        _ => break,
                    }
                }
            }
        })
    };
    (0..4).map(writer).collect()
}

async fn more(acknowledged: &Arc<Mutex<Vec<String>>>, by: usize) {
    let goal = acknowledged.lock().expect("list").len() + by;
    while acknowledged.lock().expect("list").len() < goal {
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_while_leaders_are_killed_and_frozen() {
    let mut cluster = Cluster::start(3);
    let (acknowledged, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let writers = write_on(&cluster, &acknowledged, &stop);
    for _ in 0..3 {
        more(&acknowledged, 200).await;
        let leader = cluster.leader(0).await;
        cluster.take(leader).kill();
        more(&acknowledged, 200).await;
        cluster.restart(leader);
    }
    for _ in 0..2 {
        let leader = cluster.leader(0).await;
        cluster.member(leader).freeze();
        more(&acknowledged, 100).await;
        cluster.member(leader).thaw();
        more(&acknowledged, 100).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("writer");
    }
    cluster.agree().await;
    let everything = GetOptions::new().with_all_keys().with_keys_only();
    let there = cluster.client(1).await.get("", Some(everything)).await.expect("get");
    let there: HashSet<&[u8]> = there.kvs().iter().map(etcd_client::KeyValue::key).collect();
    for key in acknowledged.lock().expect("list").iter() {
        assert!(there.contains(key.as_bytes()), "{key} was acknowledged and is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_members_write_on_while_two_are_gone_and_wait_while_three_are() {
    let mut cluster = Cluster::start(5);
    let (acknowledged, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let writers = write_on(&cluster, &acknowledged, &stop);
    more(&acknowledged, 100).await;
    // The leader and another one.
    let leader = cluster.leader(0).await;
    let other = (leader + 1) % 5;
    cluster.take(leader).kill();
    cluster.take(other).kill();
    more(&acknowledged, 200).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("writer");
    }
    let third = cluster.running()[0];
    let left = cluster.running()[1];
    cluster.take(third).kill();
    let mut client = cluster.client(left).await;
    let waits = tokio::time::timeout(Duration::from_secs(2), client.put("of two", "v", None)).await;
    assert!(!matches!(waits, Ok(Ok(_))), "two of five acknowledged a write");
    for at in [third, leader, other] {
        cluster.restart(at);
    }
    client.put("of five", "v", None).await.expect("there is a majority");
    cluster.agree().await;
    let everything = GetOptions::new().with_all_keys().with_keys_only();
    let there = cluster.client(leader).await.get("", Some(everything)).await.expect("get");
    let there: HashSet<&[u8]> = there.kvs().iter().map(etcd_client::KeyValue::key).collect();
    for key in acknowledged.lock().expect("list").iter() {
        assert!(there.contains(key.as_bytes()), "{key} was acknowledged and is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_on_one_machine_can_talk_over_unix_sockets() {
    let mut cluster = Cluster::start_by(3, Way::UnixSockets);
    cluster.client(1).await.put("k", "v", None).await.expect("put");
    let place = cluster.add_place();
    let asked = format!(r#"{{"peerURLs":["{}"]}}"#, cluster.peer_url(place));
    // The members must have been in touch for a while (the crate's client asks again by itself, but for nothing).
    while let (head, refused) = cluster.member(0).http("POST", "/v3/cluster/member/add", &asked)
        && !head.starts_with("HTTP/1.1 200")
    {
        assert!(refused.contains("unhealthy cluster"), "{refused}");
        pause().await;
    }
    let added = cluster.spawn(place, 4, "existing").ready();
    cluster.members[place] = Some(added);
    assert_eq!(cluster.agree().await, 1);
    let leader = cluster.leader(0).await;
    cluster.take(leader).kill();
    cluster.client((leader + 1) % 4).await.put("l", "v", None).await.expect("put without the leader");
    // In place of the socket that it left behind.
    cluster.restart(leader);
    assert_eq!(cluster.agree().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_answers_no_read_from_before() {
    let cluster = Cluster::start(3);
    cluster.client(0).await.put("k", "old", None).await.expect("put");
    let leader = cluster.leader(0).await;
    let mut through_leader = cluster.client(leader).await;
    through_leader.get("k", None).await.expect("get");
    cluster.member(leader).freeze();
    let other = (leader + 1) % 3;
    cluster.client(other).await.put("k", "new", None).await.expect("put");
    let read = tokio::spawn(async move { through_leader.get("k", None).await });
    cluster.member(leader).thaw();
    // It may refuse, but it must not answer what is no longer so.
    if let Ok(answer) = read.await.expect("read") {
        assert_eq!(answer.kvs()[0].value(), b"new");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_far_behind_catches_up_by_a_snapshot_and_its_watchers_miss_nothing() {
    let mut cluster = Cluster::start(3);
    let follower = (cluster.leader(0).await + 1) % 3;
    let writer = (follower + 1) % 3;
    cluster.client(writer).await.put("before", "v", None).await.expect("put");
    cluster.agree().await;
    // Frozen, not killed: its watchers must hear of everything that the snapshot brings.
    let options = WatchOptions::new().with_prefix();
    let mut watched = cluster.client(follower).await.watch("big", Some(options)).await.expect("watch");
    cluster.member(follower).freeze();
    let value = "x".repeat(1_000_000);
    let mut client = cluster.client(writer).await;
    for n in 0..60 {
        client.put(format!("big{n:02}"), value.clone(), None).await.expect("put");
    }
    cluster.member(follower).thaw();
    let mut seen = Vec::new();
    while seen.len() < 60 {
        let answer = watched.message().await.expect("events").expect("more events");
        for event in answer.events() {
            assert_eq!(event.event_type(), EventType::Put);
            seen.push(String::from_utf8_lossy(event.kv().expect("pair").key()).into_owned());
        }
    }
    assert_eq!(seen, (0..60).map(|n| format!("big{n:02}")).collect::<Vec<_>>());
    assert_eq!(cluster.agree().await, 61);
    // And once more from the disk.
    cluster.take(follower).kill();
    client.put("while it is away", "v", None).await.expect("put");
    cluster.restart(follower);
    assert_eq!(cluster.agree().await, 62);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_its_leader_as_long_as_it_is_kept_alive_through_any_member() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader(0).await;
    let follower = (leader + 1) % 3;
    let mut client = cluster.client(follower).await;
    let lease = client.lease_grant(5, None).await.expect("grant").id();
    client.put("kept", "v", Some(PutOptions::new().with_lease(lease))).await.expect("put");
    let (mut keeper, mut answers) = client.lease_keep_alive(lease).await.expect("keep alive");
    keeper.keep_alive().await.expect("ask");
    assert_eq!(answers.message().await.expect("answer").expect("answer").ttl(), 5);
    cluster.take(leader).kill();
    for _ in 0..3 {
        keeper.keep_alive().await.expect("ask");
        assert_eq!(answers.message().await.expect("answer").expect("answer").ttl(), 5);
        let left = client.lease_time_to_live(lease, None).await.expect("time to live").ttl();
        assert!((0..=6).contains(&left), "{left} seconds left");
    }
    assert_eq!(client.get("kept", None).await.expect("get").count(), 1);
    // Nobody keeps it alive any more: it ends, although its first leader is gone.
    while client.get("kept", None).await.expect("get").count() > 0 {
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_asked_to_stop_hands_over_first() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader(0).await;
    let mut others = Vec::new();
    for at in [(leader + 1) % 3, (leader + 2) % 3] {
        others.push(cluster.client(at).await);
    }
    let old = others[0].status().await.expect("status").leader();
    assert!(cluster.take(leader).stop(), "a stop on request is no failure");
    // It ended only when it knew its successor, so the successor knows itself.
    let mut known = Vec::new();
    for client in &mut others {
        known.push(client.status().await.expect("status").leader());
    }
    assert!(known.iter().any(|leader| *leader != 0 && *leader != old), "{old:x} stopped, {known:x?} lead");
    others[0].put("after", "v", None).await.expect("put");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitors_see_what_goes_between_the_members() {
    let cluster = Cluster::start(3);
    cluster.client(0).await.put("k", "v", None).await.expect("put");
    let leader = cluster.leader(0).await;
    let metrics = cluster.member(leader).http("GET", "/metrics", "").1;
    let bytes = |name: &str| -> Vec<u64> {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    };
    for name in ["etcd_network_peer_sent_bytes_total{To=", "etcd_network_peer_received_bytes_total{From="] {
        let found = bytes(name);
        assert!(found.len() == 2 && found.iter().all(|bytes| *bytes > 0), "{name} {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_linearizable_reads_are_refused_and_only_serializable_ones_answered() {
    let mut cluster = Cluster::start(3);
    let mut client = cluster.client(0).await;
    client.put("k", "v", None).await.expect("put");
    cluster.agree().await;
    cluster.take(1).kill();
    cluster.take(2).kill();
    let asked = GetOptions::new().with_serializable();
    assert_eq!(client.get("k", Some(asked)).await.expect("what this member has").count(), 1);
    // A watch that wants to know when the cluster is lost is told so.
    let options = etcd_client::ConnectOptions::new().with_require_leader(true);
    let endpoint = format!("127.0.0.1:{}", cluster.ports[0].0);
    let mut wary = Client::connect([endpoint], Some(options)).await.expect("connect");
    let told = loop {
        match wary.watch("k", None).await {
            Err(refused) => break refused,
            Ok(mut watch) => match watch.message().await {
                Err(ended) => break ended,
                Ok(message) => assert!(message.is_some(), "the stream ended without a word"),
            },
        }
    };
    assert!(told.to_string().contains("etcdserver: no leader"), "{told}");
    // Both wait as long as a request may, and then hear why.
    let mut writer = client.clone();
    let (read, written) = tokio::join!(client.get("k", None), writer.put("k", "w", None));
    let read = read.expect_err("nobody can prove that it is not old").to_string();
    let written = written.expect_err("no majority holds it").to_string();
    assert!(read.contains("etcdserver: request timed out"), "{read}");
    assert!(written.contains("context deadline exceeded"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_leader_that_wakes_ends_no_lease_that_was_kept_alive_through_the_new_one() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader(0).await;
    let mut client = cluster.client((leader + 1) % 3).await;
    let lease = client.lease_grant(4, None).await.expect("grant").id();
    client.put("kept", "v", Some(PutOptions::new().with_lease(lease))).await.expect("put");
    cluster.member(leader).freeze();
    let (mut keeper, mut answers) = client.lease_keep_alive(lease).await.expect("keep alive");
    // Longer than the lease's time, so the old leader's clock says that it is over.
    let granted = std::time::Instant::now();
    while granted.elapsed() < Duration::from_secs(6) {
        keeper.keep_alive().await.expect("ask");
        assert_eq!(answers.message().await.expect("answer").expect("answer").ttl(), 4);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.member(leader).thaw();
    for _ in 0..20 {
        keeper.keep_alive().await.expect("ask");
        assert_eq!(answers.message().await.expect("answer").expect("answer").ttl(), 4);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.agree().await;
    assert_eq!(client.get("kept", None).await.expect("get").count(), 1);
}

/// Adds a voter, as soon as the members before it have told their names.
async fn add(client: &mut Client, url: String) {
    while let Err(refused) = client.member_add([url.clone()], None).await {
        assert!(refused.to_string().contains("not enough started members"), "{refused}");
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_from_one_to_three_loses_a_disk_and_shrinks_again() {
    let mut cluster = Cluster::start(1);
    let mut client = cluster.client(0).await;
    for n in 0..100 {
        client.put(format!("k{n}"), "v", None).await.expect("put");
    }
    // A learner, promoted once it has caught up.
    let at = cluster.add_place();
    let learner = MemberAddOptions::new().with_is_learner();
    let added = client.member_add([cluster.peer_url(at)], Some(learner)).await.expect("add");
    let id = added.member().expect("member").id();
    let early = client.member_promote(id).await.expect_err("it has not even started").to_string();
    assert!(early.contains("can only promote a learner member which is in sync with leader"), "{early}");
    let starting = cluster.spawn(at, 2, "existing");
    while client.member_promote(id).await.is_err() {
        pause().await;
    }
    cluster.members[at] = Some(starting.ready());
    // A voter.
    let at = cluster.add_place();
    add(&mut client, cluster.peer_url(at)).await;
    cluster.members[at] = Some(cluster.spawn(at, 3, "existing").ready());
    assert_eq!(cluster.agree().await, 100);
    let names: Vec<String> =
        client.member_list().await.expect("list").members().iter().map(|m| m.name().to_owned()).collect();
    assert_eq!(names.len(), 3);

    // Its disk is lost: it does not begin again under its old id.
    let lost = cluster.client(2).await.status().await.expect("status").header().expect("header").member_id();
    cluster.take(2).kill();
    std::fs::remove_dir_all(cluster.folders[2].path().join("data")).expect("lose the disk");
    client.member_remove(lost).await.expect("remove");
    add(&mut client, cluster.peer_url(2)).await;
    cluster.members[2] = Some(cluster.spawn(2, 3, "existing").ready());
    let found = cluster.client(2).await.status().await.expect("status").header().expect("header").member_id();
    assert_ne!(found, lost);
    assert_eq!(cluster.agree().await, 100);

    // The leader is removed: it says so, ends well, and does not start again.
    let leader = cluster.leader(0).await;
    let other = (leader + 1) % 3;
    let id = cluster.client(leader).await.status().await.expect("status").leader();
    cluster.client(other).await.member_remove(id).await.expect("remove");
    let (well, said) = cluster.take(leader).ended();
    assert!(well && said.contains("was removed from its cluster"), "{said}");
    let (well, said) = cluster.spawn(leader, 3, "existing").member.ended();
    assert!(well && said.contains("etcdctl member add"), "{said}");
    cluster.client(other).await.put("after", "v", None).await.expect("put");
    assert_eq!(cluster.agree().await, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_disk_does_not_start_with_its_old_flags() {
    let mut cluster = Cluster::start(3);
    cluster.client(0).await.put("k", "v", None).await.expect("put");
    cluster.agree().await;
    cluster.take(1).kill();
    std::fs::remove_dir_all(cluster.folders[1].path().join("data")).expect("lose the disk");
    // Whatever the flags were when it began.
    for state in ["new", "existing"] {
        let (well, said) = cluster.spawn(1, 3, state).member.ended();
        assert!(!well && said.contains("etcdctl member remove"), "{said}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_stops_when_a_majority_has_lost_what_it_knows_to_be_committed() {
    lost_by_a_majority(1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_stops_rather_than_take_a_snapshot_without_what_it_knows_to_be_committed() {
    // More than the leader keeps of its log for those that lag behind.
    lost_by_a_majority(80, 100_000).await;
}

/// The disk of one of three members is set back while another is down; then these two go on, with so many writes of so many bytes,
/// before the third comes back.
async fn lost_by_a_majority(writes: usize, bytes: usize) {
    let mut cluster = Cluster::start(3);
    cluster.client(0).await.put("before", "v", None).await.expect("put");
    cluster.agree().await;
    cluster.take(2).kill();
    cluster.take(1).kill();
    let (data, earlier) = (cluster.folders[1].path().join("data"), cluster.folders[1].path().join("earlier"));
    copy(&data, &earlier);
    cluster.restart(1);
    for n in 0..20 {
        cluster.client(0).await.put(format!("acknowledged{n}"), "v", None).await.expect("put");
    }
    cluster.agree().await;
    cluster.take(0).kill();
    cluster.take(1).kill();
    std::fs::remove_dir_all(&data).expect("remove");
    copy(&earlier, &data); // its disk is set back
    let starting = [cluster.spawn(1, 3, "new"), cluster.spawn(2, 3, "new")];
    for (at, starting) in [1, 2].into_iter().zip(starting) {
        cluster.members[at] = Some(starting.ready());
    }
    for n in 0..writes {
        cluster.client(1).await.put(format!("after{n}"), vec![b'v'; bytes], None).await.expect("put");
    }
    let (well, said) = cluster.spawn(0, 3, "new").member.ended();
    assert!(!well && said.contains("the leader's log is another one"), "{said}");
    // The others cannot know.
    assert_eq!(cluster.agree().await, 1 + writes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_neither_added_nor_removed_while_another_is_silent() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader(0).await;
    let mut client = cluster.client(leader).await;
    client.put("k", "v", None).await.expect("put");
    cluster.agree().await;
    let (silent, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let id = cluster.client(other).await.status().await.expect("status").header().expect("header").member_id();
    cluster.take(silent).kill();
    // As soon as its connections are closed, which is long before anybody is missed.
    for _ in 0..5 {
        pause().await;
    }
    let place = cluster.add_place();
    let refused = client.member_add([cluster.peer_url(place)], None).await.expect_err("add").to_string();
    assert!(refused.contains("unhealthy cluster"), "{refused}");
    let refused = client.member_remove(id).await.expect_err("remove").to_string();
    assert!(refused.contains("unhealthy cluster"), "{refused}");
    client.put("l", "v", None).await.expect("a majority is still there");
    // Both are down now: the leader must not take a removal that the member itself would help to commit when it comes back.
    cluster.take(other).kill();
    for _ in 0..5 {
        pause().await;
    }
    let refused = client.member_remove(id).await.expect_err("remove").to_string();
    assert!(!refused.is_empty());
    cluster.restart(other);
    client.put("m", "v", None).await.expect("a majority is there again");
}

/// A call with one message, by this token; what comes first of the answer, or how it was refused.
fn ask<M: Message>(
    client: &mut h2::client::SendRequest<Bytes>,
    path: &str,
    token: &str,
    message: &M,
) -> impl Future<Output = Result<Bytes, String>> + use<M> {
    let request = http::Request::post(format!("http://x{path}")).header("content-type", "application/grpc");
    let request = request.header("token", token).body(()).expect("a request");
    let (answer, mut body) = client.send_request(request, false).expect("send");
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.encoded_len() as u32).to_be_bytes());
    message.encode(&mut frame).expect("room");
    body.send_data(frame.into(), false).expect("send");
    async move {
        let _open = body;
        let (head, mut body) = answer.await.expect("an answer").into_parts();
        match body.data().await {
            Some(data) => Ok(data.expect("data").slice(5..)),
            None => Err(format!("{:?}", head.headers)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_on_every_member_as_soon_as_one_has_given_it() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader(0).await;
    let (near, far) = (cluster.member(leader), cluster.member((leader + 1) % 3));
    let post = |path: &str, headers: &str, body: &str| {
        let (head, answer) = near.http_with("POST", path, headers, body);
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head} {answer}");
        answer
    };
    post("/v3/lease/grant", "", r#"{"ID":7,"TTL":600}"#);
    post("/v3/auth/user/add", "", r#"{"name":"root","password":"r"}"#);
    post("/v3/auth/role/add", "", r#"{"name":"root"}"#);
    post("/v3/auth/user/grant", "", r#"{"user":"root","role":"root"}"#);
    cluster.agree().await;
    post("/v3/auth/enable", "", "{}");
    let create = WatchCreateRequest { key: "a".into(), ..WatchCreateRequest::default() };
    let watch = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    for _ in 0..3 {
        let stream = tokio::net::TcpStream::connect(far.endpoint()).await.expect("connect");
        let (client, connection) = h2::client::handshake(stream).await.expect("handshake");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("ready");
        // It hears of the token after the call by it.
        far.freeze();
        let answer = post("/v3/auth/authenticate", "", r#"{"name":"root","password":"r"}"#);
        let token = answer.split(r#""token":""#).nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
        let watched = ask(&mut client, "/etcdserverpb.Watch/Watch", token, &watch);
        let kept = LeaseKeepAliveRequest { id: 7 };
        let kept = ask(&mut client, "/etcdserverpb.Lease/LeaseKeepAlive", token, &kept);
        pause().await;
        far.thaw();
        let watched = WatchResponse::decode(watched.await.expect("a watch")).expect("a message");
        assert!(watched.created && !watched.canceled, "{watched:?}");
        let kept = LeaseKeepAliveResponse::decode(kept.await.expect("a lease")).expect("a message");
        assert_eq!((kept.id, kept.ttl), (7, 600));
    }
}
