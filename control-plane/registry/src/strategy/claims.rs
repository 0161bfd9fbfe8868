//! What an object holds exclusively across the cluster: addresses and ports of Services.
//!
//! A claim is a key in the store. It is taken and given back in the very transaction that writes the object,
//! so two members can never hand out one twice, and a crash leaves neither a leak nor a hole.

use std::collections::BTreeSet;

use api::Status;
use serde_json::Value;

use crate::{Options, Snapshot};

/// One thing that can be held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A cluster IP, held by an `IPAddress` object of that name.
    Address(std::net::IpAddr),
    /// A node port.
    Port(u16),
}

impl Claim {
    /// The name under which it is held.
    pub fn name(&self) -> String {
        match self {
            Self::Address(ip) => ip.to_string(),
            Self::Port(number) => number.to_string(),
        }
    }
}

/// What is held now, as far as the caches know. Only a hint: the transaction decides.
pub struct Held {
    pub(crate) addresses: Snapshot,
    pub(crate) ports: Snapshot,
}

impl Held {
    /// Whether somebody holds it.
    pub fn has(&self, claim: &Claim) -> bool {
        let holders = match claim {
            Claim::Address(_) => &self.addresses,
            Claim::Port(_) => &self.ports,
        };
        holders.get("", &claim.name()).is_some()
    }
}

/// How a kind claims.
pub trait Claims: Send + Sync {
    /// What an object holds.
    fn of(&self, object: &Value) -> BTreeSet<Claim>;

    /// Fills in what the object asks for but does not name, choosing what `held` says is free. `old` is the
    /// object before, in an update.
    fn choose(
        &self,
        options: &Options,
        held: &Held,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Result<(), Status>;

    /// The error when a claim that the object names itself is held by another.
    fn taken(&self, object: &Value, claim: &Claim) -> Status;
}
