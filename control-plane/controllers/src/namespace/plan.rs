//! What remains in an ending namespace, and how its status says so. Pure.

use std::collections::BTreeMap;

use client::clock::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};

/// The finalizer this controller clears.
const FINALIZER: &str = "kubernetes";

/// What was found after deleting.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Remains {
    /// Objects left, by resource.
    pub(super) objects: BTreeMap<String, usize>,
    /// Objects left that wait for a finalizer, by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// What could not be deleted, and why.
    pub(super) failures: Vec<String>,
}

impl Remains {
    pub(super) fn is_nothing(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }
}

/// Whether the namespace still waits for us.
pub(super) fn is_held(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.as_ref());
    finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER))
}

/// The namespace without our finalizer.
pub(super) fn let_go(namespace: &Namespace) -> Namespace {
    let mut namespace = namespace.clone();
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
        finalizers.retain(|f| f != FINALIZER);
    }
    namespace
}

/// The namespace with a status that tells what is left.
pub(super) fn with_status(namespace: &Namespace, remains: &Remains, now: Timestamp) -> Namespace {
    let mut namespace = namespace.clone();
    let status = namespace.status.get_or_insert_default();
    status.phase = Some("Terminating".to_owned());
    let conditions = status.conditions.get_or_insert_default();
    for (kind, value, reason, message) in conditions_of(remains) {
        let known = conditions.iter().position(|c| c.type_ == kind);
        let since = known.filter(|i| conditions[*i].status == value);
        let condition = NamespaceCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: match since {
                Some(i) => conditions[i].last_transition_time.clone(),
                None => Some(whole_seconds(now)),
            },
        };
        match known {
            Some(i) => conditions[i] = condition,
            None => conditions.push(condition),
        }
    }
    namespace
}

fn conditions_of(remains: &Remains) -> [(&'static str, &'static str, &'static str, String); 5] {
    let failed = if remains.failures.is_empty() {
        (
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        )
    } else {
        let message = format!(
            "Failed to delete all resource types, {} remaining: {}",
            remains.failures.len(),
            remains.failures.join(", ")
        );
        ("True", "ContentDeletionFailed", message)
    };
    let left = if remains.objects.is_empty() {
        ("False", "ContentRemoved", "All content successfully removed".to_owned())
    } else {
        let list = listed(&remains.objects, |resource, n| format!("{resource} has {n} resource instances"));
        ("True", "SomeResourcesRemain", format!("Some resources are remaining: {list}"))
    };
    let held = if remains.finalizers.is_empty() {
        ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned())
    } else {
        let list =
            listed(&remains.finalizers, |finalizer, n| format!("{finalizer} in {n} resource instances"));
        (
            "True",
            "SomeFinalizersRemain",
            format!("Some content in the namespace has finalizers remaining: {list}"),
        )
    };
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        ("NamespaceDeletionContentFailure", failed.0, failed.1, failed.2),
        ("NamespaceContentRemaining", left.0, left.1, left.2),
        ("NamespaceFinalizersRemaining", held.0, held.1, held.2),
    ]
}

fn listed(counts: &BTreeMap<String, usize>, show: fn(&str, usize) -> String) -> String {
    counts.iter().map(|(what, n)| show(what, *n)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_what_is_left() {
        let remains = Remains {
            objects: [("pods.".to_owned(), 2)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            failures: Vec::new(),
        };
        let now = Timestamp::from_second(1000).unwrap();
        let namespace = with_status(&Namespace::default(), &remains, now);
        let conditions = namespace.status.clone().unwrap().conditions.unwrap();
        let true_ones: Vec<&str> =
            conditions.iter().filter(|c| c.status == "True").map(|c| c.type_.as_str()).collect();
        assert_eq!(true_ones, ["NamespaceContentRemaining", "NamespaceFinalizersRemaining"]);
        assert_eq!(
            conditions[3].message.as_deref(),
            Some("Some resources are remaining: pods. has 2 resource instances")
        );
        let later = with_status(&namespace, &remains, Timestamp::from_second(2000).unwrap());
        assert_eq!(later, namespace);
    }
}
