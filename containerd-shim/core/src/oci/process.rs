//! What a process is: the steps from a process of the runtime to the program, the same for a container's first and for one that joins.

use std::collections::BTreeMap;
use std::fmt;

use super::config::{self, Personality, Scheduler};
use super::memory_policy::{self, MemoryPolicy};
use super::refused::{absent, value};
use super::{Refused, capability, seccomp};

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Groups,
    /// File mode creation mask.
    pub umask: Option<u32>,
}

/// Supplementary groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// These.
    Set(Vec<u32>),
    /// Those of whoever runs the runtime.
    Kept,
}

/// Annotation that keeps the caller's groups, as podman and crun have it.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Its five capability sets, bits by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Can ever be had.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Can be in force.
    pub permitted: u64,
    /// Stay over exec of a program that has them, too.
    pub inheritable: u64,
    /// Stay over exec of any program.
    pub ambient: u64,
}

/// Capabilities that are asked for and cannot be given, of one reason. The container goes without, and its caller is warned (config.md, Linux Process).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// As in the specification.
    pub names: Vec<String>,
    /// Why.
    pub why: Why,
}

/// Why a capability is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// This kernel has none of that name.
    Unknown,
    /// The runtime does not have it.
    NotHeld,
    /// It is to be permitted or inheritable and is not among the bounding ones: none is gained beyond them (capabilities(7)).
    NotBounding,
    /// It is to be effective and is not permitted.
    NotPermitted,
    /// It is to be ambient and is not both permitted and inheritable (capabilities(7)).
    NotInheritable,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (field, why) = match self.why {
            Why::Unknown => ("", "this kernel does not know them"),
            Why::NotHeld => ("", "the runtime does not have them"),
            Why::NotBounding => ("", "they are not among the bounding ones"),
            Why::NotPermitted => (".effective", "they are not among the permitted ones"),
            Why::NotInheritable => (".ambient", "they are not among the permitted and the inheritable ones"),
        };
        // In runc's words, which tools look for.
        let what = "ignoring unknown or unavailable capabilities";
        write!(f, "process.capabilities{field}: {what}: [{}] ({why})", self.names.join(" "))
    }
}

/// A resource limit by the kernel's number (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// As in the specification, `RLIMIT_NOFILE`.
    pub name: &'static str,
    /// The kernel's number.
    pub number: u32,
    /// Soft value.
    pub soft: u64,
    /// Hard value.
    pub hard: u64,
}

/// Arguments of sched_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*`
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    /// Niceness.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// A label of a security module, given at exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// AppArmor's profile.
    AppArmor(String),
    /// SELinux' label.
    SeLinux(String),
}

/// The program and what it gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    /// Its words; the first is looked up in `PATH`.
    pub arguments: Vec<String>,
    /// `KEY=VALUE`.
    pub environment: Vec<String>,
    /// Working directory.
    pub folder: String,
}

/// Everything about a process, ready to be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Limits.
    pub limits: Vec<Limit>,
    /// How soon it is killed when memory is full.
    pub oom_score_adj: Option<i32>,
    /// Its scheduling.
    pub scheduling: Option<Scheduling>,
    /// Class and priority of its I/O, as ioprio_set(2) takes them.
    pub io_priority: Option<u32>,
    /// Execution domain.
    pub personality: Option<u64>,
    /// From which nodes its memory comes.
    pub memory: Option<MemoryPolicy>,
    /// Labels.
    pub labels: Vec<Label>,
    /// Who it is.
    pub user: User,
    /// What it may do.
    pub held: Held,
    /// What it was to be allowed and is not: each a warning.
    pub missed: Vec<Missed>,
    /// Whether exec gives no privileges.
    pub privileges: Privileges,
    /// Which calls it may make.
    pub filter: Option<seccomp::Filter>,
}

/// What exec of a privileged program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// Gives its privileges.
    New,
    /// Gives none (`no_new_privs`).
    NoNew,
}

/// Facts about the host that a process depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Highest capability that the kernel knows.
    pub last_capability: u8,
    /// Capabilities that the runtime has, and so can give, bits by number.
    pub held: u64,
    /// Whether AppArmor is there.
    pub apparmor: Module,
    /// Whether SELinux is there.
    pub selinux: Module,
}

/// Whether a security module is in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// It is.
    Present,
    /// It is not.
    Absent,
}

/// Reads a process.
///
/// # Errors
/// Names the field.
pub fn identity(
    process: &config::Process,
    linux: &config::Linux,
    annotations: &BTreeMap<String, String>,
    host: Host,
) -> Result<Identity, Refused> {
    let kept = annotations.get(KEEP_GROUPS).is_some_and(|value| value != "0");
    let groups = if kept { Groups::Kept } else { Groups::Set(process.user.additional_gids.clone()) };
    absent(process.user.username.as_ref().filter(|name| !name.is_empty()), "process.user.username")?;
    // For the kernel this number is none: it would leave the runtime's own id, root's (setresuid(2)).
    let ids = [("uid", process.user.uid), ("gid", process.user.gid)];
    let ids = ids.into_iter().chain(process.user.additional_gids.iter().map(|gid| ("additionalGids", *gid)));
    for (name, id) in ids {
        if id == u32::MAX {
            return Err(value(format!("process.user.{name}"), id.to_string(), "an id: at most 4294967294"));
        }
    }
    let affinity = process.exec_cpu_affinity.iter();
    let affinity = affinity.flat_map(|set| [("initial", &set.initial), ("final", &set.last)]);
    for (name, list) in affinity.filter(|(_, list)| !list.is_empty()) {
        if processors(list).is_none() {
            return Err(value(format!("process.execCPUAffinity.{name}"), list, "a list such as 0-3,7"));
        }
    }
    let score = process.oom_score_adj;
    if let Some(wrong) = score.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(value("process.oomScoreAdj", wrong.to_string(), "-1000 to 1000"));
    }
    Ok(Identity {
        limits: limits(&process.rlimits)?,
        oom_score_adj: score,
        scheduling: process.scheduler.as_ref().map(scheduling).transpose()?,
        io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
        personality: linux.personality.as_ref().map(personality).transpose()?,
        memory: linux.memory_policy.as_ref().map(memory_policy::read).transpose()?,
        labels: labels(process, host)?,
        user: User { uid: process.user.uid, gid: process.user.gid, groups, umask: process.user.umask },
        held: held(process, host),
        missed: missed(process, linux, host),
        privileges: if process.no_new_privileges { Privileges::NoNew } else { Privileges::New },
        filter: linux.seccomp.as_ref().map(seccomp::compile).transpose()?,
    })
}

/// The processors of a list such as `0-3,7`.
pub fn processors(text: &str) -> Option<Vec<usize>> {
    /// `CPU_SETSIZE`, sched_setaffinity(2).
    const MOST: usize = 1024;
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if last >= MOST || first > last {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

/// Reads the program.
///
/// # Errors
/// Names the field.
pub fn program(process: &config::Process) -> Result<Program, Refused> {
    absent(process.command_line.as_ref().filter(|line| !line.is_empty()), "process.commandLine")?;
    if process.args.is_empty() {
        return Err(Refused::Missing { field: "process.args".into() });
    }
    if process.cwd.is_empty() {
        return Err(Refused::Missing { field: "process.cwd".into() });
    }
    if !process.cwd.starts_with('/') {
        return Err(value("process.cwd", &process.cwd, "an absolute path"));
    }
    let zero = |field: &str, texts: &[String]| match texts.iter().find(|text| text.contains('\0')) {
        Some(text) => Err(value(field, text, "text without a zero byte")),
        None => Ok(()),
    };
    zero("process.args", &process.args)?;
    zero("process.env", &process.env)?;
    Ok(Program { arguments: process.args.clone(), environment: process.env.clone(), folder: process.cwd.clone() })
}

fn held(process: &config::Process, host: Host) -> Held {
    let known = u64::MAX >> (63 - u32::from(host.last_capability).min(63));
    let bits = |names: &[String]| capability::bits(names) & known;
    process.capabilities.as_ref().map_or(Held::default(), |sets| Held {
        bounding: bits(&sets.bounding),
        effective: bits(&sets.effective),
        permitted: bits(&sets.permitted),
        // The kernel takes none beyond the bounding ones.
        inheritable: bits(&sets.inheritable) & bits(&sets.bounding),
        ambient: bits(&sets.ambient),
    })
}

/// What of the five sets is not given. In a user namespace of its own a process has every capability that the kernel knows.
fn missed(process: &config::Process, linux: &config::Linux, host: Host) -> Vec<Missed> {
    let Some(sets) = &process.capabilities else { return Vec::new() };
    let held = if linux.namespaces.iter().any(|namespace| namespace.kind == "user") { u64::MAX } else { host.held };
    let [bounding, permitted, inheritable] =
        [&sets.bounding, &sets.permitted, &sets.inheritable].map(|names| capability::bits(names));
    let lists = [
        (&sets.bounding, u64::MAX, Why::NotHeld),
        (&sets.permitted, bounding, Why::NotBounding),
        (&sets.inheritable, bounding, Why::NotBounding),
        (&sets.effective, permitted, Why::NotPermitted),
        (&sets.ambient, permitted & inheritable, Why::NotInheritable),
    ];
    let mut missed: Vec<Missed> = Vec::new();
    for (name, within, otherwise) in
        lists.iter().flat_map(|(list, within, why)| list.iter().map(|n| (n, *within, *why)))
    {
        let has = |bits: u64, number: usize| bits >> number & 1 == 1;
        let why = match capability::number(name).filter(|number| *number <= usize::from(host.last_capability)) {
            None => Why::Unknown,
            Some(number) if !has(held, number) => Why::NotHeld,
            Some(number) if !has(within, number) => otherwise,
            Some(_) => continue,
        };
        match missed.iter_mut().find(|known| known.why == why) {
            Some(known) if known.names.contains(name) => {}
            Some(known) => known.names.push(name.clone()),
            None => missed.push(Missed { names: vec![name.clone()], why }),
        }
    }
    missed
}

/// Limits by their numbers (asm-generic/resource.h).
const LIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

fn limits(declared: &[config::Rlimit]) -> Result<Vec<Limit>, Refused> {
    let mut limits: Vec<Limit> = Vec::new();
    for (index, declared) in declared.iter().enumerate() {
        let field = format!("process.rlimits[{index}]");
        let number = LIMITS.iter().position(|name| *name == declared.kind);
        let number = number.ok_or_else(|| value(format!("{field}.type"), &declared.kind, "a resource limit"))?;
        if limits.iter().any(|known| known.number == number as u32) {
            return Err(value(format!("{field}.type"), &declared.kind, "there once"));
        }
        if declared.soft > declared.hard {
            return Err(value(format!("{field}.soft"), declared.soft.to_string(), "at most the hard limit"));
        }
        limits.push(Limit { name: LIMITS[number], number: number as u32, soft: declared.soft, hard: declared.hard });
    }
    Ok(limits)
}

fn scheduling(declared: &Scheduler) -> Result<Scheduling, Refused> {
    const POLICIES: [(&str, u32); 7] = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    const FLAGS: [(&str, u64); 7] = [
        ("SCHED_FLAG_RESET_ON_FORK", 1),
        ("SCHED_FLAG_RECLAIM", 2),
        ("SCHED_FLAG_DL_OVERRUN", 4),
        ("SCHED_FLAG_KEEP_POLICY", 8),
        ("SCHED_FLAG_KEEP_PARAMS", 16),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 32),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 64),
    ];
    let policy = POLICIES.iter().find(|(name, _)| *name == declared.policy);
    let policy = policy.ok_or_else(|| value("process.scheduler.policy", &declared.policy, "a scheduling policy"))?.1;
    let flags = declared.flags.iter().try_fold(0, |bits, flag| {
        let known = FLAGS.iter().find(|(name, _)| name == flag);
        Ok(bits | known.ok_or_else(|| value("process.scheduler.flags", flag, "a scheduling flag"))?.1)
    })?;
    if !(-20..=19).contains(&declared.nice) {
        return Err(value("process.scheduler.nice", declared.nice.to_string(), "-20 to 19"));
    }
    let priority = u32::try_from(declared.priority)
        .map_err(|_| value("process.scheduler.priority", declared.priority.to_string(), "0 or more"))?;
    if priority != 0 && !matches!(policy, 1 | 2) {
        return Err(value("process.scheduler.priority", priority.to_string(), "0 without SCHED_FIFO or SCHED_RR"));
    }
    let Scheduler { nice, runtime, deadline, period, .. } = *declared;
    let times = [("runtime", runtime), ("deadline", deadline), ("period", period)];
    if let Some((name, time)) = times.into_iter().find(|(_, time)| *time != 0 && policy != 6) {
        return Err(value(format!("process.scheduler.{name}"), time.to_string(), "given with SCHED_DEADLINE only"));
    }
    Ok(Scheduling { policy, flags, nice, priority, runtime, deadline, period })
}

fn io_priority(declared: &config::IoPriority) -> Result<u32, Refused> {
    const CLASS_SHIFT: u32 = 13;
    let class = match declared.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(value("process.ioPriority.class", other, "IOPRIO_CLASS_RT, _BE or _IDLE")),
    };
    let level = u32::try_from(declared.priority).ok().filter(|level| *level < 8);
    let level = level.ok_or_else(|| value("process.ioPriority.priority", declared.priority.to_string(), "0 to 7"))?;
    Ok(class << CLASS_SHIFT | level)
}

fn personality(declared: &Personality) -> Result<u64, Refused> {
    if let Some(flag) = declared.flags.first() {
        return Err(value("linux.personality.flags", flag, "empty: no flag is defined"));
    }
    match declared.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(value("linux.personality.domain", other, "LINUX or LINUX32")),
    }
}

fn labels(process: &config::Process, host: Host) -> Result<Vec<Label>, Refused> {
    let wanted = |text: &Option<String>| text.clone().filter(|text| !text.is_empty() && text != "unconfined");
    let mut labels = Vec::new();
    if let Some(profile) = wanted(&process.apparmor_profile) {
        if host.apparmor == Module::Absent {
            return Err(Refused::Host { field: "process.apparmorProfile".into(), lacks: "AppArmor".into() });
        }
        labels.push(Label::AppArmor(profile));
    }
    if let Some(label) = process.selinux_label.clone().filter(|label| !label.is_empty()) {
        if host.selinux == Module::Absent {
            return Err(Refused::Host { field: "process.selinuxLabel".into(), lacks: "SELinux".into() });
        }
        labels.push(Label::SeLinux(label));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::super::read::json;
    use super::*;

    const HOST: Host = Host { last_capability: 40, held: u64::MAX, apparmor: Module::Absent, selinux: Module::Absent };

    fn of(text: &str) -> Result<Identity, String> {
        let process = json(text.as_bytes()).unwrap();
        identity(&process, &config::Linux::default(), &BTreeMap::new(), HOST).map_err(|refused| refused.to_string())
    }

    #[test]
    fn every_field_of_a_process_arrives() {
        let identity =
            of(r#"{"user":{"uid":1,"gid":2,"umask":63,"additionalGids":[5]},"rlimits":[{"type":"RLIMIT_NOFILE",
            "soft":1,"hard":2}],"noNewPrivileges":true,"oomScoreAdj":-5,"scheduler":{"policy":"SCHED_FIFO","priority":3,
            "flags":["SCHED_FLAG_RESET_ON_FORK"]},"ioPriority":{"class":"IOPRIO_CLASS_IDLE","priority":4},
            "capabilities":{"bounding":["CAP_KILL"],"ambient":["CAP_CHOWN"]}}"#)
            .unwrap();
        assert_eq!(identity.user, User { uid: 1, gid: 2, groups: Groups::Set(vec![5]), umask: Some(63) });
        assert_eq!(identity.limits[0], Limit { name: "RLIMIT_NOFILE", number: 7, soft: 1, hard: 2 });
        assert_eq!((identity.privileges, identity.oom_score_adj), (Privileges::NoNew, Some(-5)));
        assert_eq!(identity.io_priority, Some(3 << 13 | 4));
        assert_eq!(identity.scheduling.map(|s| (s.policy, s.flags, s.priority)), Some((1, 1, 3)));
        assert_eq!((identity.held.bounding, identity.held.ambient), (1 << 5, 1));
    }

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(processors("0-2, 5"), Some(vec![0, 1, 2, 5]));
        for bad in ["", "a", "3-1", "0-99999", "1,"] {
            assert!(processors(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_deadline_a_niceness_and_a_domain_arrive() {
        let deadline = r#"{"scheduler":{"policy":"SCHED_DEADLINE","flags":["SCHED_FLAG_RECLAIM","SCHED_FLAG_DL_OVERRUN"],
            "runtime":10,"deadline":20,"period":30}}"#;
        let expected = Scheduling { policy: 6, flags: 6, nice: 0, priority: 0, runtime: 10, deadline: 20, period: 30 };
        assert_eq!(of(deadline).unwrap().scheduling, Some(expected));
        let nice = of(r#"{"scheduler":{"policy":"SCHED_BATCH","nice":-5}}"#).unwrap().scheduling;
        assert_eq!(nice.map(|s| (s.policy, s.nice)), Some((3, -5)));
        let domain = |text: &str| personality(&json(text.as_bytes()).unwrap()).map_err(|refused| refused.to_string());
        assert_eq!((domain(r#"{"domain":"LINUX"}"#), domain(r#"{"domain":"LINUX32"}"#)), (Ok(0), Ok(8)));
        assert!(domain(r#"{"domain":"BSD"}"#).unwrap_err().starts_with("linux.personality.domain"));
        assert!(domain("{}").unwrap_err().starts_with("linux.personality.domain"));
        assert!(domain(r#"{"domain":"LINUX","flags":["X"]}"#).unwrap_err().starts_with("linux.personality.flags"));
    }

    #[test]
    fn labels_arrive_where_the_kernel_has_them() {
        let process = json(br#"{"apparmorProfile":"p","selinuxLabel":"l"}"#).unwrap();
        let host = Host { apparmor: Module::Present, selinux: Module::Present, ..HOST };
        let labels = identity(&process, &config::Linux::default(), &BTreeMap::new(), host).unwrap().labels;
        assert_eq!(labels, [Label::AppArmor("p".into()), Label::SeLinux("l".into())]);
        assert!(of(r#"{"apparmorProfile":"unconfined","selinuxLabel":""}"#).unwrap().labels.is_empty());
    }

    #[test]
    fn a_capability_that_is_not_given_is_a_warning() {
        let process = json(
            br#"{"capabilities":{"bounding":["CAP_NEW_THING","CAP_KILL","CAP_SYS_ADMIN","CAP_CHECKPOINT_RESTORE"],
            "permitted":["CAP_NEW_THING","CAP_KILL","CAP_CHOWN"],"effective":["CAP_KILL","CAP_FOWNER"],"inheritable":["CAP_KILL"],
            "ambient":["CAP_KILL","CAP_CHOWN"]}}"#,
        )
        .unwrap();
        let said = |linux: &str| {
            let host = Host { last_capability: 39, held: !(1 << 21), ..HOST };
            let identity = identity(&process, &json(linux.as_bytes()).unwrap(), &BTreeMap::new(), host).unwrap();
            identity.missed.iter().map(Missed::to_string).collect::<Vec<_>>()
        };
        let everywhere = [
            ("", "CAP_NEW_THING CAP_CHECKPOINT_RESTORE", "this kernel does not know them"),
            ("", "CAP_SYS_ADMIN", "the runtime does not have them"),
            ("", "CAP_CHOWN", "they are not among the bounding ones"),
            (".effective", "CAP_FOWNER", "they are not among the permitted ones"),
            (".ambient", "CAP_CHOWN", "they are not among the permitted and the inheritable ones"),
        ];
        let everywhere = everywhere.map(|(field, names, why)| {
            format!("process.capabilities{field}: ignoring unknown or unavailable capabilities: [{names}] ({why})")
        });
        assert_eq!(said("{}"), everywhere);
        let own_users = said(r#"{"namespaces":[{"type":"user"}]}"#);
        assert!(own_users.len() == 4 && !own_users.iter().any(|line| line.contains("SYS_ADMIN")), "{own_users:?}");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, field) in [
            (r#"{"rlimits":[{"type":"RLIMIT_FUN","soft":1,"hard":1}]}"#, "process.rlimits[0].type"),
            (r#"{"rlimits":[{"type":"RLIMIT_CPU","soft":2,"hard":1}]}"#, "process.rlimits[0].soft"),
            (
                r#"{"rlimits":[{"type":"RLIMIT_CPU","soft":1,"hard":1},{"type":"RLIMIT_CPU","soft":1,"hard":1}]}"#,
                "process.rlimits[1].type",
            ),
            (r#"{"oomScoreAdj":2000}"#, "process.oomScoreAdj"),
            (r#"{"user":{"uid":4294967295}}"#, "process.user.uid"),
            (r#"{"user":{"gid":4294967295}}"#, "process.user.gid"),
            (r#"{"user":{"username":"bob"}}"#, "process.user.username"),
            (r#"{"user":{"additionalGids":[1,4294967295]}}"#, "process.user.additionalGids"),
            (r#"{"scheduler":{"policy":"SCHED_NOW"}}"#, "process.scheduler.policy"),
            (r#"{"scheduler":{"policy":"SCHED_OTHER","priority":1}}"#, "process.scheduler.priority"),
            (r#"{"scheduler":{"policy":"SCHED_FIFO","priority":-1}}"#, "process.scheduler.priority"),
            (r#"{"scheduler":{"policy":"SCHED_OTHER","nice":20}}"#, "process.scheduler.nice"),
            (r#"{"scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_X"]}}"#, "process.scheduler.flags"),
            (r#"{"scheduler":{"policy":"SCHED_OTHER","runtime":5}}"#, "process.scheduler.runtime"),
            (r#"{"scheduler":{"policy":"SCHED_FIFO","deadline":5}}"#, "process.scheduler.deadline"),
            (r#"{"scheduler":{"policy":"SCHED_IDLE","period":5}}"#, "process.scheduler.period"),
            (r#"{"ioPriority":{"class":"IOPRIO_CLASS_X","priority":0}}"#, "process.ioPriority.class"),
            (r#"{"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":9}}"#, "process.ioPriority.priority"),
            (r#"{"execCPUAffinity":{"initial":"x"}}"#, "process.execCPUAffinity.initial"),
            (r#"{"execCPUAffinity":{"initial":"0","final":"3-1"}}"#, "process.execCPUAffinity.final"),
            (r#"{"apparmorProfile":"x"}"#, "process.apparmorProfile"),
            (r#"{"selinuxLabel":"x"}"#, "process.selinuxLabel"),
        ] {
            assert!(of(text).unwrap_err().starts_with(field), "{text}");
        }
    }
}
