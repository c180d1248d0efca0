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
    let order = |join: &Join| Kind::ALL.iter().position(|kind| *kind == join.kind);
    namespaces.join.sort_by_key(order);
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
        if let Some(wrong) = map.iter().find(|range| range.size == 0) {
            return Err(value(field, wrong.size.to_string(), "a size of 1 or more"));
        }
    }
    match namespaces.is_new(Kind::User) {
        true => Ok((linux.uid_mappings.clone(), linux.gid_mappings.clone())),
        false => Ok((Vec::new(), Vec::new())),
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
    fn a_kind_is_known_and_there_once() {
        assert!(read(&[namespace("pids", None)]).unwrap_err().to_string().starts_with("linux.namespaces[0].type"));
        let twice = [namespace("pid", None), namespace("pid", Some("/x"))];
        assert!(read(&twice).unwrap_err().to_string().starts_with("linux.namespaces[1].type"));
        assert!(read(&[namespace("pid", Some("x"))]).unwrap_err().to_string().starts_with("linux.namespaces[0].path"));
    }
}
