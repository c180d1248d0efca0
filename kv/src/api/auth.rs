//! The Auth service: users, roles, passwords and tokens.
use hull_kv_core::{Enforced, Proof, Refused, Response as Answer};
use hull_kv_proto::{
    etcdserverpb::{
        AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse, AuthRoleAddRequest,
        AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse, AuthRoleGetRequest, AuthRoleGetResponse,
        AuthRoleGrantPermissionRequest, AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
        AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest, AuthStatusResponse,
        AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest, AuthUserChangePasswordResponse,
        AuthUserDeleteRequest, AuthUserDeleteResponse, AuthUserGetRequest, AuthUserGetResponse,
        AuthUserGrantRoleRequest, AuthUserGrantRoleResponse, AuthUserListRequest, AuthUserListResponse,
        AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse, AuthenticateRequest, AuthenticateResponse,
        ResponseHeader,
    },
    hullpb::{AuthChange, Login, auth_change::Change, command::Op as Command},
};
use tonic::Status;

use super::{Api, kv::mismatch, refused};
use crate::{
    auth::{self, Broken, TokenKind},
    lock::read,
};

fn broken(error: Broken) -> Status {
    Status::internal(error.to_string())
}

impl Api {
    /// Puts a change of users or roles through the log.
    async fn change(&self, change: Change) -> Result<Option<ResponseHeader>, Status> {
        let Answer::Auth(revision) = self.propose(Command::AuthChange(AuthChange { change: Some(change) })).await?
        else {
            return Err(mismatch());
        };
        Ok(Some(self.header(revision)))
    }

    /// Checks a password; answers the revision of users and roles that it was right at.
    async fn check_password(&self, user: &str, password: String) -> Result<u64, Status> {
        let (hash, revision) = {
            let store = read(&self.shared.store);
            let auth = store.auth();
            if auth.enforced() == Enforced::No {
                return Err(refused(Refused::AuthNotEnabled));
            }
            match auth.proof_of(user) {
                None => return Err(refused(Refused::AuthFailed)),
                Some(Proof::NoPassword) => return Err(refused(Refused::NoPasswordUser)),
                Some(Proof::Password(hash)) => (hash.clone(), auth.revision()),
            }
        };
        if auth::matches(password, hash).await { Ok(revision) } else { Err(refused(Refused::AuthFailed)) }
    }

    async fn hashed(&self, password: String) -> Result<String, Status> {
        auth::hash(password, self.desk.logins.bcrypt_cost).await.map_err(broken)
    }

    /// The token for a user whose password was right at `revision` of users and roles, with the store's revision.
    async fn log_in(&self, user: &str, checked: u64) -> Result<(i64, String), Status> {
        match &self.desk.logins.tokens {
            TokenKind::Simple => {
                let secret = auth::secret().map_err(broken)?;
                match self.propose(Command::Login(Login { user: user.to_owned(), secret })).await? {
                    Answer::Token(revision, token) => Ok((revision, token)),
                    _ => Err(mismatch()),
                }
            }
            TokenKind::Jwt(jwt) => {
                let token = jwt.sign(user, checked).map_err(|why| Status::unknown(why.to_string()))?;
                Ok((read(&self.shared.store).revision(), token))
            }
        }
    }

    pub(crate) async fn auth_enable(self, request: AuthEnableRequest) -> Result<AuthEnableResponse, Status> {
        let header = self.change(Change::Enable(request)).await?;
        Ok(AuthEnableResponse { header })
    }

    pub(crate) async fn auth_disable(self, request: AuthDisableRequest) -> Result<AuthDisableResponse, Status> {
        let header = self.change(Change::Disable(request)).await?;
        Ok(AuthDisableResponse { header })
    }

    pub(crate) async fn auth_status(self, _: AuthStatusRequest) -> Result<AuthStatusResponse, Status> {
        self.linearize().await?;
        self.permit_admin().await?;
        let store = read(&self.shared.store);
        Ok(AuthStatusResponse {
            header: Some(self.header_of(&store, store.revision())),
            enabled: store.auth().enforced() == Enforced::Yes,
            auth_revision: store.auth().revision(),
        })
    }

    /// The password is compared outside the log; if users changed meanwhile, it is compared again.
    pub(crate) async fn authenticate(self, request: AuthenticateRequest) -> Result<AuthenticateResponse, Status> {
        let AuthenticateRequest { name, password } = request;
        self.linearize().await?;
        loop {
            let checked = self.check_password(&name, password.clone()).await?;
            let (revision, token) = self.log_in(&name, checked).await?;
            if read(&self.shared.store).auth().revision() == checked {
                return Ok(AuthenticateResponse { header: Some(self.header(revision)), token });
            }
        }
    }

    pub(crate) async fn user_add(self, mut request: AuthUserAddRequest) -> Result<AuthUserAddResponse, Status> {
        let password = std::mem::take(&mut request.password);
        request.hashed_password = match request.options {
            Some(options) if options.no_password => String::new(),
            _ => self.hashed(password).await?,
        };
        let header = self.change(Change::UserAdd(request)).await?;
        Ok(AuthUserAddResponse { header })
    }

    pub(crate) async fn user_get(self, request: AuthUserGetRequest) -> Result<AuthUserGetResponse, Status> {
        self.linearize().await?;
        let caller = self.caller().await?;
        let store = read(&self.shared.store);
        let name = &request.name;
        store.auth().permit_user(&caller, name).map_err(refused)?;
        let roles = store.auth().roles_of(name).map_err(refused)?.map(str::to_owned).collect();
        Ok(AuthUserGetResponse { header: Some(self.header_of(&store, store.revision())), roles })
    }

    pub(crate) async fn user_list(self, _: AuthUserListRequest) -> Result<AuthUserListResponse, Status> {
        self.linearize().await?;
        self.permit_admin().await?;
        let store = read(&self.shared.store);
        let users = store.auth().users().map(str::to_owned).collect();
        Ok(AuthUserListResponse { header: Some(self.header_of(&store, store.revision())), users })
    }

    pub(crate) async fn user_delete(self, request: AuthUserDeleteRequest) -> Result<AuthUserDeleteResponse, Status> {
        let header = self.change(Change::UserDelete(request)).await?;
        Ok(AuthUserDeleteResponse { header })
    }

    pub(crate) async fn user_change_password(
        self,
        mut request: AuthUserChangePasswordRequest,
    ) -> Result<AuthUserChangePasswordResponse, Status> {
        request.hashed_password = self.hashed(std::mem::take(&mut request.password)).await?;
        let header = self.change(Change::UserChangePassword(request)).await?;
        Ok(AuthUserChangePasswordResponse { header })
    }

    pub(crate) async fn user_grant_role(
        self,
        request: AuthUserGrantRoleRequest,
    ) -> Result<AuthUserGrantRoleResponse, Status> {
        let header = self.change(Change::UserGrantRole(request)).await?;
        Ok(AuthUserGrantRoleResponse { header })
    }

    pub(crate) async fn user_revoke_role(
        self,
        request: AuthUserRevokeRoleRequest,
    ) -> Result<AuthUserRevokeRoleResponse, Status> {
        let header = self.change(Change::UserRevokeRole(request)).await?;
        Ok(AuthUserRevokeRoleResponse { header })
    }

    pub(crate) async fn role_add(self, request: AuthRoleAddRequest) -> Result<AuthRoleAddResponse, Status> {
        let header = self.change(Change::RoleAdd(request)).await?;
        Ok(AuthRoleAddResponse { header })
    }

    pub(crate) async fn role_get(self, request: AuthRoleGetRequest) -> Result<AuthRoleGetResponse, Status> {
        self.linearize().await?;
        let caller = self.caller().await?;
        let store = read(&self.shared.store);
        let role = &request.role;
        store.auth().permit_role(&caller, role).map_err(refused)?;
        let perm = store.auth().permissions_of(role).map_err(refused)?;
        Ok(AuthRoleGetResponse { header: Some(self.header_of(&store, store.revision())), perm })
    }

    pub(crate) async fn role_list(self, _: AuthRoleListRequest) -> Result<AuthRoleListResponse, Status> {
        self.linearize().await?;
        self.permit_admin().await?;
        let store = read(&self.shared.store);
        let roles = store.auth().roles().map(str::to_owned).collect();
        Ok(AuthRoleListResponse { header: Some(self.header_of(&store, store.revision())), roles })
    }

    pub(crate) async fn role_delete(self, request: AuthRoleDeleteRequest) -> Result<AuthRoleDeleteResponse, Status> {
        let header = self.change(Change::RoleDelete(request)).await?;
        Ok(AuthRoleDeleteResponse { header })
    }

    pub(crate) async fn role_grant_permission(
        self,
        request: AuthRoleGrantPermissionRequest,
    ) -> Result<AuthRoleGrantPermissionResponse, Status> {
        let header = self.change(Change::RoleGrantPermission(request)).await?;
        Ok(AuthRoleGrantPermissionResponse { header })
    }

    pub(crate) async fn role_revoke_permission(
        self,
        request: AuthRoleRevokePermissionRequest,
    ) -> Result<AuthRoleRevokePermissionResponse, Status> {
        let header = self.change(Change::RoleRevokePermission(request)).await?;
        Ok(AuthRoleRevokePermissionResponse { header })
    }
}
