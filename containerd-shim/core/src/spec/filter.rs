//! Which system calls a container may make (seccomp(2); runtime specification, `linux.seccomp`).

use crate::oci::config::{Seccomp, SeccompArg, SeccompRule};

/// `ENOSYS`: what a call answers that is not allowed. A program then falls back as on a kernel without it; `EPERM` would make it give up
/// (clone3, which cannot be filtered by its flags, is the call that matters).
const NOT_IMPLEMENTED: u32 = 38;

/// Flags of clone(2) that make namespaces: all of `CLONE_NEW*` that its first argument can hold.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Personalities (personality(2)) that change no protection: Linux, 32 bit Linux, their 3 GiB kin, and the question.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Socket families but this one are allowed: AF_VSOCK reaches the hypervisor.
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

/// The profile of a container; a capability that is of no use without its call brings that along.
pub(super) fn profile(capabilities: &[String]) -> Seccomp {
    let mut syscalls = vec![rule(ALLOWED, Vec::new())];
    if capabilities.iter().any(|name| name == "CAP_SYS_CHROOT") {
        syscalls.push(rule("chroot", Vec::new()));
    }
    // Threads and processes, but no namespaces.
    syscalls.push(rule("clone", vec![argument("SCMP_CMP_MASKED_EQ", NEW_NAMESPACES, Some(0))]));
    syscalls.extend(PERSONALITIES.map(|one| rule("personality", vec![argument("SCMP_CMP_EQ", one, None)])));
    syscalls.extend(["SCMP_CMP_LT", "SCMP_CMP_GT"].map(|op| rule("socket", vec![argument(op, AF_VSOCK, None)])));
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(NOT_IMPLEMENTED),
        architectures: vec!["SCMP_ARCH_X86_64".to_owned()],
        syscalls,
        ..Seccomp::default()
    }
}

fn rule(names: &str, args: Vec<SeccompArg>) -> SeccompRule {
    let names = names.split_ascii_whitespace().map(str::to_owned).collect();
    SeccompRule { names, action: "SCMP_ACT_ALLOW".to_owned(), args, errno_ret: None }
}

/// All rules here are about the first argument.
fn argument(op: &str, value: u64, value_two: Option<u64>) -> SeccompArg {
    SeccompArg { index: 0, value, value_two, op: op.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use syscalls::x86_64::Sysno;

    use super::*;
    use crate::oci::{bpf, seccomp};

    const ALLOW: u32 = 0x7fff_0000;
    const ENOSYS: u32 = 0x0005_0000 | NOT_IMPLEMENTED;
    const X86_64: u32 = 0xc000_003e;

    fn answer(call: &str, first: u64) -> u32 {
        let program = seccomp::compile(&profile(&[])).unwrap().program;
        let number = Sysno::from_str(call).unwrap().id() as u32;
        bpf::run(&program, X86_64, number, [first, 0, 0, 0, 0, 0]).unwrap()
    }

    #[test]
    fn every_name_of_the_list_is_a_call_of_this_machine() {
        let unknown: Vec<_> = ALLOWED.split_ascii_whitespace().filter(|name| Sysno::from_str(name).is_err()).collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }

    #[test]
    fn the_profile_allows_work_and_refuses_the_machine() {
        for call in ["read", "openat", "execve", "futex", "epoll_wait", "getrandom"] {
            assert_eq!(answer(call, 0), ALLOW, "{call}");
        }
        let machine = "mount unshare setns clone3 bpf kexec_load init_module keyctl open_by_handle_at reboot pivot_root chroot \
                       io_uring_setup perf_event_open userfaultfd";
        for call in machine.split_ascii_whitespace() {
            assert_eq!(answer(call, 0), ENOSYS, "{call}");
        }
    }

    #[test]
    fn a_thread_may_be_made_and_a_namespace_not() {
        assert_eq!(answer("clone", 0x3d_0f00), ALLOW);
        assert_eq!(answer("clone", 17), ALLOW);
        for flag in [0x1000_0000_u64, 0x2_0000, 0x4000_0000, 0x2000_0000] {
            assert_eq!(answer("clone", 17 | flag), ENOSYS, "{flag:#x}");
        }
    }

    #[test]
    fn a_socket_to_the_hypervisor_is_refused() {
        for (family, expected) in [(1, ALLOW), (2, ALLOW), (10, ALLOW), (AF_VSOCK, ENOSYS), (44, ALLOW)] {
            assert_eq!(answer("socket", family), expected, "family {family}");
        }
    }

    #[test]
    fn a_capability_brings_the_call_that_it_is_for() {
        let asked = profile(&["CAP_SYS_CHROOT".to_owned()]);
        assert!(asked.syscalls.iter().any(|rule| rule.names == ["chroot"]));
    }
}
