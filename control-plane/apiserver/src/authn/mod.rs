//! Who asks: turns a connection and its headers into an [`Identity`], or refuses.
//!
//! Tried in this order: the identity fixed by the connection (in-memory channels), the client certificate, the
//! bearer token. A token that is not valid is refused even when anonymous requests would be allowed.

pub mod impersonate;
pub mod review;
pub mod token;
pub mod x509;

use std::{collections::BTreeMap, collections::HashMap};

use api::{Reason, Status};
use http::{HeaderMap, header};
use registry::{Caller, Registry};
use sha2::{Digest, Sha256};

use crate::limits;

/// Group of everybody who was authenticated.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everybody who was not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// User of requests without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group that may do everything.
pub const MASTERS: &str = "system:masters";

/// An authenticated user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name, uid and groups, as the registry knows them.
    pub caller: Caller,
    /// Further facts, such as the pod a token belongs to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// A user with groups; `system:authenticated` is added.
    pub fn new(user: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        Self { caller: Caller { user: user.into(), uid: String::new(), groups }, extra: BTreeMap::new() }
            .authenticated()
    }

    /// The user of requests without credentials.
    pub fn anonymous() -> Self {
        let caller =
            Caller { user: ANONYMOUS.into(), uid: String::new(), groups: vec![UNAUTHENTICATED.into()] };
        Self { caller, extra: BTreeMap::new() }
    }

    /// Whether there were no credentials.
    pub fn is_anonymous(&self) -> bool {
        self.caller.user == ANONYMOUS
    }

    /// Whether the user belongs to `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.caller.groups.iter().any(|g| g == group)
    }

    /// Adds the group of authenticated users, unless this is the anonymous user.
    pub fn authenticated(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.caller.groups.push(AUTHENTICATED.into());
        }
        self
    }
}

/// What the connection itself says about who is at the other end.
#[derive(Clone, Debug)]
pub enum Peer {
    /// An in-memory channel, whose identity was fixed when it was made.
    Fixed(Identity),
    /// A verified client certificate.
    Certificate(Identity),
    /// Nothing.
    Unknown,
}

/// Bearer tokens given in the options, kept as digests.
#[derive(Clone, Debug, Default)]
pub struct StaticTokens(HashMap<[u8; 32], Identity>);

impl StaticTokens {
    /// Takes tokens with their users.
    pub fn new(tokens: impl IntoIterator<Item = (String, Identity)>) -> Self {
        Self(tokens.into_iter().map(|(token, who)| (digest(&token), who.authenticated())).collect())
    }

    fn find(&self, token: &str) -> Option<Identity> {
        self.0.get(&digest(token)).cloned()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Checks credentials.
pub struct Authenticator {
    registry: Registry,
    tokens: StaticTokens,
    issuer: Option<token::Issuer>,
}

impl Authenticator {
    /// Checks static tokens and, with an issuer, service account tokens.
    pub fn new(registry: Registry, tokens: StaticTokens, issuer: Option<token::Issuer>) -> Self {
        Self { registry, tokens, issuer }
    }

    /// The issuer of service account tokens, if there is one.
    pub fn issuer(&self) -> Option<&token::Issuer> {
        self.issuer.as_ref()
    }

    /// Who sent a request. Without credentials this is [`Identity::anonymous`].
    pub fn authenticate(&self, peer: &Peer, headers: &HeaderMap) -> Result<Identity, Status> {
        match peer {
            Peer::Fixed(who) => return Ok(who.clone()),
            Peer::Certificate(who) => return Ok(who.clone()),
            Peer::Unknown => {}
        }
        match bearer(headers)? {
            None => Ok(Identity::anonymous()),
            Some(token) => self.token(&token, &[]).map(|(who, _)| who).map_err(|why| {
                tracing::debug!(%why, "bearer token refused");
                unauthorized()
            }),
        }
    }

    /// Who a token belongs to, and for which of `audiences` it is valid; none asked for means the API's own.
    pub fn token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<(Identity, Vec<String>), token::Refusal> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(token::Refusal::Malformed);
        }
        if let Some(who) = self.tokens.find(token) {
            return Ok((who, audiences.to_vec()));
        }
        let issuer = self.issuer.as_ref().ok_or(token::Refusal::Malformed)?;
        let claims = issuer.verify(token, audiences, jiff::Timestamp::now())?;
        let valid_for = issuer.audiences_of(&claims, audiences);
        token::bound::check(&self.registry, &claims)?;
        Ok((token::bound::identity(&claims), valid_for))
    }
}

/// 401 with upstream's body.
pub fn unauthorized() -> Status {
    Status::failure(Reason::Unauthorized, "Unauthorized")
}

fn bearer(headers: &HeaderMap) -> Result<Option<String>, Status> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().map_err(|_| unauthorized())?.trim();
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Err(unauthorized());
        }
        return Ok(Some(token.trim().to_owned()));
    }
    Ok(websocket_bearer(headers))
}

/// Browsers cannot set headers on a WebSocket: the token comes as a sub-protocol, as upstream defines it.
fn websocket_bearer(headers: &HeaderMap) -> Option<String> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let encoded = offered.split(',').find_map(|p| p.trim().strip_prefix(PREFIX))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_tokens_are_found_by_their_digest() {
        let tokens = StaticTokens::new([("secret".into(), Identity::new("ann", &["dev"]))]);
        let who = tokens.find("secret").expect("known");
        assert_eq!(who.caller.groups, ["dev", AUTHENTICATED]);
        assert!(tokens.find("Secret").is_none());
    }

    #[test]
    fn only_bearer_credentials_are_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers).unwrap(), None);
        headers.insert("authorization", "Bearer  abc ".parse().unwrap());
        assert_eq!(bearer(&headers).unwrap().as_deref(), Some("abc"));
        headers.insert("authorization", "Basic YTpi".parse().unwrap());
        assert_eq!(bearer(&headers).unwrap_err().code, 401);
    }
}
