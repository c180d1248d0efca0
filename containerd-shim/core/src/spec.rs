//! Writes the runtime specification of a declared container: what its image says, what the declaration changes, and Hull's own
//! defaults, which are unprivileged (OCI runtime specification 1.2, config.md and config-linux.md).

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxIdMapping,
    LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, Mount, MountBuilder, PosixRlimitBuilder, PosixRlimitType,
    Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, User, UserBuilder,
};

use crate::declaration::Declaration;
use crate::image::Defaults;
use crate::seccomp;

/// The runtime specification that is written.
const VERSION: &str = "1.2.0";

/// Control groups of containers are made below this one.
pub const CGROUP: &str = "/hull.containers/";

/// Ids in a container's user namespace: all that 16 bits hold, which covers `nobody` (65534).
pub const IDS: u32 = 1 << 16;

/// Processes and threads of a container that declares no number: one that forks without end must not take the node along.
const PIDS: i64 = 1024;

/// Period of the processor limit in microseconds, the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;

/// Open files: what most servers ask for, instead of the kernel's 1,024 of 1975.
const OPEN_FILES: u64 = 65_536;

/// Search path of an image that sets none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the store listens when the node does not say.
pub const STORE_ADDRESS: &str = "127.0.0.1:2379";

/// The store's socket, on the node and in each container.
pub const STORE_SOCKET: &str = "/run/hull/kv.sock";

/// The list of name servers that containers share: one file for good, while the node's own is replaced.
pub const RESOLV_CONF: &str = "/run/hull/containers/.shared/resolv.conf";

/// Signal that ends a container whose image names none.
const SIGTERM: i32 = 15;

/// What root of a container may do, and only to what belongs to the container's user namespace.
const CAPABILITIES: [Capability; 9] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
];

/// Parts of `/proc` and `/sys` that tell of the machine or change it.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/pstore",
];

/// Parts of `/proc` that can only be read.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Why no specification can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Neither the image nor the declaration names a program.
    NoProgram,
    /// The image's stop signal is none.
    StopSignal {
        /// As in the image.
        text: String,
    },
    /// The image's user is not in its `/etc/passwd` or `/etc/group`.
    User {
        /// As in the image.
        text: String,
    },
    /// The image's working directory is not absolute.
    WorkingDirectory {
        /// As in the image.
        path: String,
    },
    /// The specification's own types refuse a value.
    Specification {
        /// What they say.
        cause: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram => f.write_str("neither the image nor the declaration names a program (`command`)"),
            Self::StopSignal { text } => write!(f, "the image's stop signal {text:?} is not a signal"),
            Self::User { text } => write!(f, "the image's user {text:?} is not in its /etc/passwd and /etc/group"),
            Self::WorkingDirectory { path } => write!(f, "the image's working directory {path:?} is not absolute"),
            Self::Specification { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for Refused {}

impl From<OciSpecError> for Refused {
    fn from(error: OciSpecError) -> Self {
        Self::Specification { cause: error.to_string() }
    }
}

/// Where a container finds the store that listens on `listen`: on every address means on this node's own, too.
pub fn endpoint(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        Ok(address) => format!("http://{address}"),
        Err(_) => format!("http://{STORE_ADDRESS}"),
    }
}

/// Writes the specification of a container that finds the store at `store`, see [`endpoint`]. The ids of its user namespace are left open, see [`map_ids`]; a user by name is, too, see [`resolve_user`].
///
/// # Errors
/// The image or the declaration does not say what is needed.
pub fn build(name: &str, image: &Defaults, declaration: &Declaration, store: &str) -> Result<Spec, Refused> {
    let linux = LinuxBuilder::default()
        .cgroups_path(format!("{CGROUP}{name}"))
        .namespaces(namespaces()?)
        .resources(resources(declaration)?)
        .masked_paths(MASKED.map(str::to_owned))
        .readonly_paths(READ_ONLY.map(str::to_owned))
        .seccomp(seccomp::default_profile())
        .build()?;
    let spec = SpecBuilder::default()
        .version(VERSION)
        .root(RootBuilder::default().path("rootfs").readonly(declaration.read_only).build()?)
        .hostname(name)
        .process(process(name, image, declaration, store)?)
        .mounts(mounts(declaration)?)
        .annotations(HashMap::from([("org.opencontainers.image.ref.name".to_owned(), declaration.image.clone())]))
        .linux(linux);
    Ok(spec.build()?)
}

/// The signal that asks the image's program to end; SIGTERM unless the image says otherwise.
///
/// # Errors
/// The image names no signal.
pub fn stop_signal(image: &Defaults) -> Result<i32, Refused> {
    const NAMES: [(&str, i32); 10] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", SIGTERM),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    /// Real-time signals as glibc counts them (signal(7)): images of systemd say `SIGRTMIN+3`.
    const RT_MIN: i32 = 34;
    const RT_MAX: i32 = 64;
    let text = image.stop_signal.as_str();
    if text.is_empty() {
        return Ok(SIGTERM);
    }
    let plain = text.strip_prefix("SIG").unwrap_or(text);
    let number = if let Some(offset) = plain.strip_prefix("RTMIN+") {
        offset.parse::<i32>().ok().and_then(|offset| RT_MIN.checked_add(offset))
    } else {
        NAMES.iter().find(|(name, _)| *name == plain).map(|(_, number)| *number).or_else(|| plain.parse().ok())
    };
    number.filter(|number| (1..=RT_MAX).contains(number)).ok_or_else(|| Refused::StopSignal { text: text.to_owned() })
}

/// Gives the container's user namespace the ids from `first` on: the container's root is that id on the node.
pub fn map_ids(spec: &mut Spec, first: u32) -> Result<(), Refused> {
    let mapping = || LinuxIdMappingBuilder::default().container_id(0_u32).host_id(first).size(IDS).build();
    let (uids, gids): (Vec<LinuxIdMapping>, _) = (vec![mapping()?], vec![mapping()?]);
    if let Some(linux) = spec.linux_mut() {
        linux.set_uid_mappings(Some(uids));
        linux.set_gid_mappings(Some(gids));
    }
    Ok(())
}

/// Whether the image names its user by a word, for [`resolve_user`].
pub fn names_user(spec: &Spec) -> bool {
    spec.process().as_ref().is_some_and(|process| process.user().username().is_some())
}

/// Looks a user given by name up in the image's `/etc/passwd` and `/etc/group`. Every group that lists the user is added.
///
/// # Errors
/// It is not there.
pub fn resolve_user(spec: &mut Spec, passwd: &str, group: &str) -> Result<(), Refused> {
    let Some(process) = spec.process_mut() else { return Ok(()) };
    let Some(text) = process.user().username().clone() else { return Ok(()) };
    let unknown = || Refused::User { text: text.clone() };
    let (user, wanted_group) = text.split_once(':').map_or((text.as_str(), None), |(user, group)| (user, Some(group)));
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<String>>();
    let entry = passwd.lines().map(fields).find(|entry| entry.len() >= 4 && (entry[0] == user || entry[2] == user));
    let number = |text: &str| text.parse::<u32>().ok();
    let (uid, own_group, name) = match &entry {
        Some(entry) => (number(&entry[2]).ok_or_else(unknown)?, number(&entry[3]).unwrap_or(0), entry[0].clone()),
        None => (number(user).ok_or_else(unknown)?, 0, String::new()),
    };
    let groups: Vec<_> = group.lines().map(fields).filter(|entry| entry.len() >= 3).collect();
    let gid = match wanted_group {
        None => own_group,
        Some(wanted) => {
            let found = groups.iter().find(|entry| entry[0] == wanted).and_then(|entry| number(&entry[2]));
            found.or_else(|| number(wanted)).ok_or_else(unknown)?
        }
    };
    let lists = |entry: &&Vec<String>| {
        entry.get(3).is_some_and(|users| users.split(',').any(|one| !name.is_empty() && one == name))
    };
    let more: Vec<u32> =
        groups.iter().filter(lists).filter_map(|entry| number(&entry[2])).filter(|id| *id != gid).collect();
    process.set_user(UserBuilder::default().uid(uid).gid(gid).additional_gids(more).build()?);
    Ok(())
}

fn process(name: &str, image: &Defaults, declaration: &Declaration, store: &str) -> Result<Process, Refused> {
    let arguments = arguments(image, declaration);
    if arguments.first().is_none_or(String::is_empty) {
        return Err(Refused::NoProgram);
    }
    let directory = if image.working_dir.is_empty() { "/" } else { &image.working_dir };
    if !directory.starts_with('/') {
        return Err(Refused::WorkingDirectory { path: directory.to_owned() });
    }
    let all: Capabilities = CAPABILITIES.into_iter().collect();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(all.clone())
        .effective(all.clone())
        .permitted(all)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()?;
    let files =
        PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(OPEN_FILES).hard(OPEN_FILES).build()?;
    Ok(ProcessBuilder::default()
        .terminal(false)
        .user(user(&image.user)?)
        .args(arguments)
        .env(environment(name, image, declaration, store))
        .cwd(directory)
        .capabilities(capabilities)
        .rlimits(vec![files])
        .no_new_privileges(true)
        // A container is no more precious than any other process; the launcher itself is.
        .oom_score_adj(0)
        .build()?)
}

/// The declaration's command replaces both of the image's lists, its arguments only the second.
fn arguments(image: &Defaults, declaration: &Declaration) -> Vec<String> {
    if !declaration.command.is_empty() {
        return [declaration.command.as_slice(), &declaration.args].concat();
    }
    let command = if declaration.args.is_empty() { &image.command } else { &declaration.args };
    [image.entrypoint.as_slice(), command].concat()
}

/// Hull's variables, then the image's, then the declaration's; the later one of a name holds.
fn environment(name: &str, image: &Defaults, declaration: &Declaration, store: &str) -> Vec<String> {
    let own = [
        PATH.to_owned(),
        format!("HOSTNAME={name}"),
        format!("ETCD_ENDPOINTS={store}"),
        format!("HULL_KV={STORE_SOCKET}"),
    ];
    let declared = declaration.env.iter().map(|(key, value)| format!("{key}={value}"));
    let mut variables: Vec<String> = Vec::new();
    for variable in own.into_iter().chain(image.environment.iter().cloned()).chain(declared) {
        let Some((key, _)) = variable.split_once('=') else { continue };
        let same = |known: &String| known.split_once('=').is_some_and(|(other, _)| other == key);
        match variables.iter_mut().find(|known| same(known)) {
            Some(known) => *known = variable,
            None => variables.push(variable),
        }
    }
    variables
}

/// Numbers are ready; a name is kept as it is for [`resolve_user`].
fn user(text: &str) -> Result<User, Refused> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if text.is_empty() {
        return Ok(User::default());
    }
    let numbers = (user.parse::<u32>(), group.map(str::parse::<u32>));
    Ok(match numbers {
        (Ok(uid), Some(Ok(gid))) => UserBuilder::default().uid(uid).gid(gid).build()?,
        // A number without a group takes the group of its entry, if it has one.
        _ => UserBuilder::default().username(text).build()?,
    })
}

/// All but the network's: a container shares the node's until networks come.
fn namespaces() -> Result<Vec<LinuxNamespace>, Refused> {
    let all = [
        LinuxNamespaceType::User,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
        LinuxNamespaceType::Time,
    ];
    all.into_iter().map(|kind| Ok(LinuxNamespaceBuilder::default().typ(kind).build()?)).collect()
}

fn resources(declaration: &Declaration) -> Result<LinuxResources, Refused> {
    let pids = LinuxPidsBuilder::default().limit(declaration.pids.unwrap_or(PIDS)).build()?;
    let mut resources = LinuxResourcesBuilder::default().pids(pids);
    if let Some(bytes) = declaration.memory_bytes() {
        // The sum of memory and swap is the same: no swap beside it.
        resources = resources.memory(LinuxMemoryBuilder::default().limit(bytes).swap(bytes).build()?);
    }
    if let Some(cpus) = declaration.cpu {
        // Between 0.01 and 1024 by the declaration's own check.
        let quota = (cpus * CPU_PERIOD_US as f64) as i64;
        resources = resources.cpu(LinuxCpuBuilder::default().quota(quota).period(CPU_PERIOD_US).build()?);
    }
    Ok(resources.build()?)
}

fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> Result<Mount, Refused> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    Ok(MountBuilder::default().typ(kind).source(source).destination(destination).options(options).build()?)
}

fn mounts(declaration: &Declaration) -> Result<Vec<Mount>, Refused> {
    let mut mounts = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"])?,
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "noexec", "strictatime", "mode=755", "size=64k"])?,
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"])?,
        mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"])?,
        // The node's network namespace is kept, and only its owner may mount a fresh sysfs.
        mount("bind", "/sys", "/sys", &["bind", "ro", "nosuid", "noexec", "nodev"])?,
        mount("cgroup2", "cgroup", "/sys/fs/cgroup", &["ro", "nosuid", "noexec", "nodev"])?,
    ];
    if declaration.read_only {
        for (folder, mode) in [("/run", "mode=755"), ("/tmp", "mode=1777")] {
            mounts.push(mount("tmpfs", "tmpfs", folder, &["nosuid", "nodev", mode, "size=64m"])?);
        }
    }
    mounts.push(mount("bind", RESOLV_CONF, "/etc/resolv.conf", &["bind", "ro", "nosuid", "noexec", "nodev"])?);
    mounts.push(mount("bind", STORE_SOCKET, STORE_SOCKET, &["bind", "ro", "nosuid", "noexec", "nodev"])?);
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Defaults {
        Defaults { entrypoint: vec!["/hello".into()], command: vec!["now".into()], ..Defaults::default() }
    }

    fn arguments_of(declaration: &Declaration) -> Vec<String> {
        let spec = build("web", &image(), declaration, "http://127.0.0.1:2379").unwrap();
        spec.process().as_ref().unwrap().args().clone().unwrap()
    }

    #[test]
    fn a_container_is_unprivileged_unless_it_asks() {
        let spec = build("web", &image(), &Declaration::of_image("hello"), "http://127.0.0.1:2379").unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), Some(true));
        let held = process.capabilities().as_ref().unwrap().bounding().clone().unwrap();
        assert!(!held.contains(&Capability::SysAdmin) && !held.contains(&Capability::NetAdmin) && held.len() < 10);
        let linux = spec.linux().as_ref().unwrap();
        assert!(linux.seccomp().is_some());
        let kinds: Vec<_> = linux.namespaces().iter().flatten().map(LinuxNamespace::typ).collect();
        assert!(kinds.contains(&LinuxNamespaceType::User) && !kinds.contains(&LinuxNamespaceType::Network));
        assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
        assert_eq!(linux.cgroups_path().as_ref().unwrap().to_str(), Some("/hull.containers/web"));
    }

    #[test]
    fn a_command_replaces_the_entrypoint_and_arguments_only_the_command() {
        let mut declaration = Declaration::of_image("hello");
        assert_eq!(arguments_of(&declaration), ["/hello", "now"]);
        declaration.args = vec!["later".into()];
        assert_eq!(arguments_of(&declaration), ["/hello", "later"]);
        declaration.command = vec!["/bin/sh".into()];
        assert_eq!(arguments_of(&declaration), ["/bin/sh", "later"]);
    }

    #[test]
    fn the_declarations_variables_go_before_the_images_and_hulls() {
        let mut image = image();
        image.environment = vec!["PATH=/bin".into(), "A=image".into()];
        let mut declaration = Declaration::of_image("hello");
        declaration.env.insert("A".into(), "declared".into());
        let spec = build("web", &image, &declaration, "http://127.0.0.1:2379").unwrap();
        let env = spec.process().as_ref().unwrap().env().clone().unwrap();
        assert!(env.contains(&"PATH=/bin".to_owned()) && env.contains(&"A=declared".to_owned()));
        assert!(env.iter().any(|variable| variable.starts_with("ETCD_ENDPOINTS=http://")));
        assert_eq!(env.iter().filter(|variable| variable.starts_with("PATH=")).count(), 1);
    }

    #[test]
    fn a_container_finds_the_store_where_it_listens() {
        assert_eq!(endpoint("0.0.0.0:2379"), "http://127.0.0.1:2379");
        assert_eq!(endpoint("[::]:99"), "http://127.0.0.1:99");
        assert_eq!(endpoint("10.0.0.5:2379"), "http://10.0.0.5:2379");
        assert_eq!(endpoint(""), "http://127.0.0.1:2379");
    }

    #[test]
    fn limits_become_those_of_the_specification() {
        let mut declaration = Declaration::of_image("hello");
        (declaration.memory, declaration.cpu, declaration.pids) = (Some("64M".into()), Some(0.5), Some(7));
        let spec = build("web", &image(), &declaration, "http://127.0.0.1:2379").unwrap();
        let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(64 << 20));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(50_000));
        assert_eq!(resources.pids().as_ref().unwrap().limit(), 7);
    }

    #[test]
    fn a_user_by_name_is_looked_up_in_the_image() {
        let passwd = "root:x:0:0::/:/bin/sh\nwww:x:33:34::/var/www:/bin/false\n";
        let group = "www:x:34:\nlog:x:4:syslog,www\nstaff:x:50:\n";
        let ids = |text: &str| {
            let mut spec = build(
                "web",
                &Defaults { user: text.into(), ..image() },
                &Declaration::of_image("a"),
                "http://127.0.0.1:2379",
            )
            .unwrap();
            resolve_user(&mut spec, passwd, group)?;
            let user = spec.process().as_ref().unwrap().user().clone();
            Ok((user.uid(), user.gid(), user.additional_gids().clone().unwrap_or_default()))
        };
        assert_eq!(ids("1000:1001"), Ok((1000, 1001, vec![])));
        assert_eq!(ids("www"), Ok((33, 34, vec![4])));
        assert_eq!(ids("www:staff"), Ok((33, 50, vec![4])));
        assert_eq!(ids("33"), Ok((33, 34, vec![4])));
        assert_eq!(ids("1234"), Ok((1234, 0, vec![])));
        assert_eq!(ids("nobody"), Err(Refused::User { text: "nobody".into() }));
        assert_eq!(ids("www:nobody"), Err(Refused::User { text: "www:nobody".into() }));
    }

    #[test]
    fn stop_signals_have_names_and_numbers() {
        let signal = |text: &str| stop_signal(&Defaults { stop_signal: text.into(), ..Defaults::default() });
        assert_eq!(signal(""), Ok(15));
        assert_eq!(signal("SIGQUIT"), Ok(3));
        assert_eq!(signal("QUIT"), Ok(3));
        assert_eq!(signal("SIGRTMIN+3"), Ok(37));
        assert_eq!(signal("9"), Ok(9));
        for bad in ["SIGNAL", "0", "65", "-1", "RTMIN+99"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_image_without_a_program_needs_a_command() {
        let refused = build("web", &Defaults::default(), &Declaration::of_image("data"), "http://127.0.0.1:2379");
        assert_eq!(refused, Err(Refused::NoProgram));
    }
}
