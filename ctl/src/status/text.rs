//! The status as text for people: fits 80 columns, the wrong things first to the eye. Pure.

use super::{Inside, Report, View, record};
use crate::failure::Failure;
use crate::format::{cell, clip, milliseconds, printable, size, table, toned, wrap};
use crate::screen::{Paint, Tone};
use crate::store::Glance;
use hull_init_core::control::{Node, RunningRoot, Service, ServiceState, Slot, SlotContent, SlotUsage, State, Trial};

/// Columns of a label and its gap.
const LABEL: usize = 11;

/// The whole report.
pub(crate) fn render(report: &Report, paint: Paint, columns: usize) -> String {
    let page = Page { paint, columns };
    match &report.view {
        View::Inside(inside) => page.inside(inside, &report.store),
        View::Outside { endpoint, nodes } => page.outside(endpoint, nodes, &report.store),
    }
}

struct Page {
    paint: Paint,
    columns: usize,
}

impl Page {
    fn inside(&self, inside: &Inside, store: &Result<Glance, Failure>) -> String {
        let node = &inside.node;
        let mut out = self.line("node", Tone::Strong, &node.name);
        out += &self.line("version", Tone::Strong, &node.version);
        out += &self.root(node, &inside.slots);
        out += &self.plain("uptime", &uptime(node));
        out += &self.state(&node.state);
        let addresses = if node.addresses.is_empty() { "none" } else { &node.addresses };
        out += &self.plain("addresses", addresses);
        out += &self.store(store, Some(&node.kv_endpoint));
        out += &self.trial(&node.trial, node.swap_gap_ms);
        out += &self.heading("services");
        out += &table(&inside.services.iter().map(service).collect::<Vec<_>>(), 2, self.columns, self.paint);
        out += &self.heading("containers");
        out += &match &inside.containers {
            Ok(list) if list.is_empty() => "  none\n".to_owned(),
            Ok(list) => table(&crate::launcher::rows(list, inside.asked_ms), 2, self.columns, self.paint),
            Err(failure) => self.problem(&failure.sentence()),
        };
        out += &self.problems(
            "command line",
            inside
                .complaints
                .iter()
                .map(|complaint| format!("{}={}: {}", complaint.key, complaint.value, complaint.expected)),
        );
        out += &self.problems("notes", inside.notes.iter().cloned());
        out
    }

    fn outside(
        &self,
        endpoint: &str,
        nodes: &[(String, serde_json::Value)],
        store: &Result<Glance, Failure>,
    ) -> String {
        let mut out = self.store(store, Some(endpoint));
        out += &self.heading("nodes");
        if nodes.is_empty() {
            out += "  none has written its status into the store yet\n";
        }
        out + &nodes.iter().map(|(name, status)| self.node(name, status)).collect::<String>()
    }

    /// What a node wrote about itself.
    fn node(&self, name: &str, status: &serde_json::Value) -> String {
        let mut out = format!("  {}\n", self.paint.tone(Tone::Strong, &printable(name)));
        match record::tables(status, record::unix_seconds()) {
            Some(tables) => tables.iter().for_each(|rows| out += &table(rows, 4, self.columns, self.paint)),
            None => out += &wrap(&status.as_str().map_or(status.to_string(), str::to_owned), 4, self.columns),
        }
        out += &record::problems(status).map(|problem| self.problem(&problem)).collect::<String>();
        out
    }

    /// The slot, and why the other one does not run if it should.
    fn root(&self, node: &Node, slots: &[Slot]) -> String {
        match &node.root {
            RunningRoot::Slot { slot, root_hash } => {
                let mut out = self.plain("slot", &format!("{slot}  root {}", short(root_hash)));
                for bad in slots.iter().filter(|slot| slot.usage == SlotUsage::Idle && slot.content == SlotContent::Bad)
                {
                    let reason = if bad.reason.is_empty() { "no reason was recorded" } else { &bad.reason };
                    out += &self.problem(&format!("slot {} is bad: version {}: {reason}", bad.slot, bad.version));
                }
                out
            }
            RunningRoot::Embedded { root_hash } => {
                self.plain("slot", &format!("none: the root in the initramfs {}", short(root_hash)))
            }
            RunningRoot::Missing { reason } => self.line("slot", Tone::Bad, "none") + &self.problem(reason),
        }
    }

    fn state(&self, state: &State) -> String {
        match state {
            State::Disk => self.plain("state", "on disk"),
            State::Memory => self.line("state", Tone::Warn, "in memory: it is gone after a reboot"),
            State::Degraded { reason } => self.line("state", Tone::Bad, "degraded") + &self.problem(reason),
        }
    }

    fn store(&self, store: &Result<Glance, Failure>, endpoint: Option<&str>) -> String {
        match store {
            Ok(glance) => {
                let leader = match glance.leader {
                    0 => self.paint.tone(Tone::Bad, "no leader"),
                    leader if leader == glance.member => "leader".to_owned(),
                    leader => format!("leader {leader:x}"),
                };
                let facts = format!(
                    "{}  revision {}  {leader}  {}",
                    endpoint.unwrap_or_default(),
                    glance.revision,
                    size(glance.db_bytes)
                );
                let errors: String = glance.errors.iter().map(|error| self.problem(error)).collect();
                self.plain("kv", &facts) + &errors
            }
            Err(failure) => {
                self.line("kv", Tone::Bad, endpoint.unwrap_or("does not answer")) + &self.problem(&failure.sentence())
            }
        }
    }

    fn trial(&self, trial: &Trial, gap: Option<u64>) -> String {
        let gap = gap.map_or(String::new(), |gap| format!(", {} without a store", milliseconds(gap)));
        match trial {
            Trial::None if gap.is_empty() => String::new(),
            Trial::None => self.plain("swap", gap.trim_start_matches(", ")),
            Trial::Good => self.line("trial", Tone::Good, &format!("passed{gap}")),
            Trial::Running { left_ms, waiting_for } => {
                let text = format!("{} left, waits for {waiting_for}", milliseconds(*left_ms));
                self.line("trial", Tone::Warn, &text)
            }
            Trial::Failed { reason } => self.line("trial", Tone::Bad, "failed") + &self.problem(reason),
        }
    }

    fn problems(&self, heading: &str, lines: impl Iterator<Item = String>) -> String {
        let text: String = lines.map(|line| self.problem(&line)).collect();
        if text.is_empty() { text } else { self.heading(heading) + &text }
    }

    fn problem(&self, text: &str) -> String {
        wrap(text, 4, self.columns)
            .lines()
            .enumerate()
            .map(|(number, line)| {
                let body = if number == 0 { format!("  ! {}", line.trim_start()) } else { line.to_owned() };
                format!("{}\n", self.paint.tone(Tone::Warn, &body))
            })
            .collect()
    }

    fn heading(&self, text: &str) -> String {
        format!("{}\n", self.paint.tone(Tone::Strong, text))
    }

    fn plain(&self, label: &str, text: &str) -> String {
        format!("{label:<LABEL$}{}\n", clip(text, self.columns.saturating_sub(LABEL)))
    }

    fn line(&self, label: &str, tone: Tone, text: &str) -> String {
        let text = clip(text, self.columns.saturating_sub(LABEL));
        format!("{label:<LABEL$}{}\n", self.paint.tone(tone, &text))
    }
}

fn uptime(node: &Node) -> String {
    let up = milliseconds(node.uptime_ms);
    node.up_after_ms.map_or(format!("{up}, not everything is ready"), |after| {
        format!("{up}, ready {} after PID 1 started", milliseconds(after))
    })
}

/// A hash as people compare it.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn service(service: &Service) -> Vec<crate::format::Cell> {
    let (tone, state, detail, reason) = match &service.state {
        ServiceState::Waiting => (Tone::Warn, "waiting", String::new(), ""),
        ServiceState::Starting { pid, for_ms } => {
            (Tone::Warn, "starting", format!("pid {pid}, {}", milliseconds(*for_ms)), "")
        }
        ServiceState::Ready { pid, for_ms } => {
            (Tone::Good, "ready", format!("pid {pid}, {}", milliseconds(*for_ms)), "")
        }
        ServiceState::BackingOff { in_ms, reason } => {
            (Tone::Bad, "backing off", format!("starts in {}", milliseconds(*in_ms)), reason.as_str())
        }
        ServiceState::Stopping { pid } => (Tone::Warn, "stopping", format!("pid {pid}"), ""),
        ServiceState::Stopped { reason } => (Tone::Bad, "stopped", String::new(), reason.as_str()),
        ServiceState::HeldBack { reason } => (Tone::Bad, "held back", String::new(), reason.as_str()),
    };
    let memory = service.memory_bytes.filter(|bytes| *bytes > 0).map(size).unwrap_or_default();
    let restarts = match service.restarts {
        0 => String::new(),
        1 => "1 restart".to_owned(),
        count => format!("{count} restarts"),
    };
    let mut facts = vec![detail, memory, restarts, service.status.as_str().to_owned(), reason.to_owned()];
    facts.retain(|fact| !fact.is_empty());
    vec![cell(service.name.as_str()), toned(tone, state), cell(facts.join(", "))]
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
