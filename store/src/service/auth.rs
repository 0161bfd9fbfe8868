//! etcd's Auth service.

use proto::etcd::{authpb, etcdserverpb as pb};
use store_client::{Denial, Error};
use tonic::{Request, Response, Status};

use super::door::Need;
use super::{Api, error};
use crate::auth::password::Hashed;
use crate::auth::{Change, Permission, PermissionKind, State};
use crate::limits::NAME_BYTES_MAX;
use crate::server::permissions;

impl Api {
    /// Makes a change for the sender of a request. Whether it may is decided when the change is applied.
    async fn change<T>(&self, request: &Request<T>, change: Change) -> Result<(), Status> {
        let api = self.admit(request, Need::Keys).await?;
        api.handle.change_auth(change).await.map_err(error::status)
    }

    /// Hashes a password. To be asked after the sender was admitted as root: it is slow on purpose.
    async fn hashed(&self, password: String) -> Result<Hashed, Status> {
        if password.len() > NAME_BYTES_MAX {
            return Err(error::request_too_large());
        }
        self.handle.hasher().hash(password).await.map_err(error::status)
    }
}

fn permission(permission: Option<authpb::Permission>) -> Result<Permission, Status> {
    let given = permission.ok_or_else(|| error::denied(Denial::PermissionNotGiven))?;
    let kind = u8::try_from(given.perm_type).ok().and_then(PermissionKind::of_number);
    let kind = kind.ok_or_else(|| error::denied(Denial::InvalidManagement))?;
    Ok(Permission { kind, key: given.key, range_end: given.range_end })
}

fn permission_message(permission: Permission) -> authpb::Permission {
    let Permission { kind, key, range_end } = permission;
    authpb::Permission { perm_type: i32::from(kind.number()), key, range_end }
}

#[tonic::async_trait]
impl pb::auth_server::Auth for Api {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        self.change(&request, Change::Enable).await?;
        Ok(Response::new(pb::AuthEnableResponse { header: self.header_now() }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        self.change(&request, Change::Disable).await?;
        Ok(Response::new(pb::AuthDisableResponse { header: self.header_now() }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let api = self.admit(&request, Need::Nothing).await?;
        let look = |state: &State, _: &_| Ok((state.enabled, state.revision));
        let (enabled, auth_revision) = api.handle.look_at_auth(look).await.map_err(error::status)?;
        Ok(Response::new(pb::AuthStatusResponse { header: api.header_now(), enabled, auth_revision }))
    }

    /// The only call that a stale or wrong token does not hinder: it is how one gets a new one.
    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        let token = self.handle.authenticate(&name, &password).await.map_err(|error| {
            if let Error::Denied(Denial::Failed) = error {
                tracing::warn!(user = name, "a login failed");
            }
            error::status(error)
        })?;
        Ok(Response::new(pb::AuthenticateResponse { header: self.header_now(), token }))
    }

    async fn user_add(
        &self,
        mut request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let pb::AuthUserAddRequest { name, password, options, .. } = std::mem::take(request.get_mut());
        let api = self.admit(&request, Need::Root).await?;
        let password = match options.is_some_and(|options| options.no_password) {
            true => None,
            false => Some(api.hashed(password).await?),
        };
        api.handle.change_auth(Change::UserAdd { name, password }).await.map_err(error::status)?;
        Ok(Response::new(pb::AuthUserAddResponse { header: self.header_now() }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let api = self.admit(&request, Need::Somebody).await?;
        let name = request.into_inner().name;
        let roles = api.handle.look_at_auth(|state, caller| {
            state.see_user(caller, &name)?;
            Ok(state.users.get(&name).ok_or(Denial::UserNotFound)?.roles.clone())
        });
        let roles = roles.await.map_err(error::status)?;
        Ok(Response::new(pb::AuthUserGetResponse { header: api.header_now(), roles }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let api = self.admit(&request, Need::Root).await?;
        let users = api.handle.look_at_auth(|state, caller| {
            state.root(caller)?;
            Ok(state.users.keys().cloned().collect())
        });
        let users = users.await.map_err(error::status)?;
        Ok(Response::new(pb::AuthUserListResponse { header: api.header_now(), users }))
    }

    async fn user_delete(
        &self,
        mut request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let name = std::mem::take(&mut request.get_mut().name);
        self.change(&request, Change::UserDelete(name)).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header: self.header_now() }))
    }

    async fn user_change_password(
        &self,
        mut request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let pb::AuthUserChangePasswordRequest { name, password, .. } = std::mem::take(request.get_mut());
        let api = self.admit(&request, Need::Root).await?;
        let password = api.hashed(password).await?;
        let change = Change::UserPassword { name, password };
        api.handle.change_auth(change).await.map_err(error::status)?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header: self.header_now() }))
    }

    async fn user_grant_role(
        &self,
        mut request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let pb::AuthUserGrantRoleRequest { user, role } = std::mem::take(request.get_mut());
        self.change(&request, Change::UserGrant { name: user, role }).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header: self.header_now() }))
    }

    async fn user_revoke_role(
        &self,
        mut request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let pb::AuthUserRevokeRoleRequest { name, role } = std::mem::take(request.get_mut());
        self.change(&request, Change::UserRevoke { name, role }).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header: self.header_now() }))
    }

    async fn role_add(
        &self,
        mut request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let name = std::mem::take(&mut request.get_mut().name);
        self.change(&request, Change::RoleAdd(name)).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header: self.header_now() }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let api = self.admit(&request, Need::Somebody).await?;
        let role = request.into_inner().role;
        let found = api.handle.look_at_auth(|state, caller| {
            state.see_role(caller, &role)?;
            permissions(state, &role)
        });
        let perm = found.await.map_err(error::status)?.into_iter().map(permission_message).collect();
        Ok(Response::new(pb::AuthRoleGetResponse { header: api.header_now(), perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let api = self.admit(&request, Need::Root).await?;
        let roles = api.handle.look_at_auth(|state, caller| {
            state.root(caller)?;
            Ok(state.roles.keys().cloned().collect())
        });
        let roles = roles.await.map_err(error::status)?;
        Ok(Response::new(pb::AuthRoleListResponse { header: api.header_now(), roles }))
    }

    async fn role_delete(
        &self,
        mut request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let name = std::mem::take(&mut request.get_mut().role);
        self.change(&request, Change::RoleDelete(name)).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header: self.header_now() }))
    }

    async fn role_grant_permission(
        &self,
        mut request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let pb::AuthRoleGrantPermissionRequest { name, perm } = std::mem::take(request.get_mut());
        let api = self.admit(&request, Need::Root).await?;
        let grant = Change::RoleGrant { name, permission: permission(perm)? };
        api.handle.change_auth(grant).await.map_err(error::status)?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header: self.header_now() }))
    }

    async fn role_revoke_permission(
        &self,
        mut request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let pb::AuthRoleRevokePermissionRequest { role, key, range_end } = std::mem::take(request.get_mut());
        self.change(&request, Change::RoleRevoke { name: role, key, range_end }).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header: self.header_now() }))
    }
}
