//! What root of a container may do, and only to what belongs to the container's user namespace.

use super::{Declaration, Refused};
use crate::oci::capability;

/// What every container has unless it drops it.
const HELD: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"];

/// What a declaration may ask for beside them. The rest is of no use in a user namespace (clocks, modules, the node's network), or opens
/// kernel interfaces with a history of ways out (SYS_ADMIN, NET_ADMIN, BPF, PERFMON).
const ASKABLE: [&str; 9] = [
    "AUDIT_WRITE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "SETFCAP",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
];

/// Drops every one of [`HELD`].
const ALL: &str = "ALL";

fn canonical(name: &str) -> Option<&'static str> {
    capability::number(name).map(|number| capability::NAMES[number])
}

impl Declaration {
    /// Its capabilities as the specification writes them, `CAP_CHOWN`.
    pub fn held(&self) -> Vec<String> {
        let dropped = |name: &&&str| {
            self.drop.iter().any(|drop| drop.eq_ignore_ascii_case(ALL) || canonical(drop) == Some(**name))
        };
        let mut held: Vec<&str> = HELD.iter().filter(|name| !dropped(name)).copied().collect();
        held.extend(self.capabilities.iter().filter_map(|name| canonical(name)));
        held.sort_unstable();
        held.dedup();
        held.into_iter().map(|name| format!("CAP_{name}")).collect()
    }

    pub(super) fn check_capabilities(&self) -> Result<(), Refused> {
        let askable =
            |name: &&String| canonical(name).is_some_and(|name| HELD.contains(&name) || ASKABLE.contains(&name));
        if let Some(name) = self.capabilities.iter().find(|name| !askable(name)) {
            let expected = "one that a container may have: AUDIT_WRITE, DAC_READ_SEARCH, IPC_LOCK, IPC_OWNER, LEASE, SETFCAP, \
                            SYS_CHROOT, SYS_NICE or SYS_PTRACE";
            return Err(Refused::Field { field: "capabilities", value: name.clone(), expected });
        }
        match self.drop.iter().find(|name| !name.eq_ignore_ascii_case(ALL) && canonical(name).is_none()) {
            None => Ok(()),
            Some(name) => {
                Err(Refused::Field { field: "drop", value: name.clone(), expected: "the name of a capability, or ALL" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(capabilities: &[&str], drop: &[&str]) -> Declaration {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Declaration { capabilities: owned(capabilities), drop: owned(drop), ..Declaration::of_image("a") }
    }

    #[test]
    fn what_opens_the_node_cannot_be_asked_for() {
        for name in ["SYS_ADMIN", "cap_net_admin", "BPF", "SYS_MODULE", "SYS_TIME", "ALL", "nothing", ""] {
            let refused = declared(&[name], &[]).check().unwrap_err().to_string();
            assert!(refused.starts_with(&format!("field capabilities: {name:?}")), "{refused}");
        }
        assert!(declared(&[], &["CHWON"]).check().unwrap_err().to_string().starts_with("field drop"));
    }

    #[test]
    fn names_come_with_and_without_their_prefix() {
        let declaration = declared(&["cap_sys_ptrace", "SYS_NICE"], &["all"]);
        declaration.check().unwrap();
        assert_eq!(declaration.held(), ["CAP_SYS_NICE", "CAP_SYS_PTRACE"]);
        assert_eq!(declared(&["CHOWN"], &["ALL"]).held(), ["CAP_CHOWN"]);
    }
}
