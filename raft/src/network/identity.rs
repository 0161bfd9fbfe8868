//! Who calls whom. Every call names cluster, caller and callee, and a member answers only calls meant for it.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Status};

use super::Incarnations;
use super::incarnations::Mistaken;
use crate::member::MemberId;

const CLUSTER: &str = "kontiki-cluster";
const FROM: &str = "kontiki-from";
const TO: &str = "kontiki-to";
const INCARNATION: &str = "kontiki-incarnation";
const KNOWN: &str = "kontiki-known";

/// A member of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: u64,
    pub(crate) member: MemberId,
}

impl Identity {
    /// Names caller and callee in a call.
    pub(crate) fn sign<T>(&self, to: MemberId, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(CLUSTER, MetadataValue::from(self.cluster));
        metadata.insert(FROM, MetadataValue::from(self.member.0));
        metadata.insert(TO, MetadataValue::from(to.0));
        request
    }

    /// Accepts a call that is meant for us, and says who calls.
    pub(crate) fn admit(&self, metadata: &MetadataMap) -> Result<MemberId, Status> {
        let cluster = number(metadata, CLUSTER)?;
        if cluster != self.cluster {
            let detail = format!("a member of cluster {cluster:x} called one of cluster {:x}", self.cluster);
            return Err(Status::permission_denied(detail));
        }
        let to = number(metadata, TO)?;
        if to != self.member.0 {
            let detail = format!("a call for member {to:x} reached member {}", self.member);
            return Err(Status::permission_denied(detail));
        }
        let from = number(metadata, FROM)?;
        if from == self.member.0 {
            return Err(Status::permission_denied(format!(
                "another process claims to be member {}",
                self.member
            )));
        }
        Ok(MemberId(from))
    }
}

/// Adds who we are, and what we know of the others that `concern` chooses, to a call or an answer.
pub(crate) fn introduce(
    metadata: &mut MetadataMap,
    incarnations: &Incarnations,
    concern: impl Fn(MemberId) -> bool,
) {
    if let Some(own) = incarnations.own() {
        metadata.insert(INCARNATION, MetadataValue::from(own));
    }
    if let Ok(known) = MetadataValue::try_from(incarnations.tell(concern)) {
        metadata.insert(KNOWN, known);
    }
}

/// The number of whoever calls or answers; earlier versions have none.
pub(crate) fn incarnation(metadata: &MetadataMap) -> Option<u64> {
    number(metadata, INCARNATION).ok()
}

/// Checks that a caller, and we ourselves, are who we always were.
pub(crate) fn recognize(
    metadata: &MetadataMap,
    from: MemberId,
    incarnations: &Incarnations,
) -> Result<(), Mistaken> {
    if let Some(incarnation) = incarnation(metadata) {
        incarnations.meet(from, incarnation)?;
    }
    match metadata.get(KNOWN).and_then(|known| known.to_str().ok()) {
        Some(known) => incarnations.hear(known),
        None => Ok(()),
    }
}

fn number(metadata: &MetadataMap, name: &'static str) -> Result<u64, Status> {
    let value = metadata.get(name).and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    value.ok_or_else(|| Status::invalid_argument(format!("the call carries no {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Identity = Identity { cluster: 7, member: MemberId(1) };

    #[test]
    fn only_calls_of_our_cluster_meant_for_us_are_admitted() {
        let peer = Identity { cluster: 7, member: MemberId(2) };
        let call = |from: Identity, to| ME.admit(from.sign(MemberId(to), ()).metadata());
        assert_eq!(call(peer, 1).unwrap(), MemberId(2));
        assert!(call(peer, 3).is_err());
        assert!(call(Identity { cluster: 8, ..peer }, 1).is_err());
        assert!(call(ME, 1).is_err());
        assert!(ME.admit(&MetadataMap::new()).is_err());
    }
}
