//! InterPodAffinity: pods that want to be near, or far from, other pods.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::PodAffinityTerm;

use super::{Prepared, Reason, SCORE_MAX};
use crate::{
    cluster::{Cluster, Node, Slot},
    pod::Requirements,
    selectors::labels_match,
};

/// Value of a topology key.
type Domain = (String, String);

/// What other pods mean for this pod, by domain.
pub struct InterPodAffinity {
    near: Vec<Term>,
    far: Vec<Term>,
    /// Domains that pods already placed refuse to share with this pod.
    refused: HashMap<Domain, usize>,
    /// Preference of domains, from both sides.
    preferred: HashMap<Domain, i64>,
    /// No pod matches any required term, but this pod matches its own: the first of its group may go anywhere.
    first_of_its_kind: bool,
}

struct Term {
    key: String,
    domains: HashMap<String, usize>,
}

/// Whether the plugin has anything to say about the pod.
pub fn matters(pod: &Requirements, cluster: &Cluster) -> bool {
    pod.affinity.pod_affinity.is_some()
        || pod.affinity.pod_anti_affinity.is_some()
        || cluster.nodes.iter().any(|node| node.anti_affine > 0)
}

fn term_matches(
    term: &PodAffinityTerm,
    owner: &Requirements,
    other: &Requirements,
    cluster: &Cluster,
) -> bool {
    let named = term.namespaces.as_deref().unwrap_or_default();
    let in_namespace = if named.is_empty() && term.namespace_selector.is_none() {
        other.namespace == owner.namespace
    } else {
        let labels = cluster.namespaces.get(&other.namespace);
        named.contains(&other.namespace)
            || term.namespace_selector.is_some()
                && labels_match(term.namespace_selector.as_ref(), labels.unwrap_or(&Default::default()))
    };
    in_namespace && labels_match(term.label_selector.as_ref(), &other.labels)
}

fn required_near(pod: &Requirements) -> &[PodAffinityTerm] {
    pod.affinity
        .pod_affinity
        .as_ref()
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

fn required_far(pod: &Requirements) -> &[PodAffinityTerm] {
    pod.affinity
        .pod_anti_affinity
        .as_ref()
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

/// Preferred terms with their weight; those of anti-affinity count against.
fn preferred(pod: &Requirements) -> impl Iterator<Item = (i64, &PodAffinityTerm)> {
    let near = pod.affinity.pod_affinity.iter();
    let near = near.flat_map(|a| a.preferred_during_scheduling_ignored_during_execution.iter().flatten());
    let far = pod.affinity.pod_anti_affinity.iter();
    let far = far.flat_map(|a| a.preferred_during_scheduling_ignored_during_execution.iter().flatten());
    near.map(|w| (i64::from(w.weight), &w.pod_affinity_term))
        .chain(far.map(|w| (-i64::from(w.weight), &w.pod_affinity_term)))
}

impl InterPodAffinity {
    /// Counts matching pods per domain.
    pub fn prepare(pod: &Requirements, cluster: &Cluster) -> Self {
        let near = required_near(pod).iter().map(|term| count(term, pod, cluster)).collect::<Vec<_>>();
        let far = required_far(pod).iter().map(|term| count(term, pod, cluster)).collect();
        let unmatched = near.iter().all(|term: &Term| term.domains.is_empty());
        let own = required_near(pod).iter().all(|term| term_matches(term, pod, pod, cluster));
        Self {
            first_of_its_kind: unmatched && own,
            near,
            far,
            refused: refused_domains(pod, cluster),
            preferred: preferred_domains(pod, cluster),
        }
    }
}

fn count(term: &PodAffinityTerm, pod: &Requirements, cluster: &Cluster) -> Term {
    let mut domains = HashMap::new();
    for node in &cluster.nodes {
        let Some(domain) = node.labels.get(&term.topology_key) else { continue };
        let matching = node.pods.values().filter(|other| term_matches(term, pod, other, cluster)).count();
        if matching > 0 {
            *domains.entry(domain.clone()).or_insert(0) += matching;
        }
    }
    Term { key: term.topology_key.clone(), domains }
}

fn refused_domains(pod: &Requirements, cluster: &Cluster) -> HashMap<Domain, usize> {
    let mut refused = HashMap::new();
    for node in cluster.nodes.iter().filter(|node| node.anti_affine > 0) {
        for other in node.pods.values() {
            for term in required_far(other).iter().filter(|term| term_matches(term, other, pod, cluster)) {
                if let Some(domain) = node.labels.get(&term.topology_key) {
                    *refused.entry((term.topology_key.clone(), domain.clone())).or_insert(0) += 1;
                }
            }
        }
    }
    refused
}

fn preferred_domains(pod: &Requirements, cluster: &Cluster) -> HashMap<Domain, i64> {
    let mut domains = HashMap::new();
    let mut add = |node: &Node, key: &String, weight: i64| {
        if let Some(domain) = node.labels.get(key) {
            *domains.entry((key.clone(), domain.clone())).or_insert(0) += weight;
        }
    };
    for node in &cluster.nodes {
        for other in node.pods.values() {
            for (weight, term) in preferred(pod).filter(|(_, term)| term_matches(term, pod, other, cluster)) {
                add(node, &term.topology_key, weight);
            }
            for (weight, term) in preferred(other).filter(|(_, term)| term_matches(term, other, pod, cluster))
            {
                add(node, &term.topology_key, weight);
            }
        }
    }
    domains
}

impl Prepared for InterPodAffinity {
    fn filter(&self, _slot: Slot, node: &Node) -> Option<Reason> {
        let has =
            |term: &Term| node.labels.get(&term.key).is_some_and(|domain| term.domains.contains_key(domain));
        let labelled = |term: &Term| node.labels.contains_key(&term.key);
        let near = self.near.iter().all(has) || self.first_of_its_kind && self.near.iter().all(labelled);
        if !near {
            return Some("node(s) didn't match pod affinity rules".into());
        }
        if self.far.iter().any(has) {
            return Some("node(s) didn't match pod anti-affinity rules".into());
        }
        let refused = self.refused.keys().any(|(key, domain)| node.labels.get(key) == Some(domain));
        refused.then(|| "node(s) didn't satisfy existing pods anti-affinity rules".into())
    }

    fn score(&self, feasible: &[Slot], cluster: &Cluster) -> Option<Vec<i64>> {
        if self.preferred.is_empty() {
            return None;
        }
        let raw: Vec<i64> = feasible
            .iter()
            .map(|slot| {
                let labels = &cluster.nodes[*slot].labels;
                let fits = |(key, domain): &Domain| labels.get(key) == Some(domain);
                self.preferred.iter().filter(|(domain, _)| fits(domain)).map(|(_, weight)| weight).sum()
            })
            .collect();
        let (low, high) = (raw.iter().min()?, raw.iter().max()?);
        let span = high - low;
        Some(raw.iter().map(|score| if span == 0 { 0 } else { (score - low) * SCORE_MAX / span }).collect())
    }

    fn weight(&self) -> i64 {
        2
    }
}
