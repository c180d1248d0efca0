//! Verbs that stop things: reboot, poweroff, service restart.

use super::name;
use crate::failure::Failure;
use crate::pid1;
use crate::place::Place;
use crate::screen::Screen;
use hull_init_core::control::Request;
use serde_json::json;

/// Has PID 1 stop everything, and tells that it does.
pub(crate) fn ask(place: &Place, operation: &str, request: &Request, screen: &mut Screen) -> Result<(), Failure> {
    place.need_node(operation, "the node")?;
    pid1::ask(request)?.each(|_| Ok(()))?;
    screen.show(&json!({ "operation": operation, "accepted": true }), |_| {
        format!("{operation}: PID 1 stops everything in order\n")
    })
}

/// Stops a service and starts it again.
pub(crate) fn restart(place: &Place, service: &str, screen: &mut Screen) -> Result<(), Failure> {
    place.need_node("restart", &format!("service {service}"))?;
    pid1::ask(&Request::Restart { name: name("restart", service)? })?.each(|_| Ok(()))?;
    screen.show(&json!({ "restarted": service }), |_| format!("{service}: restarting\n"))
}
