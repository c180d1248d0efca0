//! Every refusal of the state machine, with etcd's gRPC code and message to the letter, since clients match on them.

/// The gRPC codes that refusals use (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 3
    InvalidArgument,
    /// 5
    NotFound,
    /// 8
    ResourceExhausted,
    /// 9
    FailedPrecondition,
    /// 11
    OutOfRange,
    /// 14
    Unavailable,
}

/// Why a request was not done; the state is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A request without a key.
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist, or an empty operation in a transaction.
    KeyNotFound,
    /// `ignore_value` together with a value.
    ValueProvided,
    /// `ignore_lease` together with a lease.
    LeaseProvided,
    /// More operations than a transaction may hold.
    TooManyOps,
    /// A transaction that would change one key twice.
    DuplicateKey,
    /// The revision asked for is older than the last compaction.
    Compacted,
    /// The revision asked for does not exist yet.
    FutureRevision,
    /// The NOSPACE alarm is up.
    NoSpace,
    /// No such lease.
    LeaseNotFound,
    /// A lease with this id exists.
    LeaseExists,
    /// A time to live above [`crate::limits::MAX_LEASE_SECONDS`].
    LeaseTtlTooLarge,
}

impl Refused {
    /// The gRPC code that etcd answers with.
    pub fn code(self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace => Code::ResourceExhausted,
            Self::LeaseNotFound => Code::NotFound,
            Self::LeaseExists => Code::FailedPrecondition,
        }
    }

    /// The message that etcd answers with.
    pub fn message(self) -> &'static str {
        match self {
            Self::EmptyKey => "etcdserver: key is not provided",
            Self::KeyNotFound => "etcdserver: key not found",
            Self::ValueProvided => "etcdserver: value is provided",
            Self::LeaseProvided => "etcdserver: lease is provided",
            Self::TooManyOps => "etcdserver: too many operations in txn request",
            Self::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Self::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Self::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Self::NoSpace => "etcdserver: mvcc: database space exceeded",
            Self::LeaseNotFound => "etcdserver: requested lease not found",
            Self::LeaseExists => "etcdserver: lease already exists",
            Self::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Refused {}
