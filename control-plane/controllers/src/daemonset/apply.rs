//! Makes a plan true: revisions, pods, status.

use std::{collections::BTreeSet, sync::Arc};

use client::{Error, clock, driver::After};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod},
};

use super::{Controller, plan};
use crate::{history, podcontrol::from_template};

impl Controller {
    pub(super) async fn apply(&self, set: &DaemonSet, pods: &[Arc<Pod>]) -> Result<After, Error> {
        let Some(spec) = &set.spec else { return Ok(After::Change) };
        let history = history::sync(&self.client, &self.revisions, set, &spec.template).await?;
        let hash = history::hash(&history.newest).to_owned();
        let plan = plan::plan(set, &self.nodes.list(), pods, &hash, clock::now());
        if set.status.as_ref() != Some(&plan.status) {
            self.client
                .update_status(&DaemonSet { status: Some(plan.status.clone()), ..set.clone() })
                .await?;
        }
        self.control.delete(set, &plan.delete).await?;
        let new: Vec<Pod> = plan.create.iter().map(|node| new_pod(set, node, &hash)).collect();
        self.control.create(set, &new).await?;
        let label = |p: &Arc<Pod>| p.metadata.labels.as_ref()?.get(history::HASH_LABEL).cloned();
        let live: BTreeSet<String> = pods.iter().filter_map(label).collect();
        history::prune(&self.client, &history, &live, spec.revision_history_limit).await?;
        Ok(self.recheck(set, pods))
    }

    /// Ready pods become available as time passes.
    fn recheck(&self, set: &DaemonSet, pods: &[Arc<Pod>]) -> After {
        let min_ready = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
        let waits = pods.iter().filter_map(|p| crate::pods::available_in_seconds(p, min_ready, clock::now()));
        let next = waits.filter(|s| *s > 0 && min_ready > 0).min().and_then(|s| u64::try_from(s).ok());
        next.map_or(After::Change, |s| After::Delay(std::time::Duration::from_secs(s)))
    }
}

/// A pod that can only go to this node.
fn new_pod(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let mut pod = from_template(set, &template);
    pod.metadata.labels.get_or_insert_default().insert(history::HASH_LABEL.to_owned(), hash.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(plan::tolerations(set));
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: None, match_fields: Some(vec![field]) };
    node_affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    pod
}
