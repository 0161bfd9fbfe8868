//! The admission chain: what the cluster, not the kind, has to say about a write.
//!
//! ```text
//!   draft --mutate--> Mutated --(ownership, validation, claims)--> Mutated --validate--> Admitted --> storage
//! ```
//!
//! [`Admitted`] can only be made here, and storage takes nothing else: a write that skips admission does not
//! compile (invariant C1).

mod limit_ranger;
mod namespace;
mod node_restriction;
mod priority;
pub(crate) mod service_account;
mod taints;
mod tolerations;

use api::Status;
use serde_json::Value;

use crate::{Resource, contract::Caller, verbs::Core};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// An object appears.
    Create,
    /// An object changes.
    Update,
    /// An object is asked to go.
    Delete,
}

/// A write, as plugins see it.
pub(crate) struct Request<'a> {
    pub(crate) core: &'a Core,
    pub(crate) caller: &'a Caller,
    pub(crate) row: &'a Resource,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) operation: Operation,
    pub(crate) old: Option<&'a Value>,
}

impl Request<'_> {
    /// Whether it is about this core resource itself.
    fn is(&self, plural: &str, operation: Operation) -> bool {
        self.is_resource(plural) && self.subresource.is_empty() && self.operation == operation
    }

    fn is_resource(&self, plural: &str) -> bool {
        self.row.group.is_empty() && self.row.plural == plural
    }

    /// 403 with the reason.
    fn forbid(&self, why: &str) -> Status {
        Status::forbidden(&self.row.group_resource(), self.name, why)
    }
}

/// An object that went through the mutating half.
#[derive(Debug)]
pub(crate) struct Mutated(Value);

impl Mutated {
    /// The object.
    pub(crate) fn object(&self) -> &Value {
        &self.0
    }

    /// The object, for what comes between the halves.
    pub(crate) fn object_mut(&mut self) -> &mut Value {
        &mut self.0
    }
}

/// An object that went through the whole chain.
#[derive(Debug)]
pub(crate) struct Admitted(Value);

impl Admitted {
    /// The object.
    pub(crate) fn object(&self) -> &Value {
        &self.0
    }
}

/// The mutating half, in upstream's order.
pub(crate) async fn mutate(request: &Request<'_>, mut object: Value) -> Result<Mutated, Status> {
    namespace::exists(request).await?;
    if request.is("pods", Operation::Create) {
        limit_ranger::apply(request, &mut object)?;
        service_account::apply(request, &mut object).await?;
        priority::apply(request, &mut object).await?;
        tolerations::apply(request, &mut object);
    }
    taints::apply(request, &mut object);
    Ok(Mutated(object))
}

/// The validating half.
pub(crate) async fn validate(request: &Request<'_>, mutated: Mutated) -> Result<Admitted, Status> {
    node_restriction::check(request, Some(&mutated.0))?;
    if request.is("pods", Operation::Create) {
        limit_ranger::check(request, &mutated.0)?;
    }
    Ok(Admitted(mutated.0))
}

/// The chain of a deletion.
pub(crate) async fn delete(request: &Request<'_>) -> Result<(), Status> {
    namespace::deletable(request)?;
    node_restriction::check(request, None)
}

/// An object that stays for a while after its deletion was admitted.
pub(crate) fn terminating(object: Value) -> Mutated {
    Mutated(object)
}
