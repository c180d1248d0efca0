//! What the console shows of a node: who it is, what it runs, where it answers, and what is wrong.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use hull_init_core::control::{Line, RunningRoot, State as NodeState, format_line};
use hull_init_core::health::Verdict;
use hull_init_core::services::Health;
use hull_init_core::supervisor::{Event, Id, Millis, State, Watched};

use crate::node::{Announced, Trial};
use crate::pid1::{Pid1, now};
use crate::trial::unix_ms;

/// The service on the console: whoever reads the banner sees it.
const CONSOLE: &str = "console";

/// Digits of a root hash that people compare.
const SHORT_HASH: usize = 12;

impl Pid1 {
    /// A service became ready: the log, the gap of a swap, and whether the node is up.
    pub(crate) fn became_ready(&mut self, id: Id) {
        let Some(name) = self.table.entries.get(id.index()).map(|entry| entry.service.name.clone()) else { return };
        let time = now();
        self.log.info(format_args!("{name}: ready, {} ms after PID 1", time.since(self.node.started)));
        if name == "kv" {
            self.node.store_is_ready(time, unix_ms());
            if let Some(gap) = self.node.swap_gap_ms {
                self.log.info(format_args!("the swap left the node without a store for {gap} ms"));
            }
        }
    }

    /// Shows the banner when its time has come, and what changes after it.
    pub(crate) fn announce(&mut self) {
        let has_root = !matches!(self.node.root, RunningRoot::Missing { .. });
        if self.node.announced == Announced::Up || self.shutdown.is_some() || !has_root {
            return;
        }
        let time = now();
        let all_ready = self.everything_is_ready();
        if all_ready && self.node.up_at.is_none() {
            self.node.up_at = Some(time);
        }
        match (self.node.announced, all_ready) {
            (Announced::Nothing, true) if self.has_addresses() || self.node.patience_is_over(time) => {
                self.show_banner(time);
                self.release_console();
                self.is_up();
            }
            (Announced::Nothing, false) if self.node.patience_is_over(time) => {
                self.show_banner(time);
                self.node.announced = Announced::Incomplete;
                self.release_console();
                crate::boot::hurry(crate::boot::Hurry::No);
                self.let_state_grow();
            }
            (Announced::Incomplete, true) => {
                self.console.line(format_args!("  every service is ready"));
                self.is_up();
            }
            _ => {}
        }
    }

    /// The program on the console waits for the banner, at most as long as that waits: its prompt comes last.
    pub(crate) fn hold_console(&mut self) {
        let Some(id) = self.table.find(CONSOLE) else { return };
        self.supervisor.hold(id);
        if let Some(entry) = self.table.get(id) {
            entry.reason = format_line(format_args!("until the console has shown how the node is"));
        }
    }

    fn release_console(&mut self) {
        if let Some(id) = self.table.find(CONSOLE) {
            self.step(Event::Released(id));
        }
    }

    /// From here on PID 1 allocates nothing.
    fn is_up(&mut self) {
        self.node.announced = Announced::Up;
        let up_ms = self.node.up_at.map_or(0, |up| up.since(self.node.started));
        self.log.info(format_args!("up: every service was ready {up_ms} ms after PID 1"));
        if let Ok(maps) = std::fs::read_to_string("/proc/self/maps") {
            self.memory = crate::sys::memory::Droppable::find(&maps);
            self.memory.give_back();
        }
        crate::boot::hurry(crate::boot::Hurry::No);
        crate::sys::alloc::seal();
        self.let_state_grow();
    }

    fn everything_is_ready(&self) -> bool {
        // What is held back is not waited for: the banner says so.
        let counts =
            |(_, service): &(Id, &Watched)| service.health != Health::Ignored && service.state != State::HeldBack;
        self.supervisor.iter().filter(counts).all(|(id, _)| self.is_ready(id))
    }

    fn has_addresses(&self) -> bool {
        self.table.find("network").is_none_or(|id| self.is_ready(id))
    }

    fn show_banner(&mut self, time: Millis) {
        let node = &self.node;
        let slot: Line = match &node.root {
            RunningRoot::Slot { slot, root_hash } => format_line(format_args!("{slot} ({})", short(root_hash))),
            RunningRoot::Embedded { root_hash } => {
                format_line(format_args!("none, the root is in the initramfs ({})", short(root_hash)))
            }
            RunningRoot::Missing { reason } => reason.clone(),
        };
        let state: Line = match &node.state {
            NodeState::Disk => format_line(format_args!("on the disk")),
            NodeState::Memory => format_line(format_args!("in memory: it ends with the node")),
            NodeState::Degraded { reason } => format_line(format_args!("DEGRADED, in memory: {reason}")),
        };
        let addresses = self.addresses();
        let store = reachable(self.config.kv_listen().as_str(), &addresses);
        let services = self.services_line();
        let trial = self.trial_line(time);
        let console = &mut self.console;
        console.line(format_args!("\r\n  Hull {}   {}", node.version, node.name));
        console.line(format_args!("  slot      {slot}"));
        console.line(format_args!("  state     {state}"));
        console.line(format_args!("  address   {addresses}"));
        console.line(format_args!("  store     http://{store}"));
        console.line(format_args!("  services  {services}"));
        for ((_, watched), entry) in self.supervisor.iter().zip(&self.table.entries) {
            if let Some(reason) = why_not(watched, &entry.reason) {
                console.line(format_args!("  ! {0}: {reason}; see `hullctl logs {0}`", entry.service.name));
            }
        }
        if let Some(gap) = node.swap_gap_ms {
            console.line(format_args!("  swap      without a store for {gap} ms"));
        }
        if let Some((left_s, missing)) = trial {
            console.line(format_args!("  trial     healthy within {left_s} s, or back to the other slot"));
            if !missing.is_empty() {
                console.line(format_args!("            missing: {missing}"));
            }
        }
        for complaint in self.config.complaints() {
            console.line(format_args!("  ! {complaint}"));
        }
        for note in &node.notes {
            console.line(format_args!("  ! {note}"));
        }
        let up_ms = node.up_at.unwrap_or(time).since(node.started);
        console.line(format_args!(
            "  {} ms after PID 1 started, {} ms after the kernel\r\n",
            up_ms,
            node.started.0 + up_ms
        ));
    }

    /// Seconds left to a trial, and what is missing.
    fn trial_line(&self, time: Millis) -> Option<(u64, Line)> {
        let Trial::Running { deadline, .. } = self.node.trial else { return None };
        let missing = match self.verdict(time, deadline) {
            Verdict::Good => Line::new(),
            Verdict::Failed(missing) | Verdict::Undecided(missing) => missing,
        };
        Some((deadline.since(time) / 1000, missing))
    }

    fn addresses(&self) -> Line {
        match self.table.entries.iter().find(|entry| entry.service.name == "network") {
            Some(entry) if !entry.status.is_empty() => entry.status.clone(),
            _ => format_line(format_args!("none yet")),
        }
    }

    fn services_line(&self) -> Line {
        let mut out = Line::new();
        for (id, service) in self.supervisor.iter().filter(|(id, _)| Some(*id) != self.table.find(CONSOLE)) {
            let name = self.table.entries.get(id.index()).map_or("", |entry| entry.service.name.as_str());
            // What does not fit is in `hullctl status`.
            let _ = if self.is_ready(id) { write!(out, "{name} ") } else { write!(out, "{name} ({}) ", word(service)) };
        }
        out
    }
}

/// Where others reach a store that listens at `listen`: an unspecified address is not one to connect to, so the node's first one
/// of the same version stands for it. `addresses` is the network service's status: `eth0 10.0.2.15/24, ...`.
pub(crate) fn reachable(listen: &str, addresses: &str) -> Line {
    let Some(socket) = listen.parse::<SocketAddr>().ok().filter(|socket| socket.ip().is_unspecified()) else {
        return format_line(format_args!("{listen}"));
    };
    let words = addresses.split([' ', ',', '/']);
    let mut own = words.filter_map(|word| word.parse::<IpAddr>().ok()).filter(|ip| ip.is_ipv4() == socket.is_ipv4());
    match own.next() {
        Some(ip) => format_line(format_args!("{} (listens at {listen})", SocketAddr::new(ip, socket.port()))),
        None => format_line(format_args!("{listen}")),
    }
}

fn short(hash: &str) -> &str {
    hash.get(..SHORT_HASH).unwrap_or(hash)
}

/// Why a service does not do what it is for, if it says or shows so.
fn why_not<'r>(watched: &Watched, reason: &'r str) -> Option<&'r str> {
    let told = match watched.state {
        State::BackingOff { .. } | State::Stopped(_) => true,
        // What is held back has its reason in the line of the state.
        // What has just got ready may not have looked around yet.
        State::Waiting | State::HeldBack | State::Starting { .. } | State::Ready { .. } | State::Stopping { .. } => {
            false
        }
    };
    (told && !reason.is_empty()).then_some(reason)
}

fn word(service: &Watched) -> &'static str {
    match service.state {
        State::Waiting => "waiting",
        State::HeldBack => "held back",
        State::Starting { .. } | State::Ready { .. } => "starting",
        State::BackingOff { .. } => "failing",
        State::Stopping { .. } => "stopping",
        State::Stopped(_) => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_store_that_listens_everywhere_is_shown_at_the_nodes_own_address() {
        let shown = |listen| reachable(listen, "eth0 fe80::1/64, 10.0.2.15/24 via 10.0.2.2").as_str().to_owned();
        assert_eq!(shown("0.0.0.0:2379"), "10.0.2.15:2379 (listens at 0.0.0.0:2379)");
        assert_eq!(shown("[::]:2379"), "[fe80::1]:2379 (listens at [::]:2379)");
        assert_eq!(shown("127.0.0.1:2379"), "127.0.0.1:2379");
        assert_eq!(reachable("0.0.0.0:2379", "no card").as_str(), "0.0.0.0:2379");
    }
}
