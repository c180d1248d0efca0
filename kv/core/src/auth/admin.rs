//! Changes of users and roles, with etcd's rules and refusals.
use std::collections::BTreeSet;

use bytes::Bytes;
use hull_kv_proto::{
    authpb::Permission,
    etcdserverpb::{
        AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest,
    },
    hullpb::{Login, auth_change::Change},
};

use super::{Auth, Enforced, Proof, ROOT, User};
use crate::{error::Refused, lease::Instant};

impl Auth {
    /// Does one change.
    pub(crate) fn change(&mut self, change: Change) -> Result<(), Refused> {
        match change {
            Change::Enable(_) => self.enable(),
            Change::Disable(_) => {
                self.disable();
                Ok(())
            }
            Change::UserAdd(request) => self.add_user(request),
            Change::UserDelete(request) => self.delete_user(&request.name),
            Change::UserChangePassword(request) => self.change_password(request),
            Change::UserGrantRole(request) => self.grant_role(&request),
            Change::UserRevokeRole(request) => self.revoke_role(&request),
            Change::RoleAdd(request) => self.add_role(request.name),
            Change::RoleDelete(request) => self.delete_role(&request.role),
            Change::RoleGrantPermission(request) => self.grant_permission(request),
            Change::RoleRevokePermission(request) => self.revoke_permission(&request),
        }
    }

    /// Gives a user whose password was right a token; answers it.
    pub(crate) fn login(&mut self, login: Login, index: u64, now: Instant) -> Result<String, Refused> {
        if self.enforced == Enforced::No {
            return Err(Refused::AuthNotEnabled);
        }
        match self.proof_of(&login.user) {
            Some(Proof::Password(_)) => {}
            Some(Proof::NoPassword) | None => return Err(Refused::AuthFailed),
        }
        let token = format!("{}.{index}", login.secret);
        self.tokens_mut().assign(token.clone(), login.user, now);
        Ok(token)
    }

    fn changed(&mut self) {
        self.revision += 1;
    }

    fn enable(&mut self) -> Result<(), Refused> {
        let root = self.users.get(ROOT).ok_or(Refused::RootUserNotExist)?;
        if !root.roles.contains(ROOT) {
            return Err(Refused::RootRoleNotExist);
        }
        // As in etcd this is no change of users and roles: the revision stays.
        self.enforced = Enforced::Yes;
        Ok(())
    }

    fn disable(&mut self) {
        if self.enforced == Enforced::Yes {
            self.enforced = Enforced::No;
            self.tokens.clear();
            self.changed();
        }
    }

    fn add_user(&mut self, request: AuthUserAddRequest) -> Result<(), Refused> {
        if request.name.is_empty() {
            return Err(Refused::UserEmpty);
        }
        if self.users.contains_key(&request.name) {
            return Err(Refused::UserAlreadyExists);
        }
        let proof = if request.options.is_some_and(|options| options.no_password) {
            Proof::NoPassword
        } else {
            Proof::Password(Bytes::from(request.hashed_password))
        };
        self.users.insert(request.name, User { proof, roles: BTreeSet::new() });
        self.changed();
        Ok(())
    }

    fn delete_user(&mut self, name: &str) -> Result<(), Refused> {
        if self.enforced == Enforced::Yes && name == ROOT {
            return Err(Refused::InvalidAuthMgmt);
        }
        self.users.remove(name).ok_or(Refused::UserNotFound)?;
        self.tokens.void(name);
        self.changed();
        Ok(())
    }

    fn change_password(&mut self, request: AuthUserChangePasswordRequest) -> Result<(), Refused> {
        let user = self.users.get_mut(&request.name).ok_or(Refused::UserNotFound)?;
        // A user without a password stays one, as in etcd.
        if let Proof::Password(hash) = &mut user.proof {
            *hash = Bytes::from(request.hashed_password);
        }
        self.tokens.void(&request.name);
        self.changed();
        Ok(())
    }

    fn grant_role(&mut self, request: &AuthUserGrantRoleRequest) -> Result<(), Refused> {
        let user = self.users.get_mut(&request.user).ok_or(Refused::UserNotFound)?;
        if request.role != ROOT && !self.roles.contains_key(&request.role) {
            return Err(Refused::RoleNotFound);
        }
        if user.roles.insert(request.role.clone()) {
            self.changed();
        }
        Ok(())
    }

    fn revoke_role(&mut self, request: &AuthUserRevokeRoleRequest) -> Result<(), Refused> {
        if self.enforced == Enforced::Yes && request.name == ROOT && request.role == ROOT {
            return Err(Refused::InvalidAuthMgmt);
        }
        let user = self.users.get_mut(&request.name).ok_or(Refused::UserNotFound)?;
        if !user.roles.remove(&request.role) {
            return Err(Refused::RoleNotGranted);
        }
        self.changed();
        Ok(())
    }

    fn add_role(&mut self, name: String) -> Result<(), Refused> {
        if name.is_empty() {
            return Err(Refused::RoleEmpty);
        }
        if self.roles.contains_key(&name) {
            return Err(Refused::RoleAlreadyExists);
        }
        self.roles.insert(name, Vec::new());
        self.changed();
        Ok(())
    }

    fn delete_role(&mut self, name: &str) -> Result<(), Refused> {
        if self.enforced == Enforced::Yes && name == ROOT {
            return Err(Refused::InvalidAuthMgmt);
        }
        self.roles.remove(name).ok_or(Refused::RoleNotFound)?;
        for user in self.users.values_mut() {
            user.roles.remove(name);
        }
        self.changed();
        Ok(())
    }

    fn grant_permission(&mut self, request: AuthRoleGrantPermissionRequest) -> Result<(), Refused> {
        let granted = request.perm.ok_or(Refused::PermissionNotGiven)?;
        if !is_range(&granted) {
            return Err(Refused::InvalidAuthMgmt);
        }
        let permissions = self.roles.get_mut(&request.name).ok_or(Refused::RoleNotFound)?;
        match permissions.iter_mut().find(|known| same_range(known, &granted.key, &granted.range_end)) {
            Some(known) => known.perm_type = granted.perm_type,
            None => {
                let at = permissions.partition_point(|known| known.key <= granted.key);
                permissions.insert(at, granted);
            }
        }
        self.changed();
        Ok(())
    }

    fn revoke_permission(&mut self, request: &AuthRoleRevokePermissionRequest) -> Result<(), Refused> {
        let permissions = self.roles.get_mut(&request.role).ok_or(Refused::RoleNotFound)?;
        let before = permissions.len();
        permissions.retain(|known| !same_range(known, &request.key, &request.range_end));
        if permissions.len() == before {
            return Err(Refused::PermissionNotGranted);
        }
        self.changed();
        Ok(())
    }
}

/// Whether a permission is for any key at all: it has a key, and an end that is above it or stands for the last key.
fn is_range(permission: &Permission) -> bool {
    let (key, end) = (&permission.key, &permission.range_end);
    !key.is_empty() && (end.is_empty() || **end == [0] || key < end)
}

fn same_range(permission: &Permission, key: &[u8], end: &[u8]) -> bool {
    permission.key == key && permission.range_end == end
}
