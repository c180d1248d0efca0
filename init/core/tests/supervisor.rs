//! Supervision and shutdown, told as what happens to a node.

use hull_init_core::services::Service;
use hull_init_core::shutdown::{CONTAINER_GRACE_MS, Containers, Do, Goal, KILLED_MS, Others, Shutdown};
use hull_init_core::supervisor::{
    Action, Ending, Event, FIRST_BACK_OFF_MS, Id, LONGEST_BACK_OFF_MS, Millis, STABLE_AFTER_MS, State, Supervisor,
};

const NETWORK: Id = Id(0);
const KV: Id = Id(1);
const LAUNCHER: Id = Id(2);

fn service(name: &str, extra: &str) -> Service {
    serde_json::from_str(&format!(r#"{{"name":"{name}","exec":["/x"],"uid":0,"gid":0{extra}}}"#)).unwrap()
}

fn node_of(declared: &[(&str, &str)]) -> Supervisor {
    let mut supervisor = Supervisor::new();
    for (name, extra) in declared {
        let find = |wanted: &str| declared.iter().position(|(name, _)| *name == wanted).map(|i| Id(i as u8));
        supervisor.add(&service(name, extra), find).unwrap();
    }
    supervisor
}

fn node() -> Supervisor {
    node_of(&[("network", ""), ("kv", ""), ("launcher", r#","after":["kv"]"#)])
}

fn running_node() -> Supervisor {
    let mut node = node();
    node.step(Millis(0), Event::Tick);
    for id in [NETWORK, KV, LAUNCHER] {
        node.step(Millis(0), Event::Spawned(id));
        node.step(Millis(0), Event::Ready(id));
    }
    node
}

fn state(node: &Supervisor, id: Id) -> State {
    node.get(id).unwrap().state
}

#[test]
fn a_service_starts_when_those_before_it_are_ready_and_not_earlier() {
    let mut node = node();
    assert_eq!(node.step(Millis(0), Event::Tick)[..], [Action::Spawn(NETWORK), Action::Spawn(KV)]);
    assert_eq!(node.step(Millis(1), Event::Spawned(KV))[..], []);
    assert_eq!(node.step(Millis(5), Event::Ready(KV))[..], [Action::Spawn(LAUNCHER)]);
}

#[test]
fn a_service_that_is_ready_when_started_needs_no_word() {
    let mut node = node_of(&[("kv", r#","ready":"started""#), ("web", r#","after":["kv"]"#)]);
    node.step(Millis(0), Event::Tick);
    assert_eq!(node.step(Millis(0), Event::Spawned(Id(0)))[..], [Action::Spawn(Id(1))]);
}

#[test]
fn a_killed_service_comes_back_by_itself_and_the_others_are_undisturbed() {
    let mut node = running_node();
    let kill = Event::Ended(KV, Ending::Signal(9));
    assert_eq!(node.step(Millis(20_000), kill)[..], [Action::Sweep(KV)]);
    assert_eq!(node.deadline(), Some(Millis(20_000 + FIRST_BACK_OFF_MS)));
    assert_eq!(node.step(Millis(20_000 + FIRST_BACK_OFF_MS), Event::Tick)[..], [Action::Spawn(KV)]);
    assert_eq!(node.get(KV).unwrap().restarts, 1);
    assert!(matches!(state(&node, LAUNCHER), State::Ready { .. }));
}

#[test]
fn pauses_double_up_to_a_cap_and_start_over_after_a_stable_run() {
    let mut node = running_node();
    let mut now = Millis(0);
    let mut pauses = vec![];
    for _ in 0..12 {
        node.step(now, Event::Ended(KV, Ending::Code(1)));
        let State::BackingOff { restart_at, .. } = state(&node, KV) else { panic!() };
        pauses.push(restart_at.since(now));
        now = restart_at;
        assert_eq!(node.step(now, Event::Tick)[..], [Action::Spawn(KV)]);
        node.step(now, Event::Ready(KV));
    }
    assert_eq!(pauses[..4], [100, 200, 400, 800]);
    assert_eq!(pauses[11], LONGEST_BACK_OFF_MS);
    now = now.plus(STABLE_AFTER_MS);
    node.step(now, Event::Ended(KV, Ending::Code(1)));
    assert_eq!(
        state(&node, KV),
        State::BackingOff { restart_at: now.plus(FIRST_BACK_OFF_MS), ending: Ending::Code(1) }
    );
}

#[test]
fn a_program_that_is_not_there_is_tried_again_with_pauses() {
    let mut node = node();
    node.step(Millis(0), Event::Tick);
    node.step(Millis(0), Event::SpawnFailed(KV, 2));
    assert!(matches!(state(&node, KV), State::BackingOff { ending: Ending::NotStarted(2), .. }));
}

#[test]
fn the_restart_policy_is_kept() {
    let mut node = node_of(&[("once", r#","restart":"never""#), ("good", r#","restart":"on-failure""#)]);
    node.step(Millis(0), Event::Tick);
    node.step(Millis(1), Event::Ended(Id(0), Ending::Code(1)));
    node.step(Millis(1), Event::Ended(Id(1), Ending::Code(0)));
    assert_eq!(state(&node, Id(0)), State::Stopped(Ending::Code(1)));
    assert_eq!(state(&node, Id(1)), State::Stopped(Ending::Code(0)));
    assert_eq!(node.deadline(), None);
}

#[test]
fn a_silent_service_is_killed_and_started_again() {
    let mut node = node_of(&[("kv", r#","watchdog_seconds":5"#)]);
    node.step(Millis(0), Event::Tick);
    node.step(Millis(0), Event::Ready(Id(0)));
    node.step(Millis(4_000), Event::Alive(Id(0)));
    assert_eq!(node.step(Millis(8_999), Event::Tick)[..], []);
    assert_eq!(node.step(Millis(9_000), Event::Tick)[..], [Action::Kill(Id(0))]);
    node.step(Millis(9_001), Event::Ended(Id(0), Ending::Signal(9)));
    assert!(matches!(state(&node, Id(0)), State::BackingOff { ending: Ending::Silent, .. }));
}

#[test]
fn a_service_that_never_gets_ready_is_killed_and_starts_again_ever_later() {
    let mut node = node_of(&[("kv", r#","start_seconds":20"#)]);
    assert_eq!(node.step(Millis(0), Event::Tick)[..], [Action::Spawn(Id(0))]);
    let (mut now, mut pauses) = (0, [0; 3]);
    for pause in &mut pauses {
        assert_eq!(node.step(Millis(now + 10_000), Event::Tick)[..], []);
        assert_eq!(node.step(Millis(now + 19_999), Event::Alive(Id(0)))[..], []);
        assert_eq!(node.step(Millis(now + 20_000), Event::Tick)[..], [Action::Kill(Id(0))]);
        node.step(Millis(now + 20_001), Event::Ended(Id(0), Ending::Signal(9)));
        let State::BackingOff { restart_at, ending: Ending::Silent } = state(&node, Id(0)) else { panic!("it pauses") };
        *pause = restart_at.since(Millis(now + 20_001));
        assert_eq!(node.step(restart_at, Event::Tick)[..], [Action::Spawn(Id(0))]);
        now = restart_at.0;
    }
    assert_eq!(pauses, [FIRST_BACK_OFF_MS, 2 * FIRST_BACK_OFF_MS, 4 * FIRST_BACK_OFF_MS]);
}

#[test]
fn a_service_that_fell_silent_after_a_long_life_starts_again_at_once() {
    let mut node = node_of(&[("kv", r#","watchdog_seconds":12"#)]);
    let mut now = 0;
    for _ in 0..3 {
        node.step(Millis(now), Event::Tick);
        node.step(Millis(now), Event::Ready(Id(0)));
        node.step(Millis(now + 6_000), Event::Tick);
        assert_eq!(node.step(Millis(now + 12_000), Event::Tick)[..], [Action::Kill(Id(0))]);
        now += 12_001;
        node.step(Millis(now), Event::Ended(Id(0), Ending::Signal(9)));
        let State::BackingOff { restart_at, .. } = state(&node, Id(0)) else { panic!("it pauses") };
        assert_eq!(restart_at.since(Millis(now)), FIRST_BACK_OFF_MS);
        now = restart_at.0;
    }
}

#[test]
fn a_machine_that_stood_still_blames_nobody() {
    let mut node = node_of(&[("kv", r#","watchdog_seconds":5"#), ("slow", "")]);
    node.step(Millis(0), Event::Tick);
    node.step(Millis(0), Event::Ready(Id(0)));
    assert_eq!(node.step(Millis(3_600_000), Event::Tick)[..], []);
    assert_eq!(node.step(Millis(3_605_000), Event::Tick)[..], [Action::Kill(Id(0))]);
}

#[test]
fn a_restart_by_hand_stops_first_and_starts_at_once() {
    let mut node = running_node();
    assert_eq!(node.step(Millis(5), Event::RestartAsked(KV))[..], [Action::Terminate(KV)]);
    assert_eq!(node.step(Millis(10_005), Event::Tick)[..], [Action::Kill(KV)], "SIGKILL after stop_seconds");
    assert_eq!(node.step(Millis(10_006), Event::Tick)[..], [], "once");
    let ended = node.step(Millis(10_007), Event::Ended(KV, Ending::Signal(9)));
    assert_eq!(ended[..], [Action::Sweep(KV), Action::Spawn(KV)]);
}

#[test]
fn a_restart_by_hand_ends_a_pause() {
    let mut node = running_node();
    node.step(Millis(5), Event::Ended(KV, Ending::Code(1)));
    assert_eq!(node.step(Millis(6), Event::RestartAsked(KV))[..], [Action::Spawn(KV)]);
}

#[test]
fn a_service_held_back_starts_when_released() {
    let mut node = node();
    node.step(Millis(0), Event::HoldBack(KV));
    assert_eq!(state(&node, KV), State::HeldBack);
    assert_eq!(node.step(Millis(1), Event::RestartAsked(KV))[..], [], "a wish does not release it");
    assert_eq!(node.step(Millis(2), Event::Released(KV))[..], [Action::Spawn(KV)]);
}

#[test]
fn a_service_held_before_the_start_is_left_out_and_the_others_start() {
    let mut node = node();
    node.hold(KV);
    assert_eq!(node.step(Millis(0), Event::Tick)[..], [Action::Spawn(NETWORK)]);
    assert_eq!(state(&node, KV), State::HeldBack);
}

#[test]
fn words_of_a_process_that_is_gone_change_nothing() {
    let mut node = running_node();
    node.step(Millis(1), Event::Ended(KV, Ending::Code(1)));
    node.step(Millis(2), Event::Ready(KV));
    assert!(matches!(state(&node, KV), State::BackingOff { .. }));
    node.step(Millis(2), Event::Ended(KV, Ending::Code(1)));
    assert!(matches!(state(&node, KV), State::BackingOff { restart_at, .. } if restart_at == Millis(101)));
}

struct End {
    node: Supervisor,
    shutdown: Shutdown,
}

impl End {
    fn new(mut node: Supervisor) -> Self {
        node.close();
        Self { node, shutdown: Shutdown::new(Millis(0), 10_000, Goal::Poweroff, Some(LAUNCHER)) }
    }

    fn step(&mut self, now: u64, containers: Containers, others: Others) -> Do {
        let action = self.shutdown.step(Millis(now), &self.node, containers, others);
        if let Do::StopService(id) = action {
            self.node.step(Millis(now), Event::StopAsked(id));
        }
        action
    }

    fn ended(&mut self, id: Id) {
        self.node.step(Millis(0), Event::Ended(id, Ending::Code(0)));
    }
}

#[test]
fn a_node_stops_in_reverse_order_with_its_containers_before_the_store() {
    let mut end = End::new(running_node());
    let (there, gone) = (Containers::Running, Containers::Gone);
    assert_eq!(end.step(0, there, Others::Running), Do::StopService(LAUNCHER));
    assert_eq!(end.step(0, there, Others::Running), Do::Wait);
    end.ended(LAUNCHER);
    assert_eq!(end.step(1, there, Others::Running), Do::TerminateContainers);
    assert_eq!(end.step(2, there, Others::Running), Do::Wait);
    assert_eq!(end.step(3, gone, Others::Running), Do::KillContainers);
    assert_eq!(end.step(3, gone, Others::Running), Do::StopService(KV));
    end.ended(KV);
    assert_eq!(end.step(4, gone, Others::Running), Do::StopService(NETWORK));
    end.ended(NETWORK);
    assert_eq!(end.step(5, gone, Others::Running), Do::KillStragglers);
    assert_eq!(end.step(5, gone, Others::Running), Do::Wait);
    assert_eq!(end.step(6, gone, Others::Gone), Do::UnmountAndJump(Goal::Poweroff));
}

#[test]
fn containers_that_ignore_the_signal_are_killed_after_their_grace() {
    let mut end = End::new(running_node());
    end.step(0, Containers::Running, Others::Running);
    end.ended(LAUNCHER);
    assert_eq!(end.step(0, Containers::Running, Others::Running), Do::TerminateContainers);
    assert_eq!(end.shutdown.deadline(), Millis(CONTAINER_GRACE_MS));
    assert_eq!(end.step(CONTAINER_GRACE_MS, Containers::Running, Others::Running), Do::KillContainers);
}

#[test]
fn a_service_that_does_not_stop_is_killed_at_the_deadline_and_left_behind_at_last() {
    let mut end = End::new(running_node());
    assert_eq!(end.step(0, Containers::Gone, Others::Running), Do::StopService(LAUNCHER));
    assert_eq!(end.step(9_999, Containers::Gone, Others::Running), Do::Wait);
    assert_eq!(end.step(10_000, Containers::Gone, Others::Running), Do::KillEverything);
    assert_eq!(end.step(10_001, Containers::Gone, Others::Running), Do::Wait, "stuck in the kernel");
    let leave = 10_000 + KILLED_MS;
    assert_eq!(end.step(leave, Containers::Gone, Others::Running), Do::UnmountAndJump(Goal::Poweroff));
}

#[test]
fn a_failing_service_does_not_come_back_during_shutdown() {
    let mut node = running_node();
    node.step(Millis(0), Event::Ended(KV, Ending::Code(1)));
    let mut end = End::new(node);
    assert_eq!(end.node.step(Millis(500), Event::Tick)[..], []);
    end.step(500, Containers::Gone, Others::Running);
    end.ended(LAUNCHER);
    assert_eq!(end.step(501, Containers::Gone, Others::Running), Do::KillContainers);
    assert_eq!(end.step(501, Containers::Gone, Others::Running), Do::StopService(KV));
    assert_eq!(end.step(501, Containers::Gone, Others::Running), Do::StopService(NETWORK));
}

/// Every sequence of events keeps the table's invariants: seeds that fail replay.
#[test]
fn no_sequence_of_events_starts_a_running_service_again_or_loses_one() {
    for seed in 0..500u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut node = node();
        let (mut now, mut alive) = (0, [false; 3]);
        for _ in 0..300 {
            now += next(3_000);
            let id = Id(next(3) as u8);
            let running = alive[id.index()];
            let event = match next(8) {
                0 if running => Event::Ended(id, Ending::Code(next(2) as i32)),
                1 if running => Event::Ended(id, Ending::Signal(9)),
                2 => Event::Ready(id),
                3 => Event::RestartAsked(id),
                4 => Event::Broken(id),
                5 => Event::HoldBack(id),
                6 => Event::Released(id),
                _ => Event::Tick,
            };
            if let Event::Ended(..) = event {
                alive[id.index()] = false;
            }
            for action in node.step(Millis(now), event) {
                if let Action::Spawn(id) = action {
                    assert!(!alive[id.index()], "seed {seed}: {id:?} was spawned twice");
                    alive[id.index()] = true;
                }
            }
            for (id, service) in node.iter() {
                assert_eq!(service.is_running(), alive[id.index()], "seed {seed}: {id:?} is {:?}", service.state);
            }
        }
    }
}
