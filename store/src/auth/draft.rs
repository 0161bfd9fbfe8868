//! What a run of commands will have done to users, roles and tokens, before it is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use store_client::{Denial, Error as Refusal};

use super::change::Change;
use super::record;
use super::state::{Permission, Role, State, User};
use super::token::{Event, Token, TokenId};
use super::{ROOT, password};
use crate::engine::Batch;
use crate::limits::{
    NAME_BYTES_MAX, PERMISSION_BYTES_PER_ROLE_MAX, PERMISSIONS_PER_ROLE_MAX, ROLES_MAX, ROLES_PER_USER_MAX,
    TOKENS_MAX, USERS_MAX,
};

/// Where in the log a change stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The index.
    pub index: u64,
    /// The term.
    pub term: u64,
}

/// The state as a run of commands leaves it, and what of it differs from what is stored.
#[derive(Debug)]
pub struct Draft {
    state: Arc<State>,
    facts: bool,
    users: BTreeSet<String>,
    roles: BTreeSet<String>,
    tokens: BTreeSet<TokenId>,
    events: Vec<Event>,
}

/// The outcome of a run of commands that changed something.
#[derive(Debug)]
pub struct Drafted {
    /// The state.
    pub state: Arc<State>,
    /// What happened to tokens.
    pub events: Vec<Event>,
}

impl Draft {
    /// A draft on a state.
    pub fn new(state: Arc<State>) -> Self {
        Self {
            state,
            facts: false,
            users: BTreeSet::new(),
            roles: BTreeSet::new(),
            tokens: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    /// The state as the commands so far leave it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Moves everything that differs into the batch; nothing if nothing does.
    pub fn finish(self, batch: &mut Batch) -> Option<Drafted> {
        if !self.facts && self.tokens.is_empty() {
            return None;
        }
        if self.facts {
            record::write_facts(&self.state, batch);
        }
        for name in &self.users {
            record::write_user(name, self.state.users.get(name).map(Arc::as_ref), batch);
        }
        for name in &self.roles {
            record::write_role(name, self.state.roles.get(name).map(Arc::as_ref), batch);
        }
        for id in &self.tokens {
            record::write_token(*id, self.state.tokens.get(id).map(Arc::as_ref), batch);
        }
        Some(Drafted { state: self.state, events: self.events })
    }

    /// Makes a change, or refuses it and leaves everything as it is.
    pub fn apply(&mut self, change: &Change, at: Place) -> Result<(), Refusal> {
        match change {
            Change::Enable => self.enable(),
            Change::Disable => self.disable(),
            Change::UserAdd { name, password } => self.user_add(name, password.clone()),
            Change::UserDelete(name) => self.user_delete(name),
            Change::UserPassword { name, password } => self.user_password(name, password),
            Change::UserGrant { name, role } => self.user_grant(name, role),
            Change::UserRevoke { name, role } => self.user_revoke(name, role),
            Change::RoleAdd(name) => self.role_add(name),
            Change::RoleDelete(name) => self.role_delete(name),
            Change::RoleGrant { name, permission } => self.role_grant(name, permission),
            Change::RoleRevoke { name, key, range_end } => {
                self.role_revoke(name, &|own| own.key == key && own.range_end == range_end)
            }
            Change::TokenIssue { user, revision, token } => self.issue(user, *revision, *token, at),
            Change::TokensRenew(tokens) => {
                tokens.iter().for_each(|id| self.renew(*id, at));
                Ok(())
            }
            Change::TokensExpire { term, tokens } => {
                for (id, renewed) in tokens {
                    let known = self.state.tokens.get(id).map(|token| token.renewed);
                    if *term == at.term && known == Some(*renewed) {
                        self.end_token(*id);
                    }
                }
                Ok(())
            }
        }
    }

    fn enable(&mut self) -> Result<(), Refusal> {
        let root = self.state.users.get(ROOT).ok_or(Denial::RootUserMissing)?;
        if !root.is_root() {
            return Err(Denial::RootRoleMissing.into());
        }
        self.next().enabled = true;
        self.facts = true;
        Ok(())
    }

    fn disable(&mut self) -> Result<(), Refusal> {
        if self.state.enabled {
            self.next().enabled = false;
            let tokens: Vec<TokenId> = self.state.tokens.keys().copied().collect();
            tokens.into_iter().for_each(|id| self.end_token(id));
            self.revise();
        }
        Ok(())
    }

    fn user_add(&mut self, name: &str, password: Option<password::Hashed>) -> Result<(), Refusal> {
        check_name(name, Denial::UserEmpty)?;
        if self.state.users.contains_key(name) {
            return Err(Denial::UserExists.into());
        }
        bounded(self.state.users.len(), USERS_MAX, "users")?;
        self.revise();
        self.put_user(name, User { password, roles: Vec::new(), since: self.state.revision });
        Ok(())
    }

    fn user_delete(&mut self, name: &str) -> Result<(), Refusal> {
        if self.state.enabled && name == ROOT {
            return Err(Denial::InvalidManagement.into());
        }
        self.user(name)?;
        self.next().users.remove(name);
        self.users.insert(name.to_owned());
        self.end_tokens_of(name);
        self.revise();
        Ok(())
    }

    fn user_password(&mut self, name: &str, password: &password::Hashed) -> Result<(), Refusal> {
        let user = self.user(name)?;
        self.revise();
        let password = user.password.as_ref().map(|_| password.clone());
        self.put_user(name, User { password, roles: user.roles.clone(), since: self.state.revision });
        self.end_tokens_of(name);
        Ok(())
    }

    fn user_grant(&mut self, name: &str, role: &str) -> Result<(), Refusal> {
        let user = self.user(name)?;
        if role != ROOT {
            self.role(role)?;
        }
        let Err(at) = user.roles.binary_search_by(|own| own.as_str().cmp(role)) else { return Ok(()) };
        bounded(user.roles.len(), ROLES_PER_USER_MAX, "roles of a user")?;
        let mut roles = user.roles.clone();
        roles.insert(at, role.to_owned());
        self.put_user(name, User { roles, ..User::clone(&user) });
        self.revise();
        Ok(())
    }

    fn user_revoke(&mut self, name: &str, role: &str) -> Result<(), Refusal> {
        if self.state.enabled && name == ROOT && role == ROOT {
            return Err(Denial::InvalidManagement.into());
        }
        let user = self.user(name)?;
        if !user.has(role) {
            return Err(Denial::RoleNotGranted.into());
        }
        self.take_role(name, &user, role);
        self.revise();
        Ok(())
    }

    fn role_add(&mut self, name: &str) -> Result<(), Refusal> {
        check_name(name, Denial::RoleEmpty)?;
        if self.state.roles.contains_key(name) {
            return Err(Denial::RoleExists.into());
        }
        bounded(self.state.roles.len(), ROLES_MAX, "roles")?;
        self.put_role(name, Role::default());
        self.revise();
        Ok(())
    }

    fn role_delete(&mut self, name: &str) -> Result<(), Refusal> {
        if self.state.enabled && name == ROOT {
            return Err(Denial::InvalidManagement.into());
        }
        self.role(name)?;
        self.next().roles.remove(name);
        self.roles.insert(name.to_owned());
        let having = self.state.users.iter().filter(|(_, user)| user.has(name));
        let having: Vec<_> = having.map(|(user_name, user)| (user_name.clone(), user.clone())).collect();
        for (user_name, user) in having {
            self.take_role(&user_name, &user, name);
        }
        self.revise();
        Ok(())
    }

    fn role_grant(&mut self, name: &str, granted: &Permission) -> Result<(), Refusal> {
        if !granted.is_valid() {
            return Err(Denial::InvalidManagement.into());
        }
        let role = self.role(name)?;
        let same = |own: &Permission| own.key == granted.key && own.range_end == granted.range_end;
        let mut permissions = role.permissions().to_vec();
        match permissions.iter_mut().find(|own| same(own)) {
            Some(own) => own.kind = granted.kind,
            None => {
                bounded(permissions.len(), PERMISSIONS_PER_ROLE_MAX, "permissions of a role")?;
                permissions.push(granted.clone());
                let bytes = permissions.iter().map(|own| own.key.len() + own.range_end.len()).sum::<usize>();
                bounded(bytes, PERMISSION_BYTES_PER_ROLE_MAX, "bytes of permissions of a role")?;
            }
        }
        self.put_role(name, Role::new(permissions));
        self.revise();
        Ok(())
    }

    fn role_revoke(&mut self, name: &str, goes: &dyn Fn(&Permission) -> bool) -> Result<(), Refusal> {
        let role = self.role(name)?;
        let mut permissions = role.permissions().to_vec();
        permissions.retain(|own| !goes(own));
        if permissions.len() == role.permissions().len() {
            return Err(Denial::PermissionNotGranted.into());
        }
        self.put_role(name, Role::new(permissions));
        self.revise();
        Ok(())
    }

    fn issue(&mut self, user: &str, revision: u64, id: TokenId, at: Place) -> Result<(), Refusal> {
        if !self.state.enabled {
            return Err(Denial::NotEnabled.into());
        }
        // The password that was compared may not be the password any more.
        if revision != self.state.revision {
            return Err(Denial::OldRevision.into());
        }
        self.state.users.get(user).filter(|user| user.password.is_some()).ok_or(Denial::Failed)?;
        if self.state.tokens.len() >= TOKENS_MAX {
            return Err(Refusal::Unavailable(password::TOO_MANY.to_owned()));
        }
        let token = Token { user: user.to_owned(), issued: at.index, renewed: at.index };
        self.put_token(id, token);
        Ok(())
    }

    fn renew(&mut self, id: TokenId, at: Place) {
        if let Some(token) = self.state.tokens.get(&id) {
            let token = Token { renewed: at.index, ..Token::clone(token) };
            self.put_token(id, token);
        }
    }

    fn put_token(&mut self, id: TokenId, token: Token) {
        self.events.push(Event::Renewed(id, token.renewed));
        self.next().tokens.insert(id, Arc::new(token));
        self.tokens.insert(id);
    }

    fn end_token(&mut self, id: TokenId) {
        if self.next().tokens.remove(&id).is_some() {
            self.tokens.insert(id);
            self.events.push(Event::Ended(id));
        }
    }

    fn end_tokens_of(&mut self, user: &str) {
        let own = self.state.tokens.iter().filter(|(_, token)| token.user == user);
        let own: Vec<TokenId> = own.map(|(id, _)| *id).collect();
        own.into_iter().for_each(|id| self.end_token(id));
    }

    fn user(&self, name: &str) -> Result<Arc<User>, Denial> {
        self.state.users.get(name).cloned().ok_or(Denial::UserNotFound)
    }

    fn role(&self, name: &str) -> Result<Arc<Role>, Denial> {
        self.state.roles.get(name).cloned().ok_or(Denial::RoleNotFound)
    }

    fn put_user(&mut self, name: &str, user: User) {
        self.next().users.insert(name.to_owned(), Arc::new(user));
        self.users.insert(name.to_owned());
    }

    fn put_role(&mut self, name: &str, role: Role) {
        self.next().roles.insert(name.to_owned(), Arc::new(role));
        self.roles.insert(name.to_owned());
    }

    fn take_role(&mut self, name: &str, user: &User, role: &str) {
        let roles = user.roles.iter().filter(|own| *own != role).cloned().collect();
        self.put_user(name, User { roles, ..user.clone() });
    }

    /// The state, to be changed.
    fn next(&mut self) -> &mut State {
        Arc::make_mut(&mut self.state)
    }

    fn revise(&mut self) {
        self.next().revision += 1;
        self.facts = true;
    }
}

fn check_name(name: &str, empty: Denial) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(empty.into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Refusal::TooLarge(format!("a name has at most {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn bounded(there_are: usize, max: usize, what: &str) -> Result<(), Refusal> {
    if there_are >= max {
        return Err(Refusal::TooLarge(format!("there are {max} {what} already")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::{COST_MIN, Hashed, steps};
    use crate::auth::state::PermissionKind;
    use crate::auth::token;
    use crate::engine::{Engine, memory::MemoryEngine};

    fn place(index: u64) -> Place {
        Place { index, term: 3 }
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn hashed() -> Hashed {
        Hashed::of("p", steps(COST_MIN))
    }

    fn user(name: &str) -> Change {
        Change::UserAdd { name: text(name), password: Some(hashed()) }
    }

    fn grant(name: &str, role: &str) -> Change {
        Change::UserGrant { name: text(name), role: text(role) }
    }

    fn revoke(name: &str, role: &str) -> Change {
        Change::UserRevoke { name: text(name), role: text(role) }
    }

    fn allow(role: &str, kind: PermissionKind, key: &'static str, end: &'static str) -> Change {
        let permission = Permission { kind, key: key.into(), range_end: end.into() };
        Change::RoleGrant { name: text(role), permission }
    }

    fn disallow(role: &str, key: &'static str, end: &'static str) -> Change {
        Change::RoleRevoke { name: text(role), key: key.into(), range_end: end.into() }
    }

    /// Applies changes in order; each is refused as said, and moves the revision on as said.
    fn script(steps: Vec<(Change, Option<Denial>, u64)>) -> Draft {
        let mut draft = Draft::new(Arc::default());
        for (number, (change, refused, revision)) in steps.into_iter().enumerate() {
            let before = State::clone(&draft.state);
            let got = draft.apply(&change, place(number as u64 + 10));
            match (got, refused) {
                (Ok(()), None) => {}
                (Err(Refusal::Denied(denial)), Some(expected)) => {
                    assert_eq!(denial, expected, "{change:?}");
                    assert_eq!(*draft.state, before, "a refusal leaves no trace: {change:?}");
                }
                (got, refused) => panic!("{change:?}: {got:?} instead of {refused:?}"),
            }
            assert_eq!(draft.state.revision, revision, "after {change:?}");
        }
        draft
    }

    #[test]
    fn users_and_roles_come_and_go_by_etcds_rules() {
        use PermissionKind::{Read, ReadWrite, Write};
        let draft = script(vec![
            (Change::Enable, Some(Denial::RootUserMissing), 1),
            (user(""), Some(Denial::UserEmpty), 1),
            (user("root"), None, 2),
            (user("root"), Some(Denial::UserExists), 2),
            (Change::Enable, Some(Denial::RootRoleMissing), 2),
            (grant("ann", "root"), Some(Denial::UserNotFound), 2),
            // The role root may be given before it exists.
            (grant("root", "root"), None, 3),
            (grant("root", "root"), None, 3),
            (grant("root", "r"), Some(Denial::RoleNotFound), 3),
            (Change::RoleAdd(text("")), Some(Denial::RoleEmpty), 3),
            (Change::RoleAdd(text("root")), None, 4),
            (Change::RoleAdd(text("root")), Some(Denial::RoleExists), 4),
            (Change::Enable, None, 4),
            (Change::UserDelete(text("root")), Some(Denial::InvalidManagement), 4),
            (revoke("root", "root"), Some(Denial::InvalidManagement), 4),
            (Change::RoleDelete(text("root")), Some(Denial::InvalidManagement), 4),
            (user("ann"), None, 5),
            (Change::RoleAdd(text("r")), None, 6),
            (grant("ann", "r"), None, 7),
            (revoke("ann", "x"), Some(Denial::RoleNotGranted), 7),
            (allow("x", Read, "a", "b"), Some(Denial::RoleNotFound), 7),
            (allow("r", Read, "", "b"), Some(Denial::InvalidManagement), 7),
            (allow("r", Read, "b", "a"), Some(Denial::InvalidManagement), 7),
            (allow("r", Read, "a", "a"), Some(Denial::InvalidManagement), 7),
            (allow("r", Read, "b", ""), None, 8),
            (allow("r", Write, "a", "c"), None, 9),
            (allow("r", ReadWrite, "a", "c"), None, 10),
            (disallow("r", "a", "b"), Some(Denial::PermissionNotGranted), 10),
            (disallow("x", "a", "b"), Some(Denial::RoleNotFound), 10),
            (disallow("r", "b", ""), None, 11),
            (Change::UserPassword { name: text("bob"), password: hashed() }, Some(Denial::UserNotFound), 11),
            (Change::UserPassword { name: text("ann"), password: hashed() }, None, 12),
            (Change::RoleDelete(text("r")), None, 13),
            (Change::RoleDelete(text("r")), Some(Denial::RoleNotFound), 13),
            (Change::Disable, None, 14),
            (Change::Disable, None, 14),
            (Change::UserDelete(text("root")), None, 15),
            (Change::UserDelete(text("root")), Some(Denial::UserNotFound), 15),
        ]);
        let ann = draft.state.users.get("ann").unwrap();
        assert!(ann.roles.is_empty(), "a deleted role is nobody's");
        assert_eq!(ann.since, 12, "another password is another user");
    }

    #[test]
    fn a_user_without_password_never_gets_one() {
        let draft = script(vec![
            (Change::UserAdd { name: text("cert"), password: None }, None, 2),
            (Change::UserPassword { name: text("cert"), password: hashed() }, None, 3),
        ]);
        assert_eq!(draft.state.users.get("cert").unwrap().password, None);
    }

    #[test]
    fn tokens_end_with_what_they_stand_for() {
        let id = token::id;
        let issue = |user: &str, revision, name: &str| Change::TokenIssue {
            user: text(user),
            revision,
            token: id(name),
        };
        let mut draft = script(vec![
            (user("root"), None, 2),
            (grant("root", "root"), None, 3),
            (user("ann"), None, 4),
            (Change::UserAdd { name: text("cert"), password: None }, None, 5),
            (issue("ann", 5, "early"), Some(Denial::NotEnabled), 5),
            (Change::Enable, None, 5),
            (issue("ann", 4, "old"), Some(Denial::OldRevision), 5),
            (issue("bob", 5, "b"), Some(Denial::Failed), 5),
            (issue("cert", 5, "c"), Some(Denial::Failed), 5),
            (issue("ann", 5, "a1"), None, 5),
            (issue("root", 5, "r"), None, 5),
            (Change::UserPassword { name: text("ann"), password: hashed() }, None, 6),
            (issue("ann", 6, "a2"), None, 6),
            (Change::TokensRenew(vec![id("a2"), id("gone")]), None, 6),
        ]);
        let known: Vec<_> =
            draft.state.tokens.values().map(|token| (token.user.as_str(), token.renewed)).collect();
        assert_eq!(known.len(), 2, "the token of the old password is gone: {known:?}");
        assert!(known.contains(&("ann", 23)) && known.contains(&("root", 20)), "{known:?}");
        let expire = |term, renewed| Change::TokensExpire { term, tokens: vec![(id("a2"), renewed)] };
        draft.apply(&expire(2, 23), place(50)).unwrap();
        draft.apply(&expire(3, 22), place(51)).unwrap();
        assert_eq!(draft.state.tokens.len(), 2, "void: another term, or renewed since");
        draft.apply(&expire(3, 23), place(52)).unwrap();
        assert_eq!(draft.state.tokens.len(), 1);
        draft.apply(&Change::Disable, place(53)).unwrap();
        assert!(draft.state.tokens.is_empty());
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut draft = script(vec![
            (user("root"), None, 2),
            (grant("root", "root"), None, 3),
            (Change::UserAdd { name: text("cert"), password: None }, None, 4),
            (Change::RoleAdd(text("r")), None, 5),
            (allow("r", PermissionKind::Read, "a", "c"), None, 6),
            (allow("r", PermissionKind::Write, "x", "\0"), None, 7),
            (grant("cert", "r"), None, 8),
            (Change::Enable, None, 8),
        ]);
        draft
            .apply(&Change::TokenIssue { user: text("root"), revision: 8, token: token::id("t") }, place(40))
            .unwrap();
        let engine = MemoryEngine::new();
        let mut batch = Batch::default();
        let first = draft.finish(&mut batch).unwrap();
        engine.write(&batch).unwrap();
        assert_eq!(record::read_all(engine.reader().as_ref()).unwrap(), *first.state);

        let mut draft = Draft::new(first.state);
        draft.apply(&Change::UserDelete(text("cert")), place(41)).unwrap();
        draft.apply(&Change::RoleDelete(text("r")), place(42)).unwrap();
        draft.apply(&Change::Disable, place(43)).unwrap();
        let mut batch = Batch::default();
        let second = draft.finish(&mut batch).unwrap();
        engine.write(&batch).unwrap();
        assert_eq!(record::read_all(engine.reader().as_ref()).unwrap(), *second.state);
        let mut nothing = Batch::default();
        assert!(Draft::new(second.state).finish(&mut nothing).is_none() && nothing.is_empty());
    }
}
