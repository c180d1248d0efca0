//! Classic BPF as seccomp(2) runs it: instructions, and the pieces that the filter compiler puts together.

/// One instruction, C's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison is true.
    pub jt: u8,
    /// And when it is false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const GREATER_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

/// Offset of the call's number in `struct seccomp_data`.
pub(crate) const NUMBER: u32 = 0;
/// Offset of the architecture.
pub(crate) const ARCHITECTURE: u32 = 4;

/// Loads a word of `struct seccomp_data`.
pub(crate) fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jt: 0, jf: 0, k: offset }
}

/// Ends with an action.
pub(crate) fn give(action: u32) -> Instruction {
    Instruction { code: RETURN, jt: 0, jf: 0, k: action }
}

/// How a 64 bit argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal(u64),
    NotEqual(u64),
    Greater(u64),
    GreaterEqual(u64),
    Less(u64),
    LessEqual(u64),
    Masked { mask: u64, value: u64 },
}

/// One condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Which argument, 0 to 5.
    pub(crate) argument: u32,
    /// What it must be.
    pub(crate) comparison: Comparison,
}

/// Where a comparison goes on.
#[derive(Clone, Copy)]
enum Way {
    /// The next instruction.
    On,
    /// Behind this condition: it holds.
    Holds,
    /// Behind the rule: it does not match.
    Fails,
}

/// All conditions, then the action; falls through behind itself when one does not hold.
pub(crate) fn rule(conditions: &[Condition], action: u32) -> Vec<Instruction> {
    let mut code: Vec<(Instruction, Way, Way)> = Vec::new();
    let mut ends = Vec::new();
    for condition in conditions {
        let part = condition_code(condition);
        ends.extend(std::iter::repeat_n(code.len() + part.len(), part.len()));
        code.extend(part);
    }
    // Behind the last condition stands the action, and behind that the rule's end. Six conditions of six instructions: a byte is enough.
    let end = code.len() + 1;
    let skip = |at: usize, way: Way| match way {
        Way::On => 0,
        Way::Holds => (ends[at] - at - 1) as u8,
        Way::Fails => (end - at - 1) as u8,
    };
    let place = |(at, (instruction, yes, no)): (usize, &(Instruction, Way, Way))| match instruction.code {
        LOAD | AND => *instruction,
        _ => Instruction { jt: skip(at, *yes), jf: skip(at, *no), ..*instruction },
    };
    code.iter().enumerate().map(place).chain([give(action)]).collect()
}

fn condition_code(condition: &Condition) -> Vec<(Instruction, Way, Way)> {
    use Way::{Fails, Holds, On};
    let (low, high) = (16 + 8 * condition.argument, 20 + 8 * condition.argument);
    let plain = |instruction: Instruction| (instruction, On, On);
    let test = |code: u16, k: u64, yes: Way, no: Way| (Instruction { code, jt: 0, jf: 0, k: k as u32 }, yes, no);
    let and = |mask: u64| plain(Instruction { code: AND, jt: 0, jf: 0, k: mask as u32 });
    match condition.comparison {
        Comparison::Equal(v) => {
            vec![plain(load(high)), test(EQUAL, v >> 32, On, Fails), plain(load(low)), test(EQUAL, v, On, Fails)]
        }
        Comparison::NotEqual(v) => {
            vec![plain(load(high)), test(EQUAL, v >> 32, On, Holds), plain(load(low)), test(EQUAL, v, Fails, On)]
        }
        Comparison::Greater(v) | Comparison::GreaterEqual(v) => {
            let last = if matches!(condition.comparison, Comparison::Greater(_)) { GREATER } else { GREATER_EQUAL };
            vec![
                plain(load(high)),
                test(GREATER, v >> 32, Holds, On),
                test(EQUAL, v >> 32, On, Fails),
                plain(load(low)),
                test(last, v, On, Fails),
            ]
        }
        Comparison::Less(v) | Comparison::LessEqual(v) => {
            let last = if matches!(condition.comparison, Comparison::Less(_)) { GREATER_EQUAL } else { GREATER };
            vec![
                plain(load(high)),
                test(GREATER, v >> 32, Fails, On),
                test(EQUAL, v >> 32, On, Holds),
                plain(load(low)),
                test(last, v, Fails, On),
            ]
        }
        Comparison::Masked { mask, value } => vec![
            plain(load(high)),
            and(mask >> 32),
            test(EQUAL, value >> 32, On, Fails),
            plain(load(low)),
            and(mask),
            test(EQUAL, value, On, Fails),
        ],
    }
}

/// A search tree over ranges of call numbers, each with the code for what begins there. Every code ends in an action.
pub(crate) fn tree(ranges: &[(u32, &[Instruction])]) -> Vec<Instruction> {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let Some((start, code)) = right.first() else { return Vec::new() };
    if left.is_empty() {
        return code.to_vec();
    }
    let (left, right) = (tree(left), tree(right));
    let mut code = branch(GREATER_EQUAL, *start, left.len());
    code.extend(left);
    code.extend(right);
    code
}

/// Code for one architecture: skipped when it is another.
pub(crate) fn architecture(number: u32, inside: Vec<Instruction>) -> Vec<Instruction> {
    // Equal goes on behind the long jump.
    let mut code = vec![Instruction { code: EQUAL, jt: 1, jf: 0, k: number }];
    code.push(Instruction { code: JUMP, jt: 0, jf: 0, k: inside.len() as u32 });
    code.extend(inside);
    code
}

/// When the comparison is true, skips the `length` instructions that follow.
fn branch(code: u16, k: u32, length: usize) -> Vec<Instruction> {
    match u8::try_from(length) {
        Ok(jt) => vec![Instruction { code, jt, jf: 0, k }],
        // A comparison reaches 255 instructions: farther goes a jump.
        Err(_) => {
            vec![Instruction { code, jt: 0, jf: 1, k }, Instruction { code: JUMP, jt: 0, jf: 0, k: length as u32 }]
        }
    }
}

/// Runs a program as the kernel would, for tests: `None` when it runs out of its end or meets what is no instruction of ours.
#[cfg(test)]
pub(crate) fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> Option<u32> {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend([0; 8]);
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let (mut at, mut a) = (0_usize, 0_u32);
    loop {
        let i = program.get(at)?;
        at += 1;
        let jump = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            LOAD => a = u32::from_le_bytes(data.get(i.k as usize..)?.get(..4)?.try_into().ok()?),
            JUMP => at += i.k as usize,
            EQUAL => at += jump(a == i.k),
            GREATER => at += jump(a > i.k),
            GREATER_EQUAL => at += jump(a >= i.k),
            AND => a &= i.k,
            RETURN => return Some(i.k),
            _ => return None,
        }
    }
}
