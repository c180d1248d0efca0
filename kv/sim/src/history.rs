//! What clients asked of registers, when, and what came back; and whether some order of it all explains every answer. Real processes
//! are checked with it, too (`kv/tests/faults.rs`).
use todc_utils::{
    History,
    linearizability::{WGLChecker, history::Action},
    specifications::Specification,
};

/// An operation on one register, with what came back. Every write has a value of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Wrote `value`; what was there before, if the answer came.
    Write {
        /// What is there now.
        value: u64,
        /// What was there before, if that is known.
        previous: Option<Option<u64>>,
    },
    /// Read this.
    Read(Option<u64>),
}

struct Register;

impl Specification for Register {
    type State = Option<u64>;
    type Operation = Op;

    fn init() -> Self::State {
        None
    }

    fn apply(operation: &Op, state: &Self::State) -> (bool, Self::State) {
        match operation {
            Op::Write { value, previous } => (previous.is_none_or(|previous| previous == *state), Some(*value)),
            Op::Read(seen) => (seen == state, *state),
        }
    }
}

/// One operation of the history. Times are numbers that grow: of simulated events, or nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// The register.
    pub key: usize,
    /// When it was asked.
    pub called: u64,
    /// When the answer came, if one did.
    pub answered: Option<u64>,
    /// What was asked, and what came back.
    pub op: Op,
}

/// Whether some order of the operations, each between its call and its answer, explains every answer.
pub fn is_linearizable(records: &[Record], key: usize) -> bool {
    let seen: Vec<u64> = records
        .iter()
        .filter(|record| record.key == key)
        .filter_map(|record| match (record.op, record.answered) {
            (Op::Read(seen), Some(_)) => seen,
            (Op::Write { previous, .. }, Some(_)) => previous.flatten(),
            _ => None,
        })
        .collect();
    let mut actions = Vec::new();
    for (process, record) in records.iter().enumerate().filter(|(_, record)| record.key == key) {
        let end = match (record.answered, record.op) {
            (Some(end), _) => end,
            // Nobody knows what became of it: if somebody saw it, it happened, some time; else leave it out.
            (None, Op::Write { value, .. }) if seen.contains(&value) => u64::MAX,
            (None, _) => continue,
        };
        actions.push((record.called, process, Action::Call(record.op)));
        actions.push((end, process, Action::Response(record.op)));
    }
    actions.sort_by_key(|(at, process, _)| (*at, *process));
    if actions.is_empty() {
        return true;
    }
    let history = History::from_actions(actions.into_iter().map(|(_, process, action)| (process, action)).collect());
    WGLChecker::<Register>::is_linearizable(history)
}
