//! Clients: they write and read registers and write down what they asked, when, and what came back.
use hull_kv::driver::Failed;
use hull_kv_core::Response;
use todc_utils::{
    History,
    linearizability::{WGLChecker, history::Action},
    specifications::Specification,
};
use tokio::sync::oneshot::Receiver;

/// An operation on one register, with what came back. Every write has a value of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Wrote `value`; what was there before, if the answer came.
    Write { value: u64, previous: Option<Option<u64>> },
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

/// One operation of the history. Times are numbers of simulated events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) key: usize,
    pub(crate) called: u64,
    pub(crate) answered: Option<u64>,
    pub(crate) op: Op,
}

/// Whether some order of the operations, each between its call and its answer, explains every answer.
pub(crate) fn is_linearizable(records: &[Record], key: usize) -> bool {
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

/// What a client waits for.
pub(crate) enum Waiting {
    Nothing,
    Write { reply: Receiver<Result<Response, Failed>>, record: usize },
    Read { reply: Receiver<Result<(), Failed>>, record: usize, node: u64, life: u64 },
}

/// A client.
pub(crate) struct Client {
    pub(crate) waiting: Waiting,
    /// When it gives up waiting, or asks next.
    pub(crate) until: u64,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { waiting: Waiting::Nothing, until: 0 }
    }
}
