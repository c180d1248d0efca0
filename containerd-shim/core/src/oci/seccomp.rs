//! The compiler from a profile of the specification to the program that the kernel runs before each system call (seccomp(2)): every
//! action, arguments, notification, and the three kernel interfaces of this machine (x86-64, its 32 bit one, and x32).
//!
//! ```text
//! architecture? -> search tree over ranges of call numbers -> action, or rules on arguments one after the other, then an action
//! ```

use std::collections::BTreeMap;
use std::str::FromStr;

use super::Refused;
use super::bpf::{self, Comparison, Condition, Instruction};
use super::config;
use super::refused::value;

/// A filter, ready for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<Instruction>,
    /// Flags of seccomp(2).
    pub flags: u32,
    /// Who decides about calls with the action notify.
    pub listener: Option<Listener>,
}

/// Who is told of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its socket.
    pub path: String,
    /// What it is told along with the descriptor.
    pub metadata: String,
    /// Whether a rule needs it.
    pub need: Need,
}

/// Whether there must be somebody who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A rule notifies: calls wait for an answer.
    Must,
    /// No rule notifies: who is there is told, and nobody is missed.
    IfThere,
}

const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// `EPERM`, the specification's default.
const NOT_PERMITTED: u32 = 1;

/// `ENOSYS`.
const NOT_IMPLEMENTED: u32 = 38;

/// BPF_MAXINSNS.
const LONGEST: usize = 4096;

const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_I386: u32 = 0x4000_0003;

/// Bit in the number of a call of the x32 interface.
const X32: u32 = 0x4000_0000;

/// Actions of the specification, for `features`.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// Comparisons of the specification.
pub const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

/// Architectures that get a program of their own.
pub const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"];

/// Every architecture that a profile may name (libseccomp's seccomp.h). Those of other machines say nothing here: no program of theirs runs.
const KNOWN_ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// Flags of seccomp(2) by their names.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    ("SECCOMP_FILTER_FLAG_TSYNC", 1),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5),
];

/// What happens to one call: rules on arguments in their order, then the action without any.
#[derive(Default, Clone)]
struct Call {
    rules: Vec<(Vec<Condition>, u32)>,
    always: Option<u32>,
}

type Calls = BTreeMap<u32, Call>;

/// Compiles a profile. Names that this machine's kernel interface does not have are passed over, as the specification asks.
///
/// # Errors
/// Names the field.
pub fn compile(profile: &config::Seccomp) -> Result<Filter, Refused> {
    const FIELD: &str = "linux.seccomp";
    let fields = (format!("{FIELD}.defaultAction"), format!("{FIELD}.defaultErrnoRet"));
    let default = action((&fields.0, &fields.1), &profile.default_action, profile.default_errno_ret)?;
    if default == NOTIFY {
        return Err(value(format!("{FIELD}.defaultAction"), "SCMP_ACT_NOTIFY", "an action that can be a default"));
    }
    for (index, name) in profile.architectures.iter().enumerate() {
        if !KNOWN_ARCHITECTURES.contains(&name.as_str()) {
            return Err(value(
                format!("{FIELD}.architectures[{index}]"),
                name,
                "an architecture, SCMP_ARCH_X86_64 say",
            ));
        }
    }
    let wanted = |name: &str| profile.architectures.iter().any(|own| own == name);
    let (mut native, mut old, mut notifies) = (Calls::new(), Calls::new(), false);
    for (index, rule) in profile.syscalls.iter().enumerate() {
        let field = format!("{FIELD}.syscalls[{index}]");
        let fields = (format!("{field}.action"), format!("{field}.errnoRet"));
        let action = action((&fields.0, &fields.1), &rule.action, rule.errno_ret)?;
        if rule.names.is_empty() {
            return Err(Refused::Missing { field: format!("{field}.names") });
        }
        notifies |= action == NOTIFY;
        if action == NOTIFY && rule.names.iter().any(|name| name == "write") {
            return Err(value(
                format!("{field}.names"),
                "write",
                "a call that may wait for an answer: SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ));
        }
        let alternatives = alternatives(&format!("{field}.args"), &rule.args)?;
        for name in &rule.names {
            if let Ok(number) = syscalls::x86_64::Sysno::from_str(name) {
                add(&mut native, number.id() as u32, &alternatives, action);
            }
            if wanted("SCMP_ARCH_X86") {
                add_old(&mut old, name, &alternatives, action);
            }
        }
    }
    let mut program = vec![bpf::load(bpf::ARCHITECTURE)];
    let x32 = if wanted("SCMP_ARCH_X32") { Some(&native) } else { None };
    // A call that is newer than the profile was refused by nobody: programs fall back when it does not exist, and not when it is forbidden.
    let newer = if default == ERRNO | NOT_PERMITTED && profile.default_errno_ret.is_none() {
        ERRNO | NOT_IMPLEMENTED
    } else {
        default
    };
    program.extend(bpf::architecture(AUDIT_X86_64, numbers(&native, x32, (default, newer))));
    if wanted("SCMP_ARCH_X86") {
        program.extend(bpf::architecture(AUDIT_I386, numbers(&old, Some(&Calls::new()), (default, newer))));
    }
    program.push(bpf::give(KILL_PROCESS));
    if program.len() > LONGEST {
        return Err(value(FIELD, format!("{} instructions", program.len()), "a profile that fits into 4096 of them"));
    }
    Ok(Filter { program, flags: flags(profile)?, listener: listener(profile, notifies)? })
}

/// Who is told: whoever is named gets the descriptor, even of a filter that tells of no call, since it waits for it.
fn listener(profile: &config::Seccomp, notifies: bool) -> Result<Option<Listener>, Refused> {
    let metadata = profile.listener_metadata.clone().unwrap_or_default();
    match profile.listener_path.as_ref().filter(|path| !path.is_empty()) {
        Some(path) => {
            let need = if notifies { Need::Must } else { Need::IfThere };
            Ok(Some(Listener { path: path.clone(), metadata, need }))
        }
        None if notifies => Err(Refused::Missing { field: "linux.seccomp.listenerPath".into() }),
        None if !metadata.is_empty() => {
            Err(value("linux.seccomp.listenerMetadata", metadata, "given together with listenerPath"))
        }
        None => Ok(None),
    }
}

fn flags(profile: &config::Seccomp) -> Result<u32, Refused> {
    profile.flags.iter().try_fold(0, |bits, flag| {
        let known = FLAGS.iter().find(|(name, _)| name == flag);
        let known = known.ok_or_else(|| value("linux.seccomp.flags", flag, "a flag of seccomp(2)"))?;
        Ok(bits | known.1)
    })
}

/// An action and its data, by the names of their fields. Only an error and a trace have data.
fn action((field, data_field): (&str, &str), name: &str, errno: Option<u32>) -> Result<u32, Refused> {
    let data = errno.unwrap_or(NOT_PERMITTED);
    let (action, has_data) = match name {
        "SCMP_ACT_ERRNO" => (ERRNO | data, true),
        "SCMP_ACT_TRACE" => (TRACE | data, true),
        "SCMP_ACT_ALLOW" => (ALLOW, false),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => (KILL_THREAD, false),
        "SCMP_ACT_KILL_PROCESS" => (KILL_PROCESS, false),
        "SCMP_ACT_TRAP" => (TRAP, false),
        "SCMP_ACT_LOG" => (LOG, false),
        "SCMP_ACT_NOTIFY" => (NOTIFY, false),
        "" => return Err(Refused::Missing { field: field.to_owned() }),
        other => return Err(value(field, other, "an action, SCMP_ACT_ERRNO say")),
    };
    match errno {
        Some(errno) if !has_data => {
            Err(value(data_field, errno.to_string(), "given together with SCMP_ACT_ERRNO or SCMP_ACT_TRACE"))
        }
        Some(errno) if errno > 0xffff => Err(value(data_field, errno.to_string(), "a number below 65536")),
        _ => Ok(action),
    }
}

/// The conditions of a rule. All must hold; but several on one argument are alternatives, as other runtimes have it.
fn alternatives(field: &str, arguments: &[config::SeccompArg]) -> Result<Vec<Vec<Condition>>, Refused> {
    let mut seen = [0_usize; 6];
    let mut conditions = Vec::new();
    for argument in arguments {
        let condition = condition(field, argument)?;
        seen[condition.argument as usize] += 1;
        conditions.push(condition);
    }
    Ok(match conditions.is_empty() {
        true => Vec::new(),
        false if seen.iter().any(|count| *count > 1) => conditions.into_iter().map(|one| vec![one]).collect(),
        false => vec![conditions],
    })
}

fn condition(field: &str, argument: &config::SeccompArg) -> Result<Condition, Refused> {
    let v = argument.value;
    let comparison = match argument.op.as_str() {
        "SCMP_CMP_NE" => Comparison::NotEqual(v),
        "SCMP_CMP_LT" => Comparison::Less(v),
        "SCMP_CMP_LE" => Comparison::LessEqual(v),
        "SCMP_CMP_EQ" => Comparison::Equal(v),
        "SCMP_CMP_GE" => Comparison::GreaterEqual(v),
        "SCMP_CMP_GT" => Comparison::Greater(v),
        "SCMP_CMP_MASKED_EQ" => Comparison::Masked { mask: v, value: argument.value_two.unwrap_or_default() },
        other => return Err(value(format!("{field}.op"), other, "a comparison, SCMP_CMP_EQ say")),
    };
    if argument.index > 5 {
        return Err(value(format!("{field}.index"), argument.index.to_string(), "one of 0 to 5"));
    }
    Ok(Condition { argument: argument.index, comparison })
}

fn add(calls: &mut Calls, number: u32, alternatives: &[Vec<Condition>], action: u32) {
    let call = calls.entry(number).or_default();
    match alternatives {
        [] => call.always = call.always.or(Some(action)),
        all => call.rules.extend(all.iter().map(|conditions| (conditions.clone(), action))),
    }
}

/// Calls that the 32 bit interface also has as the first argument of a shared one: `socketcall` and `ipc`.
const SHARED: [(&str, u32, u64); 32] = [
    ("socket", 102, 1),
    ("bind", 102, 2),
    ("connect", 102, 3),
    ("listen", 102, 4),
    ("accept", 102, 5),
    ("getsockname", 102, 6),
    ("getpeername", 102, 7),
    ("socketpair", 102, 8),
    ("send", 102, 9),
    ("recv", 102, 10),
    ("sendto", 102, 11),
    ("recvfrom", 102, 12),
    ("shutdown", 102, 13),
    ("setsockopt", 102, 14),
    ("getsockopt", 102, 15),
    ("sendmsg", 102, 16),
    ("recvmsg", 102, 17),
    ("accept4", 102, 18),
    ("recvmmsg", 102, 19),
    ("sendmmsg", 102, 20),
    ("semop", 117, 1),
    ("semget", 117, 2),
    ("semctl", 117, 3),
    ("semtimedop", 117, 4),
    ("msgsnd", 117, 11),
    ("msgrcv", 117, 12),
    ("msgget", 117, 13),
    ("msgctl", 117, 14),
    ("shmat", 117, 21),
    ("shmdt", 117, 22),
    ("shmget", 117, 23),
    ("shmctl", 117, 24),
];

/// Adds a rule for the 32 bit interface. The arguments of a shared call are out of a filter's reach, so that rules on them have no part
/// in it.
fn add_old(calls: &mut Calls, name: &str, alternatives: &[Vec<Condition>], action: u32) {
    if let Ok(number) = syscalls::x86::Sysno::from_str(name) {
        add(calls, number.id() as u32, alternatives, action);
    }
    if let (Some((_, number, which)), []) = (SHARED.iter().find(|(shared, ..)| *shared == name), alternatives) {
        let condition = Condition { argument: 0, comparison: Comparison::Equal(*which) };
        add(calls, *number, &[vec![condition]], action);
    }
}

/// The code of one architecture. Numbers of x32 calls are refused unless the profile has it.
fn numbers(calls: &Calls, x32: Option<&Calls>, (default, newer): (u32, u32)) -> Vec<Instruction> {
    let mut ranges: Vec<(u32, Vec<Instruction>)> = Vec::new();
    let mut push = |start: u32, code: Vec<Instruction>| match ranges.last() {
        Some((_, last)) if *last == code => {}
        _ => ranges.push((start, code)),
    };
    push(0, vec![bpf::give(default)]);
    for (number, call) in calls {
        push(*number, code(call, default));
        push(number + 1, vec![bpf::give(default)]);
    }
    if let Some((newest, _)) = calls.last_key_value() {
        push(newest + 1, vec![bpf::give(newer)]);
    }
    match x32 {
        None => push(X32, vec![bpf::give(KILL_PROCESS)]),
        Some(calls) => {
            for (number, call) in calls {
                push(X32 | number, code(call, default));
                push((X32 | number) + 1, vec![bpf::give(default)]);
            }
        }
    }
    // A range that is followed by one with the same start holds nothing.
    let empty = |at: usize| ranges.get(at + 1).is_some_and(|next| next.0 == ranges[at].0);
    let kept: Vec<(u32, &[Instruction])> =
        (0..ranges.len()).filter(|at| !empty(*at)).map(|at| (ranges[at].0, ranges[at].1.as_slice())).collect();
    let mut program = vec![bpf::load(bpf::NUMBER)];
    program.extend(bpf::tree(&kept));
    program
}

fn code(call: &Call, default: u32) -> Vec<Instruction> {
    let mut code: Vec<_> = call.rules.iter().flat_map(|(conditions, action)| bpf::rule(conditions, *action)).collect();
    let last = call.always.unwrap_or(default);
    // Rules that all say what is said in the end anyway are no rules.
    if call.rules.iter().all(|(_, action)| *action == last) {
        code.clear();
    }
    code.push(bpf::give(last));
    code
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;
