//! Where hullctl runs: on a node, with its sockets, or outside, with the store's address.

use crate::failure::Failure;
use hull_init_core::control;
use hull_kv_proto::client::NODE_SOCKET;
use std::path::Path;

/// The store's address when nobody names one: where `make run` forwards it.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// Which sockets are within reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a node.
    Node,
    /// Elsewhere: the address of a store.
    Outside(String),
}

impl Place {
    /// An endpoint that was named means outside, wherever that is; without one, a node is known by its socket.
    pub(crate) fn of(endpoint: Option<&str>) -> Self {
        let etcdctl = std::env::var("ETCDCTL_ENDPOINTS").ok();
        Self::choose(endpoint, Path::new(control::SOCKET).exists(), etcdctl.as_deref())
    }

    fn choose(endpoint: Option<&str>, socket: bool, etcdctl: Option<&str>) -> Self {
        let first = |list: &str| list.split(',').next().unwrap_or_default().trim().to_owned();
        match (endpoint, socket) {
            (Some(endpoint), _) if !endpoint.is_empty() => Self::Outside(first(endpoint)),
            (_, true) => Self::Node,
            (_, false) => {
                Self::Outside(etcdctl.map(first).filter(|e| !e.is_empty()).unwrap_or(DEFAULT_ENDPOINT.into()))
            }
        }
    }

    /// What to connect to for the store.
    pub(crate) fn store(&self) -> &str {
        match self {
            Self::Node => NODE_SOCKET,
            Self::Outside(endpoint) => endpoint,
        }
    }

    /// Refuses what only the node's own sockets can do.
    pub(crate) fn need_node(&self, operation: &str, object: &str) -> Result<(), Failure> {
        match self {
            Self::Node => Ok(()),
            Self::Outside(endpoint) => Err(Failure::new(
                operation,
                object,
                format!("this needs the node's own sockets, and only its store at {endpoint} is within reach"),
                "run it on the node's console (hull.console=hullctl), or without --endpoint if this is the node; \
                 status, ps, run, stop and kv work from outside",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_endpoint_wins_over_the_nodes_socket() {
        assert_eq!(Place::choose(Some("h:1"), true, None), Place::Outside("h:1".into()));
    }

    #[test]
    fn on_a_node_its_sockets_are_used() {
        assert_eq!(Place::choose(None, true, Some("h:1")), Place::Node);
    }

    #[test]
    fn elsewhere_etcdctls_variable_counts_and_then_the_default() {
        assert_eq!(Place::choose(None, false, Some("h:1,h:2")), Place::Outside("h:1".into()));
        assert_eq!(Place::choose(None, false, None), Place::Outside(DEFAULT_ENDPOINT.into()));
    }

    #[test]
    fn a_refusal_from_outside_names_all_four_parts() {
        let failure = Place::Outside("h:1".into()).need_node("stage", "release /r").expect_err("outside");
        assert_eq!((failure.operation.as_str(), failure.object.as_str()), ("stage", "release /r"));
        assert!(failure.cause.contains("h:1") && failure.remedy.contains("console"));
    }
}
