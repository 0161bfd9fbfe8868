//! Revisions: which ReplicaSet has the template, what its annotations say, and how it is named. Pure.

use std::collections::BTreeMap;

use client::refs;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::PodTemplateSpec,
};

use crate::{
    limits,
    template::{comparable, template_hash},
};

pub(super) const HASH_LABEL: &str = crate::template::HASH_LABEL;
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
pub(super) type Annotations = BTreeMap<String, String>;

/// Whether the ReplicaSet has the Deployment's template, the hash label aside.
pub(super) fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let own = set.spec.as_ref().and_then(|s| s.template.as_ref());
    own.is_some_and(|own| comparable(own) == comparable(template))
}

/// The number in an annotation.
pub(super) fn number(annotations: Option<&Annotations>, key: &str) -> Option<i64> {
    annotations?.get(key)?.parse().ok()
}

/// The revision of a ReplicaSet, 0 if it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    number(set.metadata.annotations.as_ref(), REVISION).unwrap_or(0)
}

/// Annotations of the newest ReplicaSet: what it inherits, its revision, and those it had before.
pub(super) fn annotate(set: &mut ReplicaSet, deployment: &Deployment, newest: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_INHERITED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    if old.as_deref().and_then(|r| r.parse::<i64>().ok()).unwrap_or(0) >= newest {
        return;
    }
    annotations.insert(REVISION.to_owned(), newest.to_string());
    if let Some(old) = old.filter(|r| !r.is_empty()) {
        let history = annotations.get(REVISION_HISTORY).cloned().unwrap_or_default();
        annotations.insert(REVISION_HISTORY.to_owned(), lengthened(&history, &old));
    }
}

fn lengthened(history: &str, revision: &str) -> String {
    let mut revisions: Vec<&str> = history.split(',').filter(|r| !r.is_empty()).chain([revision]).collect();
    while revisions.len() > 1 && revisions.join(",").len() > limits::REVISION_HISTORY_CHARS {
        revisions.remove(0);
    }
    revisions.join(",")
}

/// Annotations that remember what the Deployment's size was when the ReplicaSet was sized.
pub(super) fn annotate_size(set: &mut ReplicaSet, desired: i32, max: i32) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED_REPLICAS.to_owned(), desired.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), max.to_string());
}

/// A ReplicaSet for the Deployment's present template, of size 0 and without annotations.
pub(super) fn new_set(deployment: &Deployment) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count);
    let hash = template_hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let mut set = ReplicaSet::default();
    set.metadata.name = Some(format!("{}-{hash}", refs::name(deployment)));
    set.metadata.namespace = deployment.metadata.namespace.clone();
    set.metadata.labels = Some(labels);
    set.metadata.owner_references = Some(vec![refs::controller_reference(deployment)]);
    set.spec = Some(k8s_openapi::api::apps::v1::ReplicaSetSpec {
        replicas: Some(0),
        min_ready_seconds: spec.min_ready_seconds,
        selector,
        template: Some(template),
    });
    Some(set)
}
