//! `hullctl logs`: from PID 1 for services, from the launcher for containers.

use crate::args::Logs;
use crate::failure::Failure;
use crate::launcher;
use crate::pid1;
use crate::place::Place;
use crate::screen::Screen;
use hull_init_core::control::{Follow, Request, Response};
use hull_oci_core::api;

/// Logs that PID 1 keeps and that belong to no service.
const OF_PID1: [&str; 2] = ["init", "update"];

/// Prints what a service or container wrote.
pub(crate) fn show(place: &Place, wanted: &Logs, screen: &mut Screen) -> Result<(), Failure> {
    place.need_node("read the log of", &wanted.name)?;
    let follow = if wanted.follow { Follow::Forever } else { Follow::UntilNow };
    if OF_PID1.contains(&wanted.name.as_str()) || is_service(&wanted.name)? {
        return of_service(&wanted.name, follow, screen);
    }
    of_container(wanted, screen)
}

fn is_service(name: &str) -> Result<bool, Failure> {
    let mut found = false;
    pid1::ask(&Request::Status)?.each(|response| {
        if let Response::Service(service) = response {
            found |= service.name == name;
        }
        Ok(())
    })?;
    Ok(found)
}

fn of_service(service: &str, follow: Follow, screen: &mut Screen) -> Result<(), Failure> {
    let name = super::name("read the log of", service)?;
    pid1::ask(&Request::Logs { name, follow })?.each(|response| match response {
        Response::Log(piece) => screen.bytes(&piece),
        Response::LogLost { bytes } => screen.print(&format!("[{bytes} bytes are no longer kept]\n")),
        _ => Ok(()),
    })
}

fn of_container(wanted: &Logs, screen: &mut Screen) -> Result<(), Failure> {
    let follow = if wanted.follow { api::Follow::Forever } else { api::Follow::UntilNow };
    let request = api::Request::Logs { name: wanted.name.clone(), follow };
    launcher::ask(&request)?.each(|reply| match reply {
        api::Reply::Log { text } => screen.print(&text),
        _ => Ok(()),
    })
}
