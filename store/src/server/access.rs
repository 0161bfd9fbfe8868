//! Who asks, and on whose behalf a handle acts: logging in, recognizing tokens, changing users and roles.
//!
//! A handle of a user repeats what was refused only because users or roles changed while it ran: the user is found out
//! anew, and what is refused then is refused for a reason.

use std::sync::Arc;

use store_client::{Denial, Error, KeyRange};

use super::Handle;
use crate::auth::check::Access;
use crate::auth::password::TOO_MANY;
use crate::auth::{Caller, Change, Credentials, Identity, Permission, State, token};
use crate::limits::{AUTH_ATTEMPTS, AUTH_PATIENCE, NAME_BYTES_MAX};
use crate::machine::command::Command;

/// What etcd says when it is to sign with a public key.
const VERIFY_ONLY: &str = "token signing attempted with verify-only key";

/// Evaluates a block that ends in a result for a caller, again and again while users or roles change meanwhile.
macro_rules! patiently {
    ($handle:expr, |$member:ident| $run:expr) => {{
        let mut attempts = $handle.attempts();
        loop {
            let $member = attempts.member();
            let outcome = async { $run }.await;
            if let Some(outcome) = attempts.end(outcome).await {
                break outcome;
            }
        }
    }};
}
pub(super) use patiently;

impl Handle {
    /// Whether requests must say who sends them: auth is on, and this handle is not trusted.
    pub(crate) fn must_identify(&self) -> bool {
        !matches!(self.caller(), Caller::Trusted) && self.machine().auth().enabled()
    }

    /// Number of tokens that are good, as far as this member knows.
    pub fn tokens(&self) -> usize {
        self.machine().auth().state().tokens.len()
    }

    /// Whom credentials stand for.
    pub(crate) async fn identify(&self, credentials: Credentials) -> Result<Caller, Error> {
        match &credentials {
            Credentials::None => Ok(Caller::Nobody),
            Credentials::Token(secret) => {
                if let Some(signer) = self.signer() {
                    let signed = signer.recognize(&secret.0, self.unix_ms() / 1000);
                    let (name, revision) = signed.ok_or(Denial::InvalidToken)?;
                    return Ok(Caller::User(Arc::new(Identity {
                        name,
                        revision,
                        credentials,
                        signed: true,
                    })));
                }
                let (id, issued) = token::parse(&secret.0).ok_or(Denial::InvalidToken)?;
                let (name, revision) = self.recognize(id, issued).await?;
                self.machine().tokens().used(id);
                Ok(Caller::User(Arc::new(Identity { name, revision, credentials, signed: false })))
            }
            Credentials::CommonName(name) => {
                let (name, revision) = (name.clone(), self.machine().auth().state().revision);
                Ok(Caller::User(Arc::new(Identity { name, revision, credentials, signed: false })))
            }
        }
    }

    /// The user of a simple token. A member that is behind catches up before it says that it does not know it.
    async fn recognize(&self, id: token::TokenId, issued: u64) -> Result<(String, u64), Error> {
        if let Some(known) = self.known_token(id, issued) {
            return Ok(known);
        }
        if issued > self.raft().status().applied.0 {
            self.confirm().await?;
        }
        Ok(self.known_token(id, issued).ok_or(Denial::InvalidToken)?)
    }

    fn known_token(&self, id: token::TokenId, issued: u64) -> Option<(String, u64)> {
        let state = self.machine().auth().state();
        let token = state.tokens.get(&id).filter(|token| token.issued == issued)?;
        Some((token.user.clone(), state.revision))
    }

    /// A token for a user who shows a password.
    pub(crate) async fn authenticate(&self, name: &str, password: &str) -> Result<String, Error> {
        self.confirm().await?;
        let auth = self.machine().auth();
        for _ in 0..AUTH_ATTEMPTS {
            let (before, state) = (auth.sequence(), auth.state());
            if !state.enabled {
                return Err(Denial::NotEnabled.into());
            }
            let hashed = state.users.get(name).and_then(|user| user.password.clone());
            if password.len() > NAME_BYTES_MAX || !self.hasher().compare(hashed, password.to_owned()).await? {
                return Err(Denial::Failed.into());
            }
            if let Some(signer) = self.signer() {
                if auth.state().revision != state.revision {
                    continue;
                }
                let token = signer.sign(name, state.revision, self.unix_ms() / 1000);
                return token.ok_or_else(|| Error::Invalid(VERIFY_ONLY.to_owned()));
            }
            let random = token::random();
            let (user, revision) = (name.to_owned(), state.revision);
            let issue = Change::TokenIssue { user, revision, token: token::id(&random) };
            match self.acting_for(Caller::Trusted).propose_once(&Command::Auth(issue)).await {
                Ok((_, issued)) => return Ok(token::text(&random, issued)),
                // Users changed while the password was compared: it may be another one now.
                Err(Error::Denied(Denial::OldRevision)) => self.changed_since(before).await,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable(TOO_MANY.to_owned()))
    }

    /// Changes users or roles, if the caller may.
    pub(crate) async fn change_auth(&self, change: Change) -> Result<(), Error> {
        self.propose(&Command::Auth(change)).await.map(drop)
    }

    /// What is known about users and roles to a caller who may look, once this member knows everything acknowledged.
    pub(crate) async fn look_at_auth<T>(
        &self,
        look: impl Fn(&State, &Caller) -> Result<T, Denial>,
    ) -> Result<T, Error> {
        self.confirm().await?;
        Ok(look(&self.machine().auth().state(), self.caller())?)
    }

    /// Tells after each change of users and roles.
    pub(crate) fn auth_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.machine().auth().changes()
    }

    /// Whether somebody who watches a range still may.
    pub(crate) fn may_watch(&self, caller: &Caller, keys: &KeyRange) -> Result<(), Denial> {
        let auth = self.machine().auth();
        if !auth.enabled() {
            return Ok(());
        }
        let state = auth.state();
        let Some(identity) = state.somebody(caller)? else { return Ok(()) };
        // Another password, or another user of the same name.
        if state.users.get(&identity.name).is_some_and(|user| identity.revision < user.since) {
            return Err(Denial::InvalidToken);
        }
        state.rights_now(&identity.name)?.read(keys)
    }

    /// Refuses a caller who may not do something with a range, for what is not one request.
    pub(crate) async fn check_keys(&self, keys: &KeyRange, access: Access) -> Result<(), Error> {
        patiently!(self, |member| member.check_keys_now(keys, access))
    }

    /// The same, without patience.
    pub(crate) fn check_keys_now(&self, keys: &KeyRange, access: Access) -> Result<(), Error> {
        let checked =
            self.machine().read_as(self.caller(), |rights| Ok(rights.access(keys, access)?), || Ok(()));
        checked.map_err(|failure| self.failure(failure))
    }

    /// Refuses all but root.
    pub(crate) fn require_root(&self) -> Result<(), Error> {
        Ok(self.machine().auth().state().root(self.caller())?)
    }

    /// Refuses those who did not say who they are.
    pub(crate) fn require_somebody(&self) -> Result<(), Error> {
        Ok(self.machine().auth().state().somebody(self.caller()).map(drop)?)
    }

    /// Attempts at something for the caller.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts { member: self.clone(), before: self.machine().auth().sequence(), left: AUTH_ATTEMPTS }
    }

    /// The same for whom the credentials stand for after a change.
    async fn identified_again(&self, before: u64) -> Result<Self, Error> {
        let Caller::User(identity) = self.caller() else { return Ok(self.clone()) };
        let outdated = || identity.signed && identity.revision < self.machine().auth().state().revision;
        if outdated() {
            return Err(Denial::OldRevision.into());
        }
        self.changed_since(before).await;
        if outdated() {
            return Err(Denial::OldRevision.into());
        }
        Ok(self.acting_for(self.identify(identity.credentials.clone()).await?))
    }

    /// Waits until this member has applied a change after one, but not for ever.
    async fn changed_since(&self, before: u64) {
        let mut changes = self.machine().auth().changes();
        // Whether it came or the time is over, the caller looks again.
        let _in_time = tokio::time::timeout(AUTH_PATIENCE, changes.wait_for(|told| *told > before)).await;
    }
}

/// Something that is done for a caller, and once more as long as users or roles change meanwhile. See [`patiently`].
pub(super) struct Attempts {
    member: Handle,
    before: u64,
    left: u32,
}

impl Attempts {
    /// Acts for the caller as it is known now.
    pub(super) fn member(&self) -> &Handle {
        &self.member
    }

    /// The outcome, if that is how it ends; otherwise it is to be attempted again.
    pub(super) async fn end<T>(&mut self, outcome: Result<T, Error>) -> Option<Result<T, Error>> {
        self.left -= 1;
        match (&outcome, self.member.caller()) {
            (Err(Error::Denied(Denial::OldRevision)), Caller::User(_)) if self.left > 0 => {}
            (_, _) => return Some(outcome),
        }
        match self.member.identified_again(self.before).await {
            Ok(member) => {
                *self = Self { before: member.machine().auth().sequence(), member, left: self.left }
            }
            Err(error) => return Some(Err(error)),
        }
        None
    }
}

/// A role's permissions as they were granted; root's are not written anywhere.
pub(crate) fn permissions(state: &State, role: &str) -> Result<Vec<Permission>, Denial> {
    let found = state.roles.get(role).ok_or(Denial::RoleNotFound)?;
    if role == crate::auth::ROOT {
        let kind = crate::auth::PermissionKind::ReadWrite;
        let everything = bytes::Bytes::from_static(&[0]);
        return Ok(vec![Permission { kind, key: bytes::Bytes::new(), range_end: everything }]);
    }
    Ok(found.permissions().to_vec())
}
