//! PID 1 while the node runs: one event loop over signals, services, sockets, timers and buttons.
//!
//! Invariant: no turn of the loop waits for anything but the next event, and each source gets a bounded share of a turn.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_init_core::cmdline::Config;
use hull_init_core::control::format_line;
use hull_init_core::limits::MAX_SERVICES;
use hull_init_core::services::Service;
use hull_init_core::shutdown::{Goal, Shutdown};
use hull_init_core::supervisor::{Action, Actions, Ending, Event, Id, Millis, State, Supervisor};
use rustix::event::epoll;
use rustix::fs::Timespec;
use rustix::time::{ClockId, clock_gettime};

use crate::children::How;
use crate::console::Console;
use crate::jobs::Jobs;
use crate::log::Log;
use crate::node::Node;
use crate::requests::Connections;
use crate::sys::memory::Droppable;
use crate::sys::signal;
use crate::sys::watchdog::Watchdog;
use crate::table::Table;

/// Events taken in one turn.
const EVENTS: usize = 32;
/// Signals, ended processes, datagrams or pipe reads that one source gets in one turn.
pub(crate) const SHARE: usize = 64;
/// Longest sleep, in ms: a look at everything once in a while costs nothing and ends any oversight.
const LONGEST_SLEEP_MS: u64 = 10_000;

/// Pages that events needed are given back at most once in so many ms: a fault for each that is needed again costs a few microseconds.
const GIVE_BACK_MS: u64 = 1_000;

/// What an event of epoll belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    Signals,
    Control,
    Button(u8),
    Log(u8),
    Notify(u8),
    Connection(u8),
    JobLog,
}

impl Source {
    fn data(self) -> epoll::EventData {
        let (kind, index) = match self {
            Self::Signals => (0, 0),
            Self::Control => (1, 0),
            Self::Button(index) => (2, index),
            Self::Log(index) => (3, index),
            Self::Notify(index) => (4, index),
            Self::Connection(index) => (5, index),
            Self::JobLog => (6, 0),
        };
        epoll::EventData::new_u64(kind << 8 | u64::from(index))
    }

    fn of(data: epoll::EventData) -> Self {
        let index = data.u64() as u8;
        match data.u64() >> 8 {
            0 => Self::Signals,
            1 => Self::Control,
            2 => Self::Button(index),
            3 => Self::Log(index),
            4 => Self::Notify(index),
            5 => Self::Connection(index),
            _ => Self::JobLog,
        }
    }
}

/// Everything PID 1 knows.
pub(crate) struct Pid1 {
    pub(crate) log: Log,
    pub(crate) console: Console,
    pub(crate) config: Config,
    pub(crate) node: Node,
    pub(crate) table: Table,
    pub(crate) supervisor: Supervisor,
    pub(crate) jobs: Jobs,
    pub(crate) connections: Connections,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) hardware: Option<Hardware>,
    pub(crate) memory: Droppable,
    gave_back: Millis,
    epoll: OwnedFd,
    signals: OwnedFd,
    buttons: Vec<OwnedFd>,
    pub(crate) children: Children,
    next_search: Option<Search>,
}

/// The next look for a root.
#[derive(Clone, Copy)]
struct Search {
    at: Millis,
    pause_ms: u64,
}

/// The armed hardware watchdog.
pub(crate) struct Hardware {
    device: Watchdog,
    every_ms: u64,
    next: Millis,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Children {
    AllReaped,
    MoreToReap,
}

/// The time, CLOCK_BOOTTIME.
pub(crate) fn now() -> Millis {
    let time = clock_gettime(ClockId::Boottime);
    Millis(time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000)
}

/// The signals that mean something to PID 1. systemd's numbers for the same wishes are SIGRTMIN+4 (power off) and +5 (reboot).
fn wanted_signals() -> [i32; 7] {
    [
        libc::SIGCHLD,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGPWR,
        libc::SIGUSR2,
        libc::SIGRTMIN() + 4,
        libc::SIGRTMIN() + 5,
    ]
}

impl Pid1 {
    /// Makes the loop's own descriptors. Without them there is no PID 1: an error here ends in a kernel panic and thus a reset.
    pub(crate) fn new() -> std::io::Result<Self> {
        let signals = signal::open(&wanted_signals())?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &signals, Source::Signals.data(), epoll::EventFlags::IN)?;
        Ok(Self {
            log: Log::new(),
            console: Console::default(),
            config: Config::default(),
            node: Node::new(now()),
            table: Table::default(),
            supervisor: Supervisor::new(),
            jobs: Jobs::new()?,
            connections: Connections::default(),
            shutdown: None,
            hardware: None,
            memory: Droppable::default(),
            gave_back: Millis::default(),
            epoll,
            signals,
            buttons: Vec::new(),
            children: Children::AllReaped,
            next_search: None,
        })
    }

    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, source: Source, flags: epoll::EventFlags) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, source.data(), flags)
    }

    pub(crate) fn rewatch(&self, fd: BorrowedFd<'_>, source: Source, flags: epoll::EventFlags) {
        let _ = epoll::modify(&self.epoll, fd, source.data(), flags); // only fails for what was never watched
    }

    pub(crate) fn unwatch(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, fd); // only fails for what was never watched
    }

    /// Takes a service into the table; what is wrong with it is a note, and the others go on.
    pub(crate) fn add_service(&mut self, service: Service) {
        if let Some(id) = self.table.find(&service.name) {
            let name = self.table.entries[id.index()].service.name.clone();
            return self.note(format_args!("service {name}: declared twice; the first one counts"));
        }
        let entry = match crate::table::Entry::new(service) {
            Ok(entry) => entry,
            Err(reason) => return self.note(format_args!("{reason}")),
        };
        let table = &self.table;
        let Some(id) = self.supervisor.add(&entry.service, |name| table.find(name)) else {
            return self.note(format_args!("service {}: the table has room for {MAX_SERVICES}", entry.service.name));
        };
        let watched = self
            .watch(entry.pipe.read.as_fd(), Source::Log(id.0), epoll::EventFlags::IN)
            .and_then(|()| self.watch(entry.notify.as_fd(), Source::Notify(id.0), epoll::EventFlags::IN));
        self.table.entries.push(entry);
        if let Err(error) = watched {
            self.note(format_args!("watch the sockets of a service: {error}"));
        }
    }

    /// Looks for power buttons.
    pub(crate) fn find_buttons(&mut self) {
        self.buttons = crate::power::buttons();
        for (index, button) in self.buttons.iter().enumerate().take(usize::from(u8::MAX)) {
            let _ = self.watch(button.as_fd(), Source::Button(index as u8), epoll::EventFlags::IN); // then it does not work
        }
    }

    /// Arms the hardware watchdog, if there is one and the command line does not turn it off.
    pub(crate) fn arm_watchdog(&mut self) {
        let Some(timeout) = self.config.watchdog() else { return };
        match Watchdog::arm(timeout) {
            Ok((device, accepted)) => {
                let every_ms = (accepted.as_millis() as u64 / 3).max(300);
                self.hardware = Some(Hardware { device, every_ms, next: now() });
                self.log.info(format_args!("hardware watchdog: armed, {} s", accepted.as_secs()));
            }
            Err(rustix_error) => self.log.info(format_args!("hardware watchdog: none ({rustix_error})")),
        }
    }

    /// Gives the hardware watchdog its whole time anew.
    pub(crate) fn pet_watchdog(&mut self) {
        if let Some(hardware) = &mut self.hardware {
            hardware.device.pet();
            hardware.next = now().plus(hardware.every_ms);
        }
    }

    /// Tells everybody: log, status, and (for errors, by the kernel) the console.
    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.log.error(what);
        self.node.note(what);
    }

    /// As [`Pid1::note`], for what went well or was repaired: the console shows it with the banner only.
    pub(crate) fn remark(&mut self, what: std::fmt::Arguments<'_>) {
        self.log.info(what);
        self.node.note(what);
    }

    /// Looks for a root again after a pause.
    pub(crate) fn search_again_in(&mut self, pause_ms: u64) {
        self.next_search = Some(Search { at: now().plus(pause_ms), pause_ms });
    }

    /// The look is under way, and the only one: gives the pause before it.
    pub(crate) fn begin_search(&mut self) -> u64 {
        self.next_search.take().map_or(0, |search| search.pause_ms)
    }

    /// Feeds the supervisor and does what it says, until it says nothing more.
    pub(crate) fn step(&mut self, event: Event) {
        let mut actions: Actions = self.supervisor.step(now(), event);
        while let Some(action) = actions.first().copied() {
            actions.remove(0);
            let Some(answer) = self.act(action) else { continue };
            // The answer to a spawn may ask for more spawns; they queue up behind.
            for action in self.supervisor.step(now(), answer) {
                let _ = actions.push(action); // twice as many as services fit, and each spawns at most once at a time
            }
        }
        self.judge_trial();
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        let (Action::Spawn(id) | Action::Terminate(id) | Action::Kill(id) | Action::Sweep(id)) = action;
        let entry = self.table.entries.get_mut(id.index())?;
        match action {
            Action::Spawn(_) => return Some(self.spawn(id)),
            Action::Terminate(_) => entry.terminate(),
            Action::Kill(_) => {
                entry.kill();
                let name = entry.service.name.clone();
                self.log.warning(format_args!("{name}: killed, for it did not stop or say anything in time"));
            }
            Action::Sweep(_) => {
                if let Some(group) = &entry.group {
                    group.kill();
                }
            }
        }
        None
    }

    fn spawn(&mut self, id: Id) -> Event {
        let Some(entry) = self.table.entries.get_mut(id.index()) else { return Event::Tick };
        match entry.spawn(&self.config) {
            Ok(()) => Event::Spawned(id),
            Err(errno) => {
                let how = How::Ended(Ending::NotStarted(errno));
                entry.reason = format_line(format_args!("{how}"));
                self.log.error(format_args!("{}: {how}; it is tried again", entry.service.name));
                Event::SpawnFailed(id, errno)
            }
        }
    }

    /// The loop. Never returns.
    pub(crate) fn run(&mut self) -> ! {
        self.step(Event::Tick);
        loop {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let mut room = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let sleep = self.sleep_ms();
        let timeout = Timespec { tv_sec: (sleep / 1000) as i64, tv_nsec: (sleep % 1000 * 1_000_000) as i64 };
        let mut taken = [const { None }; EVENTS];
        if let Ok((events, _)) = epoll::wait(&self.epoll, &mut room[..], Some(&timeout)) {
            for (slot, event) in taken.iter_mut().zip(events.iter()) {
                *slot = Some((Source::of(event.data), event.flags));
            }
        }
        for (source, flags) in taken.into_iter().flatten() {
            self.take(source, flags);
        }
        self.reap();
        self.after_events();
        if self.gave_back.plus(GIVE_BACK_MS) <= now() {
            self.gave_back = now();
            self.memory.give_back();
        }
    }

    fn sleep_ms(&self) -> u64 {
        if self.children == Children::MoreToReap {
            return 0;
        }
        let soonest = [
            self.supervisor.deadline(),
            self.shutdown.map(|shutdown| shutdown.deadline()),
            self.hardware.as_ref().map(|hardware| hardware.next),
            self.node.deadline(),
            self.next_search.map(|search| search.at),
        ];
        let now = now();
        let mut most = LONGEST_SLEEP_MS;
        if self.console.is_waiting() || self.shutdown.is_some() {
            most = 20; // neither a console nor a foreign process tells when it is ready
        }
        soonest.into_iter().flatten().map(|at| at.since(now)).fold(most, u64::min)
    }

    fn take(&mut self, source: Source, flags: epoll::EventFlags) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Control => self.accept(),
            Source::Button(index) => self.take_button(index),
            Source::Log(index) => self.take_output(Id(index)),
            Source::Notify(index) => self.take_notices(Id(index)),
            Source::Connection(index) => self.serve(usize::from(index), flags),
            Source::JobLog => self.jobs.take_output(),
        }
    }

    fn after_events(&mut self) {
        let time = now();
        if self.hardware.as_ref().is_some_and(|hardware| hardware.next <= time) {
            self.pet_watchdog();
        }
        self.console.flush();
        if self.next_search.is_some_and(|search| search.at <= time) {
            crate::boot::search_again(self);
        }
        self.step(Event::Tick);
        self.feed_followers();
        self.announce();
        self.go_on_ending();
    }

    fn take_signals(&mut self) {
        for _ in 0..SHARE {
            let Some(number) = signal::next(self.signals.as_fd()) else { return };
            match number {
                libc::SIGCHLD => self.children = Children::MoreToReap,
                libc::SIGINT => self.begin_end(Goal::Reboot, "Ctrl-Alt-Del or SIGINT"),
                libc::SIGTERM | libc::SIGPWR | libc::SIGUSR2 => self.begin_end(Goal::Poweroff, "a signal to PID 1"),
                other if other == libc::SIGRTMIN() + 4 => self.begin_end(Goal::Poweroff, "a signal to PID 1"),
                _ => self.begin_end(Goal::Reboot, "a signal to PID 1"),
            }
        }
    }

    fn take_button(&mut self, index: u8) {
        if self.buttons.get(usize::from(index)).is_some_and(crate::power::was_pressed) {
            self.begin_end(Goal::Poweroff, "the power button");
        }
    }

    pub(crate) fn is_ready(&self, id: Id) -> bool {
        self.supervisor.get(id).is_some_and(|service| matches!(service.state, State::Ready { .. }))
    }
}
