//! From which nodes of the machine a process has its memory: `linux.memoryPolicy` of the specification 1.3 as set_mempolicy(2) takes it.

use super::Refused;
use super::config;
use super::refused::value;

/// Words of the set of nodes: as many bits as the kernel can have nodes (MAX_NUMNODES).
const WORDS: usize = 16;

/// Arguments of set_mempolicy(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*` and `MPOL_F_*`.
    pub mode: u32,
    /// A bit a node; nothing where no node is named.
    pub nodes: Option<[u64; WORDS]>,
}

/// Policies by their names (linux/mempolicy.h).
const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

const FLAGS: [(&str, u32); 3] =
    [("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];

/// Names of the policies, for `features`.
pub fn modes() -> Vec<&'static str> {
    MODES.iter().map(|(name, _)| *name).collect()
}

/// Names of their flags, for `features`.
pub fn flags() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, _)| *name).collect()
}

/// Reads a policy. Which nodes there are the kernel knows.
///
/// # Errors
/// Names the field.
pub fn read(declared: &config::MemoryPolicy) -> Result<MemoryPolicy, Refused> {
    const FIELD: &str = "linux.memoryPolicy";
    if declared.mode.is_empty() {
        return Err(Refused::Missing { field: format!("{FIELD}.mode") });
    }
    let find =
        |table: &[(&str, u32)], name: &str| table.iter().find(|(known, _)| *known == name).map(|(_, bits)| *bits);
    let mode = find(&MODES, &declared.mode)
        .ok_or_else(|| value(format!("{FIELD}.mode"), &declared.mode, "a policy, MPOL_BIND say"))?;
    let mode = declared.flags.iter().try_fold(mode, |bits, flag| {
        let known = find(&FLAGS, flag);
        Ok(bits | known.ok_or_else(|| value(format!("{FIELD}.flags"), flag, "a flag, MPOL_F_STATIC_NODES say"))?)
    })?;
    let nodes = match declared.nodes.is_empty() {
        true => None,
        false => Some(
            set(&declared.nodes)
                .ok_or_else(|| value(format!("{FIELD}.nodes"), &declared.nodes, "a list such as 0-3,7, up to 1023"))?,
        ),
    };
    Ok(MemoryPolicy { mode, nodes })
}

fn set(text: &str) -> Option<[u64; WORDS]> {
    let mut set = [0; WORDS];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if first > last || last >= WORDS * 64 {
            return None;
        }
        (first..=last).for_each(|node| set[node / 64] |= 1 << (node % 64));
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: &str, nodes: &str, flags: &[&str]) -> Result<MemoryPolicy, String> {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        read(&config::MemoryPolicy { mode: mode.into(), nodes: nodes.into(), flags })
            .map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_policy_is_a_mode_with_flags_and_a_set_of_nodes() {
        let bind = policy("MPOL_BIND", "0-2,65", &["MPOL_F_STATIC_NODES"]).unwrap();
        assert_eq!(bind.mode, 2 | 1 << 15);
        assert_eq!(bind.nodes.map(|nodes| (nodes[0], nodes[1])), Some((0b111, 0b10)));
        assert_eq!(policy("MPOL_DEFAULT", "", &[]), Ok(MemoryPolicy { mode: 0, nodes: None }));
    }

    #[test]
    fn what_is_none_is_refused_by_its_field() {
        for (mode, nodes, flag, field) in [
            ("", "0", "MPOL_F_STATIC_NODES", "linux.memoryPolicy.mode"),
            ("INTERLEAVE", "0", "MPOL_F_STATIC_NODES", "linux.memoryPolicy.mode"),
            ("MPOL_BIND", "0-9876543210", "MPOL_F_STATIC_NODES", "linux.memoryPolicy.nodes"),
            ("MPOL_BIND", "3-1", "MPOL_F_STATIC_NODES", "linux.memoryPolicy.nodes"),
            ("MPOL_BIND", "1024", "MPOL_F_STATIC_NODES", "linux.memoryPolicy.nodes"),
            ("MPOL_PREFERRED", "0", "badflag", "linux.memoryPolicy.flags"),
        ] {
            assert!(policy(mode, nodes, &[flag]).unwrap_err().starts_with(field), "{mode} {nodes} {flag}");
        }
    }
}
