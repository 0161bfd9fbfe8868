//! The rules: what a caller needs for what it asks.
//!
//! | asked | needed |
//! |---|---|
//! | range, comparison, watch, previous value | to read the range |
//! | put | to write the key; to write all keys of the lease it is attached to; to read the key for its previous value |
//! | delete | to write the range; to read it for previous values |
//! | transaction | all of that for both branches, nested ones included, whichever runs |
//! | to revoke or renew a lease | to write all its keys |
//! | the keys of a lease | to read all of them |
//! | to grant a lease | to be somebody |
//! | compaction, users, roles, members, maintenance | the role root |
//!
//! The checks are asked with the very values that are executed, on the state at that moment (invariant C2).

use bytes::Bytes;
use store_client::{Denial, KeyRange, LeaseId, Op, Txn};

use super::caller::{Caller, Identity};
use super::change::Change;
use super::state::{State, User};
use crate::machine::command::Command;
use crate::mvcc;
use crate::mvcc::draft::Failure;

/// Looks up the keys of a lease.
pub type LeaseKeys<'k> = dyn FnMut(LeaseId) -> Result<Vec<Bytes>, mvcc::Error> + 'k;

/// What is done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They are read.
    Read,
    /// They are read and written.
    ReadWrite,
}

/// What a caller may do.
#[derive(Clone, Copy)]
pub enum Rights<'s> {
    /// Everything.
    All,
    /// What the roles of a user allow.
    Of(&'s State, &'s User),
}

impl State {
    /// What a caller may do with keys.
    pub fn rights(&self, caller: &Caller) -> Result<Rights<'_>, Denial> {
        let Some(identity) = self.somebody(caller)? else { return Ok(Rights::All) };
        if identity.revision < self.revision {
            return Err(Denial::OldRevision);
        }
        self.rights_now(&identity.name)
    }

    /// What a user may do now, whenever it was found out who it is.
    pub fn rights_now(&self, user: &str) -> Result<Rights<'_>, Denial> {
        let user = self.users.get(user).ok_or(Denial::PermissionDenied)?;
        Ok(if user.is_root() { Rights::All } else { Rights::Of(self, user) })
    }

    /// Refuses those who did not say who they are. `None` when nothing is to be checked.
    pub fn somebody<'c>(&self, caller: &'c Caller) -> Result<Option<&'c Identity>, Denial> {
        match caller {
            Caller::Trusted => Ok(None),
            Caller::Nobody | Caller::User(_) if !self.enabled => Ok(None),
            Caller::Nobody => Err(Denial::UserEmpty),
            // Certificates may have no name.
            Caller::User(identity) if identity.name.is_empty() => Err(Denial::UserEmpty),
            Caller::User(identity) => Ok(Some(identity)),
        }
    }

    /// Refuses all but those who have the role root. As in etcd, an older revision does not matter, unless another user
    /// had the name then.
    pub fn root(&self, caller: &Caller) -> Result<(), Denial> {
        let Some(identity) = self.somebody(caller)? else { return Ok(()) };
        let user = self.users.get(&identity.name).ok_or(Denial::UserNotFound)?;
        if identity.revision < user.since {
            return Err(Denial::OldRevision);
        }
        if user.is_root() { Ok(()) } else { Err(Denial::PermissionDenied) }
    }

    /// Whether a caller may look at a user: root may, and everybody at itself.
    pub fn see_user(&self, caller: &Caller, name: &str) -> Result<(), Denial> {
        match caller {
            Caller::User(identity) if identity.name == name => Ok(()),
            Caller::Trusted | Caller::Nobody | Caller::User(_) => self.root(caller),
        }
    }

    /// Whether a caller may look at a role: root may, and everybody at the own ones.
    pub fn see_role(&self, caller: &Caller, role: &str) -> Result<(), Denial> {
        match caller {
            Caller::User(identity) if self.users.get(&identity.name).is_some_and(|user| user.has(role)) => {
                Ok(())
            }
            Caller::Trusted | Caller::Nobody | Caller::User(_) => self.root(caller),
        }
    }

    /// Checks a command before it is executed.
    pub fn check(
        &self,
        caller: &Caller,
        command: &Command,
        leases: &mut LeaseKeys<'_>,
    ) -> Result<(), Failure> {
        if matches!(caller, Caller::Trusted) {
            return Ok(());
        }
        match command {
            Command::Txn(txn) => self.rights(caller)?.txn(txn, leases),
            Command::Compact(_) | Command::Alarm { .. } => Ok(self.root(caller)?),
            Command::LeaseGrant { .. } => Ok(self.somebody(caller).map(drop)?),
            Command::LeaseRevoke(id) => self.rights(caller)?.write_lease(*id, leases),
            // Only the store itself does these.
            Command::LeaseRenew(_) | Command::LeaseExpire { .. } | Command::Note { .. } => {
                Err(Denial::PermissionDenied.into())
            }
            Command::Auth(change) => Ok(self.check_change(caller, change)?),
        }
    }

    fn check_change(&self, caller: &Caller, change: &Change) -> Result<(), Denial> {
        match change {
            Change::Enable
            | Change::Disable
            | Change::UserAdd { .. }
            | Change::UserDelete(_)
            | Change::UserPassword { .. }
            | Change::UserGrant { .. }
            | Change::UserRevoke { .. }
            | Change::RoleAdd(_)
            | Change::RoleDelete(_)
            | Change::RoleGrant { .. }
            | Change::RoleRevoke { .. } => self.root(caller),
            Change::TokenIssue { .. } | Change::TokensRenew(_) | Change::TokensExpire { .. } => {
                Err(Denial::PermissionDenied)
            }
        }
    }
}

impl Rights<'_> {
    /// To read a range.
    pub fn read(&self, keys: &KeyRange) -> Result<(), Denial> {
        match self {
            Self::All => Ok(()),
            Self::Of(state, user) if state.may_read(user, keys) => Ok(()),
            Self::Of(..) => Err(Denial::PermissionDenied),
        }
    }

    /// To write to a range.
    pub fn write(&self, keys: &KeyRange) -> Result<(), Denial> {
        match self {
            Self::All => Ok(()),
            Self::Of(state, user) if state.may_write(user, keys) => Ok(()),
            Self::Of(..) => Err(Denial::PermissionDenied),
        }
    }

    /// To do something with a range.
    pub fn access(&self, keys: &KeyRange, access: Access) -> Result<(), Denial> {
        self.read(keys)?;
        match access {
            Access::Read => Ok(()),
            Access::ReadWrite => self.write(keys),
        }
    }

    /// To write the keys of a lease.
    pub fn write_lease(&self, lease: LeaseId, leases: &mut LeaseKeys<'_>) -> Result<(), Failure> {
        self.each_key(lease, leases, &|key| self.write(key))
    }

    /// To read the keys of a lease.
    pub fn read_lease(&self, lease: LeaseId, leases: &mut LeaseKeys<'_>) -> Result<(), Failure> {
        self.each_key(lease, leases, &|key| self.read(key))
    }

    fn each_key(
        &self,
        lease: LeaseId,
        leases: &mut LeaseKeys<'_>,
        check: &dyn Fn(&KeyRange) -> Result<(), Denial>,
    ) -> Result<(), Failure> {
        if matches!(self, Self::Of(..)) && lease.0 != 0 {
            for key in leases(lease)? {
                check(&KeyRange::Key(key))?;
            }
        }
        Ok(())
    }

    /// To run a transaction, whichever branches will be taken.
    pub fn txn(&self, txn: &Txn, leases: &mut LeaseKeys<'_>) -> Result<(), Failure> {
        if let Self::All = self {
            return Ok(());
        }
        for compare in &txn.compare {
            self.read(&compare.keys)?;
        }
        txn.success.iter().chain(&txn.failure).try_for_each(|op| self.op(op, leases))
    }

    fn op(&self, op: &Op, leases: &mut LeaseKeys<'_>) -> Result<(), Failure> {
        match op {
            Op::Range(range) => Ok(self.read(&range.keys)?),
            Op::Put { key, lease, prev_kv, value: _, ignore_value: _, ignore_lease: _ } => {
                let key = KeyRange::Key(key.clone());
                self.write(&key)?;
                // Whoever attaches a key to a lease takes part in who ends it.
                self.write_lease(*lease, leases)?;
                if *prev_kv { Ok(self.read(&key)?) } else { Ok(()) }
            }
            Op::Delete { keys, prev_kv } => {
                self.write(keys)?;
                if *prev_kv { Ok(self.read(keys)?) } else { Ok(()) }
            }
            Op::Txn(nested) => self.txn(nested, leases),
        }
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial.into())
    }
}
