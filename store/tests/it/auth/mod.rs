//! Users, roles and what they may do, as clients of the API see it.

mod calls;
mod certificates;
mod ctl;
mod etcdctl;
mod login;
mod members;
mod remote;
mod rights;
mod watches;

use std::path::Path;

use proto::etcd::authpb;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use store::{Listeners, Options, Server};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::single::quick;

pub const DENIED: (Code, &str) = (Code::PermissionDenied, "etcdserver: permission denied");
pub const NOBODY: (Code, &str) = (Code::InvalidArgument, "etcdserver: user name is empty");
pub const BAD_TOKEN: (Code, &str) = (Code::Unauthenticated, "etcdserver: invalid auth token");

/// A refusal as tests compare it.
pub fn told(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

/// Sends a token along.
#[derive(Clone, Default)]
pub struct Token(pub Option<String>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.parse().unwrap());
        }
        Ok(request)
    }
}

/// A connection on which a user, or nobody, asks.
pub type Line = InterceptedService<Channel, Token>;

/// Fast to hash.
pub fn cheap(options: Options) -> Options {
    Options { bcrypt_cost: 4, ..quick(options) }
}

pub struct Store {
    pub server: Server,
    pub url: String,
}

impl Store {
    pub async fn start(directory: &Path) -> Self {
        Self::start_with(cheap(Options::single(directory))).await
    }

    pub async fn start_with(options: Options) -> Self {
        let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", client.local_addr().unwrap());
        let options = Options { client_urls: vec![url.clone()], ..options };
        let listeners = Listeners { peer: vec![], client: vec![client] };
        Self { server: Server::start_on(options, listeners).await.unwrap(), url }
    }

    /// Nobody's line.
    pub async fn nobody(&self) -> Line {
        line(&self.url, None).await
    }

    /// A user's line; the password is the name.
    pub async fn user(&self, name: &str) -> Line {
        let token = login(self.nobody().await, name, name).await.unwrap();
        line(&self.url, Some(token)).await
    }

    /// Switches auth on with root and these users, each with these permissions.
    pub async fn with_users(&self, users: &[(&'static str, &[Granted])]) -> Line {
        let nobody = self.nobody().await;
        add_user(&nobody, "root", "root").await;
        grant_role(&nobody, "root", "root").await.unwrap();
        for (name, permissions) in users {
            add_user(&nobody, name, name).await;
            add_role(&nobody, name, permissions).await;
            grant_role(&nobody, name, name).await.unwrap();
        }
        AuthClient::new(nobody).auth_enable(pb::AuthEnableRequest {}).await.unwrap();
        self.user("root").await
    }
}

pub async fn line(url: &str, token: Option<String>) -> Line {
    let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
    InterceptedService::new(channel, Token(token))
}

pub async fn login(line: Line, name: &str, password: &str) -> Result<String, Status> {
    let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
    Ok(AuthClient::new(line).authenticate(request).await?.into_inner().token)
}

/// Kind, key and end as in the protocol.
pub type Granted = (authpb::permission::Type, &'static str, &'static str);

pub const READ: authpb::permission::Type = authpb::permission::Type::Read;
pub const WRITE: authpb::permission::Type = authpb::permission::Type::Write;
pub const BOTH: authpb::permission::Type = authpb::permission::Type::Readwrite;

pub fn permission((kind, key, end): &Granted) -> authpb::Permission {
    authpb::Permission { perm_type: (*kind).into(), key: (*key).into(), range_end: (*end).into() }
}

pub async fn add_user(line: &Line, name: &str, password: &str) {
    let request =
        pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() };
    AuthClient::new(line.clone()).user_add(request).await.unwrap();
}

pub async fn grant_role(line: &Line, user: &str, role: &str) -> Result<(), Status> {
    let request = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
    AuthClient::new(line.clone()).user_grant_role(request).await.map(drop)
}

pub async fn revoke_role(line: &Line, user: &str, role: &str) -> Result<(), Status> {
    let request = pb::AuthUserRevokeRoleRequest { name: user.into(), role: role.into() };
    AuthClient::new(line.clone()).user_revoke_role(request).await.map(drop)
}

pub async fn add_role(line: &Line, name: &str, permissions: &[Granted]) {
    let mut client = AuthClient::new(line.clone());
    client.role_add(pb::AuthRoleAddRequest { name: name.into() }).await.unwrap();
    for granted in permissions {
        let request =
            pb::AuthRoleGrantPermissionRequest { name: name.into(), perm: Some(permission(granted)) };
        client.role_grant_permission(request).await.unwrap();
    }
}

pub async fn put(line: &Line, key: &str, value: &str) -> Result<i64, Status> {
    let request =
        pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() };
    let answer = KvClient::new(line.clone()).put(request).await?.into_inner();
    Ok(answer.header.unwrap().revision)
}

pub async fn get(line: &Line, key: &str) -> Result<Option<String>, Status> {
    let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let found = KvClient::new(line.clone()).range(request).await?.into_inner();
    Ok(found.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap()))
}
