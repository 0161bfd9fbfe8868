//! Who a client is: it logs in when it first asks, shows its token with every request, and logs in again when a member does
//! not take the token any more.

use std::fmt;

use proto::etcd::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::Denial;

/// A user and its password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user.
    pub name: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A connection on which a user, or nobody, asks.
pub(super) type Line = InterceptedService<Channel, Introduction>;

/// Says with every request who asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Introduction {
    /// None while members do not want to know.
    token: Option<MetadataValue<Ascii>>,
    /// How many logins there were before.
    number: u64,
}

impl Interceptor for Introduction {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// The one introduction that all requests share.
#[derive(Debug)]
pub(super) struct Desk {
    login: Option<Login>,
    /// Held over a login: everybody else needs its token, too, and one login is enough.
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    introduction: Option<Introduction>,
    logins: u64,
}

impl Desk {
    pub(super) fn new(login: Option<Login>) -> Self {
        Self { login, latest: Mutex::default() }
    }

    /// What to say to a member; asks it for a token when there is none.
    pub(super) async fn introduction(&self, channel: &Channel) -> Result<Introduction, Status> {
        let Some(Login { name, password }) = &self.login else { return Ok(Introduction::default()) };
        let mut latest = self.latest.lock().await;
        if let Some(known) = &latest.introduction {
            return Ok(known.clone());
        }
        let request = AuthenticateRequest { name: name.clone(), password: password.clone() };
        let token = match AuthClient::new(channel.clone()).authenticate(request).await {
            Ok(answer) => Some(
                MetadataValue::try_from(answer.into_inner().token)
                    .map_err(|_| Status::internal("a member gave a token that cannot be sent"))?,
            ),
            Err(status) if Denial::of_status(status.message()) == Some(Denial::NotEnabled) => None,
            Err(status) => return Err(status),
        };
        latest.logins += 1;
        let introduction = Introduction { token, number: latest.logins };
        latest.introduction = Some(introduction.clone());
        Ok(introduction)
    }

    /// Whether a refusal is about the introduction and another one may help; if so, the next request logs in again.
    pub(super) async fn renew(&self, refused: &Introduction, refusal: &str) -> bool {
        let old = match Denial::of_status(refusal) {
            Some(Denial::InvalidToken | Denial::OldRevision) => true,
            // Members did not want to know, and now they do.
            Some(Denial::UserEmpty) => refused.token.is_none(),
            _ => false,
        };
        if !old || self.login.is_none() {
            return false;
        }
        let mut latest = self.latest.lock().await;
        // Unless somebody else has done it meanwhile.
        if latest.introduction.as_ref().is_some_and(|known| known.number == refused.number) {
            latest.introduction = None;
        }
        true
    }
}
