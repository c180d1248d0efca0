//! Turns a specification into the list of steps that make its container: `(specification, facts of the host) -> plan`.
//!
//! ```text
//! outside, by the runtime    control group with its limits -> clone3 into it and into new namespaces -> id maps, oom score
//! inside, by the new process namespaces -> mounts -> devices -> masks -> root -> identity -> waits for `start` -> program
//! ```

use super::cgroup::{Hierarchy, Setting};
use super::config::{Hooks, IdMapping, Linux, Process, Spec};
use super::devices::{self, Node, Rule};
use super::devices_v1;
use super::mounts::{self, Mount, Source};
use super::namespaces::{self, Kind, Namespaces};
use super::net_devices::{self, Device};
use super::process::{self, Host, Identity, Module, Program};
use super::refused::{absent, value};
use super::{Refused, cgroup};

/// What a plan must know of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its control groups.
    pub hierarchy: Hierarchy,
    /// What a process depends on.
    pub host: Host,
    /// Whose user namespace the runtime is in.
    pub owner: Owner,
    /// How the new process leaves the host's root.
    pub leave: Leave,
}

/// Who the runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Root of the host: makes device nodes, limits devices.
    Root,
    /// Root of a user namespace, or nobody special.
    Rootless,
}

/// How the root is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// pivot_root(2).
    Pivot,
    /// The root is moved over the old one: what is left on a host that runs from its initramfs.
    Move,
}

/// A container, made step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Path of its control group, when the specification names one.
    pub group: Option<String>,
    /// What is written to the group before a process is in it.
    pub settings: Vec<Setting>,
    /// Which devices may be used.
    pub device_rules: Vec<Rule>,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Users of a new user namespace.
    pub uid_map: Vec<IdMapping>,
    /// Groups of a new user namespace.
    pub gid_map: Vec<IdMapping>,
    /// Network devices that it gets from the host.
    pub net_devices: Vec<Device>,
    /// Its root file system.
    pub root: Root,
    /// What the new process does, in this order, until it is itself.
    pub steps: Vec<Step>,
    /// What it then is; nothing for a container that is never started.
    pub identity: Option<Identity>,
    /// What it becomes in the end.
    pub program: Option<Program>,
    /// Whether it has a terminal.
    pub terminal: Terminal,
    /// What is executed around its life.
    pub hooks: Hooks,
}

/// Its root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// From the bundle, or absolute.
    pub path: String,
    /// Propagation of mounts between host and container until the root is left.
    pub propagation: u64,
}

/// Whether there is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// There is none.
    None,
    /// There is one, of this size if it is known (lines, columns).
    Wanted(Option<(u16, u16)>),
}

/// One thing that the new process does to itself and its namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Joins namespaces that exist.
    JoinNamespaces,
    /// Becomes root of its user namespace, once its id maps are written.
    BecomeRoot,
    /// Makes the control group it is in the root of what it sees. Not by clone3(2), which would take its parent's group.
    NewCgroupNamespace,
    /// Gets clocks of its own, with offsets in the kernel's form.
    NewTimeNamespace(String),
    /// Gets a session keyring of its own.
    Keyring,
    /// Sets the host name.
    HostName(String),
    /// Sets the domain name.
    DomainName(String),
    /// Sets a kernel parameter: a path below `/proc/sys`.
    Parameter {
        /// As in the specification.
        key: String,
        /// Path.
        path: String,
        /// Value.
        value: String,
    },
    /// Puts its mounts apart from the host's where it has its own, and attaches the root file system to itself.
    AttachRoot(Place),
    /// Mounts something.
    Mount(Box<Mount>),
    /// Makes a device node, or binds the host's where it must not.
    Device(Node),
    /// Makes a symbolic link.
    Link {
        /// Where it is.
        path: &'static str,
        /// Where it leads.
        target: &'static str,
    },
    /// Makes the working directory, if it is missing.
    Folder(String),
    /// Makes a terminal on `/dev/console`.
    Console,
    /// Waits for the hooks of the runtime and executes those that see the container's namespaces.
    Hooks,
    /// Hides a file or folder, if it is there.
    Mask(String),
    /// Makes a file or folder read-only, if it is there.
    Seal(String),
    /// Makes a file system read-only that had to be written to until now.
    Finish(String),
    /// Makes the root file system read-only.
    SealRoot,
    /// Makes the root file system the root, and leaves the host's behind.
    EnterRoot(Leave),
    /// Sets the propagation of the new root.
    Propagate(u64),
    /// Changes the root without mounts of its own (chroot(2)).
    ChangeRoot,
}

impl Step {
    /// The field of the specification that asks for it, where one alone does and its values are not in the step's own words.
    pub fn field(&self) -> Option<String> {
        Some(match self {
            Self::JoinNamespaces => "linux.namespaces".to_owned(),
            Self::NewTimeNamespace(_) => "linux.timeOffsets".to_owned(),
            Self::HostName(_) => "hostname".to_owned(),
            Self::DomainName(_) => "domainname".to_owned(),
            Self::Parameter { key, .. } => format!("linux.sysctl.{key}"),
            _ => return None,
        })
    }
}

/// Whose mounts the container's are among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a mount namespace of the container's.
    Apart,
    /// The runtime's, below the root file system; they go when the container is deleted.
    Among,
}

/// Plans a container.
///
/// # Errors
/// Names the field that is missing, wrong, or not honoured.
pub fn plan(spec: &Spec, facts: &Facts) -> Result<Plan, Refused> {
    check(spec)?;
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let root = spec.root.as_ref().ok_or(Refused::Missing { field: "root".into() })?;
    if root.path.is_empty() {
        return Err(Refused::Missing { field: "root.path".into() });
    }
    let namespaces = namespaces::read(&linux.namespaces)?;
    let (uid_map, gid_map) = namespaces::maps(linux, &namespaces)?;
    let resources = linux.resources.clone().unwrap_or_default();
    let device_rules = match facts.owner {
        Owner::Root => devices::rules(&resources.devices)?,
        Owner::Rootless => devices::rules(&resources.devices).map(|_| Vec::new())?,
    };
    if matches!(facts.hierarchy, cgroup::Hierarchy::V1 { .. }) {
        devices_v1::lines(&device_rules)?;
    }
    let terminal = match spec.process.as_ref().filter(|process| process.terminal) {
        None => Terminal::None,
        Some(process) => Terminal::Wanted(process.console_size.map(|size| (size.height, size.width))),
    };
    Ok(Plan {
        group: linux.cgroups_path.as_deref().filter(|path| !path.is_empty()).map(cgroup::path).transpose()?,
        settings: cgroup::settings(&resources, &facts.hierarchy)?,
        device_rules,
        root: Root { path: root.path.clone(), propagation: propagation(linux)? },
        steps: steps(spec, linux, &namespaces, facts, terminal)?,
        identity: spec
            .process
            .as_ref()
            .map(|own| process::identity(own, linux, &spec.annotations, facts.host))
            .transpose()?,
        program: spec.process.as_ref().map(process::program).transpose()?,
        terminal,
        hooks: hooks(spec)?,
        net_devices: net_devices::read(&linux.net_devices, &namespaces)?,
        namespaces,
        uid_map,
        gid_map,
    })
}

/// Plans a process that joins a container: who it is, and its program.
///
/// # Errors
/// Names the field.
pub fn joining(spec: &Spec, process: &Process, facts: &Facts) -> Result<(Identity, Program), Refused> {
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    Ok((process::identity(process, linux, &spec.annotations, facts.host)?, process::program(process)?))
}

/// Fields that this runtime does not honour are refused by name, so that nothing is silently less than asked.
fn check(spec: &Spec) -> Result<(), Refused> {
    if spec.oci_version.is_empty() {
        return Err(Refused::Missing { field: "ociVersion".into() });
    }
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
    let mut parts = spec.oci_version.splitn(3, '.');
    let (major, minor, patch) = (number(parts.next()), number(parts.next()), parts.next());
    if major != Some(1)
        || minor.is_none()
        || !patch.is_some_and(|patch| patch.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Err(value("ociVersion", &spec.oci_version, "a version 1.x.y"));
    }
    absent(spec.vm.as_ref(), "vm")?;
    if let Some(name) = spec.annotations.keys().find(|name| name.is_empty()) {
        return Err(value("annotations", name, "a key that is not empty"));
    }
    let Some(linux) = &spec.linux else { return Ok(()) };
    absent(linux.intel_rdt.as_ref(), "linux.intelRdt")
}

/// A label for mounts is for a kernel that has labels.
fn mount_label(linux: &Linux, host: Host) -> Result<Option<&String>, Refused> {
    match linux.mount_label.as_ref().filter(|label| !label.is_empty()) {
        Some(_) if host.selinux == Module::Absent => {
            Err(Refused::Host { field: "linux.mountLabel".into(), lacks: "SELinux".into() })
        }
        label => Ok(label),
    }
}

fn hooks(spec: &Spec) -> Result<Hooks, Refused> {
    let hooks = spec.hooks.clone().unwrap_or_default();
    let points = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (point, list) in points {
        for (index, hook) in list.iter().enumerate() {
            let field = |name: &str| format!("hooks.{point}[{index}].{name}");
            if !hook.path.starts_with('/') {
                return Err(value(field("path"), &hook.path, "an absolute path"));
            }
            if let Some(timeout) = hook.timeout.filter(|timeout| *timeout <= 0) {
                return Err(value(field("timeout"), timeout.to_string(), "1 second or more"));
            }
        }
    }
    Ok(hooks)
}

fn propagation(linux: &Linux) -> Result<u64, Refused> {
    match linux.rootfs_propagation.as_deref().filter(|word| !word.is_empty()) {
        None => Ok(mounts::propagation::SLAVE | mounts::propagation::REC),
        Some(word) => mounts::propagation(word)
            .ok_or_else(|| value("linux.rootfsPropagation", word, "shared, slave, private or unbindable")),
    }
}

fn steps(
    spec: &Spec,
    linux: &Linux,
    namespaces: &Namespaces,
    facts: &Facts,
    terminal: Terminal,
) -> Result<Vec<Step>, Refused> {
    let mut steps = Vec::new();
    if !namespaces.join.is_empty() {
        steps.push(Step::JoinNamespaces);
    }
    // Before it changes its user: from then on its files in /proc are not its own to write to (prctl(2), PR_SET_DUMPABLE).
    let offsets = namespaces::offsets(linux.time_offsets.iter(), namespaces)?;
    if namespaces.is_new(Kind::Time) {
        steps.push(Step::NewTimeNamespace(offsets));
    }
    if namespaces.is_own(Kind::User) {
        steps.push(Step::BecomeRoot);
    }
    if namespaces.is_new(Kind::Cgroup) {
        steps.push(Step::NewCgroupNamespace);
    }
    steps.push(Step::Keyring);
    names(spec, namespaces, &mut steps)?;
    for (key, value) in &linux.sysctl {
        steps.push(parameter(key, value, namespaces)?);
    }
    mapped(spec, namespaces)?;
    let place = if namespaces.is_own(Kind::Mount) { Place::Apart } else { Place::Among };
    furniture(spec, linux, facts, (terminal, place), &mut steps)?;
    Ok(steps)
}

fn names(spec: &Spec, namespaces: &Namespaces, steps: &mut Vec<Step>) -> Result<(), Refused> {
    /// `__NEW_UTS_LEN`, in bytes.
    const LONGEST: usize = 64;
    for (field, name) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { continue };
        if !namespaces.is_own(Kind::Uts) {
            return Err(value(field, name, "given together with a UTS namespace"));
        }
        if name.len() > LONGEST {
            return Err(value(field, name, "at most 64 bytes"));
        }
        steps.push(match field {
            "hostname" => Step::HostName(name.clone()),
            _ => Step::DomainName(name.clone()),
        });
    }
    Ok(())
}

/// Only parameters of the container's own namespaces may be set: all others are the host's.
fn parameter(key: &str, text: &str, namespaces: &Namespaces) -> Result<Step, Refused> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    let field = format!("linux.sysctl.{key}");
    // `net.ipv4.conf.eth0.10.x` has a dot of its own as `net/ipv4/conf/eth0.10/x`: a name with a slash is a path already.
    let path = if key.contains('/') && key.find('/') < key.find('.').or(Some(usize::MAX)) {
        key.to_owned()
    } else {
        key.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    };
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") || path.contains('\0') {
        return Err(value(field, text, "the name of a kernel parameter"));
    }
    let own = |kind: Kind| namespaces.is_own(kind);
    let allowed = match path.as_str() {
        ipc if IPC.contains(&ipc) || ipc.starts_with("fs/mqueue/") => own(Kind::Ipc),
        net if net.starts_with("net/") => own(Kind::Network),
        "kernel/domainname" => own(Kind::Uts),
        user if user.starts_with("user/") => own(Kind::User),
        "kernel/hostname" => {
            return Err(value(field, text, "a parameter: the host name has a field of its own, hostname"));
        }
        _ => return Err(value(field, text, "a parameter of a namespace: this one is the host's")),
    };
    match allowed {
        true => Ok(Step::Parameter { key: key.to_owned(), path, value: text.to_owned() }),
        false => Err(value(field, text, "set together with a namespace of its own: without one it is the host's")),
    }
}

/// A mount whose files are shown with other ids has its own, or those of the container's user namespace.
fn mapped(spec: &Spec, namespaces: &Namespaces) -> Result<(), Refused> {
    for (index, mount) in spec.mounts.iter().enumerate().filter(|_| !namespaces.is_own(Kind::User)) {
        let word = mount.options.iter().find(|option| matches!(option.as_str(), "idmap" | "ridmap"));
        if let Some(word) = word.filter(|_| mount.uid_mappings.is_empty() && mount.gid_mappings.is_empty()) {
            let expected = "given together with uidMappings and gidMappings, or a user namespace";
            return Err(value(format!("mounts[{index}].options"), word, expected));
        }
    }
    Ok(())
}

/// Everything between the host's mounts and the container's root.
fn furniture(
    spec: &Spec,
    linux: &Linux,
    facts: &Facts,
    (terminal, place): (Terminal, Place),
    steps: &mut Vec<Step>,
) -> Result<(), Refused> {
    steps.push(Step::AttachRoot(place));
    let label = mount_label(linux, facts.host)?;
    let (mut finish, mut own_devices) = (Vec::new(), true);
    for (index, declared) in spec.mounts.iter().enumerate() {
        let mut mount = mounts::read(index, declared)?;
        if mount.target == "/" && !matches!(mount.source, Source::Again { .. }) {
            let field = format!("mounts[{index}].destination");
            return Err(value(field, &declared.destination, "a place below the root: that is root.path"));
        }
        if let Some(label) = label {
            mount.label(label);
        }
        // Whose /dev is the host's, or anybody's, has the devices that are there: none is made in it, and of those that are declared none
        // elsewhere either. So it is with crun and runc.
        own_devices &= !(mount.target == "/dev" && matches!(mount.source, Source::Bind { .. }));
        let memory = matches!(&mount.source, Source::New { kind, .. } if kind == "tmpfs");
        if memory && mount.attributes.set & mounts::attribute::RDONLY != 0 {
            mount.attributes.set &= !mounts::attribute::RDONLY;
            finish.push(mount.target.clone());
        }
        steps.push(Step::Mount(Box::new(mount)));
    }
    if own_devices {
        steps.extend(devices::nodes(&linux.devices)?.into_iter().map(Step::Device));
        steps.extend(devices::LINKS.map(|(path, target)| Step::Link { path, target }));
    }
    if let Some(process) = &spec.process {
        steps.push(Step::Folder(mounts::clean(&process.cwd)));
    }
    // The terminal is made in the container's own devpts, before its root can be read-only.
    if terminal != Terminal::None {
        steps.push(Step::Console);
    }
    steps.push(Step::Hooks);
    steps.extend(finish.into_iter().map(Step::Finish));
    let (sealed, below): (Vec<_>, Vec<_>) =
        linux.readonly_paths.iter().map(|path| mounts::clean(path)).partition(|path| path == "/");
    steps.extend(below.into_iter().map(Step::Seal));
    for (index, path) in linux.masked_paths.iter().enumerate() {
        let clean = mounts::clean(path);
        if clean == "/" {
            return Err(value(format!("linux.maskedPaths[{index}]"), path, "a place below the root"));
        }
        steps.push(Step::Mask(clean));
    }
    if spec.root.as_ref().is_some_and(|root| root.readonly) || !sealed.is_empty() {
        steps.push(Step::SealRoot);
    }
    if place == Place::Among {
        steps.push(Step::ChangeRoot);
        return Ok(());
    }
    steps.push(Step::EnterRoot(facts.leave));
    let propagation = propagation(linux)?;
    if propagation & (mounts::propagation::SHARED | mounts::propagation::UNBINDABLE) != 0 {
        steps.push(Step::Propagate(propagation));
    }
    Ok(())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;
