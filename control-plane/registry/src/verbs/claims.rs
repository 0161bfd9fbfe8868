//! Taking and giving back what objects hold exclusively, in the transaction that writes them.

use std::collections::BTreeSet;

use api::Status;
use serde_json::{Value, json};
use store_client::{Compare, KeyRange, Op, Revision};

use super::Core;
use crate::{
    Resource, clock,
    storage::{Side, codec},
    strategy::claims::{Claim, Claims, Held},
};

impl Core {
    /// Lets an object choose what it does not name, and says what the transaction must take and give back.
    /// A claim that the object names itself and another holds is an error.
    pub(crate) async fn claim(
        &self,
        claims: &dyn Claims,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Result<Side, Status> {
        let named = claims.of(object);
        let own = old.map(|old| claims.of(old)).unwrap_or_default();
        let mut held = self.held().await?;
        let foreign = |held: &Held| named.difference(&own).find(|claim| held.has(claim)).cloned();
        if foreign(&held).is_some() {
            // The cache may not have seen yet that it was given back.
            let now = self.storage.request(self.storage.kv.read_revision()).await?;
            self.storage.wait_for(now.0).await?;
            held = self.held().await?;
            if let Some(claim) = foreign(&held) {
                return Err(claims.taken(object, &claim));
            }
        }
        claims.choose(&self.options, &held, old, object)?;
        self.exchange(&own, &claims.of(object), object)
    }

    /// What gives back everything that an object holds.
    pub(crate) fn release(&self, row: &Resource, object: &Value) -> Result<Side, Status> {
        match row.strategy.claims() {
            Some(claims) => self.exchange(&claims.of(object), &BTreeSet::new(), object),
            None => Ok(Side::default()),
        }
    }

    async fn held(&self) -> Result<Held, Status> {
        let addresses = self
            .cache_of("networking.k8s.io", "v1", "ipaddresses")
            .ok_or_else(|| Status::internal("IP addresses are not served"))?;
        let ports = self.ports();
        addresses.wait_filled(crate::limits::CACHE_FILL_MAX).await?;
        ports.wait_filled(crate::limits::CACHE_FILL_MAX).await?;
        let reached = self.storage.reached();
        Ok(Held { addresses: addresses.snapshot(reached), ports: ports.snapshot(reached) })
    }

    fn exchange(
        &self,
        before: &BTreeSet<Claim>,
        after: &BTreeSet<Claim>,
        holder: &Value,
    ) -> Result<Side, Status> {
        let mut side = Side::default();
        for claim in after.difference(before) {
            let key = self.claim_key(claim);
            side.compare.push(Compare::mod_revision(key.clone(), Revision(0)));
            side.ops.push(Op::put(key, codec::encode(&record(claim, holder))?));
        }
        for claim in before.difference(after) {
            side.ops.push(Op::Delete { keys: KeyRange::Key(self.claim_key(claim)), prev_kv: false });
        }
        Ok(side)
    }

    fn claim_key(&self, claim: &Claim) -> bytes::Bytes {
        let prefix = match claim {
            Claim::Address(_) => crate::catalog::prefix("networking.k8s.io", "ipaddresses"),
            Claim::Port(_) => super::core::ports_place().prefix,
        };
        format!("{prefix}{}", claim.name()).into()
    }
}

/// What is stored under a claim: for an address the `IPAddress` object that upstream would make.
fn record(claim: &Claim, holder: &Value) -> Value {
    let parent = json!({"group": "", "resource": "services", "namespace": api::meta::namespace(holder),
        "name": api::meta::name(holder)});
    let mut metadata = json!({"name": claim.name(), "uid": clock::uid(), "creationTimestamp": clock::now()});
    match claim {
        Claim::Address(ip) => {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            metadata["generation"] = json!(1);
            metadata["labels"] = json!({"ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": metadata,
                "spec": {"parentRef": parent}})
        }
        Claim::Port(_) => {
            json!({"apiVersion": "ranges/v1", "kind": "NodePort", "metadata": metadata, "spec": {"parentRef": parent}})
        }
    }
}
