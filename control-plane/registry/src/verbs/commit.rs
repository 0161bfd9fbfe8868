//! The common end of every write: admission, ownership of fields, validation, claims, one transaction.

use api::{Status, apply, meta, objects::Target, status::Cause};
use bytes::Bytes;
use serde_json::Value;

use super::{Core, facet::Facet, fence};
use crate::{
    Resource,
    admission::{self, Mutated, Operation, Request},
    catalog::{Schema, conversion},
    contract::{Caller, WriteOptions},
    storage::{Outcome, Side, codec},
    strategy::{Context, rules},
};

/// Who owns fields when nobody says who writes.
const UNKNOWN_MANAGER: &str = "unknown";

/// One write under way.
pub(super) struct Write<'a> {
    pub(super) core: &'a Core,
    pub(super) caller: &'a Caller,
    pub(super) row: &'a Resource,
    pub(super) target: &'a Target,
    pub(super) options: &'a WriteOptions,
    pub(super) facet: Facet,
    pub(super) now: &'a str,
    /// Whether `managedFields` are written already, by an apply.
    pub(super) applied: bool,
}

impl Write<'_> {
    pub(super) fn context(&self) -> Context<'_> {
        Context { options: &self.core.options, now: self.now, user: &self.caller.user }
    }

    fn request<'r>(&'r self, operation: Operation, old: Option<&'r Value>) -> Request<'r> {
        Request {
            core: self.core,
            caller: self.caller,
            row: self.row,
            namespace: &self.target.scope.namespace,
            name: &self.target.name,
            subresource: &self.target.subresource,
            operation,
            old,
        }
    }

    /// What is common to the mutable part of the chain.
    pub(super) async fn mutate(
        &self,
        operation: Operation,
        old: Option<&Value>,
        object: Value,
    ) -> Result<Mutated, Status> {
        admission::mutate(&self.request(operation, old), object).await
    }

    /// Records who wrote which fields.
    pub(super) fn track(&self, old: Option<&Value>, object: &mut Value) -> Result<(), Status> {
        if self.applied {
            return Ok(());
        }
        let Some(schema) = self.stored_schema() else { return Ok(()) };
        let api_version = self.row.api_version();
        apply::track(schema.table(), schema.ty, old, object, &self.manager(&api_version))
    }

    /// Who writes, for the record.
    pub(super) fn manager<'m>(&'m self, api_version: &'m str) -> apply::Manager<'m> {
        let name = match self.options.field_manager.as_str() {
            "" => UNKNOWN_MANAGER,
            name => name,
        };
        apply::Manager { name, api_version, subresource: &self.target.subresource, time: self.now }
    }

    fn stored_schema(&self) -> Option<Schema> {
        match self.row.place.as_ref() {
            Some(place) if self.row.is_converted() => Schema::builtin(&place.kind),
            _ => self.row.schema.clone(),
        }
    }

    /// Asks the kind what is wrong.
    pub(super) fn validate(&self, old: Option<&Value>, object: &Value) -> Result<(), Status> {
        let mut causes: Vec<Cause> = Vec::new();
        let strategy = self.row.strategy;
        rules::metadata(strategy.name_rule(), object, &mut causes);
        if let Some(old) = old {
            super::metadata::validate_finalizers(old, object, &mut causes);
        }
        // A new status cannot make a spec wrong that was accepted.
        if matches!(self.facet, Facet::Main | Facet::Scale | Facet::EphemeralContainers | Facet::Resize)
            || old.is_none()
        {
            strategy.validate(object, &mut causes);
        }
        if let Some(old) = old
            && self.facet == Facet::Main
        {
            strategy.validate_update(old, object, &mut causes);
        }
        if causes.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&self.row.group, &self.row.kind, shown_name(object), causes))
    }

    /// Claims, the validating part of admission, and the transaction.
    pub(super) async fn put(
        &self,
        old: Option<&Value>,
        expected: i64,
        mut mutated: Mutated,
        retry: bool,
    ) -> Result<Outcome, Status> {
        let side = match self.row.strategy.claims() {
            Some(claims) if self.facet == Facet::Main => {
                self.core.claim(claims, old, mutated.object_mut(), retry).await?
            }
            _ => Side::default(),
        };
        let side = side.and(fence::side(self.core, self.options.fence.as_ref(), retry).await?);
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let admitted = admission::validate(&self.request(operation, old), mutated).await?;
        let lease = match self.row.strategy.ttl_s(&self.core.options) {
            Some(ttl_s) if !self.options.dry_run => self.core.leases.lease(&self.core.storage, ttl_s).await?,
            _ => 0,
        };
        let key = self.key(admitted.object())?;
        self.core.writer(self.options.dry_run).put(key, expected, &admitted, lease, side).await
    }

    /// Deletes an object that nothing holds any more.
    pub(super) async fn remove(&self, old: &Value, expected: i64, retry: bool) -> Result<Outcome, Status> {
        let side = self.core.release(self.row, old)?;
        let side = side.and(fence::side(self.core, self.options.fence.as_ref(), retry).await?);
        let key = self.key(old)?;
        self.core.writer(self.options.dry_run).delete(key, expected, side).await
    }

    fn key(&self, object: &Value) -> Result<Bytes, Status> {
        let place = self.row.place.as_ref().ok_or_else(Status::no_such_resource)?;
        Ok(self.core.storage.key(place, meta::namespace(object), meta::name(object)))
    }

    /// What the caller is shown of what was stored.
    pub(super) fn answer(&self, stored: &[u8], revision: i64) -> Result<Bytes, Status> {
        let wire = codec::wire(stored, revision).map_err(Status::internal)?;
        show(self.row, self.facet, wire)
    }
}

/// A stored object as a facet of a served version.
pub(super) fn show(row: &Resource, facet: Facet, wire: Bytes) -> Result<Bytes, Status> {
    if !row.is_converted() && facet != Facet::Scale {
        return Ok(wire);
    }
    let mut object = codec::tree(&wire)?;
    conversion::to_served(row, &mut object);
    codec::unstored(&facet.view(object))
}

/// The name for an error: what was asked for, when there is no name yet.
fn shown_name(object: &Value) -> &str {
    match meta::name(object) {
        "" => object.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or(""),
        name => name,
    }
}
