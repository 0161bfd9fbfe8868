//! What to do with an object, given the state of its owners and dependents. Pure.

use client::typed::Propagation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// The state of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Solid,
    /// There is no object with that UID.
    Absent,
    /// It is being deleted and waits for its dependents.
    Waiting,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// Remove the references to these owners' UIDs.
    Unlink(Vec<String>),
    /// Delete it.
    Delete(Propagation),
}

/// Names an owner of an object.
#[derive(Clone, Copy)]
pub(super) struct OwnerKey<'a> {
    pub(super) api_version: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
}

pub(super) fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

/// Whether it is being deleted and waits for its dependents.
pub(super) fn waits_for_dependents(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && has_finalizer(meta, FOREGROUND)
}

/// Whether it is being deleted and wants its dependents to be left alone.
pub(super) fn orphans_dependents(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && has_finalizer(meta, ORPHAN)
}

pub(super) fn needs_attention(meta: &ObjectMeta) -> bool {
    meta.owner_references.iter().flatten().next().is_some()
        || waits_for_dependents(meta)
        || orphans_dependents(meta)
}

/// Owners that cannot go before the object does.
pub(super) fn owners_that_may_wait(meta: &ObjectMeta) -> impl Iterator<Item = OwnerKey<'_>> {
    let namespace = meta.namespace.as_deref().unwrap_or("");
    let owners = meta.owner_references.iter().flatten().filter(|o| o.block_owner_deletion == Some(true));
    owners.map(move |o| OwnerKey { api_version: &o.api_version, namespace, name: &o.name, uid: &o.uid })
}

/// Judges an object that is not being deleted by its owners.
pub(super) fn judge(meta: &ObjectMeta, owners: &[(&OwnerReference, Owner)], has_dependents: bool) -> Verdict {
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let of = |state: Owner| owners.iter().filter(move |(_, s)| *s == state);
    if of(Owner::Solid).next().is_some() {
        let others: Vec<String> =
            owners.iter().filter(|(_, state)| *state != Owner::Solid).map(|(o, _)| o.uid.clone()).collect();
        return if others.is_empty() { Verdict::Keep } else { Verdict::Unlink(others) };
    }
    if of(Owner::Waiting).next().is_some() && has_dependents {
        return Verdict::Delete(Propagation::Foreground);
    }
    // The wish of whoever began to delete it goes before our own.
    Verdict::Delete(if has_finalizer(meta, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(meta, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_goes_when_all_its_owners_are_gone() {
        use Owner::{Absent, Solid, Waiting};
        let reference = |uid: &str| OwnerReference { uid: uid.to_owned(), ..OwnerReference::default() };
        let cases: [(&[Owner], bool, Verdict); 7] = [
            (&[], false, Verdict::Keep),
            (&[Solid], false, Verdict::Keep),
            (&[Solid, Absent, Waiting], false, Verdict::Unlink(vec!["1".into(), "2".into()])),
            (&[Absent], true, Verdict::Delete(Propagation::Background)),
            (&[Absent, Waiting], false, Verdict::Delete(Propagation::Background)),
            (&[Waiting], true, Verdict::Delete(Propagation::Foreground)),
            (&[Waiting], false, Verdict::Delete(Propagation::Background)),
        ];
        for (states, has_dependents, expect) in cases {
            let references: Vec<_> = (0..states.len()).map(|i| reference(&i.to_string())).collect();
            let owners: Vec<_> = references.iter().zip(states.iter().copied()).collect();
            assert_eq!(judge(&ObjectMeta::default(), &owners, has_dependents), expect, "{states:?}");
        }
    }
}
