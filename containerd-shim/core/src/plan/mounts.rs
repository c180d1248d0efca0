//! The mounts of a specification: which options are of the mount, which of its file system, and which are not honoured.

use oci_spec::runtime::Mount as Declared;

use super::Refused;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, as a path from the container's root.
    pub target: String,
    /// What.
    pub source: Source,
    /// How.
    pub attributes: Vec<Attribute>,
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
    },
    /// A file or folder of the node.
    Bind {
        /// Where it is.
        path: String,
        /// With or without what is mounted below.
        depth: Depth,
    },
}

/// How much is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// One mount.
    One,
    /// With every mount below.
    Tree,
}

/// An attribute of a mount (mount_setattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// `ro`
    ReadOnly,
    /// `nosuid`
    NoSetId,
    /// `nodev`
    NoDevices,
    /// `noexec`
    NoPrograms,
    /// `noatime`
    NoAccessTime,
    /// `strictatime`
    StrictAccessTime,
    /// `nodiratime`
    NoFolderAccessTime,
    /// `nosymfollow`
    NoLinks,
}

/// Options that change nothing: the default, or what the kernel does anyway.
const DEFAULTS: [&str; 8] = ["defaults", "rw", "suid", "dev", "exec", "atime", "relatime", "diratime"];

/// Options of mounts that are known and not honoured.
const UNSUPPORTED: [&str; 16] = [
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "unbindable",
    "runbindable",
    "rro",
    "rnosuid",
    "rnodev",
    "rnoexec",
    "idmap",
    "ridmap",
    "tmpcopyup",
    "remount",
];

/// Reads the mount at `index` of the specification.
pub(super) fn read(index: usize, declared: &Declared) -> Result<Mount, Refused> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    let target = declared.destination().to_string_lossy().into_owned();
    if !target.starts_with('/') || target.split('/').any(|part| part == "..") {
        return Err(Refused::Value {
            field: field("destination"),
            value: target,
            expected: "an absolute path without `..`",
        });
    }
    if declared.uid_mappings().is_some() || declared.gid_mappings().is_some() {
        return Err(Refused::Field { field: field("uidMappings") });
    }
    let (mut attributes, mut own, mut depth) = (Vec::new(), Vec::new(), None);
    for option in declared.options().iter().flatten() {
        match option.as_str() {
            "bind" => depth = Some(Depth::One),
            "rbind" => depth = Some(Depth::Tree),
            known if DEFAULTS.contains(&known) => {}
            known if UNSUPPORTED.contains(&known) => {
                return Err(Refused::Field { field: format!("{} {known}", field("options")) });
            }
            other => match attribute(other) {
                Some(attribute) => attributes.push(attribute),
                None => own.push(match other.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (other.to_owned(), None),
                }),
            },
        }
    }
    let kind = declared.typ().clone().unwrap_or_default();
    let source = declared.source().as_ref().map(|path| path.to_string_lossy().into_owned());
    if depth.is_none() && kind == "bind" {
        depth = Some(Depth::One);
    }
    let source = match depth {
        Some(depth) => bind(&field("source"), source, depth, &own)?,
        None if kind.is_empty() || kind == "none" => {
            return Err(Refused::Value { field: field("type"), value: kind, expected: "the type of a file system" });
        }
        None => Source::New { name: source.unwrap_or_else(|| kind.clone()), kind, options: own },
    };
    Ok(Mount { target, source, attributes })
}

fn bind(field: &str, path: Option<String>, depth: Depth, own: &[(String, Option<String>)]) -> Result<Source, Refused> {
    if let Some((option, _)) = own.first() {
        return Err(Refused::Field { field: format!("{} {option} of a bind", field.replace("source", "options")) });
    }
    match path {
        Some(path) if path.starts_with('/') => Ok(Source::Bind { path, depth }),
        other => {
            Err(Refused::Value { field: field.into(), value: other.unwrap_or_default(), expected: "an absolute path" })
        }
    }
}

fn attribute(option: &str) -> Option<Attribute> {
    Some(match option {
        "ro" => Attribute::ReadOnly,
        "nosuid" => Attribute::NoSetId,
        "nodev" => Attribute::NoDevices,
        "noexec" => Attribute::NoPrograms,
        "noatime" => Attribute::NoAccessTime,
        "strictatime" => Attribute::StrictAccessTime,
        "nodiratime" => Attribute::NoFolderAccessTime,
        "nosymfollow" => Attribute::NoLinks,
        _ => return None,
    })
}
