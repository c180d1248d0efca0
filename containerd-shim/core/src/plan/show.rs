//! A plan as text, a line a step: what people read before they let it happen.

use std::fmt;

use super::{Access, Attribute, Depth, Held, Mount, Plan, Source, Step};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "control group {}", self.group)?;
        for setting in &self.settings {
            writeln!(f, "  {} = {}", setting.file, setting.value)?;
        }
        writeln!(f, "clone into it and new namespaces {:#x}", self.namespaces)?;
        for (which, map) in [("users", &self.uid_map), ("groups", &self.gid_map)] {
            for ids in map {
                writeln!(
                    f,
                    "  {which} {} to {} are {} on the node",
                    ids.inside,
                    ids.inside + (ids.count - 1),
                    ids.outside
                )?;
            }
        }
        for limit in &self.limits {
            writeln!(f, "  {} = {} of {}", limit.name, limit.soft, limit.hard)?;
        }
        if let Some(score) = self.oom_score_adj {
            writeln!(f, "  oom_score_adj = {score}")?;
        }
        let access = match self.root {
            Access::ReadOnly => "read-only",
            Access::ReadWrite => "writable",
        };
        writeln!(f, "make the root file system, {access}; then the new process:")?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:3} {step}", number + 1)?;
        }
        write!(f, "{:3} execute {}", self.steps.len() + 1, self.program.arguments.join(" "))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BecomeRoot => f.write_str("become root of the user namespace"),
            Self::NewCgroupNamespace => f.write_str("make its control group the root of what it sees"),
            Self::HostName(name) => write!(f, "set the host name {name}"),
            Self::DomainName(name) => write!(f, "set the domain name {name}"),
            Self::KeepMounts => f.write_str("keep its mounts to itself"),
            Self::AttachRoot => f.write_str("attach the root file system"),
            Self::Mount(mount) => mount.fmt(f),
            Self::Device(path) => write!(f, "give it the device {path}"),
            Self::Link { path, target } => write!(f, "link {path} to {target}"),
            Self::Mask(path) => write!(f, "hide {path}"),
            Self::Seal(path) => write!(f, "make {path} read-only"),
            Self::EnterRoot => f.write_str("enter the root file system and leave the node's"),
            Self::Bound(bits) => write!(f, "bound capabilities to {}", names(*bits)),
            Self::User { uid, gid, groups, umask } => {
                write!(f, "become user {uid}, group {gid}, groups {groups:?}, umask {umask:03o}")
            }
            Self::Hold(Held { effective, ambient, .. }) => {
                write!(f, "hold capabilities {}, ambient {}", names(*effective), names(*ambient))
            }
            Self::WorkingDirectory(path) => write!(f, "enter {path}"),
            Self::NoNewPrivileges => f.write_str("give up new privileges"),
            Self::DieWithParent => f.write_str("die with the process that made it"),
            Self::Filter(program) => write!(f, "filter system calls, {} instructions", program.len()),
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::New { kind, options, .. } => {
                write!(f, "mount {kind} on {}", self.target)?;
                for (key, value) in options {
                    write!(f, " {key}")?;
                    value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))?;
                }
            }
            Source::Bind { path, depth: Depth::One } => write!(f, "bind {path} on {}", self.target)?,
            Source::Bind { path, depth: Depth::Tree } => write!(f, "bind {path} and what is below on {}", self.target)?,
        }
        self.attributes.iter().try_for_each(|attribute| write!(f, " {attribute}"))
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "ro",
            Self::NoSetId => "nosuid",
            Self::NoDevices => "nodev",
            Self::NoPrograms => "noexec",
            Self::NoAccessTime => "noatime",
            Self::StrictAccessTime => "strictatime",
            Self::NoFolderAccessTime => "nodiratime",
            Self::NoLinks => "nosymfollow",
        })
    }
}

fn names(bits: u64) -> String {
    let held: Vec<&str> = crate::oci::capability::names(bits).collect();
    if held.is_empty() { "none".to_owned() } else { held.join(",") }
}
