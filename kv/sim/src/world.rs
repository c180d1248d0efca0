//! The run of one seed: what happens when, and what goes wrong.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use fastrand::Rng;
use hull_kv::{
    driver::{Birth, Driver, Failed, Fate, Moment, Sent as SnapshotFate},
    peer::Word,
    snapfile::{self, Arriving, Effort},
};
use hull_kv_core::{Caller, Instant, Response};
use hull_kv_proto::{
    etcdserverpb::{CompactionRequest, LeaseGrantRequest, PutRequest, RangeRequest},
    hullpb::{Member as Wanted, MemberChange, command::Op as Command, member_change::Kind, question::About},
};
use raft::eraftpb::Message;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

use crate::{
    check::{Kept, Truth, invariant_kept_lease_lives},
    client::{Client, Waiting},
    history::{Op, Record, is_linearizable},
    node::{Node, Outbox, Sent},
};

/// How long faults happen, and how long the cluster has to recover after them (milliseconds of simulated time).
const FAULTS_MS: u64 = 40_000;
const CALM_MS: u64 = 30_000;
/// How often a member looks at its clock (milliseconds).
const WAKE_MS: u64 = 20;
/// A client gives up after this (milliseconds); what it asked may still happen.
const PATIENCE_MS: u64 = 7_000;
const KEYS: usize = 3;
const CLIENTS: usize = 4;
/// Seconds of the lease that is kept alive.
const TTL: i64 = 5;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a run was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Simulated events.
    pub steps: u64,
    /// Operations whose answer came.
    pub answered: usize,
    /// Operations whose fate nobody knows.
    pub unknown: usize,
    /// Power cuts.
    pub crashes: u64,
    /// Snapshots that a member took from another.
    pub snapshots: u64,
    /// Changes of members.
    pub changes: u64,
    /// Terms.
    pub terms: u64,
    /// Events that watchers delivered.
    pub events: u64,
    /// Checksum over everything that was sent and answered: the same seed gives the same.
    pub trace: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} steps, {} operations answered, {} unknown, {} power cuts, {} snapshots, {} changes of members, \
             {} terms, {} events, trace {:016x}",
            self.steps,
            self.answered,
            self.unknown,
            self.crashes,
            self.snapshots,
            self.changes,
            self.terms,
            self.events,
            self.trace
        )
    }
}

enum Event {
    Wake(u64),
    Word { to: u64, from: u64, word: Box<Word> },
    Snapshot { to: u64, from: u64, message: Box<Message>, bytes: Vec<u8> },
    SnapshotFate { to: u64, about: u64, fate: SnapshotFate },
    Gone { to: u64, about: u64 },
    Dismissed(u64),
    Start(u64),
    Client(usize),
    Keeper,
    Admin,
    Fault,
}

/// An answer on its way.
type Answer<T> = Receiver<Result<T, Failed>>;

/// The one who keeps a lease alive for a while, then lets it end.
#[derive(Default)]
struct Keeper {
    /// The lease that was asked for, and when.
    granting: Option<(i64, u64, Answer<Response>)>,
    asking: Option<(u64, Answer<Option<i64>>)>,
    kept: Option<Kept>,
    /// Members in whose store the lease was seen.
    seen: BTreeSet<u64>,
    next_id: i64,
}

/// One simulated cluster.
pub struct World {
    rng: Rng,
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    nodes: BTreeMap<u64, Node>,
    lives: u64,
    loss: f64,
    duplicates: f64,
    slowest_ms: u64,
    /// Members on one side of a partition, and when it heals.
    split: (BTreeSet<u64>, u64),
    clients: Vec<Client>,
    records: Vec<Record>,
    keeper: Keeper,
    admin: Option<Answer<Response>>,
    truth: Truth,
    cluster: u64,
    next_value: u64,
    report: Report,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

impl World {
    /// A cluster of three or five members that is about to start.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let size = if rng.bool() { 3 } else { 5 };
        let first: Vec<(String, Vec<String>)> =
            (0..size).map(|n| (format!("n{n}"), vec![format!("http://n{n}:2380")])).collect();
        let mut world = Self {
            loss: [0.0, 0.01, 0.1][rng.usize(..3)],
            duplicates: [0.0, 0.02][rng.usize(..2)],
            slowest_ms: [5, 50, 300][rng.usize(..3)],
            rng,
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            nodes: BTreeMap::new(),
            lives: 0,
            split: (BTreeSet::new(), 0),
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            records: Vec::new(),
            keeper: Keeper { next_id: 1, ..Keeper::default() },
            admin: None,
            truth: Truth::default(),
            cluster: 0,
            next_value: 0,
            report: Report::default(),
        };
        for (name, _) in &first {
            if let Some(birth) = Birth::found(&first, &format!("sim-{seed}"), name) {
                world.add_node(birth, 0);
            }
        }
        (0..CLIENTS).for_each(|client| world.at(50, Event::Client(client)));
        world.at(500, Event::Keeper);
        world.at(2_000, Event::Admin);
        world.at(1_000, Event::Fault);
        world
    }

    fn add_node(&mut self, birth: Birth, after: u64) {
        let id = birth.member();
        let rate = self.rng.u64(985..=1015);
        self.nodes.insert(id, Node::new(birth, rate));
        self.at(after, Event::Start(id));
    }

    fn at(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    fn note(&mut self, what: u64) {
        self.report.trace = (self.report.trace.rotate_left(5) ^ what).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run(mut self) -> Result<Report, Violation> {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > FAULTS_MS + CALM_MS {
                break;
            }
            self.now = at;
            self.report.steps += 1;
            self.handle(event)?;
            self.poll_clients();
            self.poll_keeper();
        }
        self.finish()
    }

    fn calm(&self) -> bool {
        self.now > FAULTS_MS
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Wake(id) => {
                let late = self.rng.u64(..5);
                // A member that was removed before anybody wrote to it hears so when it connects.
                if self.rng.u8(..50) == 0
                    && let Some(other) = self.any_running()
                {
                    self.dismiss_if_removed(other, id);
                }
                if self.nodes.get(&id).is_some_and(|node| node.life.is_some()) {
                    self.at(WAKE_MS + late, Event::Wake(id));
                }
                self.with(id, |driver, now, _| driver.on_time(now))
            }
            Event::Word { to, from, word } => {
                self.dismiss_if_removed(to, from);
                if self.postponed(to) {
                    let until = self.nodes[&to].frozen_until - self.now;
                    self.at(until, Event::Word { to, from, word });
                    return Ok(());
                }
                self.with(to, |driver, now, outbox| driver.hear(from, *word, now, outbox))
            }
            Event::Snapshot { to, from, message, bytes } => self.take_snapshot(to, from, *message, &bytes),
            Event::SnapshotFate { to, about, fate } => self.with(to, |driver, _, _| driver.snapshot_sent(about, fate)),
            Event::Gone { to, about } => self.with(to, |driver, _, _| driver.suspect(about)),
            Event::Dismissed(id) => self.with(id, |driver, _, _| driver.dismissed()),
            Event::Start(id) => self.start(id),
            Event::Client(client) => {
                self.ask(client);
                Ok(())
            }
            Event::Keeper => {
                self.keep();
                Ok(())
            }
            Event::Admin => {
                self.change_members();
                Ok(())
            }
            Event::Fault => self.fault(),
        }
    }

    /// A frozen process hears nothing until it goes on.
    fn postponed(&self, id: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.frozen_until > self.now)
    }

    /// Lets a running member do something, then runs it until it wants nothing more, and looks at it.
    fn with(&mut self, id: u64, act: impl FnOnce(&mut Driver, Instant, &mut Outbox)) -> Result<(), Violation> {
        let now = self.now;
        if self.postponed(id) {
            return Ok(());
        }
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let clock = node.clock(now);
        let Some(life) = &mut node.life else { return Ok(()) };
        act(&mut life.driver, clock, &mut life.outbox);
        let fate = life.driver.turn(clock, &mut life.outbox);
        let sent = std::mem::take(&mut life.outbox.sent);
        let failed = std::mem::take(&mut life.outbox.failed);
        let Ok(fate) = fate else {
            // What was said before the power failed is on its way.
            self.send(id, sent);
            self.crash(id);
            return Ok(());
        };
        self.truth.invariant_one_leader_a_term(id, life)?;
        self.truth.invariant_watchers_miss_nothing(id, life)?;
        failed
            .into_iter()
            .for_each(|to| self.at(1, Event::SnapshotFate { to: id, about: to, fate: SnapshotFate::Broken }));
        self.look(id)?;
        self.send(id, sent);
        match fate {
            Fate::Goes => Ok(()),
            Fate::Removed => {
                self.stop(id);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.retired = true;
                }
                Ok(())
            }
            Fate::Contradicted => Err(Violation(format!("nothing acknowledged is lost: {id:x} is led by another log"))),
            Fate::Forgetful => Err(Violation(format!("nothing acknowledged is lost: {id:x} forgot entries"))),
        }
    }

    /// What is checked in a member's store.
    fn look(&mut self, id: u64) -> Result<(), Violation> {
        let Some(life) = self.nodes.get(&id).and_then(|node| node.life.as_ref()) else { return Ok(()) };
        let shared = Arc::clone(life.driver.shared());
        let Ok(store) = shared.store.read() else { return Ok(()) };
        if self.report.steps.is_multiple_of(16) {
            self.truth.invariant_same_log_same_state(id, &store)?;
        }
        if let Some(kept) = self.keeper.kept {
            if store.lessor().exists(kept.id) {
                self.keeper.seen.insert(id);
            } else if self.keeper.seen.contains(&id) {
                invariant_kept_lease_lives(self.now, kept, id, &store)?;
            }
        }
        let (term, ..) = life.driver.standing();
        self.report.terms = self.report.terms.max(term);
        Ok(())
    }

    fn send(&mut self, from: u64, sent: Vec<Sent>) {
        for sent in sent {
            let (Sent::Word(to, _) | Sent::Snapshot(to, ..)) = sent;
            let cut = self.now < self.split.1 && self.split.0.contains(&from) != self.split.0.contains(&to);
            let lost = cut || !self.calm() && self.rng.f64() < self.loss;
            let delay = 1 + self.rng.u64(..=if self.calm() { 5 } else { self.slowest_ms });
            self.note(self.now ^ (from << 1) ^ to ^ (delay << 40) ^ (u64::from(lost) << 60));
            match sent {
                Sent::Word(to, word) if !lost => {
                    if matches!(word, Word::Raft(_)) && !self.calm() && self.rng.f64() < self.duplicates {
                        let later = delay + self.rng.u64(..100);
                        self.at(later, Event::Word { to, from, word: Box::new(word.clone()) });
                    }
                    self.at(delay, Event::Word { to, from, word: Box::new(word) });
                }
                Sent::Word(..) => {}
                Sent::Snapshot(to, message, bytes) if !lost => {
                    self.at(delay + 20, Event::Snapshot { to, from, message: Box::new(message), bytes });
                }
                Sent::Snapshot(to, ..) => {
                    self.at(delay, Event::SnapshotFate { to: from, about: to, fate: SnapshotFate::Broken });
                }
            }
        }
    }

    fn take_snapshot(&mut self, to: u64, from: u64, message: Message, bytes: &[u8]) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&to).filter(|node| node.life.is_some()) else {
            self.at(1, Event::SnapshotFate { to: from, about: to, fate: SnapshotFate::Broken });
            return Ok(());
        };
        let disk: Arc<dyn hull_kv::disk::Disk> = Arc::new(node.disk.clone());
        let Some(shared) = node.life.as_ref().map(|life| Arc::clone(life.driver.shared())) else { return Ok(()) };
        let arrived = Arriving::begin(disk, &shared)
            .and_then(|mut arriving| bytes.chunks(1000).try_for_each(|piece| arriving.write(piece)).map(|()| arriving))
            .map_err(|error| error.to_string())
            .and_then(|arriving| arriving.finish().map_err(|error| error.to_string()));
        let fate = match arrived {
            Ok(arrived) => {
                self.report.snapshots += 1;
                self.with(to, |driver, _, _| driver.arrive(message, arrived))?;
                SnapshotFate::Whole
            }
            Err(why) if why.contains("the power failed") => {
                self.crash(to);
                SnapshotFate::Broken
            }
            Err(why) => return Err(Violation(format!("snapshots arrive whole: {to:x}: {why}"))),
        };
        self.at(5, Event::SnapshotFate { to: from, about: to, fate });
        Ok(())
    }

    /// The other end of a connection says so to a member that was removed.
    fn dismiss_if_removed(&mut self, to: u64, from: u64) {
        let removed =
            self.nodes.get(&to).and_then(|node| node.life.as_ref()).is_some_and(|life| {
                life.driver.shared().store.read().is_ok_and(|store| store.members().was_removed(from))
            });
        if removed {
            self.at(5, Event::Dismissed(from));
        }
    }

    fn start(&mut self, id: u64) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if node.retired || node.life.is_some() {
            return Ok(());
        }
        self.lives += 1;
        node.start(self.now, self.lives << 32)
            .map_err(|why| Violation(format!("a power cut never damages: {id:x} does not start: {why}")))?;
        if let Some(life) = &node.life {
            self.cluster = life.driver.cluster_id();
        }
        self.at(1, Event::Wake(id));
        Ok(())
    }

    fn stop(&mut self, id: u64) {
        if let Some(mut life) = self.nodes.get_mut(&id).and_then(|node| node.life.take()) {
            life.driver.stop();
        }
        let others: Vec<u64> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for to in others {
            if self.rng.bool() {
                let after = 1 + self.rng.u64(..20);
                self.at(after, Event::Gone { to, about: id });
            }
        }
        self.keeper.seen.remove(&id);
    }

    /// The power fails at a member: of what was not synced any part may stay.
    fn crash(&mut self, id: u64) {
        self.report.crashes += 1;
        self.stop(id);
        let rng = &mut self.rng;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk = node.disk.after_power_cut(|_, at_risk| rng.usize(..=at_risk));
        }
        let after = 100 + self.rng.u64(..3_000);
        self.at(after, Event::Start(id));
    }

    fn running(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.life.is_some()).map(|(id, _)| *id).collect()
    }

    fn any_running(&mut self) -> Option<u64> {
        let running = self.running();
        (!running.is_empty()).then(|| running[self.rng.usize(..running.len())])
    }

    fn fault(&mut self) -> Result<(), Violation> {
        if self.calm() {
            return Ok(());
        }
        let after = 200 + self.rng.u64(..2_500);
        self.at(after, Event::Fault);
        let Some(id) = self.any_running() else { return Ok(()) };
        match self.rng.u8(..9) {
            0 => self.crash(id),
            1 | 2 => {
                let operations = self.rng.u64(..30);
                if let Some(node) = self.nodes.get(&id) {
                    node.disk.fail_after(operations);
                }
            }
            3 => {
                let side: Vec<u64> = self.nodes.keys().copied().collect();
                let side = side.into_iter().filter(|_| self.rng.bool()).collect();
                self.split = (side, self.now + 500 + self.rng.u64(..4_000));
            }
            4 => {
                let until = self.now + 200 + self.rng.u64(..4_000);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.frozen_until = until;
                }
            }
            5 | 6 => self.write_snapshot(id),
            7 => {
                let (reply, _ignored) = oneshot::channel();
                return self.with(id, |driver, _, _| driver.move_leader(0, reply));
            }
            _ => return self.compact(id),
        }
        Ok(())
    }

    /// The member writes a snapshot of its own, as it does when its log has grown.
    fn write_snapshot(&mut self, id: u64) {
        let effort = if self.rng.bool() { Effort::Usual } else { Effort::Shrink };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(life) = &mut node.life else { return };
        life.driver.snapshot_begun(Moment::Pause);
        match snapfile::write(&node.disk, life.driver.shared(), effort) {
            Ok(written) => {
                if effort == Effort::Shrink {
                    life.driver.renew_log();
                }
                life.driver.snapshot_done(written);
            }
            Err(_) => self.crash(id),
        }
    }

    fn compact(&mut self, id: u64) -> Result<(), Violation> {
        let Some(life) = self.nodes.get(&id).and_then(|node| node.life.as_ref()) else { return Ok(()) };
        let revision = life.driver.shared().store.read().map_or(0, |store| store.revision()) - 20;
        let request = CompactionRequest { revision, ..CompactionRequest::default() };
        self.with(id, |driver, _, _| {
            if revision > 1 {
                driver.propose(Command::Compaction(request), Caller::Nobody, None);
            }
            driver.scrub();
        })
    }

    fn ask(&mut self, client: usize) {
        let after = 20 + self.rng.u64(..200);
        self.at(after, Event::Client(client));
        if !matches!(self.clients[client].waiting, Waiting::Nothing) {
            return;
        }
        let Some(node) = self.any_running() else { return };
        if self.postponed(node) {
            return;
        }
        let key = self.rng.usize(..KEYS);
        let record = self.records.len();
        let called = self.report.steps;
        let waiting = if self.rng.bool() {
            self.next_value += 1;
            let value = self.next_value;
            let (reply, answer) = oneshot::channel();
            let put = PutRequest {
                key: format!("k{key}").into(),
                value: value.to_string().into(),
                prev_kv: true,
                ..PutRequest::default()
            };
            self.records.push(Record { key, called, answered: None, op: Op::Write { value, previous: None } });
            self.driver(node, |driver| driver.propose(Command::Put(put), Caller::Nobody, Some(reply.into())));
            Waiting::Write { reply: answer, record }
        } else {
            let (reply, answer) = oneshot::channel();
            self.records.push(Record { key, called, answered: None, op: Op::Read(None) });
            self.driver(node, |driver| driver.read(reply.into()));
            Waiting::Read { reply: answer, record, node, life: self.lives }
        };
        self.clients[client] = Client { waiting, until: self.now + PATIENCE_MS };
    }

    /// Tells a driver something that its next turn looks at.
    fn driver(&mut self, node: u64, tell: impl FnOnce(&mut Driver)) {
        if let Some(life) = self.nodes.get_mut(&node).and_then(|node| node.life.as_mut()) {
            tell(&mut life.driver);
        }
    }

    fn poll_clients(&mut self) {
        for client in 0..self.clients.len() {
            let waiting = std::mem::replace(&mut self.clients[client].waiting, Waiting::Nothing);
            let late = self.now > self.clients[client].until;
            self.clients[client].waiting = match waiting {
                Waiting::Write { mut reply, record } => match reply.try_recv() {
                    Ok(Ok(Response::Put(response))) => {
                        let previous = response.prev_kv.map(|pair| parse(&pair.value));
                        self.answered(record, |op| {
                            if let Op::Write { previous: seen, .. } = op {
                                *seen = Some(previous);
                            }
                        });
                        Waiting::Nothing
                    }
                    Err(TryRecvError::Empty) if !late => Waiting::Write { reply, record },
                    _ => Waiting::Nothing,
                },
                Waiting::Read { mut reply, record, node, life } => match reply.try_recv() {
                    Ok(Ok(())) => {
                        if let Some(value) = self.value(node, self.records[record].key) {
                            self.answered(record, |op| *op = Op::Read(value));
                        }
                        Waiting::Nothing
                    }
                    Err(TryRecvError::Empty) if !late => Waiting::Read { reply, record, node, life },
                    _ => Waiting::Nothing,
                },
                Waiting::Nothing => Waiting::Nothing,
            };
        }
    }

    fn answered(&mut self, record: usize, fill: impl FnOnce(&mut Op)) {
        self.records[record].answered = Some(self.report.steps);
        fill(&mut self.records[record].op);
        self.note(record as u64 ^ self.now << 20);
    }

    /// What a member's store says of a key; none if the member does not run.
    fn value(&self, node: u64, key: usize) -> Option<Option<u64>> {
        let life = self.nodes.get(&node)?.life.as_ref()?;
        let request = RangeRequest { key: format!("k{key}").into(), ..RangeRequest::default() };
        let store = life.driver.shared().store.read().ok()?;
        let response = store.range(&request).ok()?;
        Some(response.kvs.first().map(|pair| parse(&pair.value)))
    }

    /// Grants a lease, keeps it alive for a while, lets it end, and begins again.
    fn keep(&mut self) {
        let after = 500 + self.rng.u64(..3_000);
        self.at(after, Event::Keeper);
        let Some(node) = self.any_running() else { return };
        match self.keeper.kept {
            None if self.keeper.granting.is_none() => {
                let id = self.keeper.next_id;
                self.keeper.next_id += 1;
                let (reply, answer) = oneshot::channel();
                let request = LeaseGrantRequest { id, ttl: TTL };
                self.driver(node, |driver| {
                    driver.propose(Command::LeaseGrant(request), Caller::Nobody, Some(reply.into()))
                });
                self.keeper.granting = Some((id, self.now, answer));
            }
            // Now and then its keeper forgets it.
            Some(kept) if kept.safe_until < self.now => {
                self.keeper.kept = None;
                self.keeper.seen.clear();
            }
            Some(kept) if self.keeper.asking.is_none() && self.rng.u8(..20) > 0 => {
                let (reply, answer) = oneshot::channel();
                self.driver(node, |driver| driver.ask(About::KeepAlive(kept.id), reply.into()));
                self.keeper.asking = Some((self.now, answer));
            }
            _ => {}
        }
    }

    fn poll_keeper(&mut self) {
        // Clocks differ by three hundredths at most, and so does what they make of a lease's time.
        let lasts = TTL as u64 * 970;
        if let Some((id, asked, mut reply)) = self.keeper.granting.take() {
            match reply.try_recv() {
                Err(TryRecvError::Empty) => self.keeper.granting = Some((id, asked, reply)),
                Ok(Ok(_)) => {
                    self.keeper.kept = Some(Kept { id, safe_until: asked + lasts });
                    self.keeper.seen.clear();
                }
                _ => {}
            }
        }
        if let Some((asked, mut reply)) = self.keeper.asking.take() {
            match reply.try_recv() {
                Err(TryRecvError::Empty) if asked + PATIENCE_MS > self.now => self.keeper.asking = Some((asked, reply)),
                Ok(Ok(Some(_))) => {
                    if let Some(kept) = &mut self.keeper.kept {
                        kept.safe_until = kept.safe_until.max(asked + lasts);
                    }
                }
                Ok(Ok(None)) => self.keeper.kept = None,
                _ => {}
            }
        }
    }

    /// Adds, promotes and removes members, one after the other, and starts those that were added.
    fn change_members(&mut self) {
        let after = 1_000 + self.rng.u64(..3_000);
        self.at(after, Event::Admin);
        self.start_added();
        if let Some(mut reply) = self.admin.take() {
            match reply.try_recv() {
                Err(TryRecvError::Empty) => return self.admin = Some(reply),
                Ok(Ok(_)) => self.report.changes += 1,
                _ => {}
            }
        }
        let Some(node) = self.any_running().filter(|_| !self.calm()) else { return };
        let members: Vec<(u64, bool)> = self.members_at(node);
        let learner = members.iter().find(|(_, learner)| *learner).map(|(id, _)| *id);
        let (kind, member) = match (self.rng.u8(..4), learner) {
            (0 | 1, Some(id)) => (Kind::Promote, Wanted { id, ..Wanted::default() }),
            (2, _) if members.len() > 3 => {
                let (id, _) = members[self.rng.usize(..members.len())];
                (Kind::Remove, Wanted { id, ..Wanted::default() })
            }
            (3, _) if members.len() < 6 => {
                let id = self.rng.u64(1..);
                let learner = self.rng.bool();
                (Kind::Add, Wanted { id, learner, peer_urls: vec![format!("http://{id:x}:2380")], ..Wanted::default() })
            }
            _ => return,
        };
        let mut change = MemberChange { member: Some(member), ..MemberChange::default() };
        change.set_kind(kind);
        let (reply, answer) = oneshot::channel();
        self.driver(node, |driver| driver.propose(Command::MemberChange(change), Caller::Nobody, Some(reply.into())));
        self.admin = Some(answer);
    }

    fn members_at(&self, node: u64) -> Vec<(u64, bool)> {
        let Some(life) = self.nodes.get(&node).and_then(|node| node.life.as_ref()) else { return Vec::new() };
        let Ok(store) = life.driver.shared().store.read() else { return Vec::new() };
        store.members().iter().map(|member| (member.id, member.vote == hull_kv_core::Vote::Learner)).collect()
    }

    fn start_added(&mut self) {
        for node in self.running() {
            for (id, _) in self.members_at(node) {
                if self.nodes.contains_key(&id) {
                    continue;
                }
                let members = self.nodes.get(&node).and_then(|node| node.life.as_ref()).map(|life| {
                    life.driver.shared().store.read().map(|s| s.members().iter().cloned().collect()).unwrap_or_default()
                });
                let members = members.unwrap_or_default();
                let after = self.rng.u64(..2_000);
                self.add_node(Birth::Join { member: id, cluster: self.cluster, members }, after);
            }
        }
    }

    /// What each member is at, for whoever reads of a violation.
    fn members(&self) -> String {
        let line = |(id, node): (&u64, &Node)| {
            let Some(life) = &node.life else { return format!("{id:x}: retired {}", node.retired) };
            let (term, leader, committed) = life.driver.standing();
            let applied = life.driver.shared().store.read().map_or(0, |store| store.applied().index);
            let members: Vec<String> = self
                .members_at(*id)
                .into_iter()
                .map(|(id, learner)| format!("{id:x}{}", if learner { " (learner)" } else { "" }))
                .collect();
            format!(
                "{id:x}: term {term}, leader {leader:x}, committed {committed}, applied {applied}, members {}",
                members.join(", ")
            )
        };
        self.nodes.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// After the calm: everything agrees, moves, and is explained.
    fn finish(mut self) -> Result<Report, Violation> {
        let mut states = BTreeSet::new();
        let mut leader = None;
        for id in self.running() {
            let Some(life) = self.nodes.get(&id).and_then(|node| node.life.as_ref()) else { continue };
            let (_, led_by, _) = life.driver.standing();
            leader = leader.or(Some(led_by)).filter(|leader| *leader != 0);
            if let Ok(store) = life.driver.shared().store.read() {
                let _ = states.insert((store.applied().index, store.revision()));
            }
        }
        if leader.is_none() {
            return Err(Violation(format!("faults end, and a leader is found: there is none\n{}", self.members())));
        }
        let recent = |record: &&Record| record.answered.is_some_and(|at| at + 2_000 > self.report.steps);
        if self.records.iter().filter(recent).count() == 0 {
            return Err(Violation(format!("faults end, and clients are answered: nobody is\n{}", self.members())));
        }
        for key in 0..KEYS {
            if !is_linearizable(&self.records, key) {
                return Err(Violation(format!("linearizable: no order explains what clients saw of k{key}")));
            }
        }
        self.report.answered = self.records.iter().filter(|record| record.answered.is_some()).count();
        self.report.unknown = self.records.len() - self.report.answered;
        self.report.events = self.truth.events;
        Ok(self.report)
    }
}

fn parse(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}
