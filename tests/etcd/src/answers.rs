//! What a server answered, without what differs between any two servers: ids of cluster and member, terms, the order in
//! which leases are listed, and how long exactly a lease still has.

use proto::etcd::etcdserverpb::{
    AuthDisableResponse, AuthEnableResponse, AuthRoleAddResponse, AuthRoleDeleteResponse,
    AuthRoleGetResponse, AuthRoleGrantPermissionResponse, AuthRoleListResponse,
    AuthRoleRevokePermissionResponse, AuthUserAddResponse, AuthUserChangePasswordResponse,
    AuthUserDeleteResponse, AuthUserGetResponse, AuthUserGrantRoleResponse, AuthUserListResponse,
    AuthUserRevokeRoleResponse, AuthenticateRequest, CompactionResponse, DeleteRangeResponse,
    LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesResponse,
    LeaseRevokeResponse, LeaseTimeToLiveResponse, PutResponse, RangeResponse, ResponseHeader, TxnResponse,
    auth_client::AuthClient, kv_client::KvClient, lease_client::LeaseClient,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::calls::Call;

trait Answered {
    fn header(&mut self) -> &mut Option<ResponseHeader>;

    fn common(mut self) -> Self
    where
        Self: Sized,
    {
        if let Some(header) = self.header() {
            *header = ResponseHeader { revision: header.revision, ..Default::default() };
        }
        self
    }
}

macro_rules! answers {
    ($($name:ident: $response:ident)*) => {
        /// What a server answered.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "named as the calls")]
        pub enum Answer {
            $($name($response),)*
            Refused(Code, String),
        }

        impl Answer {
            /// The revision in its header, if it has one.
            pub fn revision(&self) -> Option<i64> {
                let header = match self {
                    $(Self::$name(answer) => &answer.header,)*
                    Self::Refused(..) => return None,
                };
                header.as_ref().map(|header| header.revision)
            }
        }

        $(impl Answered for $response {
            fn header(&mut self) -> &mut Option<ResponseHeader> {
                &mut self.header
            }
        })*
    };
}

answers! {
    Range: RangeResponse
    Put: PutResponse
    Delete: DeleteRangeResponse
    Txn: TxnResponse
    Compact: CompactionResponse
    Grant: LeaseGrantResponse
    Revoke: LeaseRevokeResponse
    TimeToLive: LeaseTimeToLiveResponse
    Leases: LeaseLeasesResponse
    KeepAlive: LeaseKeepAliveResponse
    AuthEnable: AuthEnableResponse
    AuthDisable: AuthDisableResponse
    UserAdd: AuthUserAddResponse
    UserGet: AuthUserGetResponse
    UserList: AuthUserListResponse
    UserDelete: AuthUserDeleteResponse
    UserChangePassword: AuthUserChangePasswordResponse
    UserGrantRole: AuthUserGrantRoleResponse
    UserRevokeRole: AuthUserRevokeRoleResponse
    RoleAdd: AuthRoleAddResponse
    RoleGet: AuthRoleGetResponse
    RoleList: AuthRoleListResponse
    RoleDelete: AuthRoleDeleteResponse
    RoleGrantPermission: AuthRoleGrantPermissionResponse
    RoleRevokePermission: AuthRoleRevokePermissionResponse
}

/// Says with every request who asks.
#[derive(Clone, Default)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// A connection on which a user, or nobody, asks.
pub type Line = InterceptedService<Channel, Token>;

/// Clients of one server.
#[derive(Clone)]
pub struct Asker {
    kv: KvClient<Line>,
    lease: LeaseClient<Line>,
    auth: AuthClient<Line>,
}

impl Asker {
    /// Nobody, over one connection.
    pub fn new(channel: Channel) -> Self {
        Self::with(channel, Token::default())
    }

    fn with(channel: Channel, token: Token) -> Self {
        let line = InterceptedService::new(channel, token);
        Self {
            kv: KvClient::new(line.clone()),
            lease: LeaseClient::new(line.clone()),
            auth: AuthClient::new(line),
        }
    }

    /// A user, over one connection; or how the login was refused.
    pub async fn login(channel: Channel, name: &str, password: &str) -> Result<Self, (Code, String)> {
        let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let answer = AuthClient::new(channel.clone()).authenticate(request).await;
        let answer = answer.map_err(|status| (status.code(), status.message().to_owned()))?.into_inner();
        let token =
            MetadataValue::try_from(answer.token).map_err(|error| (Code::Internal, error.to_string()))?;
        Ok(Self::with(channel, Token(Some(token))))
    }

    /// Makes a call.
    pub async fn ask(&mut self, call: Call) -> Answer {
        match self.answer(call).await {
            Ok(answer) => answer,
            Err(status) => Answer::Refused(status.code(), status.message().to_owned()),
        }
    }

    async fn answer(&mut self, call: Call) -> Result<Answer, Status> {
        let Self { kv, lease, auth } = self;
        Ok(match call {
            Call::Range(request) => Answer::Range(common(kv.range(request).await?)),
            Call::Put(request) => Answer::Put(common(kv.put(request).await?)),
            Call::Delete(request) => Answer::Delete(common(kv.delete_range(request).await?)),
            Call::Txn(request) => Answer::Txn(common(kv.txn(request).await?)),
            Call::Compact(request) => Answer::Compact(common(kv.compact(request).await?)),
            Call::Grant(request) => Answer::Grant(common(lease.lease_grant(request).await?)),
            Call::Revoke(request) => Answer::Revoke(common(lease.lease_revoke(request).await?)),
            Call::TimeToLive(request) => {
                let mut answer = common(lease.lease_time_to_live(request).await?);
                answer.ttl = answer.ttl.min(1);
                answer.keys.sort_unstable();
                Answer::TimeToLive(answer)
            }
            Call::Leases(request) => {
                let mut answer = common(lease.lease_leases(request).await?);
                answer.leases.sort_unstable_by_key(|lease| lease.id);
                Answer::Leases(answer)
            }
            Call::KeepAlive(id) => {
                let one = tokio_stream::once(LeaseKeepAliveRequest { id });
                let answer = lease.lease_keep_alive(one).await?.into_inner().message().await?;
                Answer::KeepAlive(answer.ok_or_else(|| Status::cancelled("the stream ended"))?.common())
            }
            Call::AuthEnable(request) => Answer::AuthEnable(common(auth.auth_enable(request).await?)),
            Call::AuthDisable(request) => Answer::AuthDisable(common(auth.auth_disable(request).await?)),
            Call::UserAdd(request) => Answer::UserAdd(common(auth.user_add(request).await?)),
            Call::UserGet(request) => Answer::UserGet(common(auth.user_get(request).await?)),
            Call::UserList(request) => Answer::UserList(common(auth.user_list(request).await?)),
            Call::UserDelete(request) => Answer::UserDelete(common(auth.user_delete(request).await?)),
            Call::UserChangePassword(request) => {
                Answer::UserChangePassword(common(auth.user_change_password(request).await?))
            }
            Call::UserGrantRole(request) => {
                Answer::UserGrantRole(common(auth.user_grant_role(request).await?))
            }
            Call::UserRevokeRole(request) => {
                Answer::UserRevokeRole(common(auth.user_revoke_role(request).await?))
            }
            Call::RoleAdd(request) => Answer::RoleAdd(common(auth.role_add(request).await?)),
            Call::RoleGet(request) => Answer::RoleGet(common(auth.role_get(request).await?)),
            Call::RoleList(request) => Answer::RoleList(common(auth.role_list(request).await?)),
            Call::RoleDelete(request) => Answer::RoleDelete(common(auth.role_delete(request).await?)),
            Call::RoleGrantPermission(request) => {
                Answer::RoleGrantPermission(common(auth.role_grant_permission(request).await?))
            }
            Call::RoleRevokePermission(request) => {
                Answer::RoleRevokePermission(common(auth.role_revoke_permission(request).await?))
            }
        })
    }
}

fn common<T: Answered>(response: Response<T>) -> T {
    response.into_inner().common()
}
