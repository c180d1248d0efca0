//! Profiles and what the kernel would make of them.

use super::super::read;
use super::*;

fn compiled(text: &str) -> Filter {
    compile(&read::json(text.as_bytes()).unwrap()).unwrap()
}

fn native(filter: &Filter, name: &str, arguments: [u64; 6]) -> Option<u32> {
    let number = syscalls::x86_64::Sysno::from_str(name).unwrap().id() as u32;
    bpf::run(&filter.program, AUDIT_X86_64, number, arguments)
}

#[test]
fn one_profile_has_every_action() {
    let rule = |name: &str, action: &str| {
        let data = if ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"].contains(&action) { r#","errnoRet":7"# } else { "" };
        format!(r#"{{"names":["{name}"],"action":"{action}"{data}}}"#)
    };
    let rules = [
        rule("read", "SCMP_ACT_ALLOW"),
        rule("open", "SCMP_ACT_ERRNO"),
        rule("close", "SCMP_ACT_KILL_PROCESS"),
        rule("stat", "SCMP_ACT_KILL"),
        rule("fstat", "SCMP_ACT_TRAP"),
        rule("lstat", "SCMP_ACT_TRACE"),
        rule("poll", "SCMP_ACT_LOG"),
        rule("lseek", "SCMP_ACT_NOTIFY"),
    ];
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"listenerPath":"/l","syscalls":[{}]}}"#,
        rules.join(",")
    );
    let filter = compiled(&text);
    let expected = [
        ("read", ALLOW),
        ("open", ERRNO | 7),
        ("close", KILL_PROCESS),
        ("stat", KILL_THREAD),
        ("fstat", TRAP),
        ("lstat", TRACE | 7),
        ("poll", LOG),
        ("lseek", NOTIFY),
        ("mmap", ERRNO | 38),
        ("write", ERRNO | 38),
    ];
    for (name, action) in expected {
        assert_eq!(native(&filter, name, [0; 6]), Some(action), "{name}");
    }
    assert_eq!(filter.listener, Some(Listener { path: "/l".into(), metadata: String::new(), need: Need::Must }));
}

#[test]
fn who_listens_is_told_even_of_a_filter_that_tells_of_no_call() {
    let filter = compiled(r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l","listenerMetadata":"m"}"#);
    assert_eq!(filter.listener, Some(Listener { path: "/l".into(), metadata: "m".into(), need: Need::IfThere }));
}

#[test]
fn every_comparison_is_of_64_bits() {
    let big = 0x1_0000_0005_u64;
    let values = [0, 4, 5, 6, u64::from(u32::MAX), big - 1, big, big + 1, 0x2_0000_0000, u64::MAX];
    type Holds = fn(u64, u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("EQ", |a, b| a == b),
        ("NE", |a, b| a != b),
        ("GT", |a, b| a > b),
        ("GE", |a, b| a >= b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
    ];
    for (name, holds) in operators {
        for limit in [5, big] {
            let filter = compiled(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read"],"action":"SCMP_ACT_ALLOW",
                "args":[{{"index":2,"value":{limit},"op":"SCMP_CMP_{name}"}}]}}]}}"#
            ));
            for given in values {
                let expected = if holds(given, limit) { ALLOW } else { ERRNO | 1 };
                assert_eq!(
                    native(&filter, "read", [0, 0, given, 0, 0, 0]),
                    Some(expected),
                    "{given:#x} {name} {limit:#x}"
                );
            }
        }
    }
}

#[test]
fn conditions_on_several_arguments_must_all_hold_and_on_one_any() {
    let filter = compiled(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"},
            {"index":1,"value":9,"op":"SCMP_CMP_EQ"}]},
        {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},
            {"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    assert_eq!(native(&filter, "clone", [0x11, 9, 0, 0, 0, 0]), Some(ALLOW));
    assert_eq!(native(&filter, "clone", [0x11, 8, 0, 0, 0, 0]), Some(ERRNO | 1));
    assert_eq!(native(&filter, "clone", [0x1000_0011, 9, 0, 0, 0, 0]), Some(ERRNO | 1));
    for (family, action) in [(1, ALLOW), (2, ALLOW), (3, ERRNO | 1)] {
        assert_eq!(native(&filter, "socket", [family, 0, 0, 0, 0, 0]), Some(action), "{family}");
    }
}

#[test]
fn another_kernel_interface_is_no_way_around() {
    let text = |archs: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":[{archs}],
            "syscalls":[{{"names":["mkdir","socket","fork"],"action":"SCMP_ACT_ERRNO"}}]}}"#
        )
    };
    let only = compiled(&text(r#""SCMP_ARCH_X86_64""#));
    assert_eq!(bpf::run(&only.program, AUDIT_I386, 39, [0; 6]), Some(KILL_PROCESS));
    assert_eq!(bpf::run(&only.program, AUDIT_X86_64, X32 | 83, [0; 6]), Some(KILL_PROCESS));
    assert_eq!(bpf::run(&only.program, 0x4000_0028, 39, [0; 6]), Some(KILL_PROCESS));
    let all = compiled(&text(r#""SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32""#));
    assert_eq!(bpf::run(&all.program, AUDIT_I386, 39, [0; 6]), Some(ERRNO | 1));
    assert_eq!(bpf::run(&all.program, AUDIT_I386, 40, [0; 6]), Some(ALLOW));
    assert_eq!(bpf::run(&all.program, AUDIT_X86_64, X32 | 83, [0; 6]), Some(ERRNO | 1));
    assert_eq!(bpf::run(&all.program, AUDIT_X86_64, X32 | 1, [0; 6]), Some(ALLOW));
    // socketcall(SYS_SOCKET) and socketcall(SYS_BIND).
    assert_eq!(bpf::run(&all.program, AUDIT_I386, 102, [1, 0, 0, 0, 0, 0]), Some(ERRNO | 1));
    assert_eq!(bpf::run(&all.program, AUDIT_I386, 102, [2, 0, 0, 0, 0, 0]), Some(ALLOW));
}

#[test]
fn a_tree_of_every_call_finds_each() {
    let names: Vec<String> = syscalls::x86_64::Sysno::iter().map(|call| format!("{:?}", call.name())).collect();
    let rules: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(n, name)| format!(r#"{{"names":[{name}],"action":"SCMP_ACT_ERRNO","errnoRet":{}}}"#, n + 2))
        .collect();
    let filter = compiled(&format!(r#"{{"defaultAction":"SCMP_ACT_KILL","syscalls":[{}]}}"#, rules.join(",")));
    for (n, call) in syscalls::x86_64::Sysno::iter().enumerate() {
        assert_eq!(native(&filter, call.name(), [0; 6]), Some(ERRNO | (n as u32 + 2)), "{call}");
    }
    assert_eq!(bpf::run(&filter.program, AUDIT_X86_64, 9999, [0; 6]), Some(KILL_THREAD));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_its_field() {
    let refused = |text: &str| compile(&read::json(text.as_bytes()).unwrap()).unwrap_err().to_string();
    assert!(refused("{}").starts_with("linux.seccomp.defaultAction"));
    assert!(refused(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).starts_with("linux.seccomp.defaultAction"));
    let rule = |rule: &str| format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#);
    assert!(refused(&rule(r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#)).contains("listenerPath"));
    assert!(refused(&rule(r#"{"names":["a"],"action":"SCMP_ACT_SLEEP"}"#)).contains("syscalls[0].action"));
    let argument = r#"{"names":["a"],"action":"SCMP_ACT_KILL","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#;
    assert!(refused(&rule(argument)).contains("syscalls[0].args.index"));
    assert!(refused(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#).contains("linux.seccomp.flags"));
    for text in [r#"{"action":"SCMP_ACT_KILL"}"#, r#"{"names":[],"action":"SCMP_ACT_KILL"}"#] {
        assert_eq!(refused(&rule(text)), "linux.seccomp.syscalls[0].names: missing", "{text}");
    }
    let architectures = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_NOPE"]}"#;
    assert!(refused(architectures).starts_with(r#"linux.seccomp.architectures[1]: "SCMP_ARCH_NOPE""#));
}

#[test]
fn an_error_is_given_only_to_an_action_that_returns_one() {
    for action in ACTIONS {
        let has_one = ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"].contains(&action);
        let default = format!(r#"{{"defaultAction":"{action}","defaultErrnoRet":7}}"#);
        let rule = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l",
            "syscalls":[{{"names":["read"],"action":"{action}","errnoRet":7}}]}}"#
        );
        for (text, field) in
            [(default, "linux.seccomp.defaultErrnoRet"), (rule, "linux.seccomp.syscalls[0].errnoRet: \"7\"")]
        {
            match compile(&read::json(text.as_bytes()).unwrap()) {
                Ok(_) => assert!(has_one, "{text}"),
                Err(refused) => assert!(!has_one && refused.to_string().starts_with(field), "{text}: {refused}"),
            }
        }
    }
}

#[test]
fn the_profiles_of_the_great_callers_are_taken() {
    // What containerd, Docker and Podman send for this machine: an error with and without its number, names of other kernels.
    for default in ["", r#""defaultErrnoRet":1,"#, r#""defaultErrnoRet":38,"#] {
        compiled(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO",{default}"architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
            "syscalls":[{{"names":["read","futex_time64","arm_fadvise64_64"],"action":"SCMP_ACT_ALLOW","args":[]}},
            {{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}},
            {{"names":["bdflush"],"action":"SCMP_ACT_ERRNO","errnoRet":1}},
            {{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":22,"args":[{{"index":0,"value":16,"op":"SCMP_CMP_EQ"}},
                {{"index":2,"value":9,"op":"SCMP_CMP_EQ"}}]}}]}}"#
        ));
    }
}
