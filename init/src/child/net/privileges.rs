//! Of root's powers the network service keeps those over the network.

use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Addresses and routes; packet sockets; port 68.
const KEPT: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW).union(CapabilitySet::NET_BIND_SERVICE);

/// Gives up everything else, for good. What the kernel refuses is said and does no harm: it means more powers, not fewer.
pub(super) fn drop_all_but_network() {
    let bounding = CapabilitySet::all().difference(KEPT).iter().try_for_each(remove_capability_from_bounding_set);
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    for result in [bounding, set_capabilities(None, sets), set_no_new_privs(true)] {
        if let Err(error) = result {
            eprintln!("drop capabilities: {error}");
        }
    }
}
