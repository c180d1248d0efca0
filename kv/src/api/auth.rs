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
        ResponseHeader, auth_server::Auth as AuthService,
    },
    hullpb::{AuthChange, Login, auth_change::Change, command::Op as Command},
};
use tonic::{Request, Response, Status};

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
}

#[tonic::async_trait]
impl AuthService for Api {
    async fn auth_enable(&self, request: Request<AuthEnableRequest>) -> Result<Response<AuthEnableResponse>, Status> {
        let header = self.change(Change::Enable(request.into_inner())).await?;
        Ok(Response::new(AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        let header = self.change(Change::Disable(request.into_inner())).await?;
        Ok(Response::new(AuthDisableResponse { header }))
    }

    async fn auth_status(&self, _: Request<AuthStatusRequest>) -> Result<Response<AuthStatusResponse>, Status> {
        self.linearize().await?;
        self.permit_admin().await?;
        let store = read(&self.shared.store);
        Ok(Response::new(AuthStatusResponse {
            header: Some(self.header_of(&store, store.revision())),
            enabled: store.auth().enforced() == Enforced::Yes,
            auth_revision: store.auth().revision(),
        }))
    }

    /// The password is compared outside the log; if users changed meanwhile, it is compared again.
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let AuthenticateRequest { name, password } = request.into_inner();
        self.linearize().await?;
        loop {
            let checked = self.check_password(&name, password.clone()).await?;
            let (revision, token) = self.log_in(&name, checked).await?;
            if read(&self.shared.store).auth().revision() == checked {
                return Ok(Response::new(AuthenticateResponse { header: Some(self.header(revision)), token }));
            }
        }
    }

    async fn user_add(&self, request: Request<AuthUserAddRequest>) -> Result<Response<AuthUserAddResponse>, Status> {
        let mut request = request.into_inner();
        let password = std::mem::take(&mut request.password);
        request.hashed_password = match request.options {
            Some(options) if options.no_password => String::new(),
            _ => self.hashed(password).await?,
        };
        let header = self.change(Change::UserAdd(request)).await?;
        Ok(Response::new(AuthUserAddResponse { header }))
    }

    async fn user_get(&self, request: Request<AuthUserGetRequest>) -> Result<Response<AuthUserGetResponse>, Status> {
        self.linearize().await?;
        let caller = self.caller().await?;
        let store = read(&self.shared.store);
        let name = &request.get_ref().name;
        store.auth().permit_user(&caller, name).map_err(refused)?;
        let roles = store.auth().roles_of(name).map_err(refused)?.map(str::to_owned).collect();
        Ok(Response::new(AuthUserGetResponse { header: Some(self.header_of(&store, store.revision())), roles }))
    }

    async fn user_list(&self, _: Request<AuthUserListRequest>) -> Result<Response<AuthUserListResponse>, Status> {
        self.linearize().await?;
        self.permit_admin().await?;
        let store = read(&self.shared.store);
        let users = store.auth().users().map(str::to_owned).collect();
        Ok(Response::new(AuthUserListResponse { header: Some(self.header_of(&store, store.revision())), users }))
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        let header = self.change(Change::UserDelete(request.into_inner())).await?;
        Ok(Response::new(AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        let mut request = request.into_inner();
        request.hashed_password = self.hashed(std::mem::take(&mut request.password)).await?;
        let header = self.change(Change::UserChangePassword(request)).await?;
        Ok(Response::new(AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        let header = self.change(Change::UserGrantRole(request.into_inner())).await?;
        Ok(Response::new(AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        let header = self.change(Change::UserRevokeRole(request.into_inner())).await?;
        Ok(Response::new(AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(&self, request: Request<AuthRoleAddRequest>) -> Result<Response<AuthRoleAddResponse>, Status> {
        let header = self.change(Change::RoleAdd(request.into_inner())).await?;
        Ok(Response::new(AuthRoleAddResponse { header }))
    }

    async fn role_get(&self, request: Request<AuthRoleGetRequest>) -> Result<Response<AuthRoleGetResponse>, Status> {
        self.linearize().await?;
        let caller = self.caller().await?;
        let store = read(&self.shared.store);
        let role = &request.get_ref().role;
        store.auth().permit_role(&caller, role).map_err(refused)?;
        let perm = store.auth().permissions_of(role).map_err(refused)?;
        Ok(Response::new(AuthRoleGetResponse { header: Some(self.header_of(&store, store.revision())), perm }))
    }

    async fn role_list(&self, _: Request<AuthRoleListRequest>) -> Result<Response<AuthRoleListResponse>, Status> {
        self.linearize().await?;
        self.permit_admin().await?;
        let store = read(&self.shared.store);
        let roles = store.auth().roles().map(str::to_owned).collect();
        Ok(Response::new(AuthRoleListResponse { header: Some(self.header_of(&store, store.revision())), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        let header = self.change(Change::RoleDelete(request.into_inner())).await?;
        Ok(Response::new(AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        let header = self.change(Change::RoleGrantPermission(request.into_inner())).await?;
        Ok(Response::new(AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        let header = self.change(Change::RoleRevokePermission(request.into_inner())).await?;
        Ok(Response::new(AuthRoleRevokePermissionResponse { header }))
    }
}
