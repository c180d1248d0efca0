//! `hullctl status`: gathers what is known about the node, from whoever answers.

pub(crate) mod json;
pub(crate) mod record;
mod text;

use crate::failure::Failure;
use crate::launcher;
use crate::limits::STORE_GLANCE;
use crate::pid1;
use crate::place::Place;
use crate::screen::Screen;
use crate::store::{Glance, Store, Which};
use hull_init_core::control::{Complaint, Node, Request, Response, Service, Slot};
use hull_oci_core::api::Container;

/// Where nodes tell about themselves in the store.
const NODES: &str = "/hull/nodes/";

/// Everything `status` shows. What could not be asked is a reason in its place.
pub(crate) struct Report {
    pub(crate) view: View,
    pub(crate) store: Result<Glance, Failure>,
}

/// What is known of the node besides its store.
pub(crate) enum View {
    /// From the node's own sockets.
    Inside(Box<Inside>),
    /// From the store: what each node wrote about itself.
    Outside {
        endpoint: String,
        /// Name and status, as the node wrote it.
        nodes: Vec<(String, serde_json::Value)>,
    },
}

/// What PID 1 and the launcher say.
pub(crate) struct Inside {
    pub(crate) node: Node,
    pub(crate) services: Vec<Service>,
    pub(crate) complaints: Vec<Complaint>,
    pub(crate) notes: Vec<String>,
    pub(crate) slots: Vec<Slot>,
    /// Milliseconds of CLOCK_BOOTTIME when this was asked.
    pub(crate) asked_ms: u64,
    pub(crate) containers: Result<Vec<Container>, Failure>,
}

/// Gathers and prints.
pub(crate) fn show(place: &Place, screen: &mut Screen) -> Result<(), Failure> {
    let report = gather(place)?;
    screen.show(&json::value(&report), |screen| text::render(&report, screen.paint, screen.columns))
}

fn gather(place: &Place) -> Result<Report, Failure> {
    let store = Store::open_within(place, STORE_GLANCE);
    let glance = match &store {
        Ok(store) => store.glance(),
        Err(failure) => Err(failure.clone()),
    };
    let view = match place {
        Place::Node => View::Inside(Box::new(inside()?)),
        // From outside the store is all there is: without it there is nothing to show.
        Place::Outside(endpoint) => View::Outside { endpoint: endpoint.clone(), nodes: nodes(&store?)? },
    };
    Ok(Report { view, store: glance })
}

fn inside() -> Result<Inside, Failure> {
    let (mut node, mut services, mut complaints, mut notes) = (None, Vec::new(), Vec::new(), Vec::new());
    pid1::ask(&Request::Status)?.each(|response| {
        match response {
            Response::Node(found) => node = Some(found),
            Response::Service(service) => services.push(service),
            Response::Complaint(complaint) => complaints.push(complaint),
            Response::Note(note) => notes.push(note.as_str().to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    let node = node.ok_or_else(|| {
        Failure::new("read", "the status of PID 1", "it said nothing about the node", "see hullctl logs init")
    })?;
    Ok(Inside {
        node,
        services,
        complaints,
        notes,
        slots: slots(),
        asked_ms: launcher::now_ms(),
        containers: launcher::list(),
    })
}

/// The slots, or none where there is no disk.
fn slots() -> Vec<Slot> {
    crate::verbs::update::slots().unwrap_or_default()
}

/// What each node wrote about itself: its name and its record.
pub(crate) fn nodes(store: &Store) -> Result<Vec<(String, serde_json::Value)>, Failure> {
    let (pairs, _) = store.get(Which::Prefix(NODES))?;
    let node = |key: &[u8], value: &[u8]| {
        let name = String::from_utf8_lossy(key).trim_start_matches(NODES).to_owned();
        let status = serde_json::from_slice(value).unwrap_or_else(|_| String::from_utf8_lossy(value).into());
        (name, status)
    };
    Ok(pairs.iter().map(|pair| node(&pair.key, &pair.value)).collect())
}
