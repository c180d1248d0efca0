//! The verdict on a trial boot: good, failed with a reason, or undecided until the deadline.

use core::fmt::Write as _;

use crate::control::{Line, cut};
use crate::services::Health;
use crate::supervisor::{Millis, Reported, State, Watched};

/// Bytes of one service's reason in a verdict: of the services that are missing, two have room to say why.
const REASON_BYTES: usize = 96;

/// A service that is judged.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'s> {
    /// Its name.
    pub name: &'s str,
    /// What it reported last, or how it ended.
    pub reason: &'s str,
    /// What it does.
    pub watched: &'s Watched,
}

/// Judgement on a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that is asked of it runs: the slot is good.
    Good,
    /// The deadline is over, and this was missing.
    Failed(Line),
    /// Not yet; this is missing.
    Undecided(Line),
}

/// Judges a trial by what its services do at this moment.
///
/// A service counts when it is ready now: one that was ready and crashed since is missing. A crash alone is no verdict, for
/// the old release may have crashed just as well and come back; only the deadline decides.
pub fn judge<'s>(now: Millis, deadline: Millis, services: impl Iterator<Item = Judged<'s>>) -> Verdict {
    let mut missing = Line::new();
    let mut list = |name: &str, what: &str, reason: &str| {
        let comma = if missing.is_empty() { "" } else { ", " };
        let colon = if reason.is_empty() { "" } else { ": " };
        let length = missing.len();
        if write!(missing, "{comma}{name} {what}{colon}{}", cut::<REASON_BYTES>(reason)).is_err() {
            missing.truncate(length); // the first ones tell enough
        }
    };
    for Judged { name, reason, watched } in services.filter(|judged| judged.watched.health != Health::Ignored) {
        let ready = matches!(watched.state, State::Ready { .. });
        match (ready, watched.health, watched.reported) {
            (false, ..) => list(name, what_it_does(&watched.state), reason_of_state(&watched.state, reason)),
            (true, Health::Reported, Reported::Nothing) => list(name, "has not reported its health", ""),
            (true, Health::Reported, Reported::Unhealthy) => list(name, "reports", reason),
            (true, ..) => {}
        }
    }
    if missing.is_empty() {
        Verdict::Good
    } else if now >= deadline {
        Verdict::Failed(missing)
    } else {
        Verdict::Undecided(missing)
    }
}

/// The reason that belongs to a state: what runs has none yet, whatever an earlier life left.
fn reason_of_state<'r>(state: &State, reason: &'r str) -> &'r str {
    match state {
        State::BackingOff { .. } | State::Stopped(_) | State::HeldBack => reason,
        State::Waiting | State::Starting { .. } | State::Ready { .. } | State::Stopping { .. } => "",
    }
}

fn what_it_does(state: &State) -> &'static str {
    match state {
        State::Waiting => "waits for another service",
        State::HeldBack => "is held back",
        State::Starting { .. } => "is not ready",
        State::Ready { .. } => "is ready",
        State::BackingOff { .. } => "keeps failing",
        State::Stopping { .. } => "is stopping",
        State::Stopped(_) => "has ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::{Ready, Service};
    use crate::supervisor::{Ending, Event, Id, Supervisor};

    fn service(name: &str, health: &str) -> Service {
        serde_json::from_str(&format!(r#"{{"name":"{name}","exec":["/x"],"uid":0,"gid":0,"health":"{health}"}}"#))
            .unwrap()
    }

    fn node() -> Supervisor {
        let mut supervisor = Supervisor::new();
        for (name, health) in [("network", "ignored"), ("kv", "ready"), ("launcher", "reported")] {
            let service = service(name, health);
            assert_eq!(service.ready, Ready::Notify);
            supervisor.add(&service, |_| None).unwrap();
        }
        supervisor.step(Millis(0), Event::Tick);
        supervisor
    }

    fn judged(supervisor: &Supervisor, now: u64) -> Verdict {
        let told = [("network", ""), ("kv", "killed by signal 11"), ("launcher", "container bad: not JSON")];
        let judged = |(id, watched): (Id, _)| Judged { name: told[id.index()].0, reason: told[id.index()].1, watched };
        judge(Millis(now), Millis(60_000), supervisor.iter().map(judged))
    }

    #[test]
    fn a_node_is_good_when_all_is_ready_and_containers_run() {
        let mut node = node();
        assert_eq!(judged(&node, 1), Verdict::Undecided("kv is not ready, launcher is not ready".try_into().unwrap()));
        node.step(Millis(1), Event::Ready(Id(1)));
        node.step(Millis(1), Event::Ready(Id(2)));
        assert_eq!(judged(&node, 2), Verdict::Undecided("launcher has not reported its health".try_into().unwrap()));
        node.step(Millis(1), Event::Unhealthy(Id(2)));
        let why = "launcher reports: container bad: not JSON";
        assert_eq!(judged(&node, 2), Verdict::Undecided(why.try_into().unwrap()));
        node.step(Millis(1), Event::Healthy(Id(2)));
        assert_eq!(judged(&node, 2), Verdict::Good);
    }

    #[test]
    fn the_deadline_fails_a_store_that_never_gets_ready() {
        let mut node = node();
        node.step(Millis(1), Event::Ready(Id(2)));
        node.step(Millis(1), Event::Healthy(Id(2)));
        assert!(matches!(judged(&node, 59_999), Verdict::Undecided(_)));
        assert_eq!(judged(&node, 60_000), Verdict::Failed("kv is not ready".try_into().unwrap()));
    }

    #[test]
    fn what_was_ready_and_crashed_counts_as_missing() {
        let mut node = node();
        node.step(Millis(1), Event::Ready(Id(1)));
        node.step(Millis(1), Event::Ready(Id(2)));
        node.step(Millis(1), Event::Healthy(Id(2)));
        node.step(Millis(2), Event::Ended(Id(1), Ending::Signal(11)));
        assert_eq!(judged(&node, 3), Verdict::Undecided("kv keeps failing: killed by signal 11".try_into().unwrap()));
    }

    #[test]
    fn a_long_reason_leaves_room_for_the_others() {
        let node = {
            let mut node = node();
            for id in [1, 2] {
                node.step(Millis(1), Event::Ready(Id(id)));
                node.step(Millis(2), Event::Ended(Id(id), Ending::Signal(9)));
            }
            node
        };
        let long = "x".repeat(200);
        let judged = |(_, watched)| Judged { name: "kv", reason: &long, watched };
        let Verdict::Failed(missing) = judge(Millis(9), Millis(9), node.iter().map(judged)) else {
            panic!("it failed")
        };
        assert_eq!(missing.matches("kv keeps failing: xxx").count(), 2, "{missing}");
    }

    #[test]
    fn the_network_outside_is_not_the_releases_fault() {
        let mut node = node();
        for id in [1, 2] {
            node.step(Millis(1), Event::Ready(Id(id)));
        }
        node.step(Millis(1), Event::Healthy(Id(2)));
        assert_eq!(judged(&node, 99_999), Verdict::Good);
    }
}
