//! What to start and what to stop: `step(now, declared, observed) -> actions`, with back-off for what keeps ending.
//!
//! ```text
//! Waiting ──> Starting ──> Running ──declaration gone or changed──> Stopping ──ended──> (gone | Waiting)
//!    ^            │           │
//!    └─ back-off ─┴───────────┘ ended, and its policy says again;  ended, and it does not ──> Done
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::declaration::{Declaration, Restart};

/// First wait after a container ended, in milliseconds; doubled each time.
pub const BACK_OFF_FIRST_MS: u64 = 100;

/// Longest wait, in milliseconds.
pub const BACK_OFF_LONGEST_MS: u64 = 60_000;

/// A container that ran this long, in milliseconds, starts anew with the first wait.
pub const STEADY_MS: u64 = 10_000;

/// A container counts as healthy when it has run this long, in milliseconds: one that dies at once does not make a node healthy.
pub const HEALTHY_MS: u64 = 1_000;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", content = "value", rename_all = "kebab-case")]
pub enum Ending {
    /// Exit code.
    Code(i32),
    /// Killed by a signal.
    Signal(i32),
    /// Killed because it went over its memory limit.
    OutOfMemory,
    /// It could not be started: object, operation, cause.
    NotStarted(String),
    /// Its monitor was killed, and it with it.
    MonitorLost,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::OutOfMemory => f.write_str("killed: out of its memory limit"),
            Self::NotStarted(reason) => f.write_str(reason),
            Self::MonitorLost => f.write_str("its monitor was killed"),
        }
    }
}

/// Where a container stands. Times are milliseconds of CLOCK_BOOTTIME.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// To be started at that time.
    Waiting {
        /// When.
        start_at: u64,
        /// How it ended before, if it did.
        last: Option<Ending>,
    },
    /// Its image is unpacked and its monitor started.
    Starting {
        /// As what.
        declaration: Declaration,
    },
    /// It runs.
    Running {
        /// Since when.
        since: u64,
        /// As what.
        declaration: Declaration,
    },
    /// Asked to stop.
    Stopping {
        /// Whether it was replaced or taken away makes no difference here: what is declared then decides.
        declaration: Declaration,
    },
    /// Ended, and not to be started again until it is declared otherwise.
    Done {
        /// How.
        ending: Ending,
        /// As what.
        declaration: Declaration,
    },
}

/// One container's history.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Where it stands.
    pub phase: Phase,
    /// Endings in a row, each soon after its start.
    pub failures: u32,
    /// Times it was started again.
    pub restarts: u32,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start it.
    Start {
        /// Which.
        name: String,
        /// As what.
        declaration: Box<Declaration>,
    },
    /// It is gone for good: nothing of it needs to be kept.
    Forget {
        /// Which.
        name: String,
    },
    /// Ask it to stop; its end is reported by [`Containers::ended`].
    Stop {
        /// Which.
        name: String,
    },
}

/// Every container that is declared or not yet gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Containers {
    tracks: BTreeMap<String, Track>,
}

impl Containers {
    /// Takes over a container that outlived an earlier launcher.
    pub fn adopt(&mut self, name: &str, since: u64, declaration: Declaration) {
        let phase = Phase::Running { since, declaration };
        self.tracks.insert(name.to_owned(), Track { phase, failures: 0, restarts: 0 });
    }

    /// Takes over one that ended under an earlier launcher: its restart policy holds.
    pub fn adopt_ended(&mut self, now: u64, name: &str, since: u64, declaration: Declaration, ending: Ending) {
        self.adopt(name, since, declaration);
        self.ended(now, name, ending);
    }

    /// What stands where.
    pub fn tracks(&self) -> impl Iterator<Item = (&str, &Track)> {
        self.tracks.iter().map(|(name, track)| (name.as_str(), track))
    }

    /// Compares what is declared with what is; call it after every change and at [`Containers::wake_at`].
    pub fn step(&mut self, now: u64, declared: &BTreeMap<String, Declaration>) -> Vec<Action> {
        for name in declared.keys() {
            self.tracks.entry(name.clone()).or_insert_with(|| Track {
                phase: Phase::Waiting { start_at: now, last: None },
                failures: 0,
                restarts: 0,
            });
        }
        let mut actions = Vec::new();
        self.tracks.retain(|name, track| {
            let (keep, action) = track.step(now, name, declared.get(name));
            actions.extend(action);
            if !keep {
                actions.push(Action::Forget { name: name.clone() });
            }
            keep
        });
        actions
    }

    /// A start that [`Action::Start`] asked for has succeeded.
    pub fn started(&mut self, now: u64, name: &str) {
        if let Some(Track { phase, .. }) = self.tracks.get_mut(name)
            && let Phase::Starting { declaration } = phase
        {
            *phase = Phase::Running { since: now, declaration: declaration.clone() };
        }
    }

    /// Whether it is to stop: what was asked to stop while it started must be told when it has.
    pub fn is_stopping(&self, name: &str) -> bool {
        self.tracks.get(name).is_none_or(|track| matches!(track.phase, Phase::Stopping { .. }))
    }

    /// A container's process, its monitor or its start came to an end.
    pub fn ended(&mut self, now: u64, name: &str, ending: Ending) {
        if let Some(track) = self.tracks.get_mut(name) {
            track.ended(now, ending);
        }
    }

    /// A cause of failure went away (an image was loaded, say): whatever waits, or could not be started, starts now.
    pub fn retry(&mut self, now: u64) {
        for track in self.tracks.values_mut() {
            match &mut track.phase {
                Phase::Waiting { start_at, .. } => *start_at = now.min(*start_at),
                Phase::Done { ending: ending @ Ending::NotStarted(_), .. } => {
                    track.phase = Phase::Waiting { start_at: now, last: Some(ending.clone()) };
                }
                _ => {}
            }
        }
    }

    /// The next time at which [`Containers::step`] has something to do by itself.
    pub fn wake_at(&self) -> Option<u64> {
        let waits = self.tracks.values().filter_map(|track| match track.phase {
            Phase::Waiting { start_at, .. } => Some(start_at),
            _ => None,
        });
        waits.min()
    }

    /// Whether every declared container runs and has stayed up a moment; otherwise the first that does not, and why.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn health(&self, now: u64, declared: &BTreeMap<String, Declaration>) -> Result<(), String> {
        for name in declared.keys() {
            match self.tracks.get(name).map(|track| &track.phase) {
                Some(Phase::Running { since, .. }) if now >= since + HEALTHY_MS => {}
                Some(Phase::Running { .. }) => return Err(format!("container {name} has just started")),
                Some(Phase::Done { ending: Ending::Code(0), .. }) => {}
                Some(Phase::Waiting { last: Some(ending), .. } | Phase::Done { ending, .. }) => {
                    return Err(format!("container {name}: {ending}"));
                }
                _ => return Err(format!("container {name} does not run yet")),
            }
        }
        Ok(())
    }

    /// When [`Containers::health`] may change by time alone.
    pub fn health_at(&self, now: u64) -> Option<u64> {
        let young = self.tracks.values().filter_map(|track| match track.phase {
            Phase::Running { since, .. } => Some(since + HEALTHY_MS).filter(|at| *at > now),
            _ => None,
        });
        young.min()
    }
}

impl Track {
    /// Whether it stays in the table, and what to do.
    fn step(&mut self, now: u64, name: &str, declared: Option<&Declaration>) -> (bool, Option<Action>) {
        match (&mut self.phase, declared) {
            (Phase::Waiting { .. } | Phase::Done { .. }, None) => (false, None),
            (Phase::Waiting { start_at, .. }, Some(_)) if *start_at > now => (true, None),
            (Phase::Waiting { .. }, Some(declaration)) => {
                self.phase = Phase::Starting { declaration: declaration.clone() };
                (true, Some(Action::Start { name: name.to_owned(), declaration: Box::new(declaration.clone()) }))
            }
            (Phase::Starting { declaration } | Phase::Running { declaration, .. }, wanted)
                if wanted != Some(declaration) =>
            {
                self.phase = Phase::Stopping { declaration: declaration.clone() };
                (true, Some(Action::Stop { name: name.to_owned() }))
            }
            (Phase::Done { declaration, .. }, Some(wanted)) if declaration != wanted => {
                self.phase = Phase::Waiting { start_at: now, last: None };
                self.failures = 0;
                self.step(now, name, declared)
            }
            _ => (true, None),
        }
    }

    fn ended(&mut self, now: u64, ending: Ending) {
        let (since, declaration) = match &self.phase {
            Phase::Running { since, declaration } => (*since, declaration.clone()),
            Phase::Starting { declaration } => (now, declaration.clone()),
            // It ended because it was told to: what is declared now decides, without back-off.
            Phase::Stopping { .. } => {
                self.failures = 0;
                self.phase = Phase::Waiting { start_at: now, last: None };
                return;
            }
            Phase::Waiting { .. } | Phase::Done { .. } => return,
        };
        let again = match declaration.restart {
            Restart::Always => true,
            Restart::OnFailure => ending != Ending::Code(0),
            Restart::Never => false,
        };
        if !again {
            self.phase = Phase::Done { ending, declaration };
            return;
        }
        self.failures = if now.saturating_sub(since) >= STEADY_MS { 1 } else { self.failures.saturating_add(1) };
        self.restarts = self.restarts.saturating_add(1);
        self.phase = Phase::Waiting { start_at: now + back_off(self.failures), last: Some(ending) };
    }
}

/// The wait after so many failures in a row.
fn back_off(failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(20);
    (BACK_OFF_FIRST_MS << doublings).min(BACK_OFF_LONGEST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(names: &[&str]) -> BTreeMap<String, Declaration> {
        names.iter().map(|name| ((*name).to_owned(), Declaration::of_image("hello"))).collect()
    }

    fn started(actions: &[Action]) -> Vec<&str> {
        actions
            .iter()
            .filter_map(|a| if let Action::Start { name, .. } = a { Some(name.as_str()) } else { None })
            .collect()
    }

    #[test]
    fn a_declared_container_starts_once() {
        let (mut containers, declared) = (Containers::default(), declared(&["a"]));
        assert_eq!(started(&containers.step(0, &declared)), ["a"]);
        assert!(containers.step(1, &declared).is_empty());
    }

    #[test]
    fn a_deleted_declaration_stops_it_and_its_end_removes_it() {
        let mut containers = Containers::default();
        containers.step(0, &declared(&["a"]));
        assert_eq!(containers.step(5, &declared(&[])), [Action::Stop { name: "a".into() }]);
        assert!(containers.step(6, &declared(&[])).is_empty());
        containers.ended(7, "a", Ending::Signal(15));
        assert_eq!(containers.step(8, &declared(&[])), [Action::Forget { name: "a".into() }]);
        assert!(containers.step(9, &declared(&[])).is_empty());
        assert_eq!(containers.tracks().count(), 0);
    }

    #[test]
    fn a_changed_declaration_replaces_it() {
        let (mut containers, mut declared) = (Containers::default(), declared(&["a"]));
        containers.step(0, &declared);
        declared.get_mut("a").unwrap().memory = Some("64M".into());
        assert_eq!(containers.step(5, &declared), [Action::Stop { name: "a".into() }]);
        containers.ended(7, "a", Ending::Signal(15));
        assert_eq!(started(&containers.step(7, &declared)), ["a"]);
    }

    #[test]
    fn a_crashing_container_waits_longer_each_time_up_to_a_minute() {
        let (mut containers, declared) = (Containers::default(), declared(&["a"]));
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..14 {
            assert_eq!(started(&containers.step(now, &declared)), ["a"]);
            containers.ended(now, "a", Ending::Code(1));
            let at = containers.wake_at().unwrap();
            assert!(containers.step(at - 1, &declared).is_empty());
            waits.push(at - now);
            now = at;
        }
        assert_eq!(&waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits.last(), Some(&BACK_OFF_LONGEST_MS));
    }

    #[test]
    fn a_container_that_ran_steadily_starts_again_soon() {
        let (mut containers, declared) = (Containers::default(), declared(&["a"]));
        for _ in 0..5 {
            let now = containers.wake_at().unwrap_or(0);
            containers.step(now, &declared);
            containers.started(now, "a");
            containers.ended(now, "a", Ending::Code(1));
        }
        let now = containers.wake_at().unwrap();
        containers.step(now, &declared);
        containers.started(now, "a");
        containers.ended(now + STEADY_MS, "a", Ending::Code(1));
        assert_eq!(containers.wake_at(), Some(now + STEADY_MS + BACK_OFF_FIRST_MS));
    }

    #[test]
    fn what_is_deleted_while_it_starts_is_stopped_when_it_has_started() {
        let mut containers = Containers::default();
        containers.step(0, &declared(&["a"]));
        assert_eq!(containers.step(1, &declared(&[])), [Action::Stop { name: "a".into() }]);
        containers.started(2, "a");
        assert!(containers.is_stopping("a"));
        containers.ended(3, "a", Ending::Signal(15));
        assert_eq!(containers.step(4, &declared(&[])), [Action::Forget { name: "a".into() }]);
        assert_eq!(containers.tracks().count(), 0);
    }

    #[test]
    fn restart_policies_decide_what_ends() {
        for (restart, ending, again) in [
            (Restart::Always, Ending::Code(0), true),
            (Restart::OnFailure, Ending::Code(0), false),
            (Restart::OnFailure, Ending::Signal(9), true),
            (Restart::Never, Ending::Code(1), false),
        ] {
            let (mut containers, mut declared) = (Containers::default(), declared(&["a"]));
            declared.get_mut("a").unwrap().restart = restart;
            containers.step(0, &declared);
            containers.ended(1, "a", ending.clone());
            assert_eq!(containers.wake_at().is_some(), again, "{restart:?} {ending:?}");
        }
    }

    #[test]
    fn what_ended_for_good_stays_so_under_the_next_launcher() {
        let (mut containers, mut declared) = (Containers::default(), declared(&["a", "b"]));
        declared.get_mut("a").unwrap().restart = Restart::Never;
        containers.adopt_ended(9, "a", 3, declared["a"].clone(), Ending::Code(0));
        containers.adopt_ended(9, "b", 3, declared["b"].clone(), Ending::Code(0));
        assert!(containers.step(10, &declared).is_empty());
        assert_eq!(started(&containers.step(9 + BACK_OFF_FIRST_MS, &declared)), ["b"]);
    }

    #[test]
    fn what_could_not_start_for_want_of_an_image_starts_when_there_is_one() {
        let (mut containers, mut declared) = (Containers::default(), declared(&["a"]));
        declared.get_mut("a").unwrap().restart = Restart::Never;
        containers.step(0, &declared);
        containers.ended(1, "a", Ending::NotStarted("no image".into()));
        assert!(containers.step(2, &declared).is_empty());
        containers.retry(3);
        assert_eq!(started(&containers.step(3, &declared)), ["a"]);
    }

    #[test]
    fn an_adopted_container_goes_on_untouched() {
        let (mut containers, declared) = (Containers::default(), declared(&["a"]));
        containers.adopt("a", 3, declared["a"].clone());
        assert!(containers.step(10, &declared).is_empty());
    }

    #[test]
    fn a_node_is_healthy_when_its_containers_stay_up_a_moment() {
        let (mut containers, declared) = (Containers::default(), declared(&["a"]));
        assert!(containers.health(0, &declared).is_err());
        containers.step(0, &declared);
        assert!(containers.health(HEALTHY_MS, &declared).unwrap_err().contains("not run yet"));
        containers.started(0, "a");
        assert!(containers.health(1, &declared).unwrap_err().contains("just started"));
        assert_eq!(containers.health_at(1), Some(HEALTHY_MS));
        assert_eq!(containers.health(HEALTHY_MS, &declared), Ok(()));
        containers.ended(HEALTHY_MS + 1, "a", Ending::OutOfMemory);
        assert!(containers.health(HEALTHY_MS + 2, &declared).unwrap_err().contains("memory"));
    }
}
