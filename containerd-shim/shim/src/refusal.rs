//! What a caller is told when something is not done: one of gRPC's codes, on which containerd decides, and a sentence.

use hull_runtime::Failure;

/// The codes that are used (google/rpc/code.proto).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    /// The kernel or the runtime refused.
    Unknown = 2,
    /// The request is wrong.
    InvalidArgument = 3,
    /// No such container or process, or it has ended.
    NotFound = 5,
    /// The id is taken.
    AlreadyExists = 6,
    /// Not in this state.
    FailedPrecondition = 9,
    /// Not by this shim.
    Unimplemented = 12,
}

impl Code {
    /// The code of a number that this program has sent.
    pub(crate) fn of(number: i32) -> Code {
        let all = [Code::InvalidArgument, Code::NotFound, Code::AlreadyExists, Code::FailedPrecondition];
        all.into_iter().find(|code| *code as i32 == number).unwrap_or(Code::Unknown)
    }
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For programs.
    pub(crate) code: Code,
    /// For people.
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal with this sentence.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal { code: Code::Unknown, message: failure.0 }
    }
}
