//! Three real members in network namespaces: killed, stopped, cut off, their disk filled, while clients write and read; whether
//! what the clients saw can be explained is checked with the simulation's own checker. `HULL_SEED` chooses the faults,
//! `HULL_FAULTS_SECONDS` how long they go on.
#[path = "support/lab.rs"]
mod lab;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hull_kv_sim::history::{Op, Record, is_linearizable};
use lab::{Lab, MEMBERS};

/// Clients at a time.
const CLIENTS: usize = 6;

/// Registers at a time, and how long they are used: the checker's work grows fast with a register's history.
const KEYS: usize = 4;
const EPOCH: Duration = Duration::from_secs(4);

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two requests of a client.
const THINK: Duration = Duration::from_millis(8);

/// How long recovery may take once nothing is broken any more; only a hang takes as long.
const RECOVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Notes {
    records: Mutex<Vec<Record>>,
    stop: AtomicBool,
    values: AtomicU64,
    keys: AtomicUsize,
}

/// Nanoseconds since the beginning; calls are even and answers odd, so that of two at the same moment the call is the first.
fn tick(begin: Instant, odd: u64) -> u64 {
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX / 2) * 2 + odd
}

/// One client: writes and reads registers through any member until it is told to stop.
fn client(lab: &Lab, notes: &Notes, begin: Instant, mut rng: fastrand::Rng) {
    while !notes.stop.load(Ordering::Relaxed) {
        std::thread::sleep(THINK);
        let key = (begin.elapsed().as_millis() / EPOCH.as_millis()) as usize * KEYS + rng.usize(..KEYS);
        notes.keys.fetch_max(key + 1, Ordering::Relaxed);
        let (member, path) = (rng.usize(..MEMBERS), format!("/kv/r{key}"));
        let called = tick(begin, 0);
        let (op, answered) = if rng.bool() {
            let value = notes.values.fetch_add(1, Ordering::Relaxed) + 1;
            let answer = lab.ask(member, "PUT", &path, &value.to_string(), PATIENCE);
            let done = answer.is_some_and(|(status, _)| status == 200);
            (Op::Write { value, previous: None }, done)
        } else {
            match lab.ask(member, "GET", &path, "", PATIENCE) {
                Some((200, body)) => (Op::Read(body.parse().ok()), true),
                Some((404, _)) => (Op::Read(None), true),
                _ => continue,
            }
        };
        let answered = answered.then(|| tick(begin, 1));
        notes.records.lock().expect("records").push(Record { key, called, answered, op });
    }
}

/// What can happen to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
    CutOff,
    FillDisk,
}

const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Freeze, Fault::CutOff, Fault::FillDisk];

/// One fault after the other, each for a while, with pauses between them.
fn break_things(lab: &Lab, rng: &mut fastrand::Rng, until: Instant) -> Vec<(Fault, usize)> {
    let mut done = Vec::new();
    let mut first = FAULTS.to_vec();
    rng.shuffle(&mut first);
    while Instant::now() < until {
        let fault = first.pop().unwrap_or_else(|| FAULTS[rng.usize(..FAULTS.len())]);
        // Half of the time the leader, whom it hurts most.
        let leader = lab.leader().filter(|_| rng.bool());
        let member = leader.unwrap_or_else(|| rng.usize(..MEMBERS));
        let lasts = Duration::from_millis(rng.u64(300..3_000));
        eprintln!("{fault:?} m{member} for {lasts:?}");
        match fault {
            Fault::Kill => {
                lab.kill(member);
                std::thread::sleep(lasts);
                lab.start(member);
            }
            Fault::Freeze => {
                lab.freeze(member);
                std::thread::sleep(lasts);
                lab.thaw(member);
            }
            Fault::CutOff => {
                lab.cut_off(member);
                std::thread::sleep(lasts);
                lab.join(member);
            }
            Fault::FillDisk => {
                lab.fill_disk(member);
                std::thread::sleep(lasts);
                lab.empty_disk(member);
                lab.disarm();
            }
        }
        done.push((fault, member));
        std::thread::sleep(Duration::from_millis(rng.u64(200..1_500)));
    }
    done
}

/// Waits until every member takes writes again and, as nobody else writes, has the same keys.
fn recover(lab: &Lab) {
    let deadline = Instant::now() + RECOVERY;
    loop {
        assert!(Instant::now() < deadline, "nothing is broken any more, and the cluster does not recover");
        lab.disarm();
        let writes = (0..MEMBERS)
            .all(|member| lab.ask(member, "PUT", "/kv/after", "v", PATIENCE).is_some_and(|(status, _)| status == 200));
        let hash = |member| lab.ask(member, "POST", "/v3/maintenance/hash", "{}", PATIENCE);
        let checksum = |(_, body): (u16, String)| body.split(r#""hash":"#).nth(1).map(str::to_owned);
        let hashes: Vec<_> = (0..MEMBERS).filter_map(hash).map(checksum).collect();
        if writes && hashes.len() == MEMBERS && hashes.iter().all(|hash| hash.is_some() && *hash == hashes[0]) {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn what_clients_see_of_real_members_under_faults_is_linearizable() {
    let number =
        |name: &str, otherwise| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (seed, seconds) = (number("HULL_SEED", 1), number("HULL_FAULTS_SECONDS", 20));
    let lab = match Lab::new() {
        Ok(lab) => Arc::new(lab),
        Err(why) => return eprintln!("skipped: real members under faults need network namespaces: {why}"),
    };
    (0..MEMBERS).for_each(|member| lab.start(member));
    recover(&lab);
    let begin = Instant::now();
    let notes = Arc::new(Notes::default());
    let mut rng = fastrand::Rng::with_seed(seed);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (lab, notes, rng) = (Arc::clone(&lab), Arc::clone(&notes), rng.fork());
            std::thread::spawn(move || client(&lab, &notes, begin, rng))
        })
        .collect();
    let faults = break_things(&lab, &mut rng, begin + Duration::from_secs(seconds));
    notes.stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("client"));
    recover(&lab);
    let records = notes.records.lock().expect("records");
    let answered = records.iter().filter(|record| record.answered.is_some()).count();
    eprintln!(
        "seed {seed}: {} faults, {answered} operations answered, {} unknown",
        faults.len(),
        records.len() - answered
    );
    assert!(answered > CLIENTS * 10, "clients got hardly any answer");
    for key in 0..notes.keys.load(Ordering::Relaxed) {
        assert!(is_linearizable(&records, key), "no order explains what clients saw of r{key}; HULL_SEED={seed}");
    }
}
