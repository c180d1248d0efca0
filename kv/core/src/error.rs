//! Every refusal of the state machine, with etcd's gRPC code and message to the letter, since clients match on them.

/// The gRPC codes that refusals use (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 2
    Unknown,
    /// 3
    InvalidArgument,
    /// 5
    NotFound,
    /// 7
    PermissionDenied,
    /// 8
    ResourceExhausted,
    /// 9
    FailedPrecondition,
    /// 11
    OutOfRange,
    /// 14
    Unavailable,
    /// 15
    DataLoss,
    /// 16
    Unauthenticated,
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
    /// Authentication cannot be enabled without the user root.
    RootUserNotExist,
    /// Nor without its role root.
    RootRoleNotExist,
    /// A user of this name exists.
    UserAlreadyExists,
    /// No user is named, or a request says no user where one is needed.
    UserEmpty,
    /// No such user.
    UserNotFound,
    /// A role of this name exists.
    RoleAlreadyExists,
    /// No such role.
    RoleNotFound,
    /// No role is named.
    RoleEmpty,
    /// Unknown user or wrong password.
    AuthFailed,
    /// A password for a user that has none.
    NoPasswordUser,
    /// A grant without a permission.
    PermissionNotGiven,
    /// The user may not do this.
    PermissionDenied,
    /// The user does not have the role.
    RoleNotGranted,
    /// The role does not have the permission.
    PermissionNotGranted,
    /// A password is offered, but nobody is asked for one.
    AuthNotEnabled,
    /// The token is nobody's.
    InvalidAuthToken,
    /// The root user or role must stay while authentication is enabled.
    InvalidAuthMgmt,
    /// Users or roles changed between the look at the token and the request.
    AuthOldRevision,
    /// No such member.
    MemberNotFound,
    /// A member of this id was there once.
    MemberRemoved,
    /// A member of this id is there.
    MemberExists,
    /// Another member has one of these addresses.
    PeerUrlExists,
    /// Only a learner can be promoted.
    MemberNotLearner,
    /// The cluster has as many learners as it may have.
    TooManyLearners,
    /// The learner has not caught up.
    LearnerNotReady,
    /// The change would leave fewer started members than a majority.
    NotEnoughStarted,
    /// Members are unreachable, so the change could cost the majority.
    Unhealthy,
    /// The CORRUPT alarm is up.
    Corrupt,
    /// A value outside memory is damaged or cannot be read: the member stops.
    Unreadable,
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
            | Self::DuplicateKey
            | Self::UserEmpty
            | Self::RoleEmpty
            | Self::AuthFailed
            | Self::PermissionNotGiven
            | Self::InvalidAuthMgmt
            | Self::AuthOldRevision => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace => Code::ResourceExhausted,
            Self::LeaseNotFound | Self::MemberNotFound | Self::MemberRemoved => Code::NotFound,
            Self::LeaseExists
            | Self::MemberExists
            | Self::PeerUrlExists
            | Self::MemberNotLearner
            | Self::TooManyLearners
            | Self::LearnerNotReady
            | Self::NotEnoughStarted
            | Self::RootUserNotExist
            | Self::RootRoleNotExist
            | Self::UserAlreadyExists
            | Self::UserNotFound
            | Self::RoleAlreadyExists
            | Self::RoleNotFound
            | Self::RoleNotGranted
            | Self::PermissionNotGranted
            | Self::AuthNotEnabled => Code::FailedPrecondition,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::InvalidAuthToken => Code::Unauthenticated,
            Self::NoPasswordUser => Code::Unknown,
            Self::Unhealthy => Code::Unavailable,
            Self::Corrupt | Self::Unreadable => Code::DataLoss,
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
            Self::RootUserNotExist => "etcdserver: root user does not exist",
            Self::RootRoleNotExist => "etcdserver: root user does not have root role",
            Self::UserAlreadyExists => "etcdserver: user name already exists",
            Self::UserEmpty => "etcdserver: user name is empty",
            Self::UserNotFound => "etcdserver: user name not found",
            Self::RoleAlreadyExists => "etcdserver: role name already exists",
            Self::RoleNotFound => "etcdserver: role name not found",
            Self::RoleEmpty => "etcdserver: role name is empty",
            Self::AuthFailed => "etcdserver: authentication failed, invalid user ID or password",
            Self::NoPasswordUser => "auth: authentication failed, password was given for no password user",
            Self::PermissionNotGiven => "etcdserver: permission not given",
            Self::PermissionDenied => "etcdserver: permission denied",
            Self::RoleNotGranted => "etcdserver: role is not granted to the user",
            Self::PermissionNotGranted => "etcdserver: permission is not granted to the role",
            Self::AuthNotEnabled => "etcdserver: authentication is not enabled",
            Self::InvalidAuthToken => "etcdserver: invalid auth token",
            Self::InvalidAuthMgmt => "etcdserver: invalid auth management",
            Self::AuthOldRevision => "etcdserver: revision of auth store is old",
            Self::MemberNotFound | Self::MemberRemoved => "etcdserver: member not found",
            Self::MemberExists => "etcdserver: member ID already exist",
            Self::PeerUrlExists => "etcdserver: Peer URLs already exists",
            Self::MemberNotLearner => "etcdserver: can only promote a learner member",
            Self::TooManyLearners => "etcdserver: too many learner members in cluster",
            Self::LearnerNotReady => "etcdserver: can only promote a learner member which is in sync with leader",
            Self::NotEnoughStarted => "etcdserver: re-configuration failed due to not enough started members",
            Self::Unhealthy => "etcdserver: unhealthy cluster",
            Self::Corrupt => "etcdserver: corrupt cluster",
            // etcd has no such refusal: it answers with whatever its database file holds.
            Self::Unreadable => "etcdserver: a value on this member's disk is damaged; the member stops",
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Refused {}
