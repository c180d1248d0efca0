//! Capabilities by name and number (linux/capability.h).

/// In the order of their numbers.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The bits of a set of names, with or without `CAP_`, in any case. Names that nobody knows are passed over: the
/// container has less, and [`missed`](super::process::Identity::missed) says so.
pub fn bits(names: &[String]) -> u64 {
    names.iter().filter_map(|name| number(name)).fold(0, |bits, number| bits | 1 << number)
}

/// The number of a name.
pub fn number(name: &str) -> Option<usize> {
    let name =
        name.get(..4).filter(|start| start.eq_ignore_ascii_case("CAP_")).map_or(name, |start| &name[start.len()..]);
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))
}

/// Names of a set of bits.
pub fn names(bits: u64) -> impl Iterator<Item = &'static str> {
    NAMES.iter().enumerate().filter(move |(number, _)| bits >> number & 1 == 1).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_kernel_numbers() {
        assert_eq!(bits(&["CAP_CHOWN".into(), "sys_admin".into(), "cap_net_raw".into()]), 1 | 1 << 21 | 1 << 13);
        assert_eq!(bits(&["CAP_TOMORROW".into(), "é".into(), String::new()]), 0);
        assert_eq!(names(1 << 40).collect::<Vec<_>>(), ["CHECKPOINT_RESTORE"]);
    }
}
