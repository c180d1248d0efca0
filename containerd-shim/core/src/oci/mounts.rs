//! The mounts of a specification: which options are of the mount, which of its file system, and which are not honoured.

use super::Refused;
use super::config;
use super::namespaces::ranges;
use super::refused::value;

/// Attributes of mounts, mount_setattr(2).
pub mod attribute {
    /// Read only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits mean nothing.
    pub const NOSUID: u64 = 0x2;
    /// Devices mean nothing.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
    /// Field of the access times: all of it is cleared before a value is set.
    pub const ATIME: u64 = 0x70;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// Exact access times.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of folders.
    pub const NODIRATIME: u64 = 0x80;
    /// Symbolic links lead nowhere.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Propagation of mounts, mount(2).
pub mod propagation {
    /// Everything below, too.
    pub const REC: u64 = 1 << 14;
    /// Cannot be bound.
    pub const UNBINDABLE: u64 = 1 << 17;
    /// None.
    pub const PRIVATE: u64 = 1 << 18;
    /// Inwards.
    pub const SLAVE: u64 = 1 << 19;
    /// Both ways.
    pub const SHARED: u64 = 1 << 20;
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, as a path from the container's root.
    pub target: String,
    /// What.
    pub source: Source,
    /// Attributes of the mount itself.
    pub attributes: Change,
    /// Attributes of it and all below.
    pub recursive: Change,
    /// Propagation flags, applied in this order.
    pub propagation: Vec<u64>,
    /// Ids that its files are shown with.
    pub ids: Option<Idmap>,
    /// Whether links at the end of the target are followed.
    pub links: Links,
}

impl Mount {
    /// Has the files of a new file system carry a label of SELinux, where they do not have labels of the kernel's own.
    pub fn label(&mut self, label: &str) {
        const OWN_LABELS: [&str; 3] = ["proc", "sysfs", "mqueue"];
        if let Source::New { kind, options, .. } = &mut self.source
            && !OWN_LABELS.contains(&kind.as_str())
        {
            options.push(("context".to_owned(), Some(label.to_owned())));
        }
    }
}

/// Which attributes are changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Set.
    pub set: u64,
    /// Cleared.
    pub clear: u64,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A new file system.
    New {
        /// Its type, `tmpfs`.
        kind: String,
        /// What its `/proc/mounts` line begins with.
        name: String,
        /// Its own options, each with its value or without.
        options: Vec<(String, Option<String>)>,
        /// What is in it at first.
        content: Content,
    },
    /// A file or folder of the host.
    Bind {
        /// Where it is.
        path: String,
        /// With or without what is mounted below.
        depth: Depth,
    },
    /// What shows the container's control group.
    ControlGroup,
    /// What is mounted there changes: its attributes, and the file system's own options.
    Again {
        /// Those that are given, each with its value or without.
        options: Vec<(String, Option<String>)>,
    },
}

/// What is in a new file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// What lies below it (`tmpcopyup`).
    Copied,
}

/// How much is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// One mount.
    One,
    /// With every mount below.
    Tree,
}

/// Whether a link is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Inside the root.
    Followed,
    /// The link itself is covered.
    Covered,
}

/// Ids of an idmapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idmap {
    /// Whose they are in the specification, `mounts[3]`.
    pub field: String,
    /// With or without what is mounted below.
    pub depth: Depth,
    /// Users; empty: those of the container's user namespace.
    pub users: Vec<config::IdMapping>,
    /// Groups.
    pub groups: Vec<config::IdMapping>,
}

/// Has a file system count the versions of its files (mount(2), MS_I_VERSION).
pub const COUNTED: &str = "iversion";

/// Words for whoever makes the specification, done with when a bind mount comes here, and left in it: buildah leaves `z`, `Z` and `U`
/// (labels and owners are changed already), podman `copy` and `nocopy` (a volume is filled already).
const LEFT_OVER: [&str; 5] = ["z", "Z", "U", "copy", "nocopy"];

/// What an option does.
enum Effect {
    Set(u64),
    Clear(u64),
    SetAll(u64),
    ClearAll(u64),
    Bind(Depth),
    Propagate(u64),
    Superblock,
    /// What is so unless this word is given.
    Forget(&'static str),
    CopyUp,
    MapIds(Depth),
    CoverLinks,
    Again,
    Nothing,
}

/// Reads the mount at `index` of the specification.
///
/// # Errors
/// Names the field.
pub fn read(index: usize, declared: &config::Mount) -> Result<Mount, Refused> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    let target = target(&field("destination"), &declared.destination)?;
    let mut reading = Reading::default();
    for option in &declared.options {
        reading.take(option);
    }
    let kind = declared.kind.clone().unwrap_or_default();
    if reading.depth.is_none() && kind == "bind" {
        reading.depth = Some(Depth::One);
    }
    if reading.copy_up && (kind != "tmpfs" || reading.depth.is_some()) {
        return Err(value(field("options"), "tmpcopyup", "for a new tmpfs: only that begins empty"));
    }
    let source = if reading.again {
        // As with mount(2): where a bind mount is meant, the file system behind it stays as it is.
        let own = if reading.depth.is_none() { reading.own } else { Vec::new() };
        Source::Again { options: own }
    } else if let Some(depth) = reading.depth {
        reading.own.retain(|(word, value)| value.is_some() || !LEFT_OVER.contains(&word.as_str()));
        of_the_mount(&field("options"), &reading.own)?;
        bind(&field("source"), declared.source.as_deref(), depth)?
    } else if kind == "cgroup" || kind == "cgroup2" {
        of_the_mount(&field("options"), &reading.own)?;
        Source::ControlGroup
    } else if kind.is_empty() || kind == "none" {
        return Err(value(field("type"), kind, "the type of a file system"));
    } else {
        let content = if reading.copy_up { Content::Copied } else { Content::Empty };
        let name = declared.source.clone().unwrap_or_else(|| kind.clone());
        Source::New { name, kind, options: reading.own, content }
    };
    let ids = ids(format!("mounts[{index}]"), declared, reading.idmap)?;
    if ids.is_some() && !matches!(source, Source::Bind { .. }) {
        let which = if declared.uid_mappings.is_empty() { "options" } else { "uidMappings" };
        let kind = declared.kind.clone().unwrap_or_default();
        return Err(value(field(which), kind, "a bind mount, which alone shows files with other ids"));
    }
    let Reading { attributes, recursive, propagation, links, .. } = reading;
    Ok(Mount { target, source, attributes, recursive, propagation, ids, links })
}

/// A path from the container's root, cleaned of `.` and `..` as if there were no links (those the kernel resolves, in the root).
fn target(field: &str, text: &str) -> Result<String, Refused> {
    if text.is_empty() {
        return Err(Refused::Missing { field: field.to_owned() });
    }
    if text.contains('\0') {
        return Err(value(field, text, "a path"));
    }
    Ok(clean(text))
}

/// A path without `.`, `..`, empty parts; it begins with `/`.
pub fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn bind(field: &str, path: Option<&str>, depth: Depth) -> Result<Source, Refused> {
    match path {
        Some(path) if !path.is_empty() && !path.contains('\0') => Ok(Source::Bind { path: path.to_owned(), depth }),
        Some(path) => Err(value(field, path, "a path")),
        None => Err(Refused::Missing { field: field.to_owned() }),
    }
}

/// What is bound has a file system already: a word for that would be lost.
fn of_the_mount(field: &str, own: &[(String, Option<String>)]) -> Result<(), Refused> {
    match own.first() {
        Some((word, _)) => Err(value(field, word, "an option of this mount: it is for a file system that is made new")),
        None => Ok(()),
    }
}

fn ids(field: String, declared: &config::Mount, depth: Option<Depth>) -> Result<Option<Idmap>, Refused> {
    let (users, groups) = (declared.uid_mappings.clone(), declared.gid_mappings.clone());
    for (name, map, other) in [("uidMappings", &users, &groups), ("gidMappings", &groups, &users)] {
        let field = format!("{field}.{name}");
        if map.is_empty() && !other.is_empty() {
            return Err(Refused::Missing { field });
        }
        ranges(&field, map)?;
    }
    let depth = match depth {
        None if users.is_empty() => return Ok(None),
        None => Depth::One,
        Some(depth) => depth,
    };
    Ok(Some(Idmap { field, depth, users, groups }))
}

struct Reading {
    attributes: Change,
    recursive: Change,
    propagation: Vec<u64>,
    own: Vec<(String, Option<String>)>,
    depth: Option<Depth>,
    idmap: Option<Depth>,
    copy_up: bool,
    again: bool,
    links: Links,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            attributes: Change::default(),
            recursive: Change::default(),
            propagation: Vec::new(),
            own: Vec::new(),
            depth: None,
            idmap: None,
            copy_up: false,
            again: false,
            links: Links::Followed,
        }
    }
}

impl Reading {
    fn take(&mut self, option: &str) {
        match effect(option) {
            Some(Effect::Set(bits)) => set(&mut self.attributes, bits),
            Some(Effect::Clear(bits)) => clear(&mut self.attributes, bits),
            Some(Effect::SetAll(bits)) => set(&mut self.recursive, bits),
            Some(Effect::ClearAll(bits)) => clear(&mut self.recursive, bits),
            Some(Effect::Bind(depth)) => self.depth = Some(depth),
            Some(Effect::Propagate(flags)) => self.propagation.push(flags),
            Some(Effect::CopyUp) => self.copy_up = true,
            Some(Effect::MapIds(depth)) => self.idmap = Some(depth),
            Some(Effect::CoverLinks) => self.links = Links::Covered,
            Some(Effect::Again) => self.again = true,
            Some(Effect::Nothing) => {}
            Some(Effect::Forget(word)) => self.own.retain(|(known, _)| known != word),
            Some(Effect::Superblock) => self.own.push((option.to_owned(), None)),
            None => self.own.push(match option.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (option.to_owned(), None),
            }),
        }
    }
}

/// The later option wins.
fn set(change: &mut Change, bits: u64) {
    if bits & attribute::ATIME != 0 {
        change.set &= !attribute::ATIME;
        change.clear |= attribute::ATIME;
    } else {
        change.clear &= !bits;
    }
    change.set |= bits;
}

fn clear(change: &mut Change, bits: u64) {
    change.set &= !bits;
    change.clear |= bits;
}

fn effect(option: &str) -> Option<Effect> {
    use attribute::{ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME};
    use propagation::{PRIVATE, REC, SHARED, SLAVE, UNBINDABLE};
    Some(match option {
        "bind" => Effect::Bind(Depth::One),
        "rbind" => Effect::Bind(Depth::Tree),
        "ro" => Effect::Set(RDONLY),
        "rw" => Effect::Clear(RDONLY),
        "nosuid" => Effect::Set(NOSUID),
        "suid" => Effect::Clear(NOSUID),
        "nodev" => Effect::Set(NODEV),
        "dev" => Effect::Clear(NODEV),
        "noexec" => Effect::Set(NOEXEC),
        "exec" => Effect::Clear(NOEXEC),
        "noatime" => Effect::Set(NOATIME),
        "strictatime" => Effect::Set(STRICTATIME),
        "atime" | "relatime" | "norelatime" | "nostrictatime" => Effect::Clear(ATIME),
        "nodiratime" => Effect::Set(NODIRATIME),
        "diratime" => Effect::Clear(NODIRATIME),
        "nosymfollow" => Effect::Set(NOSYMFOLLOW),
        "symfollow" => Effect::Clear(NOSYMFOLLOW),
        "rro" => Effect::SetAll(RDONLY),
        "rrw" => Effect::ClearAll(RDONLY),
        "rnosuid" => Effect::SetAll(NOSUID),
        "rsuid" => Effect::ClearAll(NOSUID),
        "rnodev" => Effect::SetAll(NODEV),
        "rdev" => Effect::ClearAll(NODEV),
        "rnoexec" => Effect::SetAll(NOEXEC),
        "rexec" => Effect::ClearAll(NOEXEC),
        "rnoatime" => Effect::SetAll(NOATIME),
        "rstrictatime" => Effect::SetAll(STRICTATIME),
        "ratime" | "rrelatime" | "rnorelatime" | "rnostrictatime" => Effect::ClearAll(ATIME),
        "rnodiratime" => Effect::SetAll(NODIRATIME),
        "rdiratime" => Effect::ClearAll(NODIRATIME),
        "rnosymfollow" => Effect::SetAll(NOSYMFOLLOW),
        "rsymfollow" => Effect::ClearAll(NOSYMFOLLOW),
        "shared" => Effect::Propagate(SHARED),
        "rshared" => Effect::Propagate(SHARED | REC),
        "slave" => Effect::Propagate(SLAVE),
        "rslave" => Effect::Propagate(SLAVE | REC),
        "private" => Effect::Propagate(PRIVATE),
        "rprivate" => Effect::Propagate(PRIVATE | REC),
        "unbindable" => Effect::Propagate(UNBINDABLE),
        "runbindable" => Effect::Propagate(UNBINDABLE | REC),
        "sync" | "async" | "dirsync" | "lazytime" | "nolazytime" | "mand" | "nomand" | COUNTED => Effect::Superblock,
        "noiversion" => Effect::Forget(COUNTED),
        "idmap" => Effect::MapIds(Depth::One),
        "ridmap" => Effect::MapIds(Depth::Tree),
        "tmpcopyup" => Effect::CopyUp,
        "remount" => Effect::Again,
        "dest-nofollow" => Effect::CoverLinks,
        // How loud the kernel is, and what fstab(5) says to those who read it.
        "defaults" | "silent" | "loud" | "auto" | "noauto" | "user" | "nouser" | "_netdev" => Effect::Nothing,
        comment if comment.starts_with("x-") => Effect::Nothing,
        _ => return None,
    })
}

/// Every option that is of the mount and not of its file system, for `features`.
pub const OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// The propagation that a word such as `rslave` asks for.
pub fn propagation(word: &str) -> Option<u64> {
    match effect(word) {
        Some(Effect::Propagate(flags)) => Some(flags),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let declared = config::Mount {
            destination: "/a/../b/./c".into(),
            kind: Some(kind.into()),
            source: Some("/s".into()),
            options,
            ..Default::default()
        };
        read(0, &declared).unwrap()
    }

    #[test]
    fn the_later_of_two_options_wins() {
        assert_eq!(mount("bind", &["ro", "rw"]).attributes, Change { set: 0, clear: attribute::RDONLY });
        assert_eq!(mount("bind", &["rw", "ro"]).attributes, Change { set: attribute::RDONLY, clear: 0 });
        let times = mount("tmpfs", &["noatime", "strictatime"]).attributes;
        assert_eq!(times, Change { set: attribute::STRICTATIME, clear: attribute::ATIME });
    }

    #[test]
    fn what_is_not_of_the_mount_is_of_its_file_system() {
        let Source::New { options, content, .. } = mount("tmpfs", &["nosuid", "mode=755", "sync", "tmpcopyup"]).source
        else {
            panic!("not new")
        };
        assert_eq!(options, [("mode".into(), Some("755".into())), ("sync".into(), None)]);
        assert_eq!(content, Content::Copied);
    }

    #[test]
    fn a_file_system_that_is_changed_again_has_options_of_its_own() {
        let changed = |options: &[&str]| mount("tmpfs", options).source;
        let size = vec![("size".to_owned(), Some("64k".to_owned()))];
        assert_eq!(changed(&["remount", "nosuid", "size=64k"]), Source::Again { options: size });
        assert_eq!(changed(&["remount", "bind", "size=64k"]), Source::Again { options: Vec::new() });
    }

    #[test]
    fn a_word_that_would_be_lost_is_refused_by_its_field() {
        let read = |kind: &str, options: &[&str]| {
            let options = options.iter().map(|option| (*option).to_owned()).collect();
            let (kind, source) = (Some(kind.to_owned()), Some("/s".to_owned()));
            read(4, &config::Mount { destination: "/d".into(), kind, source, options, ..Default::default() })
        };
        for (kind, options) in [
            ("bind", &["sync"][..]),
            ("none", &["rbind", "async"]),
            ("none", &["rbind", "iversion"]),
            ("none", &["bind", "size=1k"]),
            ("none", &["bind", "nosense"]),
            ("none", &["bind", "acl"]),
            ("bind", &["tmpcopyup"]),
            ("tmpfs", &["bind", "tmpcopyup"]),
            ("ramfs", &["tmpcopyup"]),
            ("cgroup", &["ro", "nosense"]),
            ("tmpfs", &["idmap"]),
        ] {
            let refused = read(kind, options).unwrap_err().to_string();
            assert!(refused.starts_with("mounts[4].options: "), "{kind} {options:?}: {refused}");
        }
        // What Podman, containerd and Docker give to what they bind, and what is for others to read.
        for words in [
            "rbind rprivate rw",
            "bind rslave nosuid nodev noexec ro",
            "rbind ro x-systemd.automount _netdev",
            "rbind z Z U copy nocopy",
        ] {
            read("bind", &words.split(' ').collect::<Vec<_>>()).unwrap();
        }
        // A new file system is asked whether it knows a word.
        for (words, expected) in [("acl", "acl"), ("iversion", "iversion"), ("iversion noiversion nosense", "nosense")]
        {
            let Source::New { options, .. } = read("tmpfs", &words.split(' ').collect::<Vec<_>>()).unwrap().source
            else {
                panic!("not new")
            };
            assert_eq!(options, [(expected.to_owned(), None)]);
        }
    }

    #[test]
    fn ids_of_a_mount_are_ranges_of_both_kinds() {
        let map = |first: u32, size: u32| vec![config::IdMapping { container_id: 1, host_id: first, size }];
        for (users, groups, expected) in [
            (map(5, 0), map(5, 1), "mounts[2].uidMappings[0].size: "),
            (map(5, 1), map(5, 0), "mounts[2].gidMappings[0].size: "),
            (map(u32::MAX, 2), map(5, 1), "mounts[2].uidMappings[0].size: "),
            (map(5, 1), Vec::new(), "mounts[2].gidMappings: missing"),
            (Vec::new(), map(5, 1), "mounts[2].uidMappings: missing"),
        ] {
            let declared = config::Mount {
                destination: "/d".into(),
                source: Some("/s".into()),
                options: vec!["bind".into(), "idmap".into()],
                uid_mappings: users,
                gid_mappings: groups,
                ..Default::default()
            };
            let refused = read(2, &declared).unwrap_err().to_string();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }

    #[test]
    fn targets_are_cleaned() {
        assert_eq!(mount("bind", &[]).target, "/b/c");
        assert_eq!(clean("../../etc"), "/etc");
        assert_eq!(clean(""), "/");
    }

    #[test]
    fn every_option_that_is_announced_has_an_effect() {
        for option in OPTIONS {
            assert!(effect(option).is_some(), "{option}");
        }
        assert_eq!(propagation("rslave"), Some(propagation::SLAVE | propagation::REC));
        assert_eq!(propagation("ro"), None);
    }
}
