//! The status as JSON for programs: flat names, units in the names. Pure.

use super::{Inside, Report, View};
use crate::failure::Failure;
use hull_init_core::control::{RunningRoot, Service, ServiceState, Slot, SlotContent, SlotUsage, State, Trial};
use serde_json::{Value, json};

/// The whole report.
pub(crate) fn value(report: &Report) -> Value {
    let store = match &report.store {
        Ok(glance) => json!({
            "version": glance.version, "revision": glance.revision, "db_size_bytes": glance.db_bytes,
            "leader": format!("{:x}", glance.leader), "member": format!("{:x}", glance.member),
            "errors": glance.errors,
        }),
        Err(failure) => json!({ "error": failure.sentence() }),
    };
    let mut value = match &report.view {
        View::Inside(inside) => inside_value(inside),
        View::Outside { endpoint, nodes } => {
            let nodes: serde_json::Map<_, _> = nodes.iter().cloned().collect();
            json!({ "endpoint": endpoint, "nodes": nodes })
        }
    };
    value["kv"] = store;
    if let View::Inside(inside) = &report.view {
        value["kv"]["endpoint"] = inside.node.kv_endpoint.as_str().into();
    }
    value
}

fn inside_value(inside: &Inside) -> Value {
    let node = &inside.node;
    let (slot, root_hash, missing) = match &node.root {
        RunningRoot::Slot { slot, root_hash } => (Some(slot.to_string()), root_hash.as_str(), None),
        RunningRoot::Embedded { root_hash } => (None, root_hash.as_str(), None),
        RunningRoot::Missing { reason } => (None, "", Some(reason.as_str())),
    };
    let (state, degraded) = match &node.state {
        State::Disk => ("disk", None),
        State::Memory => ("memory", None),
        State::Degraded { reason } => ("degraded", Some(reason.as_str())),
    };
    let degraded: Vec<_> = degraded.into_iter().chain(missing).collect();
    json!({
        "node": node.name.as_str(),
        "version": node.version.as_str(),
        "slot": slot,
        "root_hash": root_hash,
        "uptime_ms": node.uptime_ms,
        "up_after_ms": node.up_after_ms,
        "state": state,
        "degraded": degraded,
        "addresses": node.addresses.as_str(),
        "trial": trial(&node.trial),
        "swap_gap_ms": node.swap_gap_ms,
        "pid1": {
            "resident_kib": node.resident_kib,
            "orphans_reaped": node.orphans_reaped,
            "allocations_since_up": node.allocations_since_up,
        },
        "services": inside.services.iter().map(service).collect::<Vec<_>>(),
        "containers": match &inside.containers {
            Ok(list) => crate::launcher::value(list),
            Err(failure) => error(failure),
        },
        "slots": slots(&inside.slots),
        "command_line_errors": inside.complaints.iter().map(|complaint| json!({
            "key": complaint.key.as_str(), "value": complaint.value.as_str(), "expected": complaint.expected.as_str(),
        })).collect::<Vec<_>>(),
        "notes": inside.notes,
        "lost_messages": node.lost_messages,
    })
}

fn error(failure: &Failure) -> Value {
    json!({ "error": failure.sentence() })
}

fn trial(trial: &Trial) -> Value {
    match trial {
        Trial::None => json!({ "state": "none" }),
        Trial::Good => json!({ "state": "good" }),
        Trial::Running { left_ms, waiting_for } => {
            json!({ "state": "running", "left_ms": left_ms, "waiting_for": waiting_for.as_str() })
        }
        Trial::Failed { reason } => json!({ "state": "failed", "reason": reason.as_str() }),
    }
}

fn service(service: &Service) -> Value {
    let (state, pid, reason) = match &service.state {
        ServiceState::Waiting => ("waiting", None, None),
        ServiceState::Starting { pid, .. } => ("starting", Some(pid), None),
        ServiceState::Ready { pid, .. } => ("ready", Some(pid), None),
        ServiceState::BackingOff { reason, .. } => ("backing-off", None, Some(reason)),
        ServiceState::Stopping { pid } => ("stopping", Some(pid), None),
        ServiceState::Stopped { reason } => ("stopped", None, Some(reason)),
        ServiceState::HeldBack { reason } => ("held-back", None, Some(reason)),
    };
    json!({
        "name": service.name.as_str(), "state": state, "pid": pid, "reason": reason.map(|line| line.as_str()),
        "restarts": service.restarts, "status": service.status.as_str(), "memory_bytes": service.memory_bytes,
    })
}

/// The slots, for `status` and `update status`.
pub(crate) fn slots(slots: &[Slot]) -> Value {
    let slot = |slot: &Slot| {
        let (state, tries) = match slot.content {
            SlotContent::Empty => ("empty", None),
            SlotContent::Staged { tries } => ("staged", Some(tries)),
            SlotContent::Trying { tries } => ("trying", Some(tries)),
            SlotContent::Good => ("good", None),
            SlotContent::Bad => ("bad", None),
        };
        json!({
            "slot": slot.slot.to_string(), "state": state, "tries_left": tries, "priority": slot.priority,
            "running": slot.usage == SlotUsage::Running, "version": slot.version.as_str(),
            "root_hash": slot.root_hash.as_str(), "reason": slot.reason.as_str(),
        })
    };
    slots.iter().map(slot).collect()
}
