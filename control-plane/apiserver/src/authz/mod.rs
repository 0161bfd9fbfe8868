//! May they: decides about [`Attributes`] for an [`Identity`].
//!
//! In order: members of `system:masters` may do everything; nodes are asked about by [`node`]; everybody else
//! lives by the RBAC rules in [`rbac`], which [`policy`] keeps in step with the stored roles and bindings.
//! Nothing that is not allowed by one of them is allowed.

pub mod escalation;
pub mod node;
pub mod policy;
pub mod rbac;
pub mod review;
pub mod upsert;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use api::{GroupResource, Reason, Status};
use parking_lot::RwLock;
use registry::Registry;

use crate::{
    authn::{Identity, MASTERS},
    request::Attributes,
};

/// The answer of an authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, because of this.
    Allow(String),
    /// Nobody said yes; why, if there is more to say.
    NoOpinion(String),
}

impl Decision {
    /// Why not, when not.
    pub fn refusal(self) -> Option<String> {
        match self {
            Self::Allow(_) => None,
            Self::NoOpinion(why) => Some(why),
        }
    }

    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Decides what an identity may do. Cheap to clone.
#[derive(Clone)]
pub struct Authorizer {
    registry: Registry,
    policy: Arc<RwLock<rbac::Policy>>,
    generation: Arc<AtomicU64>,
}

impl Authorizer {
    /// An authorizer that allows nothing but to `system:masters` until [`policy::follow`] has filled it.
    pub fn new(registry: Registry) -> Self {
        Self { registry, policy: Arc::default(), generation: Arc::default() }
    }

    /// Decides.
    pub fn authorize(&self, who: &Identity, what: &Attributes) -> Decision {
        if who.is_in(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut why = String::new();
        if let Some(name) = node::name_of(who) {
            match node::authorize(&self.registry, name, what) {
                Decision::Allow(reason) => return Decision::Allow(reason),
                Decision::NoOpinion(reason) if node::governs(what) => return Decision::NoOpinion(reason),
                Decision::NoOpinion(reason) => why = reason,
            }
        }
        match self.policy.read().authorize(&who.caller, what) {
            Decision::Allow(reason) => Decision::Allow(reason),
            Decision::NoOpinion(reason) if why.is_empty() => Decision::NoOpinion(reason),
            Decision::NoOpinion(_) => Decision::NoOpinion(why),
        }
    }

    /// As [`Authorizer::authorize`], as a result with upstream's 403.
    pub fn require(&self, who: &Identity, what: &Attributes) -> Result<(), Status> {
        match self.authorize(who, what).refusal() {
            None => Ok(()),
            Some(why) => Err(forbidden(who, what, &why)),
        }
    }

    /// A counter that moves whenever roles or bindings change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads the rules.
    pub fn read<T>(&self, look: impl FnOnce(&rbac::Policy) -> T) -> T {
        look(&self.policy.read())
    }

    fn change(&self, apply: impl FnOnce(&mut rbac::Policy)) {
        apply(&mut self.policy.write());
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// 403 in upstream's words.
pub fn forbidden(who: &Identity, what: &Attributes, why: &str) -> Status {
    let user = &who.caller.user;
    let mut message = if !what.is_resource() {
        format!("User {user:?} cannot {} path {:?}", what.verb, what.path)
    } else {
        let resource = what.qualified_resource();
        let place = match what.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "User {user:?} cannot {} resource {resource:?} in API group {:?} {place}",
            what.verb, what.group
        )
    };
    if !why.is_empty() {
        message = format!("{message}: {why}");
    }
    if !what.is_resource() {
        let mut status = Status::failure(Reason::Forbidden, format!("forbidden: {message}"));
        status.details = Some(Box::default());
        return status;
    }
    let resource = GroupResource { group: what.group.clone(), resource: what.resource.clone() };
    Status::forbidden(&resource, &what.name, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_reads_as_upstream_writes_it() {
        let who = Identity::new("x", &[]);
        let mut what = Attributes {
            verb: "list".into(),
            version: "v1".into(),
            resource: "pods".into(),
            namespace: "default".into(),
            ..Attributes::default()
        };
        let says = |what: &Attributes, why: &str| forbidden(&who, what, why).message;
        assert_eq!(
            says(&what, ""),
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#
        );
        what = Attributes {
            verb: "get".into(),
            group: "apps".into(),
            resource: "deployments".into(),
            subresource: "scale".into(),
            name: "d".into(),
            namespace: String::new(),
            ..what
        };
        assert_eq!(
            says(&what, "because"),
            r#"deployments.apps "d" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" at the cluster scope: because"#
        );
        let path = Attributes { verb: "get".into(), path: "/metrics".into(), ..Attributes::default() };
        assert_eq!(says(&path, ""), r#"forbidden: User "x" cannot get path "/metrics""#);
    }
}
