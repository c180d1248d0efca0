//! A plan as text, a line a step: what people read before they let it happen.

use std::fmt;

use super::capability;
use super::devices::{self, Kind};
use super::mounts::{Change, Depth, Mount, Source, attribute};
use super::namespaces;
use super::plan::{Place, Plan, Step};
use super::process::{Groups, Identity, Label, Privileges};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "control group {}", self.group.as_deref().unwrap_or("named after the container"))?;
        for setting in &self.settings {
            writeln!(f, "  {} = {}", setting.file, setting.value)?;
        }
        for rule in &self.device_rules {
            let (file, line) = devices::line(rule);
            writeln!(f, "  {} {line}", file.trim_start_matches("devices."))?;
        }
        write!(f, "clone into it and into new namespaces:")?;
        for kind in namespaces::Kind::ALL.into_iter().filter(|kind| self.namespaces.is_new(*kind)) {
            write!(f, " {}", kind.name())?;
        }
        writeln!(f)?;
        for (which, map) in [("users", &self.uid_map), ("groups", &self.gid_map)] {
            for ids in map {
                let last = u64::from(ids.container_id) + u64::from(ids.size) - 1;
                writeln!(f, "  {which} {} to {last} are {} outside", ids.container_id, ids.host_id)?;
            }
        }
        for join in &self.namespaces.join {
            writeln!(f, "  joins the {} namespace {}", join.kind.name(), join.path)?;
        }
        for device in &self.net_devices {
            writeln!(f, "  gets the network device {} as {}", device.name, device.inside)?;
        }
        writeln!(f, "root file system {}; then the new process:", self.root.path)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:3} {step}", number + 1)?;
        }
        if let Some(identity) = &self.identity {
            write!(f, "{identity}")?;
        }
        match &self.program {
            Some(program) => writeln!(f, "in {} executes {}", program.folder, program.arguments.join(" ")),
            None => writeln!(f, "executes nothing"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinNamespaces => f.write_str("join namespaces"),
            Self::BecomeRoot => f.write_str("become root of the user namespace"),
            Self::NewCgroupNamespace => f.write_str("make its control group the root of what it sees"),
            Self::NewTimeNamespace(offsets) => {
                write!(f, "have clocks of its own {}", offsets.trim_end().replace('\n', ", "))
            }
            Self::Keyring => f.write_str("have a session keyring of its own"),
            Self::HostName(name) => write!(f, "set the host name {name}"),
            Self::DomainName(name) => write!(f, "set the domain name {name}"),
            Self::Parameter { path, value, .. } => write!(f, "set /proc/sys/{path} to {value}"),
            Self::AttachRoot(Place::Apart) => f.write_str("attach the root file system"),
            Self::AttachRoot(Place::Among) => f.write_str("attach the root file system among the runtime's own mounts"),
            Self::Mount(mount) => mount.fmt(f),
            Self::Device(node) => {
                let kind = match node.kind {
                    Kind::Character => 'c',
                    Kind::Block => 'b',
                    Kind::Pipe => 'p',
                };
                write!(f, "make the device {} {kind} {}:{} {:o}", node.path, node.major, node.minor, node.mode)
            }
            Self::Link { path, target } => write!(f, "link {path} to {target}"),
            Self::Folder(path) => write!(f, "make the folder {path}"),
            Self::Console => f.write_str("make a terminal"),
            Self::Hooks => f.write_str("execute the hooks of creation"),
            Self::Mask(path) => write!(f, "hide {path}"),
            Self::Seal(path) => write!(f, "make {path} read-only"),
            Self::Finish(path) => write!(f, "make the mount {path} read-only"),
            Self::SealRoot => f.write_str("make the root file system read-only"),
            Self::EnterRoot(how) => write!(f, "enter the root file system and leave the host's ({how:?})"),
            Self::Propagate(flags) => write!(f, "set the propagation {flags:#x} of the root"),
            Self::ChangeRoot => f.write_str("change the root"),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for limit in &self.limits {
            writeln!(f, "  {} = {} of {}", limit.name, limit.soft, limit.hard)?;
        }
        if let Some(score) = self.oom_score_adj {
            writeln!(f, "  oom_score_adj = {score}")?;
        }
        if let Some(policy) = &self.memory {
            writeln!(f, "  memory policy {:#x}", policy.mode)?;
        }
        for label in &self.labels {
            match label {
                Label::AppArmor(profile) => writeln!(f, "  AppArmor profile {profile}")?,
                Label::SeLinux(label) => writeln!(f, "  SELinux label {label}")?,
            }
        }
        let names = |bits: u64| capability::names(bits).collect::<Vec<_>>().join(",");
        write!(f, "  user {} group {} groups", self.user.uid, self.user.gid)?;
        match &self.user.groups {
            Groups::Kept => writeln!(f, " of the caller")?,
            Groups::Set(groups) => writeln!(f, " {groups:?}")?,
        }
        writeln!(f, "  capabilities {}; at most {}", names(self.held.effective), names(self.held.bounding))?;
        if self.privileges == Privileges::NoNew {
            writeln!(f, "  no new privileges")?;
        }
        match &self.filter {
            Some(filter) => writeln!(f, "  filter of {} instructions", filter.program.len()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::New { kind, options, .. } => {
                write!(f, "mount {kind} on {}", self.target)?;
                own(f, options)?;
            }
            Source::Bind { path, depth: Depth::One } => write!(f, "bind {path} on {}", self.target)?,
            Source::Bind { path, depth: Depth::Tree } => write!(f, "bind {path} and what is below on {}", self.target)?,
            Source::ControlGroup => write!(f, "show its control group on {}", self.target)?,
            Source::Again { options } => {
                write!(f, "change the mount {}", self.target)?;
                own(f, options)?;
            }
        }
        show(f, "", self.attributes)?;
        show(f, "r", self.recursive)?;
        if self.ids.is_some() {
            write!(f, " idmap")?;
        }
        self.propagation.iter().try_for_each(|flags| write!(f, " propagation {flags:#x}"))
    }
}

fn own(f: &mut fmt::Formatter<'_>, options: &[(String, Option<String>)]) -> fmt::Result {
    options.iter().try_for_each(|(key, value)| {
        write!(f, " {key}")?;
        value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    })
}

fn show(f: &mut fmt::Formatter<'_>, prefix: &str, change: Change) -> fmt::Result {
    const NAMES: [(u64, &str); 8] = [
        (attribute::RDONLY, "ro"),
        (attribute::NOSUID, "nosuid"),
        (attribute::NODEV, "nodev"),
        (attribute::NOEXEC, "noexec"),
        (attribute::NOATIME, "noatime"),
        (attribute::STRICTATIME, "strictatime"),
        (attribute::NODIRATIME, "nodiratime"),
        (attribute::NOSYMFOLLOW, "nosymfollow"),
    ];
    NAMES.iter().filter(|(bit, _)| change.set & bit != 0).try_for_each(|(_, name)| write!(f, " {prefix}{name}"))
}
