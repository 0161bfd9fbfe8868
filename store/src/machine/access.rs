//! Reads on behalf of somebody who may be refused.

use bytes::Bytes;
use store_client::{Denial, LeaseId, Range, RangeResult, Txn, TxnResult};

use super::Machine;
use crate::auth::{Caller, check::Rights};
use crate::engine::Pace;
use crate::mvcc::draft::Failure;
use crate::mvcc::layout::LeaseRecord;

impl Machine {
    /// Reads on behalf of a caller: checks its rights, and shows nothing of what was read if those have changed
    /// meanwhile. Then the refusal is [`Denial::OldRevision`], and the caller may try again.
    pub fn read_as<T>(
        &self,
        caller: &Caller,
        check: impl FnOnce(&Rights<'_>) -> Result<(), Failure>,
        read: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if matches!(caller, Caller::Trusted) || !self.auth.enabled() {
            return read();
        }
        let ticket = self.auth.ticket().ok_or(Denial::OldRevision)?;
        check(&ticket.state.rights(caller)?)?;
        let result = read()?;
        if !self.auth.is_good(&ticket) {
            return Err(Denial::OldRevision.into());
        }
        Ok(result)
    }

    /// [`Machine::range`] on behalf of a caller.
    pub fn range_as(&self, caller: &Caller, range: &Range, pace: Pace) -> Result<RangeResult, Failure> {
        self.read_as(caller, |rights| Ok(rights.read(&range.keys)?), || self.range(range, pace))
    }

    /// [`Machine::page`] on behalf of a caller.
    pub fn page_as(&self, caller: &Caller, range: &Range) -> Result<RangeResult, Failure> {
        self.read_as(caller, |rights| Ok(rights.read(&range.keys)?), || self.page(range))
    }

    /// [`Machine::read_only_txn`] on behalf of a caller.
    pub fn read_only_txn_as(&self, caller: &Caller, txn: &Txn, pace: Pace) -> Result<TxnResult, Failure> {
        let check = |rights: &Rights<'_>| rights.txn(txn, &mut |lease| self.lease_keys(lease));
        self.read_as(caller, check, || self.read_only_txn(txn, pace))
    }

    /// [`Machine::lease`] on behalf of a caller: who wants to know the keys must be allowed to read them.
    pub fn lease_as(
        &self,
        caller: &Caller,
        id: LeaseId,
        keys: bool,
    ) -> Result<Option<(LeaseRecord, Vec<Bytes>)>, Failure> {
        let check = |rights: &Rights<'_>| match keys {
            true => rights.read_lease(id, &mut |lease| self.lease_keys(lease)),
            false => Ok(()),
        };
        self.read_as(caller, check, || Ok(self.lease(id, keys)?))
    }

    /// [`Machine::leases`] on behalf of a caller. As in etcd, who wants to know them must be allowed to read all their
    /// keys.
    pub fn leases_as(&self, caller: &Caller) -> Result<Vec<LeaseId>, Failure> {
        let check = |rights: &Rights<'_>| {
            let leases = if let Rights::All = rights { Vec::new() } else { self.leases()? };
            let mut keys = |lease| self.lease_keys(lease);
            leases.into_iter().try_for_each(|lease| rights.read_lease(lease, &mut keys))
        };
        self.read_as(caller, check, || Ok(self.leases()?))
    }

    /// Refuses a caller who may not renew a lease.
    pub fn check_renewal(&self, caller: &Caller, id: LeaseId) -> Result<(), Failure> {
        let check = |rights: &Rights<'_>| rights.write_lease(id, &mut |lease| self.lease_keys(lease));
        self.read_as(caller, check, || Ok(()))
    }
}
