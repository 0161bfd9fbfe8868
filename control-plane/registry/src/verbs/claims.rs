//! Taking and giving back what objects hold exclusively, in the transaction that writes them.

use std::collections::BTreeSet;

use api::Status;
use serde_json::{Value, json};
use store_client::{Compare, KeyRange, Op, Revision, Txn};

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
        retry: bool,
    ) -> Result<Side, Status> {
        let named = claims.of(object);
        let own = old.map(|old| claims.of(old)).unwrap_or_default();
        if retry {
            // What was in the way is in the store, so it will be in the cache: choose with it in sight.
            self.storage.catch_up().await?;
        }
        let mut held = self.held().await?;
        let foreign = |held: &Held| named.difference(&own).find(|claim| held.has(claim)).cloned();
        if foreign(&held).is_some() {
            // The cache may not have seen yet that it was given back.
            self.storage.catch_up().await?;
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

    /// Makes what is held agree with what Services say. What a Service holds is written with the Service, so
    /// this finds work only after somebody wrote addresses by hand.
    pub(crate) async fn repair_claims(&self) -> Result<(), Status> {
        let services = api::GroupVersionResource::new("", "v1", "services");
        let Some(row) = self.catalog.load().get(&services).cloned() else { return Ok(()) };
        let Some(claims) = row.strategy.claims() else { return Ok(()) };
        // Held first: whatever is held here is held by a service that the later look must show.
        let held = self.held().await?;
        let cache = self.cache(&row)?;
        let services = self.storage.current(&cache).await?;
        let mut wanted = BTreeSet::new();
        for service in services.iter() {
            let tree = codec::tree(&service.json)?;
            for claim in claims.of(&tree) {
                if !held.has(&claim) {
                    self.take_missing(&claim, &tree).await?;
                }
                wanted.insert(claim);
            }
        }
        for (prefix, holders) in self.holders(&held) {
            for holder in holders.iter() {
                let name = holder.name.as_str();
                let claim = name.parse().map(Claim::Address).or_else(|_| name.parse().map(Claim::Port));
                let ours = holder.labels.is_empty()
                    || holder.labels.iter().any(|(_, value)| value == "ipallocator.k8s.io");
                if ours && claim.is_ok_and(|claim| !wanted.contains(&claim)) {
                    let key = format!("{prefix}{name}");
                    let compare = vec![Compare::mod_revision(key.clone(), Revision(holder.revision))];
                    let txn = Txn { compare, success: vec![Op::delete(key)], failure: Vec::new() };
                    self.storage.request(self.storage.kv.txn(txn)).await?;
                }
            }
        }
        Ok(())
    }

    fn holders<'h>(&self, held: &'h Held) -> [(String, &'h crate::Snapshot); 2] {
        let addresses = crate::catalog::prefix("networking.k8s.io", "ipaddresses");
        [(addresses, &held.addresses), (super::core::ports_place().prefix, &held.ports)]
    }

    async fn take_missing(&self, claim: &Claim, holder: &Value) -> Result<(), Status> {
        let key = self.claim_key(claim);
        let put = Op::put(key.clone(), codec::encode(&record(claim, holder))?);
        let compare = vec![Compare::mod_revision(key, Revision(0))];
        let txn = Txn { compare, success: vec![put], failure: Vec::new() };
        self.storage.request(self.storage.kv.txn(txn)).await?;
        Ok(())
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
