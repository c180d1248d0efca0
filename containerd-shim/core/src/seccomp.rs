//! Which system calls a container may make: the default list, and the compiler from the runtime specification to a filter program
//! (seccomp(2); runtime specification, `linux.seccomp`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use syscalls::Sysno;

/// `ENOSYS`: what a call answers that is not allowed. A program then falls back as on a kernel without it; `EPERM` would make it give up
/// (clone3, which cannot be filtered by its flags, is the call that matters).
const NOT_IMPLEMENTED: u32 = 38;

/// Flags of clone(2) that make namespaces: all of `CLONE_NEW*` that its first argument can hold.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Personalities (personality(2)) that change no protection: Linux, 32 bit Linux, their 3 GiB kin, and the question.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Socket families up to this one are allowed, but for those in [`default_profile`]: AF_VSOCK reaches the hypervisor.
const AF_VSOCK: u64 = 40;

/// What every container may call: no mounts, namespaces, modules, keys, clocks, tracing of the kernel or the machine's state.
/// Calls that take a capability are left out unless they are useful without it.
const ALLOWED: &str = "
    accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_getres clock_gettime clock_nanosleep
    close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat
    fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
    futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid
    geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit
    getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr
    lstat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap
    mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2
    pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_madvise process_mrelease pselect6 ptrace
    process_vm_readv process_vm_writev pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg
    remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid
    setrlimit setsid setsockopt setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat
    statfs statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime
    utimensat utimes vfork vmsplice wait4 waitid write writev";

/// Why a profile cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// An action that needs what this runtime does not have yet.
    Action {
        /// As in the specification.
        action: String,
    },
    /// Rules with different actions: one filter has one action for what matches.
    TwoActions {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// An argument that does not exist: calls have six.
    Argument {
        /// Which.
        index: usize,
    },
    /// A field that is not honoured.
    Field {
        /// Its path.
        field: &'static str,
    },
    /// The compiler refuses what comes out, for instance a program that is too long.
    Program {
        /// What it says.
        cause: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action { action } => write!(f, "linux.seccomp: the action {action} is not supported"),
            Self::TwoActions { first, second } => {
                write!(
                    f,
                    "linux.seccomp.syscalls: rules with {first} and with {second} in one profile are not supported"
                )
            }
            Self::Argument { index } => write!(f, "linux.seccomp.syscalls.args: index {index} is not one of 0 to 5"),
            Self::Field { field } => write!(f, "{field}: not supported"),
            Self::Program { cause } => write!(f, "linux.seccomp: {cause}"),
        }
    }
}

impl std::error::Error for Refused {}

/// The profile of a container that asks for nothing.
pub fn default_profile() -> LinuxSeccomp {
    let names = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut rules = vec![rule(names(ALLOWED), Vec::new())];
    // Threads and processes, but no namespaces.
    rules.push(rule(names("clone"), vec![argument(0, LinuxSeccompOperator::ScmpCmpMaskedEq, NEW_NAMESPACES, Some(0))]));
    for personality in PERSONALITIES {
        rules.push(rule(names("personality"), vec![argument(0, LinuxSeccompOperator::ScmpCmpEq, personality, None)]));
    }
    for operator in [LinuxSeccompOperator::ScmpCmpLt, LinuxSeccompOperator::ScmpCmpGt] {
        rules.push(rule(names("socket"), vec![argument(0, operator, AF_VSOCK, None)]));
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(NOT_IMPLEMENTED)
        .architectures(vec![Arch::ScmpArchX86_64])
        .syscalls(rules)
        .build()
        .expect("every field has a default")
}

fn rule(names: Vec<String>, arguments: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let rule = LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow);
    let rule = if arguments.is_empty() { rule } else { rule.args(arguments) };
    rule.build().expect("every field has a default")
}

fn argument(index: usize, operator: LinuxSeccompOperator, value: u64, second: Option<u64>) -> LinuxSeccompArg {
    let argument = LinuxSeccompArgBuilder::default().index(index).op(operator).value(value);
    let argument = match second {
        Some(second) => argument.value_two(second),
        None => argument,
    };
    argument.build().expect("every field has a default")
}

/// Compiles a profile to the program that the kernel runs before each call. Names that this machine's kernel interface does not have
/// are passed over, as the specification asks.
///
/// # Errors
/// Names what is not supported.
pub fn compile(profile: &LinuxSeccomp) -> Result<BpfProgram, Refused> {
    if profile.listener_path().is_some() {
        return Err(Refused::Field { field: "linux.seccomp.listenerPath" });
    }
    if profile.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        return Err(Refused::Field { field: "linux.seccomp.flags" });
    }
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut matching: Option<(SeccompAction, String)> = None;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut unconditional = Vec::new();
    for syscall in profile.syscalls().iter().flatten() {
        let wanted = action(syscall.action(), syscall.errno_ret())?;
        if wanted == default {
            continue;
        }
        let shown = syscall.action().to_string();
        match &matching {
            Some((first, name)) if *first != wanted => {
                return Err(Refused::TwoActions { first: name.clone(), second: shown });
            }
            _ => matching = Some((wanted, shown)),
        }
        let conditions = conditions(syscall)?;
        for name in syscall.names() {
            let Ok(number) = Sysno::from_str(name) else { continue };
            let number = i64::from(number.id());
            match &conditions {
                None => unconditional.push(number),
                Some(conditions) => {
                    let chain = rules.entry(number).or_default();
                    chain.push(SeccompRule::new(conditions.clone()).map_err(program)?);
                }
            }
        }
    }
    // One rule without arguments outweighs all those with.
    rules.extend(unconditional.into_iter().map(|number| (number, Vec::new())));
    let matching = matching.map_or_else(|| opposite(&default), |(action, _)| action);
    let filter = SeccompFilter::new(rules, default, matching, TargetArch::x86_64).map_err(program)?;
    BpfProgram::try_from(filter).map_err(program)
}

fn program(error: impl fmt::Display) -> Refused {
    Refused::Program { cause: error.to_string() }
}

/// A profile without rules still needs an action for what never matches.
fn opposite(default: &SeccompAction) -> SeccompAction {
    if *default == SeccompAction::Allow { SeccompAction::KillProcess } else { SeccompAction::Allow }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<SeccompAction, Refused> {
    /// `EPERM`, the specification's default.
    const NOT_PERMITTED: u32 = 1;
    Ok(match action {
        LinuxSeccompAction::ScmpActAllow => SeccompAction::Allow,
        LinuxSeccompAction::ScmpActErrno => SeccompAction::Errno(errno.unwrap_or(NOT_PERMITTED)),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => SeccompAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => SeccompAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => SeccompAction::Trap,
        LinuxSeccompAction::ScmpActTrace => SeccompAction::Trace(errno.unwrap_or(NOT_PERMITTED)),
        LinuxSeccompAction::ScmpActLog => SeccompAction::Log,
        LinuxSeccompAction::ScmpActNotify => return Err(Refused::Action { action: action.to_string() }),
    })
}

/// All of a rule's arguments must fit; `None` where it has none.
fn conditions(syscall: &LinuxSyscall) -> Result<Option<Vec<SeccompCondition>>, Refused> {
    let arguments: Vec<_> = syscall.args().iter().flatten().collect();
    if arguments.is_empty() {
        return Ok(None);
    }
    arguments.into_iter().map(condition).collect::<Result<_, _>>().map(Some)
}

fn condition(argument: &LinuxSeccompArg) -> Result<SeccompCondition, Refused> {
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (SeccompCmpOp::Ne, argument.value()),
        LinuxSeccompOperator::ScmpCmpLt => (SeccompCmpOp::Lt, argument.value()),
        LinuxSeccompOperator::ScmpCmpLe => (SeccompCmpOp::Le, argument.value()),
        LinuxSeccompOperator::ScmpCmpEq => (SeccompCmpOp::Eq, argument.value()),
        LinuxSeccompOperator::ScmpCmpGe => (SeccompCmpOp::Ge, argument.value()),
        LinuxSeccompOperator::ScmpCmpGt => (SeccompCmpOp::Gt, argument.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (SeccompCmpOp::MaskedEq(argument.value()), argument.value_two().unwrap_or_default())
        }
    };
    let refused = Refused::Argument { index: argument.index() };
    let index = u8::try_from(argument.index()).ok().filter(|index| *index < 6).ok_or(refused)?;
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, operator, value).map_err(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would, far enough for what the compiler makes: loads, jumps, and, return.
    fn run(program: &BpfProgram, call: Sysno, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend((call.id() as u32).to_le_bytes());
        data.extend(0xc000_003e_u32.to_le_bytes());
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let (mut at, mut a) = (0_usize, 0_u32);
        loop {
            let code = &program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { code.jt } else { code.jf });
            match code.code {
                0x20 => a = u32::from_le_bytes(data[code.k as usize..][..4].try_into().unwrap()),
                0x05 => at += code.k as usize,
                0x15 => at += jump(a == code.k),
                0x25 => at += jump(a > code.k),
                0x35 => at += jump(a >= code.k),
                0x54 => a &= code.k,
                0x06 => return code.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const ALLOW: u32 = 0x7fff_0000;
    const ENOSYS: u32 = 0x0005_0000 | NOT_IMPLEMENTED;

    #[test]
    fn the_default_profile_allows_work_and_refuses_the_machine() {
        let program = compile(&default_profile()).unwrap();
        for call in [Sysno::read, Sysno::openat, Sysno::execve, Sysno::futex, Sysno::epoll_wait, Sysno::getrandom] {
            assert_eq!(run(&program, call, [0; 6]), ALLOW, "{call}");
        }
        for call in [
            Sysno::mount,
            Sysno::unshare,
            Sysno::setns,
            Sysno::clone3,
            Sysno::bpf,
            Sysno::kexec_load,
            Sysno::init_module,
            Sysno::keyctl,
            Sysno::open_by_handle_at,
            Sysno::reboot,
            Sysno::pivot_root,
            Sysno::io_uring_setup,
            Sysno::perf_event_open,
            Sysno::userfaultfd,
        ] {
            assert_eq!(run(&program, call, [0; 6]), ENOSYS, "{call}");
        }
    }

    #[test]
    fn a_thread_may_be_made_and_a_namespace_not() {
        let program = compile(&default_profile()).unwrap();
        let thread = 0x3d_0f00;
        assert_eq!(run(&program, Sysno::clone, [thread, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(run(&program, Sysno::clone, [17, 0, 0, 0, 0, 0]), ALLOW);
        for flag in [0x1000_0000_u64, 0x2_0000, 0x4000_0000, 0x2000_0000] {
            assert_eq!(run(&program, Sysno::clone, [17 | flag, 0, 0, 0, 0, 0]), ENOSYS, "{flag:#x}");
        }
    }

    #[test]
    fn a_socket_to_the_hypervisor_is_refused() {
        let program = compile(&default_profile()).unwrap();
        for (family, expected) in [(1, ALLOW), (2, ALLOW), (10, ALLOW), (AF_VSOCK, ENOSYS), (44, ALLOW)] {
            assert_eq!(run(&program, Sysno::socket, [family, 1, 0, 0, 0, 0]), expected, "family {family}");
        }
    }

    #[test]
    fn every_name_of_the_default_list_is_a_call_of_this_machine() {
        let unknown: Vec<_> = ALLOWED.split_ascii_whitespace().filter(|name| Sysno::from_str(name).is_err()).collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let mut profile = default_profile();
        profile.set_default_action(LinuxSeccompAction::ScmpActNotify);
        assert!(compile(&profile).unwrap_err().to_string().contains("SCMP_ACT_NOTIFY"));
        let bad = LinuxSyscallBuilder::default()
            .names(vec!["read".to_owned()])
            .action(LinuxSeccompAction::ScmpActAllow)
            .args(vec![argument(6, LinuxSeccompOperator::ScmpCmpEq, 0, None)])
            .build()
            .unwrap();
        let mut profile = default_profile();
        profile.set_syscalls(Some(vec![bad]));
        assert_eq!(compile(&profile), Err(Refused::Argument { index: 6 }));
    }
}
