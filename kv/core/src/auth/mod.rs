//! Who may do what: users with roles, roles with key ranges, and whether any of it counts.
//!
//! Everything but the tokens is replicated and in snapshots. Passwords come in hashed: hashing is slow and random, so
//! it happens before a command enters the log, and comparing happens outside, too.
mod admin;
mod permit;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hull_kv_proto::{
    authpb::{Permission, Role as WireRole, User as WireUser, UserAddOptions},
    hullpb::{AuthRecord, Command},
};
pub use tokens::{TOKEN_TTL_MS, Tokens};

use crate::error::Refused;

/// The user that must exist before authentication can be enabled, and the role that may do everything.
pub const ROOT: &str = "root";

/// In whose name a request runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A member of the cluster, of its own accord: a lease that ended, an alarm.
    Member,
    /// A client that did not say who it is.
    Nobody,
    /// A client with a valid token.
    User {
        /// Its name.
        name: String,
        /// Revision of users and roles when the token was looked at; 0 never occurs.
        revision: u64,
    },
}

impl Caller {
    /// Who proposed a command.
    pub fn of(command: &Command) -> Self {
        match (command.by_member, command.auth_revision) {
            (true, _) => Self::Member,
            (false, 0) => Self::Nobody,
            (false, revision) => Self::User { name: command.user.clone(), revision },
        }
    }

    /// Writes itself into a command.
    pub fn sign(self, command: &mut Command) {
        match self {
            Self::Member => command.by_member = true,
            Self::Nobody => {}
            Self::User { name, revision } => {
                command.user = name;
                command.auth_revision = revision;
            }
        }
    }
}

/// Whether users and roles count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// Everybody may do everything.
    No,
    /// Requests need a user with permission.
    Yes,
}

/// How a user proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By the password with this bcrypt hash.
    Password(Bytes),
    /// By something else than a password (a certificate).
    NoPassword,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    proof: Proof,
    roles: BTreeSet<String>,
}

/// Users, roles and tokens.
#[derive(Debug)]
pub struct Auth {
    enforced: Enforced,
    /// Grows with every change of users and roles.
    revision: u64,
    users: BTreeMap<String, User>,
    /// Permissions are in the order of their keys.
    roles: BTreeMap<String, Vec<Permission>>,
    tokens: Tokens,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enforced: Enforced::No,
            // etcd's store counts its own creation.
            revision: 1,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            tokens: Tokens::default(),
        }
    }
}

impl Auth {
    /// Whether users and roles count.
    pub fn enforced(&self) -> Enforced {
        self.enforced
    }

    /// Number of changes of users and roles, and one.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Names of all users, in order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Names of all roles, in order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// The roles of a user, in order.
    ///
    /// # Errors
    /// No such user.
    pub fn roles_of(&self, user: &str) -> Result<impl Iterator<Item = &str>, Refused> {
        Ok(self.users.get(user).ok_or(Refused::UserNotFound)?.roles.iter().map(String::as_str))
    }

    /// The permissions of a role; of the root role one for everything.
    ///
    /// # Errors
    /// No such role.
    pub fn permissions_of(&self, role: &str) -> Result<Vec<Permission>, Refused> {
        let permissions = self.roles.get(role).ok_or(Refused::RoleNotFound)?;
        Ok(if role == ROOT { vec![permit::everything()] } else { permissions.clone() })
    }

    /// How a user proves who it is; `None` for an unknown user.
    pub fn proof_of(&self, user: &str) -> Option<&Proof> {
        self.users.get(user).map(|user| &user.proof)
    }

    /// Tokens that were given out.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(crate) fn tokens_mut(&mut self) -> &mut Tokens {
        &mut self.tokens
    }

    /// For a snapshot, and for a database file in etcd's format.
    pub fn to_wire(&self) -> AuthRecord {
        let user = |(name, user): (&String, &User)| {
            let (password, no_password) = match &user.proof {
                Proof::Password(hash) => (hash.clone(), false),
                Proof::NoPassword => (Bytes::new(), true),
            };
            WireUser {
                name: name.clone().into(),
                password,
                roles: user.roles.iter().cloned().collect(),
                options: Some(UserAddOptions { no_password }),
            }
        };
        let role = |(name, permissions): (&String, &Vec<Permission>)| WireRole {
            name: name.clone().into(),
            key_permission: permissions.clone(),
        };
        AuthRecord {
            enabled: self.enforced == Enforced::Yes,
            revision: self.revision,
            users: self.users.iter().map(user).collect(),
            roles: self.roles.iter().map(role).collect(),
        }
    }

    /// From a snapshot. Tokens are not in it: clients ask for new ones.
    pub(crate) fn from_wire(record: AuthRecord) -> Self {
        let text = |name: &Bytes| String::from_utf8_lossy(name).into_owned();
        let user = |user: WireUser| {
            let no_password = user.options.is_some_and(|options| options.no_password);
            let proof = if no_password { Proof::NoPassword } else { Proof::Password(user.password) };
            (text(&user.name), User { proof, roles: user.roles.into_iter().collect() })
        };
        Self {
            enforced: if record.enabled { Enforced::Yes } else { Enforced::No },
            revision: record.revision.max(1),
            users: record.users.into_iter().map(user).collect(),
            roles: record.roles.into_iter().map(|role| (text(&role.name), role.key_permission)).collect(),
            tokens: Tokens::default(),
        }
    }
}
