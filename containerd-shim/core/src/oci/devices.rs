//! Devices: the nodes that a container gets, and the rules of which it may use, as the program that a version 2 group runs on each access
//! (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).

use super::Refused;
use super::config;
use super::refused::value;

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where, as a path from the container's root.
    pub path: String,
    /// What.
    pub kind: Kind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Who asks for it.
    pub origin: Origin,
}

/// Who asks for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Every container has it; where a root is not to be written to, only if its image does.
    Default,
    /// The specification, at this place of its list: without it there is no container.
    Declared(usize),
}

/// Major numbers have 12 bits and minor numbers 20 (linux/kdev_t.h): what is above comes back as another device.
const LAST_MAJOR: u32 = (1 << 12) - 1;
const LAST_MINOR: u32 = (1 << 20) - 1;

/// Kinds of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Character device.
    Character,
    /// Block device.
    Block,
    /// Named pipe.
    Pipe,
}

/// Devices that every container has (runtime specification, config-linux.md, default devices).
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that every container has, but for the last only where `/dev` is its own.
pub const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// The nodes of a container: the defaults, then its own, which replace a default of the same path.
///
/// # Errors
/// Names the field.
pub fn nodes(declared: &[config::Device]) -> Result<Vec<Node>, Refused> {
    let own: Vec<Node> =
        declared.iter().enumerate().map(|(index, device)| node(index, device)).collect::<Result<_, _>>()?;
    let default = |(path, major, minor): &(&str, u32, u32)| Node {
        path: (*path).to_owned(),
        kind: Kind::Character,
        major: *major,
        minor: *minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
        origin: Origin::Default,
    };
    let replaced = |node: &Node| own.iter().any(|own| own.path == node.path);
    let mut nodes: Vec<Node> = DEFAULTS.iter().map(default).filter(|node| !replaced(node)).collect();
    nodes.extend(own);
    Ok(nodes)
}

fn node(index: usize, device: &config::Device) -> Result<Node, Refused> {
    let field = |name: &str| format!("linux.devices[{index}].{name}");
    if !device.path.starts_with('/') || device.path.contains('\0') {
        return Err(value(field("path"), &device.path, "an absolute path"));
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => Kind::Character,
        "b" => Kind::Block,
        "p" => Kind::Pipe,
        other => return Err(value(field("type"), other, "one of c, u, b and p")),
    };
    let number = |name: &str, number: Option<i64>, last: u32, expected| match number.map(u32::try_from) {
        Some(Ok(number)) if number <= last || kind == Kind::Pipe => Ok(number),
        None if kind == Kind::Pipe => Ok(0),
        None => Err(Refused::Missing { field: field(name) }),
        Some(_) => Err(value(field(name), number.unwrap_or_default().to_string(), expected)),
    };
    Ok(Node {
        path: super::mounts::clean(&device.path),
        kind,
        major: number("major", device.major, LAST_MAJOR, "the number of a device, 0 to 4095")?,
        minor: number("minor", device.minor, LAST_MINOR, "the number of a device, 0 to 1048575")?,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
        origin: Origin::Declared(index),
    })
}

/// A rule: the last one that matches decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What happens.
    pub verdict: Verdict,
    /// Which kind; none: all.
    pub kind: Option<Kind>,
    /// Which major number; none: all.
    pub major: Option<u32>,
    /// Which minor number; none: all.
    pub minor: Option<u32>,
    /// Which accesses, bits of [`access`].
    pub access: u32,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// May be used.
    Allow,
    /// May not.
    Deny,
}

/// Accesses (linux/bpf.h, BPF_DEVCG_ACC_*).
pub mod access {
    /// Make a node.
    pub const MKNOD: u32 = 1;
    /// Read.
    pub const READ: u32 = 2;
    /// Write.
    pub const WRITE: u32 = 4;
    /// All.
    pub const ALL: u32 = 7;
}

/// Kind, major and minor number, where none is all; and accesses.
type Device = (Option<Kind>, Option<u32>, Option<u32>, u32);

/// What is allowed whatever the specification says: the default devices, terminals, and to make nodes that cannot be used.
pub(super) const ALWAYS: [Device; 11] = [
    (Some(Kind::Character), None, None, access::MKNOD),
    (Some(Kind::Block), None, None, access::MKNOD),
    (Some(Kind::Character), Some(1), Some(3), access::ALL),
    (Some(Kind::Character), Some(1), Some(5), access::ALL),
    (Some(Kind::Character), Some(1), Some(7), access::ALL),
    (Some(Kind::Character), Some(1), Some(8), access::ALL),
    (Some(Kind::Character), Some(1), Some(9), access::ALL),
    (Some(Kind::Character), Some(5), Some(0), access::ALL),
    (Some(Kind::Character), Some(5), Some(1), access::ALL),
    (Some(Kind::Character), Some(5), Some(2), access::ALL),
    (Some(Kind::Character), Some(136), None, access::ALL),
];

/// The rules of a specification, with what is always allowed behind them. Empty when it has none.
///
/// # Errors
/// Names the field.
pub fn rules(declared: &[config::DeviceRule]) -> Result<Vec<Rule>, Refused> {
    if declared.is_empty() {
        return Ok(Vec::new());
    }
    let mut rules: Vec<Rule> =
        declared.iter().enumerate().map(|(index, declared)| rule(index, declared)).collect::<Result<_, _>>()?;
    rules.extend(ALWAYS.map(|(kind, major, minor, access)| Rule {
        verdict: Verdict::Allow,
        kind,
        major,
        minor,
        access,
    }));
    Ok(rules)
}

fn rule(index: usize, declared: &config::DeviceRule) -> Result<Rule, Refused> {
    let field = |name: &str| format!("linux.resources.devices[{index}].{name}");
    let kind = match declared.kind.as_deref() {
        None | Some("" | "a") => None,
        Some("c" | "u") => Some(Kind::Character),
        Some("b") => Some(Kind::Block),
        Some(other) => return Err(value(field("type"), other, "one of a, c and b")),
    };
    let number = |name: &str, number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| value(field(name), number.to_string(), "the number of a device, or -1 for all")),
    };
    let mut accesses = 0;
    let all = declared.access.as_deref().filter(|text| !text.is_empty()).unwrap_or("rwm");
    for letter in all.chars() {
        accesses |= match letter {
            'r' => access::READ,
            'w' => access::WRITE,
            'm' => access::MKNOD,
            // Others write it for all kinds of access, and it adds none.
            'a' => 0,
            _ => return Err(value(field("access"), all, "some of r, w and m")),
        };
    }
    let verdict = if declared.allow { Verdict::Allow } else { Verdict::Deny };
    let (major, minor) = (number("major", declared.major)?, number("minor", declared.minor)?);
    Ok(Rule { verdict, kind, major, minor, access: accesses })
}

/// A rule as a line for `devices.allow` or `devices.deny`.
pub fn line(rule: &Rule) -> (&'static str, String) {
    let file = match rule.verdict {
        Verdict::Allow => "devices.allow",
        Verdict::Deny => "devices.deny",
    };
    let kind = match rule.kind {
        None => "a",
        Some(Kind::Block) => "b",
        Some(Kind::Character | Kind::Pipe) => "c",
    };
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let letters = [(access::READ, 'r'), (access::WRITE, 'w'), (access::MKNOD, 'm')];
    let access: String = letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| *letter).collect();
    (file, format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor)))
}

/// One eBPF instruction, linux/bpf.h's `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low half, source in the high.
    pub registers: u8,
    /// Offset.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate: immediate as i32 }
}

/// The program of a list of rules: goes through them from the last to the first and takes off the accesses that are allowed, until one is
/// denied or none is left.
pub fn program(rules: &[Rule]) -> Vec<Instruction> {
    const LOAD: u8 = 0x61;
    const AND: u8 = 0x54;
    const SHIFT: u8 = 0x74;
    const MOVE: u8 = 0xb4;
    const COPY: u8 = 0xbc;
    const NOT_EQUAL: u8 = 0x56;
    const EQUAL: u8 = 0x16;
    const SET: u8 = 0x46;
    const EXIT: u8 = 0x95;
    // struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor. Registers: 2 kind, 3 accesses left, 4 major, 5 minor.
    let mut code = vec![
        op(LOAD, 2, 1, 0, 0),
        op(COPY, 3, 2, 0, 0),
        op(AND, 2, 0, 0, 0xffff),
        op(SHIFT, 3, 0, 0, 16),
        op(LOAD, 4, 1, 4, 0),
        op(LOAD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let kind = rule.kind.map(|kind| if kind == Kind::Block { 1 } else { 2 });
        let tests: Vec<(u8, u32)> = [(2, kind), (4, rule.major), (5, rule.minor)]
            .into_iter()
            .filter_map(|(register, wanted)| wanted.map(|wanted| (register, wanted)))
            .collect();
        let body = match rule.verdict {
            Verdict::Allow => vec![
                op(AND, 3, 0, 0, access::ALL & !rule.access),
                op(NOT_EQUAL, 3, 0, 2, 0),
                op(MOVE, 0, 0, 0, 1),
                op(EXIT, 0, 0, 0, 0),
            ],
            Verdict::Deny => {
                vec![op(SET, 3, 0, 1, rule.access), op(EQUAL, 0, 0, 2, 0), op(MOVE, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]
            }
        };
        // The verifier wants register 0 to be set before it is compared.
        if rule.verdict == Verdict::Deny {
            code.push(op(MOVE, 0, 0, 0, 0));
        }
        for (at, (register, wanted)) in tests.iter().enumerate() {
            let left = (tests.len() - at - 1 + body.len()) as i16;
            code.push(op(NOT_EQUAL, *register, 0, left, *wanted));
        }
        code.extend(body);
    }
    code.extend([op(MOVE, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would, far enough for what is made here.
    fn allowed(program: &[Instruction], kind: u32, major: u32, minor: u32, wanted: u32) -> bool {
        let context = [wanted << 16 | kind, major, minor];
        let (mut r, mut at) = ([0_u32; 11], 0_usize);
        loop {
            let i = program[at];
            let (d, s, k) = (usize::from(i.registers & 15), usize::from(i.registers >> 4), i.immediate as u32);
            let mut taken = false;
            match i.code {
                0x61 => r[d] = context[i.offset as usize / 4],
                0x54 => r[d] &= k,
                0x74 => r[d] >>= k,
                0xb4 => r[d] = k,
                0xbc => r[d] = r[s],
                0x56 => taken = r[d] != k,
                0x16 => taken = r[d] == k,
                0x46 => taken = r[d] & k != 0,
                0x95 => return r[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
            at += 1 + if taken { i.offset as usize } else { 0 };
        }
    }

    fn declared(text: &str) -> Vec<Rule> {
        rules(&crate::oci::read::json::<Vec<config::DeviceRule>>(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_last_rule_that_matches_decides_for_each_access() {
        let rules = declared(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"access":"rw"},
            {"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]"#,
        );
        let program = program(&rules);
        assert!(allowed(&program, 1, 8, 0, access::READ | access::WRITE));
        assert!(allowed(&program, 1, 8, 1, access::READ));
        assert!(!allowed(&program, 1, 8, 1, access::WRITE));
        assert!(!allowed(&program, 1, 8, 1, access::READ | access::WRITE));
        assert!(!allowed(&program, 2, 8, 0, access::READ));
        assert!(allowed(&program, 2, 1, 3, access::ALL));
        assert!(allowed(&program, 1, 7, 7, access::MKNOD));
        assert!(!allowed(&program, 2, 10, 229, access::READ));
    }

    #[test]
    fn a_declared_device_replaces_a_default() {
        let own = config::Device {
            path: "/dev/../dev/null".into(),
            kind: "c".into(),
            major: Some(1),
            minor: Some(3),
            ..Default::default()
        };
        let nodes = nodes(&[own]).unwrap();
        assert_eq!(nodes.iter().filter(|node| node.path == "/dev/null").count(), 1);
        let bad = config::Device { path: "dev/x".into(), kind: "c".into(), ..Default::default() };
        assert!(super::nodes(&[bad]).unwrap_err().to_string().starts_with("linux.devices[0].path"));
    }

    #[test]
    fn a_number_that_the_kernel_would_cut_is_none() {
        let device = |kind: &str, major, minor| {
            let path = "/dev/x".into();
            nodes(&[config::Device {
                path,
                kind: kind.into(),
                major: Some(major),
                minor: Some(minor),
                ..Default::default()
            }])
        };
        assert!(device("c", 4095, 1_048_575).is_ok() && device("p", 5000, 0).is_ok());
        for (major, minor, field) in [(5000, 3, "major"), (-1, 3, "major"), (1, 1_048_576, "minor"), (1, -1, "minor")] {
            let refused = device("b", major, minor).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("linux.devices[0].{field}: ")), "{refused}");
        }
    }

    #[test]
    fn a_device_has_its_numbers_unless_it_is_a_pipe() {
        for kind in ["c", "b", "u", "p"] {
            let device = |numbers: (Option<i64>, Option<i64>)| config::Device {
                path: "/dev/x".into(),
                kind: kind.into(),
                major: numbers.0,
                minor: numbers.1,
                ..Default::default()
            };
            for (numbers, field) in [((None, Some(1)), "major"), ((Some(1), None), "minor")] {
                match nodes(&[device(numbers)]) {
                    Ok(_) => assert_eq!(kind, "p"),
                    Err(refused) => assert_eq!(refused.to_string(), format!("linux.devices[0].{field}: missing")),
                }
            }
        }
    }
}
