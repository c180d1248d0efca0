//! Namespaces of a specification: which are new, which are joined.

use super::Refused;
use super::config::{IdMapping, Linux, Namespace, TimeOffset};
use super::refused::value;

/// Kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Users and capabilities.
    User,
    /// Process ids.
    Pid,
    /// Mounts.
    Mount,
    /// Network.
    Network,
    /// Host name.
    Uts,
    /// System V IPC and message queues.
    Ipc,
    /// View of control groups.
    Cgroup,
    /// Clocks since boot.
    Time,
}

impl Kind {
    /// All, in the order in which they are joined: users first, whose root has the right to join the others.
    pub const ALL: [Kind; 8] =
        [Kind::User, Kind::Pid, Kind::Mount, Kind::Network, Kind::Uts, Kind::Ipc, Kind::Cgroup, Kind::Time];

    /// `CLONE_NEW*` (linux/sched.h).
    pub const fn flag(self) -> u64 {
        match self {
            Kind::Time => 0x80,
            Kind::Mount => 0x2_0000,
            Kind::Cgroup => 0x200_0000,
            Kind::Uts => 0x400_0000,
            Kind::Ipc => 0x800_0000,
            Kind::User => 0x1000_0000,
            Kind::Pid => 0x2000_0000,
            Kind::Network => 0x4000_0000,
        }
    }

    /// As in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Pid => "pid",
            Kind::Mount => "mount",
            Kind::Network => "network",
            Kind::Uts => "uts",
            Kind::Ipc => "ipc",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
        }
    }

    /// Name of its file below `/proc/<pid>/ns`.
    pub const fn file(self) -> &'static str {
        match self {
            Kind::Mount => "mnt",
            Kind::Network => "net",
            other => other.name(),
        }
    }
}

/// One to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Kind.
    pub kind: Kind,
    /// Its file.
    pub path: String,
}

/// What a container is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// New ones, flags `CLONE_NEW*`.
    pub new: u64,
    /// Ones to join, users first.
    pub join: Vec<Join>,
}

impl Namespaces {
    /// Whether the kind is new.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.new & kind.flag() != 0
    }

    /// Whether the kind is joined.
    pub fn is_joined(&self, kind: Kind) -> bool {
        self.join.iter().any(|join| join.kind == kind)
    }

    /// Whether the kind is not the host's.
    pub fn is_own(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.is_joined(kind)
    }
}

/// Reads the namespaces.
///
/// # Errors
/// A kind that is unknown or twice.
pub fn read(declared: &[Namespace]) -> Result<Namespaces, Refused> {
    let mut namespaces = Namespaces::default();
    for (index, namespace) in declared.iter().enumerate() {
        let field = format!("linux.namespaces[{index}].type");
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == namespace.kind);
        let kind = kind.ok_or_else(|| value(&field, &namespace.kind, "a kind of namespace"))?;
        if namespaces.is_own(kind) {
            return Err(value(&field, &namespace.kind, "there once: one namespace of a kind"));
        }
        match namespace.path.as_ref().filter(|path| !path.is_empty()) {
            None => namespaces.new |= kind.flag(),
            Some(path) if path.starts_with('/') && !path.contains('\0') => {
                namespaces.join.push(Join { kind, path: path.clone() });
            }
            Some(path) => return Err(value(format!("linux.namespaces[{index}].path"), path, "an absolute path")),
        }
    }
    // In the order in which they are joined; there is one of a kind at most. (A sort would be 5 kB of program, which is resident.)
    let mut joined = std::mem::take(&mut namespaces.join);
    for kind in Kind::ALL {
        if let Some(at) = joined.iter().position(|join| join.kind == kind) {
            namespaces.join.push(joined.swap_remove(at));
        }
    }
    Ok(namespaces)
}

/// Checks the id maps of a user namespace.
///
/// # Errors
/// A new user namespace without maps, or maps without one.
pub fn maps(linux: &Linux, namespaces: &Namespaces) -> Result<(Vec<IdMapping>, Vec<IdMapping>), Refused> {
    let maps = [("linux.uidMappings", &linux.uid_mappings), ("linux.gidMappings", &linux.gid_mappings)];
    for (field, map) in maps {
        if namespaces.is_new(Kind::User) && map.is_empty() {
            return Err(Refused::Missing { field: field.to_owned() });
        }
        if !namespaces.is_own(Kind::User) && !map.is_empty() {
            return Err(value(field, "", "given together with a user namespace"));
        }
        ranges(field, map)?;
    }
    match namespaces.is_new(Kind::User) {
        true => Ok((linux.uid_mappings.clone(), linux.gid_mappings.clone())),
        false => Ok((Vec::new(), Vec::new())),
    }
}

/// Checks the ranges of a map: each has ids, and only such as there are.
///
/// # Errors
/// Names the range.
pub(super) fn ranges(field: &str, map: &[IdMapping]) -> Result<(), Refused> {
    let ends = |first: u32, size: u32| size > 0 && first.checked_add(size).is_some();
    let wrong = |range: &IdMapping| !ends(range.container_id, range.size) || !ends(range.host_id, range.size);
    match map.iter().enumerate().find(|(_, range)| wrong(range)) {
        Some((index, range)) => {
            let field = format!("{field}[{index}].size");
            Err(value(field, range.size.to_string(), "a size of 1 or more, with ids below 4294967295"))
        }
        None => Ok(()),
    }
}

/// Reads the offsets of a time namespace, as lines for `timens_offsets` (time_namespaces(7)).
///
/// # Errors
/// A clock that is unknown, or offsets without a new time namespace.
pub fn offsets<'a>(
    declared: impl Iterator<Item = (&'a String, &'a TimeOffset)>,
    namespaces: &Namespaces,
) -> Result<String, Refused> {
    let mut lines = String::new();
    for (clock, offset) in declared {
        if !namespaces.is_new(Kind::Time) {
            return Err(value("linux.timeOffsets", clock, "given together with a new time namespace"));
        }
        if clock != "monotonic" && clock != "boottime" {
            return Err(value("linux.timeOffsets", clock, "monotonic or boottime"));
        }
        let field = |name: &str| format!("linux.timeOffsets.{clock}.{name}");
        if offset.nanosecs >= 1_000_000_000 {
            return Err(value(field("nanosecs"), offset.nanosecs.to_string(), "below 1000000000"));
        }
        // KTIME_SEC_MAX / 2 (linux/ktime.h). Whether a clock would go below zero the kernel says.
        if offset.secs.unsigned_abs() > 4_611_686_018 {
            return Err(value(field("secs"), offset.secs.to_string(), "at most 4611686018, which is 146 years"));
        }
        lines.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(kind: &str, path: Option<&str>) -> Namespace {
        Namespace { kind: kind.into(), path: path.map(str::to_owned) }
    }

    #[test]
    fn users_are_joined_first() {
        let read =
            read(&[namespace("network", Some("/n")), namespace("user", Some("/u")), namespace("pid", None)]).unwrap();
        assert_eq!(read.join.iter().map(|join| join.kind).collect::<Vec<_>>(), [Kind::User, Kind::Network]);
        assert!(read.is_new(Kind::Pid) && !read.is_own(Kind::Mount));
    }

    #[test]
    fn offsets_are_lines_and_what_no_clock_can_be_is_named() {
        let time = read(&[namespace("time", None)]).unwrap();
        let lines = |clock: &str, secs, nanosecs, namespaces: &Namespaces| {
            let (clock, offset) = (clock.to_owned(), TimeOffset { secs, nanosecs });
            offsets([(&clock, &offset)].into_iter(), namespaces).map_err(|refused| refused.to_string())
        };
        assert_eq!(lines("boottime", -5, 7, &time).unwrap(), "boottime -5 7\n");
        for (clock, secs, nanosecs, field) in [
            ("monotonic", 1, 4_000_000_000, "linux.timeOffsets.monotonic.nanosecs: "),
            ("boottime", 1, 1_000_000_000, "linux.timeOffsets.boottime.nanosecs: "),
            ("boottime", i64::MAX, 0, "linux.timeOffsets.boottime.secs: "),
            ("monotonic", -4_611_686_019, 0, "linux.timeOffsets.monotonic.secs: "),
            ("realtime", 1, 0, "linux.timeOffsets: "),
        ] {
            let refused = lines(clock, secs, nanosecs, &time).unwrap_err();
            assert!(refused.starts_with(field), "{refused}");
        }
        assert!(lines("boottime", 1, 0, &Namespaces::default()).unwrap_err().contains("new time namespace"));
    }

    #[test]
    fn a_kind_is_known_and_there_once() {
        assert!(read(&[namespace("pids", None)]).unwrap_err().to_string().starts_with("linux.namespaces[0].type"));
        let twice = [namespace("pid", None), namespace("pid", Some("/x"))];
        assert!(read(&twice).unwrap_err().to_string().starts_with("linux.namespaces[1].type"));
        assert!(read(&[namespace("pid", Some("x"))]).unwrap_err().to_string().starts_with("linux.namespaces[0].path"));
    }
}
