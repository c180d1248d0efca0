//! Supervision as a pure step function: start order, restarts with back-off, watchdogs, stop.
//!
//! ```text
//!            dependencies ready          READY=1
//!  Waiting ---------------------> Starting ------> Ready
//!     ^  \                          |  |             |
//!     |   \ held back               |  | ends        | ends
//!     |    v                        |  v             v
//!     |  HeldBack                   | BackingOff <---+     (restart policy says so; otherwise Stopped)
//!     |                             |  | time is over
//!     +-----------------------------|--+
//!                                   v stop, restart asked, watchdog silent, not ready in time
//!                                Stopping --> (Restarting: Waiting | Stopped)
//! ```
//!
//! [`Supervisor::step`] takes what happened and the time and gives what to do. It never blocks, never allocates, never reads a clock.

use heapless::Vec;

use crate::limits::MAX_SERVICES;
use crate::services::{Health, Ready, Restart, Service};

/// Milliseconds of a clock that never goes back (CLOCK_BOOTTIME).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// So much later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from an earlier time until this one; 0 if it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// First pause before a restart, in ms: short enough that a killed store is back before its clients give up.
pub const FIRST_BACK_OFF_MS: u64 = 100;
/// Longest pause, in ms: a service that cannot work costs next to nothing, and is back within half a minute of its cure.
pub const LONGEST_BACK_OFF_MS: u64 = 30_000;
/// After running so long, in ms, a failure is a new one and the pause starts from the first again.
pub const STABLE_AFTER_MS: u64 = 10_000;

/// After so long without a step, in ms, the time is nobody's silence: the machine stood still (a paused guest, a suspend), or PID 1
/// did. It steps at least every 10 s.
pub const STANDSTILL_MS: u64 = 15_000;

/// A service's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(pub u8);

impl Id {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Exit status.
    Code(i32),
    /// Killed by a signal.
    Signal(i32),
    /// It could not even be started; the errno.
    NotStarted(i32),
    /// Did not say WATCHDOG=1, or READY=1 after its start, in time and was killed.
    Silent,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Only time went by (also: start everything that may start).
    Tick,
    /// A spawn that was asked for went well.
    Spawned(Id),
    /// A spawn that was asked for failed with this errno.
    SpawnFailed(Id, i32),
    /// The main process ended.
    Ended(Id, Ending),
    /// READY=1.
    Ready(Id),
    /// WATCHDOG=1.
    Alive(Id),
    /// WATCHDOG=trigger.
    Broken(Id),
    /// X_HULL_HEALTH=ok.
    Healthy(Id),
    /// X_HULL_HEALTH=reason.
    Unhealthy(Id),
    /// Somebody wants it stopped and started again.
    RestartAsked(Id),
    /// Somebody wants it stopped for good (shutdown).
    StopAsked(Id),
    /// It may not start until [`Event::Released`].
    HoldBack(Id),
    /// It may start again.
    Released(Id),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start it; answer with `Spawned` or `SpawnFailed`.
    Spawn(Id),
    /// SIGTERM to its main process.
    Terminate(Id),
    /// SIGKILL to everything in its cgroup.
    Kill(Id),
    /// The main process is gone: SIGKILL to what it left behind in its cgroup.
    Sweep(Id),
}

/// Actions of one step, in order.
pub type Actions = Vec<Action, { 2 * MAX_SERVICES }>;

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for others to be ready.
    Waiting,
    /// May not start.
    HeldBack,
    /// Runs, not ready.
    Starting {
        /// Since.
        since: Millis,
    },
    /// Runs and is ready.
    Ready {
        /// Since it is ready.
        since: Millis,
        /// Since it runs.
        started: Millis,
    },
    /// Ended and starts again.
    BackingOff {
        /// Then.
        restart_at: Millis,
        /// How it ended.
        ending: Ending,
    },
    /// Told to stop.
    Stopping {
        /// Then it is killed; `None` after that.
        kill_at: Option<Millis>,
        /// What comes after.
        then: Then,
    },
    /// Ended and stays so.
    Stopped(Ending),
}

/// What comes after a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It starts again at once.
    Restart,
    /// It starts again after a pause, for it failed.
    BackOff,
    /// It stays down.
    Stay,
}

/// Whether a service reported that what it is responsible for runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// Nothing since it was started.
    Nothing,
    /// `ok`.
    Healthy,
    /// A reason.
    Unhealthy,
}

#[derive(Debug, Clone, Copy)]
struct Policy {
    after: u32,
    ready: Ready,
    restart: Restart,
    stop_ms: u64,
    watchdog_ms: Option<u64>,
    start_ms: Option<u64>,
}

/// One service as the supervisor sees it.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    policy: Policy,
    /// What it does.
    pub state: State,
    /// Times it was started again by itself.
    pub restarts: u32,
    /// Failures since it last ran for long.
    failures: u32,
    /// What it reported last.
    pub reported: Reported,
    /// What a trial asks of it.
    pub health: Health,
    alive: Millis,
    hold: Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Free,
    Held,
}

impl Watched {
    /// Whether a process of it exists.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Ready { .. } | State::Stopping { .. })
    }

    fn deadline(&self) -> Option<Millis> {
        let watchdog = |ms| self.alive.plus(ms); // the start of a service counts as a word of it
        match self.state {
            State::BackingOff { restart_at, .. } => Some(restart_at),
            State::Stopping { kill_at, .. } => kill_at,
            State::Ready { .. } => self.policy.watchdog_ms.map(watchdog),
            State::Starting { .. } => self.policy.start_ms.map(watchdog),
            State::Waiting | State::HeldBack | State::Stopped(_) => None,
        }
    }
}

/// All services. The order of the table is the start order among those that wait for nothing.
#[derive(Debug, Default)]
pub struct Supervisor {
    services: Vec<Watched, MAX_SERVICES>,
    closed: Closed,
    stepped: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Closed {
    #[default]
    No,
    Yes,
}

impl Supervisor {
    /// No services.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service; `after` is looked up among those added before by `find`, what it does not know is not waited for.
    /// `None` if the table is full.
    pub fn add(&mut self, service: &Service, find: impl Fn(&str) -> Option<Id>) -> Option<Id> {
        let id = Id(self.services.len() as u8);
        let after = service.after.iter().filter_map(|name| find(name)).fold(0, |mask, id| mask | 1 << id.0);
        let watchdog = u64::from(service.watchdog_seconds) * 1000;
        let policy = Policy {
            after,
            ready: service.ready,
            restart: service.restart,
            stop_ms: u64::from(service.stop_seconds) * 1000,
            watchdog_ms: Some(watchdog).filter(|ms| *ms > 0),
            start_ms: Some(u64::from(service.start_seconds) * 1000).filter(|ms| *ms > 0),
        };
        let watched = Watched {
            policy,
            state: State::Waiting,
            restarts: 0,
            failures: 0,
            reported: Reported::Nothing,
            health: service.health,
            alive: Millis(0),
            hold: Hold::Free,
        };
        self.services.push(watched).ok().map(|()| id)
    }

    /// One service.
    #[must_use]
    pub fn get(&self, id: Id) -> Option<&Watched> {
        self.services.get(id.index())
    }

    /// All services in start order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Id, &Watched)> {
        self.services.iter().enumerate().map(|(index, watched)| (Id(index as u8), watched))
    }

    /// Holds a service back before anything was started: [`Event::HoldBack`] for one that does not run yet.
    pub fn hold(&mut self, id: Id) {
        if let Some(service) = self.services.get_mut(id.index()) {
            service.hold = Hold::Held;
            service.hold_if_held();
        }
    }

    /// From now on nothing is started or started again (shutdown).
    pub fn close(&mut self) {
        self.closed = Closed::Yes;
    }

    /// When [`Event::Tick`] must come at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        self.services.iter().filter_map(Watched::deadline).min()
    }

    /// Takes what happened and gives what to do.
    pub fn step(&mut self, now: Millis, event: Event) -> Actions {
        let mut actions = Actions::new();
        if now.since(self.stepped) >= STANDSTILL_MS {
            self.services.iter_mut().for_each(|service| service.alive = now);
        }
        self.stepped = now;
        self.take(now, event, &mut actions);
        self.expire(now, &mut actions);
        self.start_what_may_start(now, &mut actions);
        actions
    }

    fn take(&mut self, now: Millis, event: Event, actions: &mut Actions) {
        let id = match event {
            Event::Tick => return,
            Event::Spawned(id)
            | Event::SpawnFailed(id, _)
            | Event::Ended(id, _)
            | Event::Ready(id)
            | Event::Alive(id)
            | Event::Broken(id)
            | Event::Healthy(id)
            | Event::Unhealthy(id)
            | Event::RestartAsked(id)
            | Event::StopAsked(id)
            | Event::HoldBack(id)
            | Event::Released(id) => id,
        };
        let Some(service) = self.services.get_mut(id.index()) else {
            debug_assert!(false, "no such service: {id:?}");
            return;
        };
        match event {
            Event::Tick => {}
            Event::Spawned(_) => service.spawned(now),
            Event::SpawnFailed(_, errno) => service.ended(now, Ending::NotStarted(errno)),
            Event::Ended(_, ending) => {
                push(actions, Action::Sweep(id));
                service.ended(now, ending);
            }
            Event::Ready(_) => service.ready(now),
            Event::Alive(_) => service.is_alive(now),
            Event::Broken(_) => service.stop(now, id, Then::BackOff, actions),
            Event::Healthy(_) => service.reported = Reported::Healthy,
            Event::Unhealthy(_) => service.reported = Reported::Unhealthy,
            Event::RestartAsked(_) => service.stop(now, id, Then::Restart, actions),
            Event::StopAsked(_) => service.stop(now, id, Then::Stay, actions),
            Event::HoldBack(_) => service.hold_back(now, id, actions),
            Event::Released(_) => service.release(),
        }
    }

    fn expire(&mut self, now: Millis, actions: &mut Actions) {
        for (index, service) in self.services.iter_mut().enumerate() {
            let id = Id(index as u8);
            if service.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            match &mut service.state {
                State::BackingOff { .. } => {
                    service.restarts += 1;
                    service.state = State::Waiting;
                }
                State::Stopping { kill_at, .. } => {
                    *kill_at = None;
                    push(actions, Action::Kill(id));
                }
                State::Starting { .. } | State::Ready { .. } => {
                    service.forgive_if_stable(now);
                    service.state = State::Stopping { kill_at: None, then: Then::BackOff };
                    push(actions, Action::Kill(id));
                }
                State::Waiting | State::HeldBack | State::Stopped(_) => {}
            }
        }
    }

    fn start_what_may_start(&mut self, now: Millis, actions: &mut Actions) {
        if self.closed == Closed::Yes {
            return;
        }
        let is_ready = |service: &Watched| matches!(service.state, State::Ready { .. });
        let ready =
            self.services.iter().enumerate().filter(|(_, s)| is_ready(s)).fold(0u32, |mask, (i, _)| mask | 1 << i);
        for (index, service) in self.services.iter_mut().enumerate() {
            if service.state == State::Waiting && service.policy.after & !ready == 0 {
                service.state = State::Starting { since: now };
                service.alive = now;
                service.reported = Reported::Nothing;
                push(actions, Action::Spawn(Id(index as u8)));
            }
        }
    }
}

impl Watched {
    fn spawned(&mut self, now: Millis) {
        if self.policy.ready == Ready::Started {
            self.ready(now);
        }
    }

    fn ready(&mut self, now: Millis) {
        if let State::Starting { since } = self.state {
            self.state = State::Ready { since: now, started: since };
            self.alive = now;
        }
    }

    /// Being alive is no substitute for getting ready: the time to start goes on.
    fn is_alive(&mut self, now: Millis) {
        if matches!(self.state, State::Ready { .. }) {
            self.alive = now;
        }
    }

    /// What was ready and ran for long begins anew: its next failure is a first one.
    fn forgive_if_stable(&mut self, now: Millis) {
        if matches!(self.state, State::Ready { started, .. } if now.since(started) >= STABLE_AFTER_MS) {
            self.failures = 0;
        }
    }

    fn ended(&mut self, now: Millis, ending: Ending) {
        let ran_ms = match self.state {
            State::Starting { since } | State::Ready { started: since, .. } => now.since(since),
            State::Stopping { then: Then::Restart, .. } => {
                self.state = State::Waiting;
                self.restarts += 1;
                return self.hold_if_held();
            }
            State::Stopping { then: Then::Stay, .. } => {
                self.state = State::Stopped(ending);
                return self.hold_if_held();
            }
            State::Stopping { then: Then::BackOff, .. } => {
                self.back_off(now, Ending::Silent);
                return self.hold_if_held();
            }
            // Nothing ran: an event that crossed with another one.
            State::Waiting | State::HeldBack | State::BackingOff { .. } | State::Stopped(_) => return,
        };
        if ran_ms >= STABLE_AFTER_MS {
            self.failures = 0;
        }
        let again = match self.policy.restart {
            Restart::Always => true,
            Restart::OnFailure => ending != Ending::Code(0),
            Restart::Never => false,
        };
        if again {
            self.back_off(now, ending)
        } else {
            self.state = State::Stopped(ending)
        }
        self.hold_if_held();
    }

    fn back_off(&mut self, now: Millis, ending: Ending) {
        let pause = FIRST_BACK_OFF_MS.checked_shl(self.failures.min(20)).unwrap_or(LONGEST_BACK_OFF_MS);
        self.failures = self.failures.saturating_add(1);
        self.state = State::BackingOff { restart_at: now.plus(pause.min(LONGEST_BACK_OFF_MS)), ending };
    }

    fn stop(&mut self, now: Millis, id: Id, then: Then, actions: &mut Actions) {
        match &mut self.state {
            State::Starting { .. } | State::Ready { .. } => {
                self.forgive_if_stable(now);
                self.state = State::Stopping { kill_at: Some(now.plus(self.policy.stop_ms)), then };
                push(actions, Action::Terminate(id));
            }
            // A stop for good is not undone by a wish to restart.
            State::Stopping { then: old, .. } if *old != Then::Stay => *old = then,
            State::Stopping { .. } | State::HeldBack => {}
            State::Waiting | State::BackingOff { .. } | State::Stopped(_) => match then {
                Then::Restart => {
                    self.failures = 0;
                    self.state = State::Waiting;
                }
                Then::Stay => self.state = State::Stopped(Ending::Code(0)),
                Then::BackOff => {}
            },
        }
    }

    fn hold_back(&mut self, now: Millis, id: Id, actions: &mut Actions) {
        self.hold = Hold::Held;
        self.stop(now, id, Then::Stay, actions);
        self.hold_if_held();
    }

    fn hold_if_held(&mut self) {
        if self.hold == Hold::Held && !self.is_running() {
            self.state = State::HeldBack;
        }
    }

    fn release(&mut self) {
        self.hold = Hold::Free;
        if self.state == State::HeldBack {
            self.state = State::Waiting;
        }
    }
}

fn push(actions: &mut Actions, action: Action) {
    let pushed = actions.push(action);
    debug_assert!(pushed.is_ok(), "a step gives at most two actions a service");
}
